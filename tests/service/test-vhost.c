/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves of disks that another program serves: chvd connects to its socket and the worker gets the connection; what is no socket, or
 * nobody's, is refused by name; a connection that the worker has lost is made again until it takes one, and never one that the
 * configuration does not have; one that the creator gave is used, and the path beside it is not.
 */

#include <fcntl.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "tests/service/service.h"

static int listen_at(const char *path) {
        struct sockaddr_un addr = { .sun_family = AF_UNIX };
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

        (void) g_strlcpy(addr.sun_path, path, sizeof(addr.sun_path));
        g_assert_cmpint(bind(fd, (struct sockaddr *) &addr, sizeof(addr)), ==, 0);
        g_assert_cmpint(listen(fd, 8), ==, 0);
        return fd;
}

static char *disk_at(const char *path) {
        return g_strdup_printf(
                        "'memory': <{'shared': <true>}>, 'disks': <[{'vhost_user': <true>, "
                        "'vhost_socket': <'%s'>}]>",
                        path);
}

static void assert_socket(Service *service, const char *vm) {
        g_autoptr(GVariant) reply = vm_call(service, vm, "GetCounters", NULL);
        g_autoptr(GVariant) all = g_variant_get_child_value(reply, 0);
        g_autoptr(GVariant) one =
                        g_variant_lookup_value(all, "disks/_disk0", G_VARIANT_TYPE("a{st}"));
        guint64 mode;

        g_assert_nonnull(one);
        g_assert_true(g_variant_lookup(one, "mode", "t", &mode));
        g_assert_true(S_ISSOCK(mode));
}

static void start_fails(Service *service, const char *name, const char *path, const char *why) {
        g_autofree char *more = disk_at(path);
        g_autofree char *vm = vm_create(service, name, NULL, more);
        g_autoptr(GError) error = NULL;

        g_assert_null(vm_try(service, vm, "Start", NULL, &error));
        assert_names(error, CHV_ERROR_RESOURCE, "disks[0].vhost_socket");
        assert_names(error, CHV_ERROR_RESOURCE, why);
}

static void test_refused(void) {
        g_autoptr(Service) service = service_start(NULL);
        g_autofree char *dead = g_build_filename(service->dir, "dead", NULL);
        g_autofree char *absent = g_build_filename(service->dir, "absent", NULL);

        (void) close(listen_at(dead));
        start_fails(service, "absent", absent, "No such file");
        start_fails(service, "file", service->kernel, "not a socket");
        start_fails(service, "folder", service->dir, "not a socket");
        start_fails(service, "dead", dead, "refused");
        (void) g_unlink(dead);
}

static void test_connect(void) {
        g_autoptr(Service) service = service_start(NULL);
        g_autofree char *path = g_build_filename(service->dir, "disk", NULL);
        int listener = listen_at(path), first, second, third;
        g_autofree char *more = disk_at(path), *vm = vm_run(service, "a", "loses picky", more);

        assert_socket(service, vm);
        first = accept(listener, NULL, NULL);
        g_assert_cmpint(first, >=, 0);
        g_variant_unref(vm_call(service, vm, "NMI", NULL));
        service_await_signal(service, "'connected', {'name': <'disks/_disk0'>}");
        second = accept(listener, NULL, NULL);
        third = accept(listener, NULL, NULL);
        /* The one that was refused, and the one that was taken. */
        g_assert_cmpint(second, >=, 0);
        g_assert_cmpint(third, >=, 0);
        service_linger(300);
        g_assert_cmpint(accept(listener, NULL, NULL), ==, -1);
        (void) close(first);
        (void) close(second);
        (void) close(third);
        (void) close(listener);
        (void) g_unlink(path);
}

/* Nobody listens for a while; and then the machine ends while that is so. */
static void test_away(void) {
        g_autoptr(Service) service = service_start(NULL);
        g_autofree char *path = g_build_filename(service->dir, "disk", NULL);
        int listener = listen_at(path);
        g_autofree char *more = disk_at(path), *vm = vm_run(service, "a", "loses", more);

        (void) close(listener);
        (void) g_unlink(path);
        g_variant_unref(vm_call(service, vm, "NMI", NULL));
        service_linger(300);
        g_assert_false(service_has_signal(service, "'connected'"));
        listener = listen_at(path);
        service_await_signal(service, "'connected'");
        (void) close(listener);
        (void) g_unlink(path);
        g_variant_unref(vm_call(service, vm, "NMI", NULL));
        g_variant_unref(vm_call(service, vm, "PowerOff", NULL));
        vm_await(service, vm, "shutdown");
        service_linger(100);
}

static void test_given(void) {
        g_autoptr(Service) service = service_start(NULL);
        g_autofree char *path = g_build_filename(service->dir, "disk", NULL), *vm = NULL;
        g_autofree char *more = disk_at(path);
        int listener = listen_at(path), ends[2];
        g_autoptr(GUnixFDList) list = g_unix_fd_list_new(), wrong = g_unix_fd_list_new();
        g_autoptr(GError) error = NULL;

        g_assert_cmpint(g_unix_fd_list_append(wrong, listener, NULL), ==, 0);
        g_assert_null(vm_create_full(
                        service, "x", service_config(service, NULL, more),
                        g_variant_new_parsed("{'disks/_disk0': handle 0}"), wrong, NULL, &error));
        assert_names(error, CHV_ERROR_RESOURCE, "not a connected UNIX stream socket");
        g_clear_error(&error);

        g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), ==, 0);
        g_assert_cmpint(g_unix_fd_list_append(list, ends[0], NULL), ==, 0);
        (void) close(ends[0]);
        vm = vm_create_full(
                        service, "a", service_config(service, "loses", more),
                        g_variant_new_parsed("{'disks/_disk0': handle 0}"), list, NULL, &error);
        g_assert_no_error(error);
        g_variant_unref(vm_call(service, vm, "Start", NULL));
        assert_socket(service, vm);
        g_variant_unref(vm_call(service, vm, "NMI", NULL));
        service_linger(300);
        g_assert_cmpint(accept(listener, NULL, NULL), ==, -1);
        g_assert_false(service_has_signal(service, "'connected'"));
        (void) close(ends[1]);
        (void) close(listener);
        (void) g_unlink(path);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/vhost/refused", test_refused);
        g_test_add_func("/vhost/connect", test_connect);
        g_test_add_func("/vhost/away", test_away);
        g_test_add_func("/vhost/given", test_given);
        return g_test_run();
}
