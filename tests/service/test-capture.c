/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves of captures that what is no sink, or no option, never reaches the worker; that the worker gets the client's descriptor and
 * options, and nobody else keeps the descriptor, so that the reader sees the end; and that "chvctl capture" brings it all to a file.
 */

#include <fcntl.h>
#include <glib-unix.h>
#include <string.h>
#include <unistd.h>

#include "tests/service/client.h"

static char *disk_of(const char *vm) {
        return g_strconcat(vm, "/device/_5fdisk0", NULL);
}

/* fd stays the caller's; -1: none. */
static GVariant *
start(Service *service, const char *vm, int fd, const char *options, GError **error) {
        g_autofree char *device = disk_of(vm);
        g_autoptr(GUnixFDList) list = g_unix_fd_list_new();

        if (fd >= 0)
                g_assert_cmpint(g_unix_fd_list_append(list, fd, NULL), ==, 0);
        return service_call_as(
                        service->bus, G_DBUS_CALL_FLAGS_NONE, device, DEVICE, "StartCapture",
                        g_variant_new("(h@a{sv})", 0, g_variant_new_parsed(options)), list, error);
}

static void
refuse(Service *service, const char *vm, int fd, const char *options, const char *message) {
        g_autoptr(GError) error = NULL;

        g_assert_null(start(service, vm, fd, options, &error));
        assert_names(error, CHV_ERROR_INVALID_CONFIG, message);
}

static void test_refused(void) {
        g_autoptr(Service) service = service_start(NULL);
        g_autofree char *vm = vm_run(service, "a", "crash-on-StartCapture", NULL);
        g_autofree char *path = g_build_filename(service->dir, "file", NULL);
        int file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600), ends[2];

        g_assert_true(g_unix_open_pipe(ends, FD_CLOEXEC, NULL));
        refuse(service, vm, file, "@a{sv} {}", "neither a pipe nor a socket");
        refuse(service, vm, -1, "@a{sv} {}", "neither a pipe nor a socket");
        refuse(service, vm, ends[1], "{'snaplen': <-1>}", "snaplen");
        refuse(service, vm, ends[1], "{'colour': <1>}", "colour");
        vm_await(service, vm, "running");
        (void) close(file);
        (void) close(ends[0]);
        (void) close(ends[1]);
}

static void test_end(void) {
        g_autoptr(Service) service = service_start(NULL);
        g_autofree char *vm = vm_run(service, "a", NULL, NULL), *device = disk_of(vm);
        g_autoptr(GVariant) reply = NULL, stopped = NULL;
        g_autoptr(GError) error = NULL;
        char text[200] = "";
        int ends[2];

        g_assert_true(g_unix_open_pipe(ends, FD_CLOEXEC, NULL));
        reply = start(service, vm, ends[1], "{'snaplen': <uint32 64>, 'count': <uint64 3>}",
                      &error);
        g_assert_no_error(error);
        (void) close(ends[1]);
        g_assert_cmpint(read(ends[0], text, sizeof(text) - 1), >, 0);
        g_assert_nonnull(strstr(text, "_disk0 {"));
        g_assert_nonnull(strstr(text, "'snaplen': <uint32 64>"));
        g_assert_nonnull(strstr(text, "'count': <uint64 3>"));
        /* Blocks for ever if the service has kept a copy. */
        g_assert_cmpint(read(ends[0], text, sizeof(text)), ==, 0);
        (void) close(ends[0]);
        stopped =
                        service_call(service, device, DEVICE, "StopCapture",
                                     g_variant_new("(a{sv})", NULL), &error);
        g_assert_no_error(error);
}

static void test_chvctl(void) {
        g_autoptr(Service) service = service_start(NULL);
        g_autofree char *vm = vm_run(service, "a", NULL, NULL), *out = NULL, *text = NULL;
        g_autofree char *path = g_build_filename(service->dir, "frames", NULL);
        g_autoptr(GError) error = NULL;

#define chvctl(...)                                                                                \
        ({                                                                                         \
                g_clear_pointer(&out, g_free);                                                     \
                client_run(service, /* editor= */ NULL, &out, "capture", __VA_ARGS__,              \
                           (char *) NULL);                                                         \
        })
        g_assert_cmpint(chvctl("a", "_disk7"), ==, 3);
        g_assert_cmpint(chvctl("a"), ==, 2);
        g_assert_cmpint(chvctl("a", "_disk0", "--snaplen=x"), ==, 2);
        g_assert_cmpint(chvctl("a", "_disk0", "-o", path, "--count", "9"), ==, 0);
        g_assert_true(g_file_get_contents(path, &text, NULL, &error));
        g_assert_nonnull(strstr(text, "'count': <uint64 9>"));
        g_assert_cmpint(chvctl("a", "_disk0", "--snaplen=96"), ==, 0);
        g_assert_nonnull(strstr(out, "'snaplen': <uint32 96>"));
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/capture/refused", test_refused);
        g_test_add_func("/capture/end", test_end);
        g_test_add_func("/capture/chvctl", test_chvctl);
        return g_test_run();
}
