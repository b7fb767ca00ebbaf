/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves of disks that another program serves: chvd connects to its socket and the worker gets the connection; what is no socket, or
 * nobody's, is refused by name; a connection that the worker has lost is made again until it takes one, and never one that the
 * configuration does not have; one that the creator gave is used, and the path beside it is not. Networks are no different; where
 * their program connects to us, the socket is there for its owner while it is waited for, and no longer: whether it came, or the
 * machine was given up.
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

static char *net_at(const char *path, const char *mode) {
        return g_strdup_printf(
                        "'memory': <{'shared': <true>}>, 'net': <[{'vhost_user': <true>, "
                        "'vhost_socket': <'%s'>, 'vhost_mode': <'%s'>}]>",
                        path, mode);
}

static int connect_to(const char *path) {
        struct sockaddr_un addr = { .sun_family = AF_UNIX };
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        (void) g_strlcpy(addr.sun_path, path, sizeof(addr.sun_path));
        if (connect(fd, (struct sockaddr *) &addr, sizeof(addr)) == 0)
                return fd;
        (void) close(fd);
        return -1;
}

static int await_connect(Service *service, const char *path) {
        for (unsigned i = 0; i < 200; i++) {
                int fd = connect_to(path);

                if (fd >= 0)
                        return fd;
                service_linger(50);
        }
        g_assert_not_reached();
}

/* Starts it and does not wait. */
static void begin(Service *service, const char *vm) {
        g_autoptr(GError) error = NULL;
        g_autoptr(GVariant) reply = service_call(
                        service, vm, VM, "Start", g_variant_new("(a{sv})", NULL), &error);

        g_assert_no_error(error);
}

static void await_gone(Service *service, const char *path) {
        for (unsigned i = 0; i < 200 && g_file_test(path, G_FILE_TEST_EXISTS); i++)
                service_linger(50);
        g_assert_false(g_file_test(path, G_FILE_TEST_EXISTS));
}

static void assert_socket(Service *service, const char *vm, const char *name) {
        g_autoptr(GVariant) reply = vm_call(service, vm, "GetCounters", NULL);
        g_autoptr(GVariant) all = g_variant_get_child_value(reply, 0);
        g_autoptr(GVariant) one = g_variant_lookup_value(all, name, G_VARIANT_TYPE("a{st}"));
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

        assert_socket(service, vm, "disks/_disk0");
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
        assert_socket(service, vm, "disks/_disk0");
        g_variant_unref(vm_call(service, vm, "NMI", NULL));
        service_linger(300);
        g_assert_cmpint(accept(listener, NULL, NULL), ==, -1);
        g_assert_false(service_has_signal(service, "'connected'"));
        (void) close(ends[1]);
        (void) close(listener);
        (void) g_unlink(path);
}

static void test_net(void) {
        g_autoptr(Service) service = service_start(NULL);
        g_autofree char *path = g_build_filename(service->dir, "net", NULL);
        int listener = listen_at(path), fd;
        g_autofree char *more = net_at(path, "client"), *vm = vm_run(service, "a", "loses", more);

        assert_socket(service, vm, "net/_net0/0");
        fd = accept(listener, NULL, NULL);
        g_assert_cmpint(fd, >=, 0);
        (void) close(fd);
        g_variant_unref(vm_call(service, vm, "NMI", NULL));
        service_await_signal(service, "'connected', {'name': <'net/_net0/0'>}");
        (void) close(listener);
        (void) g_unlink(path);
}

static void test_listen(void) {
        g_autoptr(Service) service = service_start(NULL);
        g_autofree char *path = g_build_filename(service->dir, "net", NULL);
        g_autofree char *more = net_at(path, "server"),
                        *vm = vm_create(service, "a", "loses", more);
        struct stat st;
        int fd;

        begin(service, vm);
        fd = await_connect(service, path);
        vm_await(service, vm, "running");
        assert_socket(service, vm, "net/_net0/0");
        g_assert_false(g_file_test(path, G_FILE_TEST_EXISTS));
        (void) close(fd);

        /* Again, and what a dead process has left there is no hindrance. */
        (void) close(listen_at(path));
        g_variant_unref(vm_call(service, vm, "NMI", NULL));
        fd = await_connect(service, path);
        service_await_signal(service, "'connected', {'name': <'net/_net0/0'>}");
        g_assert_false(g_file_test(path, G_FILE_TEST_EXISTS));
        (void) close(fd);

        /* The machine ends while nobody connects. */
        g_variant_unref(vm_call(service, vm, "NMI", NULL));
        for (unsigned i = 0; i < 200 && stat(path, &st) < 0; i++)
                service_linger(50);
        g_assert_cmpint(stat(path, &st), ==, 0);
        g_assert_cmpuint(st.st_mode & 0777, ==, 0600);
        g_variant_unref(vm_call(service, vm, "PowerOff", NULL));
        vm_await(service, vm, "shutdown");
        await_gone(service, path);
}

static void test_give_up(void) {
        g_autoptr(Service) service = service_start(NULL);
        g_autofree char *path = g_build_filename(service->dir, "net", NULL);
        g_autofree char *more = net_at(path, "server"), *vm = vm_create(service, "a", NULL, more);
        g_autoptr(GError) error = NULL;
        struct stat st;

        begin(service, vm);
        for (unsigned i = 0; i < 200 && stat(path, &st) < 0; i++)
                service_linger(50);
        vm_await(service, vm, "starting");
        g_variant_unref(vm_call(service, vm, "PowerOff", NULL));
        vm_await(service, vm, "shutdown");
        await_gone(service, path);

        g_assert_null(vm_try(service, vm, "Start", "{'timeout': <uint32 1>}", &error));
        await_gone(service, path);

        /* Somebody else's. */
        {
                int other = listen_at(path);

                g_clear_error(&error);
                g_assert_null(vm_try(service, vm, "Start", NULL, &error));
                assert_names(error, CHV_ERROR_RESOURCE, "net[0].vhost_socket");
                g_assert_true(g_file_test(path, G_FILE_TEST_EXISTS));
                (void) close(other);
                (void) g_unlink(path);
        }
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/vhost/refused", test_refused);
        g_test_add_func("/vhost/connect", test_connect);
        g_test_add_func("/vhost/away", test_away);
        g_test_add_func("/vhost/given", test_given);
        g_test_add_func("/vhost/net", test_net);
        g_test_add_func("/vhost/listen", test_listen);
        g_test_add_func("/vhost/give-up", test_give_up);
        return g_test_run();
}
