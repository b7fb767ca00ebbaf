/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves the whole way down and back: a client, chvd, a real chv-vmm and a guest of our own on /dev/kvm. The guest
 * runs, stands still, goes on, is reset and rebooted; it powers itself off; one that is killed leaves its neighbour
 * running; it does not notice that chvd is killed and started again; a file that is no kernel is refused by name.
 */

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "dbus/fd.h"
#include "tests/service/service.h"

#define PATIENCE_MS 20000

static Service *start_with(const char *option) {
        const char *const extra[] = { "--worker", g_getenv("CHV_VMM"), "--kvm", "/dev/kvm", option,
                                      NULL };
        g_autofree char *guest = g_build_filename(g_getenv("CHV_GUESTS"), "guest-machine", NULL);

        if (access("/dev/kvm", R_OK | W_OK) < 0 || access(guest, R_OK) < 0) {
                g_test_skip("needs /dev/kvm and the guests of tests/guest");
                return NULL;
        }
        return service_start(extra);
}

static Service *start(void) {
        return start_with(/* option= */ NULL);
}

static char *create(Service *service, const char *name, const char *cmdline, const char *more) {
        g_autofree char *guest = g_build_filename(g_getenv("CHV_GUESTS"), "guest-machine", NULL);
        g_autofree char *text =
                        g_strdup_printf("{'memory': <{'size': <uint64 33554432>}>, "
                                        "'debug_console': <{'mode': <'null'>}>, "
                                        "'payload': <{'kernel': <'%s'>, 'cmdline': <'%s'>}>%s}",
                                        guest, cmdline, more);
        g_autoptr(GError) error = NULL;
        GVariant *config = g_variant_parse(G_VARIANT_TYPE("a{sv}"), text, NULL, NULL, &error);
        char *vm;

        g_assert_no_error(error);
        vm = vm_create_full(service, name, config, NULL, NULL, NULL, &error);
        g_assert_no_error(error);
        return vm;
}

static void call(Service *service, const char *vm, const char *method, const char *options) {
        g_autoptr(GVariant) reply = vm_call(service, vm, method, options);
}

static int open_console(Service *service, const char *vm, const char *options) {
        g_autoptr(GUnixFDList) list = NULL;
        g_autoptr(GError) error = NULL;
        g_autoptr(GVariant) dict =
                        g_variant_parse(G_VARIANT_TYPE("a{sv}"), options, NULL, NULL, NULL);
        g_autoptr(GVariant) reply = g_dbus_connection_call_with_unix_fd_list_sync(
                        service->bus, MANAGER, vm, VM, "OpenConsole",
                        g_variant_new("(s@a{sv})", "debug_console", dict), G_VARIANT_TYPE("(h)"),
                        G_DBUS_CALL_FLAGS_NONE, -1, NULL, &list, NULL, &error);

        g_assert_no_error(error);
        return g_unix_fd_list_get(list, 0, NULL);
}

/* Bytes that come within ms. */
static size_t drain(int fd, int ms, char *text, size_t size) {
        struct pollfd p = { .fd = fd, .events = POLLIN };
        size_t n = 0;

        while (n + 1 < size && poll(&p, 1, ms) > 0) {
                ssize_t got = read(fd, text + n, size - 1 - n);

                if (got <= 0)
                        break;
                n += (size_t) got;
                ms = 50;
        }
        text[n] = '\0';
        return n;
}

static void assert_ticks(Service *service, const char *vm) {
        chv_autofd fd = open_console(service, vm, "{'replay': <false>, 'read-only': <true>}");
        g_autoptr(GString) heard = g_string_new(NULL);
        char text[4096];

        /* A busy machine may stop in the middle of a word. */
        while (!strstr(heard->str, "tick")) {
                g_assert_cmpuint(drain(fd, PATIENCE_MS, text, sizeof(text)), >, 0);
                g_string_append(heard, text);
        }
}

static void test_life(void) {
        g_autoptr(Service) service = start();
        g_autofree char *vm = NULL, *first = NULL, *second = NULL;
        char text[65536];

        if (!service)
                return;
        vm = create(service, "a", "tick", "");
        call(service, vm, "Start", NULL);
        assert_ticks(service, vm);
        service_await_signal(service, "'booted'");
        call(service, vm, "Pause", NULL);
        {
                chv_autofd fd = open_console(service, vm, "{'read-only': <true>}");

                (void) drain(fd, 100, text, sizeof(text));
                g_assert_cmpuint(drain(fd, 300, text, sizeof(text)), ==, 0);
        }
        call(service, vm, "Resume", NULL);
        assert_ticks(service, vm);
        call(service, vm, "GetCounters", NULL);
        call(service, vm, "Reset", NULL);
        assert_ticks(service, vm);
        first = vm_get(service, vm, "WorkerPID");
        call(service, vm, "Reboot", "{'force': <true>}");
        second = vm_get(service, vm, "WorkerPID");
        g_assert_cmpstr(first, !=, second);
        assert_ticks(service, vm);
        call(service, vm, "PowerOff", NULL);
        vm_await(service, vm, "shutdown");
        g_assert_false(service_has_signal(service, "'worker-died'"));
        call(service, vm, "Delete", NULL);
}

static void test_starts_paused(void) {
        g_autoptr(Service) service = start();
        g_autofree char *vm = NULL;
        char text[64];

        if (!service)
                return;
        vm = create(service, "a", "tick", "");
        call(service, vm, "Start", "{'paused': <true>}");
        vm_await(service, vm, "paused");
        {
                chv_autofd fd = open_console(service, vm, "{}");

                g_assert_cmpuint(drain(fd, 300, text, sizeof(text)), ==, 0);
        }
        call(service, vm, "Resume", NULL);
        assert_ticks(service, vm);
}

static void test_guest_powers_off(void) {
        g_autoptr(Service) service = start();
        g_autofree char *vm = NULL, *reason = NULL, *tree = NULL;

        if (!service)
                return;
        vm = create(service, "a", "hello", "");
        call(service, vm, "Start", NULL);
        vm_await(service, vm, "shutdown");
        reason = vm_get(service, vm, "StateReason");
        g_assert_cmpstr(reason, ==, "the guest powered off");
        g_assert_false(service_has_signal(service, "'worker-died'"));
        /* And again. */
        call(service, vm, "Start", NULL);
        vm_await(service, vm, "shutdown");
}

static void test_guest_resets(void) {
        g_autoptr(Service) service = start();
        g_autofree char *vm = NULL;

        if (!service)
                return;
        vm = create(service, "a", "reset", "");
        call(service, vm, "Start", NULL);
        service_await_signal(service, "'rebooted'");
        vm_await(service, vm, "running");
}

static void test_neighbour(void) {
        g_autoptr(Service) service = start();
        g_autofree char *a = NULL, *b = NULL, *pid = NULL;

        if (!service)
                return;
        a = create(service, "a", "tick", "");
        b = create(service, "b", "tick", "");
        call(service, a, "Start", NULL);
        call(service, b, "Start", NULL);
        assert_ticks(service, a);
        assert_ticks(service, b);
        pid = vm_get(service, a, "WorkerPID");
        g_assert_cmpint(kill(atoi(pid), SIGKILL), ==, 0);
        vm_await(service, a, "failed");
        assert_ticks(service, b);
        call(service, a, "Start", NULL);
        assert_ticks(service, a);
}

static void test_consoles(void) {
        g_autoptr(Service) service = start();
        g_autofree char *vm = NULL, *more = NULL, *paths = NULL, *file = NULL;

        if (!service)
                return;
        file = g_build_filename(service->dir, "console.log", NULL);
        more =
                        g_strdup_printf(", 'serial': <{'mode': <'pty'>}>, 'console': <{'mode': "
                                        "<'file'>, 'file': <'%s'>}>",
                                        file);
        vm = create(service, "a", "tick", more);
        call(service, vm, "Start", NULL);
        assert_ticks(service, vm);
        paths = vm_ask(service, vm, "GetConsolePaths");
        g_assert_nonnull(strstr(paths, "/dev/pts/"));
        g_assert_nonnull(strstr(paths, file));
        call(service, vm, "PowerOff", NULL);
        vm_await(service, vm, "shutdown");
}

static void test_not_a_kernel(void) {
        g_autoptr(Service) service = start();
        g_autofree char *vm = NULL;
        g_autoptr(GError) error = NULL;
        g_autoptr(GVariant) reply = NULL;

        if (!service)
                return;
        vm = vm_create(service, "a", NULL, NULL);
        reply = vm_try(service, vm, "Start", NULL, &error);
        assert_names(error, CHV_ERROR_IMAGE, "kernel");
        vm_await(service, vm, "created");
}

/* A guest that breaks its machine, whose owner wants to look into what is left. */
static void test_preserved(void) {
        g_autoptr(Service) service = start();
        g_autofree char *a = NULL, *before = NULL, *after = NULL;

        if (!service)
                return;
        a = create(service, "a", "run-registers", "");
        call(service, a, "SetOptions", "{'crash-policy': <'preserve'>}");
        call(service, a, "Start", NULL);
        vm_await(service, a, "failed");
        before = vm_get(service, a, "WorkerPID");
        service_linger(300);
        after = vm_get(service, a, "WorkerPID");
        g_assert_cmpstr(before, ==, after);
        g_assert_cmpint(kill(atoi(before), 0), ==, 0);
        call(service, a, "PowerOff", NULL);
        vm_await(service, a, "shutdown");
        g_assert_cmpint(kill(atoi(before), 0), ==, -1);
}

/* The guest counts on, line by line, whoever is there. */
static void test_outlives(void) {
        g_autoptr(Service) service = start();
        g_autofree char *vm = NULL, *pid = NULL;
        g_autoptr(GString) said = g_string_new(NULL);
        unsigned last = 0, lines = 0;
        char text[4096];

        if (!service)
                return;
        vm = create(service, "a", "tick", "");
        call(service, vm, "Start", NULL);
        pid = vm_get(service, vm, "WorkerPID");
        {
                chv_autofd console = open_console(service, vm, "{'read-only': <true>}");

                for (unsigned i = 0; i < 5; i++) {
                        g_autofree char *now = NULL;

                        service_kill(service);
                        g_assert_cmpuint(drain(console, PATIENCE_MS, text, 256), >, 0);
                        g_string_append(said, text);
                        service_restart(service, 0);
                        now = vm_get(service, vm, "WorkerPID");
                        g_assert_cmpstr(now, ==, pid);
                        vm_await(service, vm, "running");
                        assert_ticks(service, vm);
                        g_assert_cmpuint(drain(console, PATIENCE_MS, text, 256), >, 0);
                        g_string_append(said, text);
                }
        }
        for (const char *at = said->str; (at = strstr(at, "tick 0x")); at++) {
                unsigned n = (unsigned) g_ascii_strtoull(at + 5, NULL, 16);

                if (!strchr(at, '\n'))
                        break;
                if (last)
                        g_assert_cmpuint(n, ==, last + 1);
                last = n;
                lines++;
        }
        g_assert_cmpuint(lines, >, 5);
        call(service, vm, "Pause", NULL);
        service_restart(service, SIGKILL);
        vm_await(service, vm, "paused");
        call(service, vm, "Resume", NULL);
        assert_ticks(service, vm);
        call(service, vm, "PowerOff", NULL);
}

/* For who looks for a fault: the worker is told, and has no filter then. */
static void test_seccomp(void) {
        g_autoptr(Service) service = start_with("--seccomp=off");
        g_autofree char *vm = NULL, *pid = NULL, *path = NULL, *status = NULL;

        if (!service)
                return;
        vm = create(service, "a", "tick", "");
        call(service, vm, "Start", NULL);
        assert_ticks(service, vm);
        pid = vm_get(service, vm, "WorkerPID");
        path = g_build_filename("/proc", pid, "status", NULL);
        g_assert_true(g_file_get_contents(path, &status, NULL, NULL));
        g_assert_nonnull(strstr(status, "\nSeccomp:\t0\n"));
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/guest/not-a-kernel", test_not_a_kernel);
        g_test_add_func("/guest/life", test_life);
        g_test_add_func("/guest/starts-paused", test_starts_paused);
        g_test_add_func("/guest/powers-off", test_guest_powers_off);
        g_test_add_func("/guest/resets", test_guest_resets);
        g_test_add_func("/guest/neighbour", test_neighbour);
        g_test_add_func("/guest/consoles", test_consoles);
        g_test_add_func("/guest/preserved", test_preserved);
        g_test_add_func("/guest/outlives", test_outlives);
        g_test_add_func("/guest/seccomp", test_seccomp);
        return g_test_run();
}
