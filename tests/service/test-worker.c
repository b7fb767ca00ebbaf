/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves that whatever a worker does (refuse, crash, hang, lie, flood, send garbage) ends in its own VM's state, reason
 * and event, while a neighbour runs on undisturbed; and what a worker inherits.
 */

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/service/service.h"

static void call(Service *service, const char *vm, const char *method, const char *options) {
        g_autoptr(GVariant) reply = vm_call(service, vm, method, options);
}

static void
assert_property(Service *service, const char *vm, const char *property, const char *contains) {
        g_autofree char *value = vm_get(service, vm, property);

        if (!strstr(value, contains))
                g_error("%s of %s is '%s', without '%s'", property, vm, value, contains);
}

static char *neighbour(Service *service) {
        return vm_run(service, "neighbour", NULL, NULL);
}

/* Still the same worker, and it answers. */
static void assert_unharmed(Service *service, const char *vm) {
        assert_property(service, vm, "State", "running");
        call(service, vm, "Pause", NULL);
        call(service, vm, "Resume", NULL);
        assert_property(service, vm, "State", "running");
}

static void test_boot_error(void) {
        g_autoptr(Service) service = service_start(NULL);
        g_autofree char *vm = vm_create(service, "a", "boot-error", NULL);

        vm_call_fails(service, vm, "Start", NULL, CHV_ERROR_IMAGE);
        assert_property(service, vm, "State", "created");
        assert_property(service, vm, "StateReason", "payload.kernel: not a kernel");
        assert_property(service, vm, "WorkerPID", "0");
        service_await_signal(service, "start-failed");
}

static void test_boot_crash(void) {
        g_autoptr(Service) service = service_start(NULL);
        g_autofree char *other = neighbour(service);
        g_autofree char *vm = vm_create(service, "a", "boot-crash", NULL);

        vm_call_fails(service, vm, "Start", NULL, CHV_ERROR_WORKER_DIED);
        assert_property(service, vm, "State", "failed");
        assert_property(service, vm, "StateReason", "signal 11");
        service_await_signal(service, "'worker-died'");
        assert_unharmed(service, other);
        /* A failed VM can be started again. */
        vm_call_fails(service, vm, "Start", NULL, CHV_ERROR_WORKER_DIED);
}

static void test_boot_hang(void) {
        g_autoptr(Service) service = service_start(NULL);
        g_autofree char *other = neighbour(service);
        g_autofree char *vm = vm_create(service, "a", "boot-hang", NULL);

        vm_call_fails(service, vm, "Start", "{'timeout': <uint32 1>}", CHV_ERROR_TIMED_OUT);
        assert_property(service, vm, "State", "created");
        assert_unharmed(service, other);
}

static void test_boot_garbage(void) {
        static const char *const words[] = { "boot-garbage", "boot-wrong-type" };

        for (unsigned i = 0; i < G_N_ELEMENTS(words); i++) {
                g_autoptr(Service) service = service_start(NULL);
                g_autofree char *other = neighbour(service);
                g_autofree char *vm = vm_create(service, "a", words[i], NULL);
                g_autofree char *state = NULL;
                g_autoptr(GVariant) options = g_variant_ref_sink(
                                g_variant_new_parsed("({'timeout': <uint32 3>},)"));
                g_autoptr(GError) error = NULL;

                g_assert_null(vm_try(service, vm, "Start", "{'timeout': <uint32 3>}", &error));
                g_assert_true(error->domain == CHV_ERROR);
                state = vm_get(service, vm, "State");
                g_assert_true(g_str_equal(state, "created") || g_str_equal(state, "failed"));
                assert_unharmed(service, other);
        }
}

static void test_no_worker(void) {
        static const struct {
                const char *program;
                int code;
                const char *state;
        } cases[] = {
                { "/nonexistent/chv-vmm", CHV_ERROR_FAILED, "created" },
                { "/bin/false", CHV_ERROR_WORKER_DIED, "failed" },
                { "/bin/cat", CHV_ERROR_WORKER_DIED, "failed" },
        };

        for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
                const char *const extra[] = { "--worker", cases[i].program, NULL };
                g_autoptr(Service) service = service_start(extra);
                g_autofree char *vm = vm_create(service, "a", NULL, NULL);

                vm_call_fails(service, vm, "Start", NULL, cases[i].code);
                assert_property(service, vm, "State", cases[i].state);
        }
}

static void test_killed(void) {
        g_autoptr(Service) service = service_start(NULL);
        g_autofree char *other = neighbour(service);
        g_autofree char *vm = vm_run(service, "a", NULL, NULL);
        g_autofree char *pid = vm_get(service, vm, "WorkerPID");

        g_assert_cmpint(kill(atoi(pid), SIGKILL), ==, 0);
        vm_await(service, vm, "failed");
        assert_property(service, vm, "StateReason", "signal 9");
        service_await_signal(service, "'worker-died'");
        g_assert_true(service_has_signal(service, "uint32 9") ||
                      service_has_signal(service, "'signal': <9>"));
        assert_unharmed(service, other);
        call(service, vm, "PowerOff", NULL);
        assert_property(service, vm, "State", "shutdown");
        call(service, vm, "Start", NULL);
        assert_unharmed(service, vm);
}

static void test_crash_in_call(void) {
        static const char *const methods[] = { "Pause", "Reset", "GetCounters" };
        g_autoptr(Service) service = service_start(NULL);
        g_autofree char *other = neighbour(service);

        for (unsigned i = 0; i < G_N_ELEMENTS(methods); i++) {
                g_autofree char *word = g_strconcat("crash-on-", methods[i], NULL);
                g_autofree char *vm = vm_run(service, methods[i], word, NULL);

                vm_call_fails(service, vm, methods[i], NULL, CHV_ERROR_WORKER_DIED);
                vm_await(service, vm, "failed");
        }
        assert_unharmed(service, other);
}

static void ignore(GObject *source, GAsyncResult *result, gpointer data) {
        g_autoptr(GVariant) reply =
                        g_dbus_connection_call_finish(G_DBUS_CONNECTION(source), result, NULL);
}

static void keep_error(GObject *source, GAsyncResult *result, gpointer data) {
        GError **error = data;
        g_autoptr(GVariant) reply =
                        g_dbus_connection_call_finish(G_DBUS_CONNECTION(source), result, error);

        g_assert_null(reply);
}

static void test_hang_in_call(void) {
        g_autoptr(Service) service = service_start(NULL);
        g_autofree char *vm = vm_run(service, "a", "hang-on-Pause deaf-quit", NULL);
        g_autoptr(GError) paused = NULL;

        g_dbus_connection_call(
                        service->bus, MANAGER, vm, VM, "Pause", g_variant_new("(a{sv})", NULL),
                        NULL, G_DBUS_CALL_FLAGS_NONE, G_MAXINT, NULL, keep_error, &paused);
        assert_property(service, vm, "State", "running");
        call(service, vm, "PowerOff", "{'timeout': <uint32 1>}");
        assert_property(service, vm, "State", "shutdown");
        while (!paused)
                service_linger(5);
        /* It was ended; nobody waited until the call timed out. */
        assert_chv_error(paused, CHV_ERROR_WORKER_DIED);
}

static void test_machine_fails(void) {
        g_autoptr(Service) service = service_start(NULL);
        g_autofree char *vm = vm_run(service, "a", "fails-on-Nmi", NULL);

        call(service, vm, "NMI", NULL);
        vm_await(service, vm, "failed");
        assert_property(service, vm, "StateReason", "the guest broke the machine");
        g_assert_false(service_has_signal(service, "'worker-died'"));
}

static void test_flood(void) {
        g_autoptr(Service) service = service_start(NULL);
        g_autofree char *other = neighbour(service);
        g_autofree char *vm = vm_run(service, "a", "flood", NULL);
        unsigned events = 0;

        assert_unharmed(service, other);
        /* Its own state still comes through. */
        call(service, vm, "Shutdown", NULL);
        vm_await(service, vm, "shutdown");
        for (unsigned i = 0; i < service->signals->len; i++)
                if (strstr(g_ptr_array_index(service->signals, i), "'debug'"))
                        events++;
        g_assert_cmpuint(events, >, 0);
        g_assert_cmpuint(events, <, 20000);
}

static void test_lies(void) {
        g_autoptr(Service) service = service_start(NULL);
        g_autofree char *vm = vm_run(service, "a", "lies", NULL);
        g_autoptr(GError) error = NULL;
        g_autoptr(GVariant) tree = NULL;
        g_autofree char *text = NULL;

        service_await_signal(service, "'activated'");
        g_assert_false(service_has_signal(service, "'deleted'"));
        g_assert_false(service_has_signal(service, "'stopped'"));
        tree = service_call(
                        service, "/org/cloudhypervisor", "org.freedesktop.DBus.ObjectManager",
                        "GetManagedObjects", NULL, &error);
        g_assert_no_error(error);
        text = g_variant_print(tree, false);
        g_assert_nonnull(strstr(text, "/org/cloudhypervisor/vm/a/device/_2e_2e_2f_2e_2e_2fx"));
        g_assert_null(strstr(text, "xxxxxxxxxxxxxxxx"));
}

static void test_huge_reply(void) {
        g_autoptr(Service) service = service_start(NULL);
        g_autofree char *other = neighbour(service);
        g_autofree char *vm = vm_run(service, "a", "huge-counters", NULL);

        g_dbus_connection_call(
                        service->bus, MANAGER, vm, VM, "GetCounters",
                        g_variant_new("(a{sv})", NULL), NULL, G_DBUS_CALL_FLAGS_NONE, -1, NULL,
                        ignore, NULL);
        service_linger(300);
        assert_unharmed(service, other);
        assert_unharmed(service, vm);
}

static guint64 counter(GVariant *reply, const char *of, const char *name) {
        g_autoptr(GVariant) all = g_variant_get_child_value(reply, 0);
        g_autoptr(GVariant) one = g_variant_lookup_value(all, of, G_VARIANT_TYPE("a{st}"));
        guint64 value = G_MAXUINT64;

        g_assert_nonnull(one);
        g_assert_true(g_variant_lookup(one, name, "t", &value));
        return value;
}

static void test_inheritance(void) {
        g_autoptr(Service) service = service_start(NULL);
        g_autofree char *other = neighbour(service), *vm = vm_run(service, "a", NULL, NULL);
        g_autoptr(GVariant) reply = vm_call(service, vm, "GetCounters", NULL);

        /* stdin, stdout and stderr */
        g_assert_cmpuint(counter(reply, "process", "fds"), ==, 3);
        g_assert_cmpuint(counter(reply, "process", "session-leader"), ==, 1);
        g_assert_cmpuint(counter(reply, "process", "stdin-listens"), ==, 1);
        g_assert_cmpuint(counter(reply, "process", "death-signal"), ==, 0);
        g_assert_cmpuint(counter(reply, "process", "secret"), ==, 0);
}

/* As the last of NSpid in /proc/PID/status: the number that a process has for itself. */
static int own_number(const char *pid) {
        g_autofree char *file = g_strdup_printf("/proc/%s/status", pid), *text = NULL;
        g_autoptr(GError) error = NULL;
        g_auto(GStrv) words = NULL;
        char *line;

        (void) g_file_get_contents(file, &text, NULL, &error);
        g_assert_no_error(error);
        line = strstr(text, "\nNSpid:\t");
        g_assert_nonnull(line);
        line += strlen("\nNSpid:\t");
        line[strcspn(line, "\n")] = '\0';
        words = g_strsplit(line, "\t", -1);
        return atoi(words[g_strv_length(words) - 1]);
}

static bool host_has_namespaces(void) {
        int status = -1;

        return g_spawn_command_line_sync(
                               geteuid() == 0 ? "unshare -p -f true" : "unshare -U -p -f true",
                               NULL, NULL, &status, NULL) &&
               status == 0;
}

/* It sees no process but itself, and is seen, ended and found again by the number it has for chvd. */
static void test_namespace(void) {
        g_autoptr(Service) service = NULL;
        g_autofree char *vm = NULL, *pid = NULL, *theirs = NULL, *again = NULL;
        g_autoptr(GVariant) reply = NULL;
        struct stat a, b;

        if (g_getenv("CHV_INSTRUMENTED"))
                return g_test_skip("sanitizers and coverage go without");
        if (!host_has_namespaces())
                return g_test_skip("this host lets us have no process namespaces");
        service = service_start(NULL);
        vm = vm_run(service, "a", NULL, NULL);
        pid = vm_get(service, vm, "WorkerPID");
        theirs = g_strdup_printf("/proc/%s/ns/pid", pid);
        g_assert_cmpint(stat(theirs, &a), ==, 0);
        g_assert_cmpint(stat("/proc/self/ns/pid", &b), ==, 0);
        g_assert_cmpuint(a.st_ino, !=, b.st_ino);
        g_assert_cmpint(own_number(pid), ==, 1);
        reply = vm_call(service, vm, "GetCounters", NULL);
        g_assert_cmpuint(counter(reply, "process", "pid"), ==, 1);
        service_kill(service);
        service_restart(service, SIGKILL);
        again = vm_get(service, vm, "WorkerPID");
        g_assert_cmpstr(again, ==, pid);
        g_assert_cmpint(kill(atoi(pid), SIGKILL), ==, 0);
        vm_await(service, vm, "failed");
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/worker/boot-error", test_boot_error);
        g_test_add_func("/worker/boot-crash", test_boot_crash);
        g_test_add_func("/worker/boot-hang", test_boot_hang);
        g_test_add_func("/worker/boot-garbage", test_boot_garbage);
        g_test_add_func("/worker/no-worker", test_no_worker);
        g_test_add_func("/worker/killed", test_killed);
        g_test_add_func("/worker/crash-in-call", test_crash_in_call);
        g_test_add_func("/worker/hang-in-call", test_hang_in_call);
        g_test_add_func("/worker/machine-fails", test_machine_fails);
        g_test_add_func("/worker/flood", test_flood);
        g_test_add_func("/worker/lies", test_lies);
        g_test_add_func("/worker/huge-reply", test_huge_reply);
        g_test_add_func("/worker/inheritance", test_inheritance);
        g_test_add_func("/worker/namespace", test_namespace);
        return g_test_run();
}
