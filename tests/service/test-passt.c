/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves of user-mode networking: in session mode a network that names nothing else is passt's; the worker gets a stream; passt runs
 * for as long as the machine does, listens on the ports that are forwarded, and is started again when the worker has lost it; without
 * passt the start fails and says which package has it. Taps and descriptors of the creator's stay what they are.
 */

#include <arpa/inet.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/service/service.h"
#include "tests/unit/support/real-passt.h"

static bool have_passt(void) {
        const char *skip = real_passt_skip();

        if (skip)
                g_test_skip(skip);
        return !skip;
}

/* A port of 127.0.0.1 that nobody has at the moment. */
static uint16_t free_port(void) {
        struct sockaddr_in in = { .sin_family = AF_INET };
        socklen_t len = sizeof(in);
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

        in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        g_assert_cmpint(bind(fd, (struct sockaddr *) &in, sizeof(in)), ==, 0);
        g_assert_cmpint(getsockname(fd, (struct sockaddr *) &in, &len), ==, 0);
        (void) close(fd);
        return ntohs(in.sin_port);
}

static bool listens(uint16_t port) {
        struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons(port) };
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        bool does;

        in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        does = connect(fd, (struct sockaddr *) &in, sizeof(in)) == 0;
        (void) close(fd);
        return does;
}

static void await_port(uint16_t port, bool open) {
        for (unsigned i = 0; i < 400 && listens(port) != open; i++)
                service_linger(50);
        g_assert_true(listens(port) == open);
}

static void assert_stream(Service *service, const char *vm) {
        g_autoptr(GVariant) reply = vm_call(service, vm, "GetCounters", NULL);
        g_autoptr(GVariant) all = g_variant_get_child_value(reply, 0);
        g_autoptr(GVariant) one =
                        g_variant_lookup_value(all, "net/_net0/0", G_VARIANT_TYPE("a{st}"));
        guint64 mode;

        g_assert_nonnull(one);
        g_assert_true(g_variant_lookup(one, "mode", "t", &mode));
        g_assert_true(S_ISSOCK(mode));
}

static void test_run(void) {
        g_autoptr(Service) service = service_start(NULL);
        g_autofree char *more = NULL, *vm = NULL;
        uint16_t port = free_port();

        if (!have_passt())
                return;
        more = g_strdup_printf(
                        "'net': <[{'backend': <'passt'>, 'forward': <['tcp:127.0.0.1/%u:80']>}]>",
                        port);
        vm = vm_run(service, "a", NULL, more);
        assert_stream(service, vm);
        await_port(port, true);
        g_variant_unref(vm_call(service, vm, "PowerOff", NULL));
        vm_await(service, vm, "shutdown");
        await_port(port, false);
}

static void test_again(void) {
        g_autoptr(Service) service = service_start(NULL);
        g_autofree char *vm = NULL;

        if (!have_passt())
                return;
        vm = vm_run(service, "a", "loses", "'net': <[{'backend': <'passt'>}]>");
        g_variant_unref(vm_call(service, vm, "NMI", NULL));
        service_await_signal(service, "'connected', {'name': <'net/_net0/0'>}");
}

static void test_default(void) {
        g_autoptr(Service) service = service_start(NULL);
        g_autofree char *vm = NULL, *config = NULL;

        if (!have_passt())
                return;
        vm = vm_run(service, "a", NULL, "'net': <[{'mac': <'02:00:00:00:00:01'>}]>");
        assert_stream(service, vm);
        config = vm_ask(service, vm, "GetConfig");
        g_assert_nonnull(strstr(config, "'backend': <'passt'>"));
}

static void test_not_default(void) {
        static const char *const kinds[] = {
                "'net': <[{'tap': <'t0'>}]>",
                "'net': <[{'bridge': <'b0'>}]>",
                "'net': <[{'backend': <'tap'>}]>",
        };
        g_autoptr(Service) service = service_start(NULL);

        for (unsigned i = 0; i < G_N_ELEMENTS(kinds); i++) {
                g_autofree char *name = g_strdup_printf("v%u", i);
                g_autofree char *vm = vm_create(service, name, NULL, kinds[i]), *config = NULL;

                config = vm_ask(service, vm, "GetConfig");
                g_assert_null(strstr(config, "passt"));
        }
}

/* A passt that the creator has started himself. */
static void test_given(void) {
        g_autoptr(Service) service = service_start(NULL);
        g_autoptr(GUnixFDList) list = g_unix_fd_list_new();
        g_autoptr(GError) error = NULL;
        g_autofree char *vm = NULL;
        int ends[2];

        g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), ==, 0);
        (void) g_unix_fd_list_append(list, ends[0], NULL);
        (void) close(ends[0]);
        vm = vm_create_full(
                        service, "a",
                        service_config(service, NULL, "'net': <[{'backend': <'passt'>}]>"),
                        g_variant_new_parsed("{'net/_net0/0': handle 0}"), list, NULL, &error);
        g_assert_no_error(error);
        g_variant_unref(vm_call(service, vm, "Start", NULL));
        assert_stream(service, vm);
        (void) close(ends[1]);
}

static void test_missing(void) {
        g_autoptr(Service) service = service_start(NULL);
        g_autofree char *path = g_strdup(g_getenv("PATH")), *vm = NULL;
        g_autoptr(GError) error = NULL;

        g_assert_true(g_setenv("PATH", service->dir, true));
        service_restart(service, SIGTERM);
        g_assert_true(g_setenv("PATH", path, true));
        vm = vm_create(service, "a", NULL, "'net': <[{'mac': <'02:00:00:00:00:01'>}]>");
        g_assert_null(vm_try(service, vm, "Start", NULL, &error));
        assert_names(error, CHV_ERROR_RESOURCE, "net[0].backend");
        assert_names(error, CHV_ERROR_RESOURCE, "package passt");
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/passt/run", test_run);
        g_test_add_func("/passt/again", test_again);
        g_test_add_func("/passt/default", test_default);
        g_test_add_func("/passt/not-default", test_not_default);
        g_test_add_func("/passt/given", test_given);
        g_test_add_func("/passt/missing", test_missing);
        return g_test_run();
}
