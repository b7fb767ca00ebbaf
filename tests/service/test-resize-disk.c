/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves of another size for a disk that is in use: what is wrong, or no worker can answer, leaves the size that there was; a new one is told by
 * the answer, the property and its signal; it is not configuration, so nothing is stored; a chvd that comes later knows
 * it as well. And that "chvctl resize-disk" does that.
 */

#include <signal.h>
#include <string.h>

#include "tests/service/client.h"

#define MIB (1024ull * 1024)

/* A machine with a disk, which runs. */
static char *run(Service *service, const char *words) {
        g_autofree char *path = g_build_filename(service->dir, "disk", NULL);
        g_autofree char *more = g_strdup_printf("'disks': <[{'path': <'%s'>}]>", path);

        g_assert_true(g_file_set_contents(path, "0123456789", -1, NULL));
        return vm_run(service, "a", words, more);
}

static GVariant *
resize(Service *service, const char *vm, guint64 size, const char *options, GError **error) {
        g_autofree char *disk = g_strconcat(vm, "/device/_5fdisk0", NULL);

        return service_call(
                        service, disk, DEVICE, "Resize",
                        g_variant_new("(t@a{sv})", size, g_variant_new_parsed(options)), error);
}

static guint64 size_of(Service *service, const char *vm, const char *device) {
        g_autofree char *path = g_strconcat(vm, "/device/", device, NULL);
        g_autoptr(GError) error = NULL;
        g_autoptr(GVariant) reply =
                        service_call(service, path, "org.freedesktop.DBus.Properties", "Get",
                                     g_variant_new("(ss)", DEVICE, "Size"), &error);
        g_autoptr(GVariant) value = NULL;

        g_assert_no_error(error);
        g_variant_get(reply, "(v)", &value);
        return g_variant_get_uint64(value);
}

static void await_size(Service *service, const char *vm, guint64 size) {
        while (size_of(service, vm, "_5fdisk0") != size)
                g_main_context_iteration(NULL, /* may_block= */ false);
}

static void test_refused(void) {
        g_autoptr(Service) service = service_start(NULL);
        g_autofree char *vm = run(service, NULL), *out = NULL;
        g_autoptr(GError) option = NULL, shrunk = NULL, off = NULL;

        await_size(service, vm, MIB);
        g_assert_cmpuint(size_of(service, vm, "_5frng"), ==, 0);
        g_assert_null(resize(service, vm, 2 * MIB, "{'grow': <true>}", &option));
        assert_names(option, CHV_ERROR_INVALID_CONFIG, "grow");
        g_assert_null(resize(service, vm, 1, "@a{sv} {}", &shrunk));
        assert_names(shrunk, CHV_ERROR_INVALID_CONFIG, "cut off");
        g_assert_cmpuint(size_of(service, vm, "_5fdisk0"), ==, MIB);
        vm_call(service, vm, "PowerOff", NULL);
        g_assert_null(resize(service, vm, 2 * MIB, "@a{sv} {}", &off));
        g_assert_nonnull(off);
        g_assert_cmpint(client_run(service, /* editor= */ NULL, &out, "resize-disk", "a", "_disk0",
                                   "2M", (char *) NULL),
                        ==, 3);
        g_assert_nonnull(strstr(out, "chvctl image"));
}

static void test_worker_dies(void) {
        g_autoptr(Service) service = service_start(NULL);
        g_autofree char *vm = run(service, "crash-on-ResizeDisk");
        g_autoptr(GError) error = NULL;

        g_assert_null(resize(service, vm, 2 * MIB, "@a{sv} {}", &error));
        g_assert_nonnull(error);
}

/* A worker says them when it has a machine. One that does not answer later keeps no chvd from finding the machine. */
static void test_unknown(void) {
        g_autoptr(Service) service = service_start(NULL);
        g_autofree char *vm = run(service, "hang-on-GetDiskSizes"), *out = NULL;

        g_assert_cmpuint(size_of(service, vm, "_5fdisk0"), ==, MIB);
        service_restart(service, SIGKILL);
        vm_await(service, vm, "running");
        g_assert_cmpuint(size_of(service, vm, "_5fdisk0"), ==, 0);
        g_assert_cmpint(client_run(service, /* editor= */ NULL, &out, "resize-disk", "a", "_disk0",
                                   "+1M", (char *) NULL),
                        ==, 2);
        g_assert_nonnull(strstr(out, "not known"));
        g_assert_cmpuint(size_of(service, vm, "_5fdisk0"), ==, 0);
}

static void test_resized(void) {
        g_autoptr(Service) service = service_start(NULL);
        g_autofree char *vm = run(service, NULL), *before = NULL, *after = NULL;
        g_autoptr(GVariant) grown = NULL, shrunk = NULL;
        g_autoptr(GError) error = NULL;
        guint64 size;

        before = vm_ask(service, vm, "GetConfig");
        await_size(service, vm, MIB);
        grown = resize(service, vm, 3 * MIB, "@a{sv} {}", &error);
        g_assert_no_error(error);
        g_variant_get(grown, "(t)", &size);
        g_assert_cmpuint(size, ==, 3 * MIB);
        g_assert_cmpuint(size_of(service, vm, "_5fdisk0"), ==, 3 * MIB);
        shrunk = resize(service, vm, 2 * MIB, "{'shrink': <true>}", &error);
        g_assert_no_error(error);
        g_assert_cmpuint(size_of(service, vm, "_5fdisk0"), ==, 2 * MIB);
        after = vm_ask(service, vm, "GetConfig");
        g_assert_cmpstr(before, ==, after);
        service_restart(service, SIGKILL);
        vm_await(service, vm, "running");
        await_size(service, vm, 2 * MIB);
}

static void on_reply(GObject *source, GAsyncResult *result, gpointer data) {
        g_autoptr(GVariant) reply =
                        g_dbus_connection_call_finish(G_DBUS_CONNECTION(source), result, NULL);
}

/* The end of a change is heard of without the call that began it, as by a chvd that came in between. */
static void test_late(void) {
        g_autoptr(Service) service = service_start(NULL);
        g_autofree char *vm = run(service, "late-resize");
        g_autofree char *disk = g_strconcat(vm, "/device/_5fdisk0", NULL);

        g_dbus_connection_call(
                        service->bus, MANAGER, disk, DEVICE, "Resize",
                        g_variant_new("(t@a{sv})", 4 * MIB, g_variant_new_parsed("@a{sv} {}")),
                        NULL, G_DBUS_CALL_FLAGS_NONE, G_MAXINT, NULL, on_reply, NULL);
        await_size(service, vm, 4 * MIB);
        vm_call(service, vm, "PowerOff", NULL);
}

static void test_chvctl(void) {
        g_autoptr(Service) service = service_start(NULL);
        g_autofree char *vm = run(service, NULL), *out = NULL;

#define chvctl(...)                                                                                \
        ({                                                                                         \
                g_clear_pointer(&out, g_free);                                                     \
                client_run(service, /* editor= */ NULL, &out, "resize-disk", __VA_ARGS__,          \
                           (char *) NULL);                                                         \
        })
        await_size(service, vm, MIB);
        g_assert_cmpint(chvctl("a", "_disk0", "x"), ==, 2);
        g_assert_cmpint(chvctl("a", "_disk0", "0"), ==, 2);
        g_assert_cmpint(chvctl("a", "_disk0", "+0"), ==, 2);
        g_assert_cmpint(chvctl("a", "_disk0", "+17179869184T"), ==, 2);
        g_assert_cmpint(chvctl("a", "_disk0", "2M", "3M"), ==, 2);
        g_assert_cmpint(chvctl("a", "_disk7", "2M"), ==, 3);
        g_assert_cmpint(chvctl("b", "_disk0", "2M"), ==, 3);
        g_assert_cmpint(chvctl("a", "_disk0", "512K"), ==, 2);
        g_assert_cmpuint(size_of(service, vm, "_5fdisk0"), ==, MIB);
        g_assert_cmpint(chvctl("a", "_disk0", "4M"), ==, 0);
        g_assert_cmpuint(size_of(service, vm, "_5fdisk0"), ==, 4 * MIB);
        g_assert_cmpint(chvctl("a", "_disk0", "+1M"), ==, 0);
        g_assert_cmpuint(size_of(service, vm, "_5fdisk0"), ==, 5 * MIB);
        g_assert_cmpint(chvctl("--shrink", "a", "_disk0", "512K"), ==, 0);
        g_assert_cmpuint(size_of(service, vm, "_5fdisk0"), ==, MIB / 2);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/resize-disk/refused", test_refused);
        g_test_add_func("/resize-disk/worker-dies", test_worker_dies);
        g_test_add_func("/resize-disk/unknown", test_unknown);
        g_test_add_func("/resize-disk/resized", test_resized);
        g_test_add_func("/resize-disk/late", test_late);
        g_test_add_func("/resize-disk/chvctl", test_chvctl);
        return g_test_run();
}
