/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves what clients see on the bus: objects come and go with signals, changes of a turn come together and before the
 * event and the reply that they belong to, jobs are there before their work and gone after it, two clients do not
 * disturb each other, one that goes away half-way harms nobody, what is wrong is quoted in part however long it is, and
 * the daemon starts, yields and stops in order.
 */

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/service/service.h"

static void ignore(GObject *source, GAsyncResult *result, gpointer data) {
        g_autoptr(GVariant) reply =
                        g_dbus_connection_call_finish(G_DBUS_CONNECTION(source), result, NULL);
}

static void
begin_on(GDBusConnection *bus, const char *path, const char *interface, const char *method) {
        g_dbus_connection_call(
                        bus, MANAGER, path, interface, method, g_variant_new("(a{sv})", NULL), NULL,
                        G_DBUS_CALL_FLAGS_NONE, -1, NULL, ignore, NULL);
}

static void call(Service *service, const char *vm, const char *method, const char *options) {
        g_autoptr(GVariant) reply = vm_call(service, vm, method, options);
}

static void test_objects(void) {
        g_autoptr(Service) service = service_start(NULL);
        g_autofree char *vm = vm_run(service, "a", NULL, NULL);
        unsigned vm_added, job_added, device_added, device_removed, vm_removed;

        call(service, vm, "PowerOff", NULL);
        call(service, vm, "Delete", NULL);
        vm_added = service_signal_index(service, "InterfacesAdded ('/org/cloudhypervisor/vm/a', ");
        job_added = service_signal_index(service, "InterfacesAdded ('/org/cloudhypervisor/job/1'");
        device_added = service_signal_index(
                        service, "InterfacesAdded ('/org/cloudhypervisor/vm/a/device/_5fdisk0'");
        device_removed = service_signal_index(
                        service, "InterfacesRemoved ('/org/cloudhypervisor/vm/a/device/_5fdisk0'");
        vm_removed = service_signal_index(
                        service, "InterfacesRemoved ('/org/cloudhypervisor/vm/a', ");
        g_assert_cmpuint(vm_added, <, job_added);
        g_assert_cmpuint(job_added, <, device_added);
        g_assert_cmpuint(device_added, <, device_removed);
        g_assert_cmpuint(device_removed, <, vm_removed);
        g_assert_cmpuint(service_signal_index(service, "'deleted'"), <, vm_removed);
}

static void test_job_order(void) {
        g_autoptr(Service) service = service_start(NULL);
        g_autofree char *vm = vm_create(service, "a", NULL, NULL);
        g_autoptr(GVariant) reply = vm_call(service, vm, "Start", NULL);
        const char *job;
        unsigned added, starting, running, completed;

        g_variant_get(reply, "(&o)", &job);
        g_assert_cmpstr(job, ==, "/org/cloudhypervisor/job/1");
        /* The reply is here, so is all that came before it. */
        added = service_signal_index(service, "InterfacesAdded ('/org/cloudhypervisor/job/1'");
        starting = service_signal_index(service, "'State': <'starting'>");
        running = service_signal_index(service, "'State': <'running'>");
        completed = service_signal_index(
                        service, "job/1 org.cloudhypervisor.Job.Completed (true, '')");
        g_assert_cmpuint(added, <, starting);
        g_assert_cmpuint(starting, <, running);
        g_assert_cmpuint(running, <, service_signal_index(service, "'started'"));
        g_assert_cmpuint(running, <, completed);
        service_await_signal(service, "InterfacesRemoved ('/org/cloudhypervisor/job/1'");
        g_assert_cmpuint(
                        completed, <,
                        service_signal_index(
                                        service,
                                        "InterfacesRemoved ('/org/cloudhypervisor/job/1'"));
}

/* Without the option "wait" the reply is the job, and Completed tells of its end. */
static void test_job_without_waiting(void) {
        g_autoptr(Service) service = service_start(NULL);
        g_autofree char *vm = vm_create(service, "a", "boot-hang", NULL);
        g_autoptr(GError) error = NULL;
        g_autoptr(GVariant) reply = service_call(
                        service, vm, VM, "Start", g_variant_new("(a{sv})", NULL), &error),
                            off = NULL;

        g_assert_no_error(error);
        vm_await(service, vm, "starting");
        off = service_call(service, vm, VM, "PowerOff", g_variant_new("(a{sv})", NULL), &error);
        g_assert_no_error(error);
        service_await_signal(service, "job/1 org.cloudhypervisor.Job.Completed (false, ");
        service_await_signal(service, "job/2 org.cloudhypervisor.Job.Completed (true, ");
        vm_await(service, vm, "shutdown");
}

static void test_job_cancel(void) {
        g_autoptr(Service) service = service_start(NULL);
        g_autofree char *vm = vm_create(service, "a", "boot-hang", NULL),
                        *deaf = vm_run(service, "b", "deaf", NULL);
        g_autoptr(GError) error = NULL, again = NULL;
        g_autoptr(GVariant) reply = NULL, properties = NULL;
        g_autofree char *text = NULL;

        begin_on(service->bus, vm, VM, "Start");
        service_await_signal(service, "InterfacesAdded ('/org/cloudhypervisor/job/2'");
        properties = service_call(
                        service, "/org/cloudhypervisor/job/2", "org.freedesktop.DBus.Properties",
                        "GetAll", g_variant_new("(s)", JOB), &error);
        g_assert_no_error(error);
        text = g_variant_print(properties, false);
        g_assert_nonnull(strstr(text, "'Operation': <'start'>"));
        g_assert_nonnull(strstr(text, "'Objects': <[objectpath '/org/cloudhypervisor/vm/a']>"));
        g_assert_nonnull(strstr(text, "'Cancelable': <true>"));
        reply =
                        service_call(service, "/org/cloudhypervisor/job/2", JOB, "Cancel",
                                     g_variant_new("(a{sv})", NULL), &error);
        g_assert_no_error(error);
        service_await_signal(service, "job/2 org.cloudhypervisor.Job.Completed (false, ");
        vm_await(service, vm, "created");

        /* A reboot that waits for its guest: the VM goes on when it is cancelled. */
        begin_on(service->bus, deaf, VM, "Reboot");
        service_await_signal(service, "InterfacesAdded ('/org/cloudhypervisor/job/3'");
        g_clear_pointer(&reply, g_variant_unref);
        reply =
                        service_call(service, "/org/cloudhypervisor/job/3", JOB, "Cancel",
                                     g_variant_new("(a{sv})", NULL), &error);
        g_assert_no_error(error);
        service_await_signal(service, "job/3 org.cloudhypervisor.Job.Completed (false, ");
        vm_await(service, deaf, "running");
}

static void test_changes_come_together(void) {
        g_autoptr(Service) service = service_start(NULL);
        g_autofree char *vm = vm_create(service, "a", NULL, NULL);
        unsigned changes = 0;

        call(service, vm, "Start", NULL);
        for (unsigned i = 0; i < service->signals->len; i++)
                if (g_str_has_prefix(
                                    g_ptr_array_index(service->signals, i),
                                    "/org/cloudhypervisor/vm/a "
                                    "org.freedesktop.DBus.Properties.PropertiesChanged"))
                        changes++;
        /* starting; the worker's pid; all that Boot brought */
        g_assert_cmpuint(changes, <=, 3);
}

static void test_two_clients(void) {
        g_autoptr(Service) service = service_start(NULL);
        g_autoptr(GDBusConnection) other = service_connect(service);
        g_autofree char *a = vm_create(service, "a", NULL, NULL),
                        *b = vm_create(service, "b", "boot-hang", NULL);

        begin_on(other, b, VM, "Start");
        vm_await(service, b, "starting");
        /* A start that hangs for one holds nobody else up. */
        call(service, a, "Start", NULL);
        begin_on(other, a, VM, "Pause");
        service_await_signal(service, "'State': <'paused'>");
        vm_call_fails(service, a, "Pause", NULL, CHV_ERROR_INVALID_STATE);
}

static void test_client_goes_away(void) {
        g_autoptr(Service) service = service_start(NULL);
        g_autofree char *vm = vm_create(service, "a", NULL, NULL),
                        *slow = vm_create(service, "b", "boot-hang", NULL);
        GDBusConnection *other = service_connect(service);

        begin_on(other, slow, VM, "Start");
        begin_on(other, vm, VM, "Start");
        (void) g_dbus_connection_flush_sync(other, NULL, NULL);
        (void) g_dbus_connection_close_sync(other, NULL, NULL);
        g_object_unref(other);
        /* What it asked for is done all the same, if it was who it said when it was asked. */
        service_linger(300);
        call(service, slow, "Delete", "{'force': <true>}");
        call(service, vm, "Delete", "{'force': <true>}");
}

static void test_unknown_options(void) {
        static const char *const methods[] = { "Start", "Delete", "PowerOff", "Pause" };
        g_autoptr(Service) service = service_start(NULL);
        g_autofree char *vm = vm_create(service, "a", NULL, NULL);

        for (unsigned i = 0; i < G_N_ELEMENTS(methods); i++)
                vm_call_fails(service, vm, methods[i], "{'nonsense': <true>}",
                              CHV_ERROR_INVALID_CONFIG);
        vm_call_fails(service, vm, "Start", "{'timeout': <uint32 100000>}",
                      CHV_ERROR_INVALID_CONFIG);
}

/* Calls of one client are carried out in the order in which they were sent. */
static void test_gone(void) {
        g_autoptr(Service) service = service_start(NULL);

        for (unsigned i = 0; i < 50; i++) {
                /* One that is on disk goes from there first, and meanwhile cannot start either. */
                bool stored = i % 2 == 1;
                g_autofree char *vm = vm_create_full(
                                service, "a", service_config(service, NULL, NULL), NULL, NULL,
                                stored ? NULL : "{'transient': <true>}", NULL);
                g_autoptr(GError) error = NULL;

                /* Both are on their way before the first is answered. */
                begin_on(service->bus, vm, VM, "Delete");
                g_assert_null(vm_try(service, vm, "Start", NULL, &error));
                g_assert_nonnull(error);
                while (stored && vm_exists(service, vm))
                        service_linger(1);
                g_assert_false(vm_exists(service, vm));
        }
}

static void test_interrupt(void) {
        g_autoptr(Service) service = service_start(NULL);
        g_autofree char *a = vm_run(service, "a", NULL, NULL),
                        *b = vm_create(service, "b", "boot-hang", NULL);
        int status;

        begin_on(service->bus, b, VM, "Start");
        vm_await(service, b, "starting");
        g_assert_cmpint(kill(service_pid(service), SIGINT), ==, 0);
        status = service_wait(service);
        g_assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
        g_assert_cmpuint(service_count_workers(service), ==, 0);
}

static void test_interrupt_twice(void) {
        g_autoptr(Service) service = service_start(NULL);
        g_autofree char *vm = vm_run(service, "a", "deaf-quit", NULL);
        int status;

        g_assert_cmpint(kill(service_pid(service), SIGINT), ==, 0);
        vm_await(service, vm, "stopping");
        g_assert_cmpint(kill(service_pid(service), SIGINT), ==, 0);
        status = service_wait(service);
        g_assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
        g_assert_cmpuint(service_count_workers(service), ==, 0);
}

/* What runs goes on; what is about to is not left half done. */
static void test_terminate(void) {
        g_autoptr(Service) service = service_start(NULL);
        g_autofree char *a = vm_run(service, "a", NULL, NULL),
                        *b = vm_create(service, "b", "boot-hang", NULL);
        g_autofree char *pid = vm_get(service, a, "WorkerPID");
        int status;

        begin_on(service->bus, b, VM, "Start");
        vm_await(service, b, "starting");
        g_assert_cmpint(kill(service_pid(service), SIGTERM), ==, 0);
        status = service_wait(service);
        g_assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
        g_assert_cmpint(kill(atoi(pid), 0), ==, 0);
        g_assert_cmpuint(service_count_workers(service), ==, 1);
        g_assert_false(service_has_signal(service, "'deleted'"));
        service_restart(service, 0);
        vm_await(service, a, "running");
}

static GSubprocess *second_chvd(Service *service, const char *option) {
        g_autoptr(GError) error = NULL;
        GSubprocess *chvd = g_subprocess_new(
                        G_SUBPROCESS_FLAGS_NONE, &error, g_getenv("CHVD"), "--session", "--address",
                        service->address, "--state-dir", service->state_dir, "--runtime-dir",
                        service->runtime_dir, "--worker", service->worker, "--kvm", "/dev/null",
                        option, NULL);

        g_assert_no_error(error);
        return chvd;
}

static void test_replace(void) {
        g_autoptr(Service) service = service_start(NULL);
        g_autofree char *vm = vm_run(service, "a", NULL, NULL), *after = NULL,
                        *pid = vm_get(service, vm, "WorkerPID");
        g_autoptr(GSubprocess) beaten = second_chvd(service, NULL), winner = NULL;
        gint64 until;

        g_assert_true(g_subprocess_wait(beaten, NULL, NULL));
        g_assert_cmpint(g_subprocess_get_exit_status(beaten), ==, 1);
        winner = second_chvd(service, "--replace");
        g_assert_true(WIFEXITED(service_wait(service)));
        until = g_get_monotonic_time() + 20 * G_USEC_PER_SEC;
        while (!vm_exists(service, vm) && g_get_monotonic_time() < until)
                service_linger(5);
        after = vm_get(service, vm, "WorkerPID");
        g_assert_cmpstr(after, ==, pid);
        vm_await(service, vm, "running");
        g_assert_false(service_has_signal(service, "'worker-died'"));
        g_subprocess_send_signal(winner, SIGINT);
        g_assert_true(g_subprocess_wait(winner, NULL, NULL));
        g_assert_true(g_subprocess_get_successful(winner));
}

static void test_bus_gone(void) {
        g_autoptr(Service) service = service_start(NULL);
        g_autofree char *vm = vm_run(service, "a", NULL, NULL),
                        *pid = vm_get(service, vm, "WorkerPID");

        g_dbus_connection_set_exit_on_close(service->bus, false);
        g_subprocess_force_exit(service->bus_daemon);
        g_assert_true(WIFEXITED(service_wait(service)));
        g_assert_cmpint(kill(atoi(pid), 0), ==, 0);
}

/* A text of letters of four bytes: a message that ends within one can't be sent. */
static void long_text_fails(Service *service, const char *vm, unsigned shift) {
        g_autoptr(GString) text = g_string_new_len("xxx", shift);
        static const char *const options[] = { "{'%s': <true>}", "{'crash-policy': <'%s'>}",
                                               "{'memory-max': <'%s'>}" };
        g_autoptr(GError) missing = NULL, console = NULL, fds = NULL;

        for (unsigned n = 0; n < 100; n++)
                g_string_append(text, "\xf0\x9f\x90\xa7");
        for (size_t i = 0; i < G_N_ELEMENTS(options); i++) {
                g_auto(GStrv) parts = g_strsplit(options[i], "%s", 2);
                g_autofree char *whole = g_strjoinv(text->str, parts);

                vm_call_fails(service, vm, "SetOptions", whole, CHV_ERROR_INVALID_CONFIG);
        }
        g_assert_null(
                        service_call(service, MANAGER_PATH, MANAGER, "GetVM",
                                     g_variant_new("(s)", text->str), &missing));
        assert_names(missing, CHV_ERROR_NO_SUCH_VM, "\xf0\x9f\x90\xa7");
        g_assert_null(
                        service_call(service, vm, VM, "OpenConsole",
                                     g_variant_new("(sa{sv})", text->str, NULL), &console));
        assert_names(console, CHV_ERROR_INVALID_CONFIG, "\xf0\x9f\x90\xa7");
        g_assert_null(vm_create_full(
                        service, "b", service_config(service, NULL, NULL),
                        g_variant_new_parsed("{%s: handle 7}", text->str), NULL, NULL, &fds));
        assert_names(fds, CHV_ERROR_INVALID_CONFIG, "\xf0\x9f\x90\xa7");
}

static void test_long_texts(void) {
        g_autoptr(Service) service = service_start(NULL);
        g_autofree char *a = vm_create(service, "a", NULL, NULL);

        for (unsigned shift = 0; shift < 4; shift++)
                long_text_fails(service, a, shift);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/bus/objects", test_objects);
        g_test_add_func("/bus/job-order", test_job_order);
        g_test_add_func("/bus/job-without-waiting", test_job_without_waiting);
        g_test_add_func("/bus/job-cancel", test_job_cancel);
        g_test_add_func("/bus/changes-come-together", test_changes_come_together);
        g_test_add_func("/bus/two-clients", test_two_clients);
        g_test_add_func("/bus/client-goes-away", test_client_goes_away);
        g_test_add_func("/bus/unknown-options", test_unknown_options);
        g_test_add_func("/bus/gone", test_gone);
        g_test_add_func("/bus/interrupt", test_interrupt);
        g_test_add_func("/bus/interrupt-twice", test_interrupt_twice);
        g_test_add_func("/bus/terminate", test_terminate);
        g_test_add_func("/bus/replace", test_replace);
        g_test_add_func("/bus/bus-gone", test_bus_gone);
        g_test_add_func("/bus/long-texts", test_long_texts);
        return g_test_run();
}
