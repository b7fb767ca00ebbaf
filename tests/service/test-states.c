/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves the state machine over the bus: every verb in every state is answered as the table of dbus/state.c says,
 * refusals name the state, and the verbs that are allowed bring about the state that follows.
 */

#include <stdlib.h>
#include <string.h>

#include "dbus/state.h"
#include "tests/service/service.h"

typedef struct {
        const char *name, *options;
} Method;

static const Method methods[CHV_VM_VERB_MAX] = {
        [CHV_VM_VERB_START] = { "Start", NULL },
        [CHV_VM_VERB_SHUTDOWN] = { "Shutdown", NULL },
        [CHV_VM_VERB_POWER_OFF] = { "PowerOff", "{'timeout': <uint32 0>}" },
        [CHV_VM_VERB_REBOOT] = { "Reboot", NULL },
        [CHV_VM_VERB_RESET] = { "Reset", NULL },
        [CHV_VM_VERB_PAUSE] = { "Pause", NULL },
        [CHV_VM_VERB_RESUME] = { "Resume", NULL },
        [CHV_VM_VERB_DELETE] = { "Delete", NULL },
        [CHV_VM_VERB_COUNTERS] = { "GetCounters", NULL },
        [CHV_VM_VERB_NMI] = { "NMI", NULL },
        [CHV_VM_VERB_RESIZE] = { "Resize", NULL },
};

static void ignore(GObject *source, GAsyncResult *result, gpointer data) {
        g_autoptr(GVariant) reply =
                        g_dbus_connection_call_finish(G_DBUS_CONNECTION(source), result, NULL);
}

/* Sends a call whose answer nobody waits for. */
static void begin(Service *service, const char *vm, const char *method) {
        g_dbus_connection_call(
                        service->bus, MANAGER, vm, VM, method, g_variant_new("(a{sv})", NULL), NULL,
                        G_DBUS_CALL_FLAGS_NONE, -1, NULL, ignore, NULL);
}

static char *bring_to(Service *service, const char *name, ChvVmState state) {
        g_autoptr(GVariant) reply = NULL;
        char *vm;

        switch (state) {
        case CHV_VM_STATE_CREATED:
                return vm_create(service, name, NULL, NULL);
        case CHV_VM_STATE_STARTING:
                vm = vm_create(service, name, "boot-hang", NULL);
                begin(service, vm, "Start");
                break;
        case CHV_VM_STATE_RUNNING:
                return vm_run(service, name, NULL, NULL);
        case CHV_VM_STATE_PAUSED:
                vm = vm_run(service, name, NULL, NULL);
                reply = vm_call(service, vm, "Pause", NULL);
                break;
        case CHV_VM_STATE_STOPPING:
                vm = vm_run(service, name, "deaf-quit", NULL);
                begin(service, vm, "PowerOff");
                break;
        case CHV_VM_STATE_SHUTDOWN:
                vm = vm_run(service, name, NULL, NULL);
                reply = vm_call(service, vm, "PowerOff", NULL);
                break;
        default:
                vm = vm_run(service, name, "crash-on-Nmi", NULL);
                vm_call_fails(service, vm, "NMI", NULL, CHV_ERROR_WORKER_DIED);
        }
        vm_await(service, vm, chv_vm_state_to_string(state));
        return vm;
}

static void test_every_verb(gconstpointer data) {
        ChvVmState state = GPOINTER_TO_INT(data);
        g_autoptr(Service) service = service_start(NULL);

        for (unsigned verb = 0; verb < CHV_VM_VERB_MAX; verb++) {
                g_autofree char *name = g_strdup_printf("vm%u", verb);
                g_autofree char *vm = NULL;
                g_autoptr(GVariant) options = NULL, reply = NULL;
                g_autoptr(GError) error = NULL;

                if (!methods[verb].name)
                        continue;
                vm = bring_to(service, name, state);
                options =
                                g_variant_parse(G_VARIANT_TYPE("a{sv}"),
                                                methods[verb].options ?: "{}", NULL, NULL, NULL);
                reply =
                                service_call(service, vm, VM, methods[verb].name,
                                             g_variant_new("(@a{sv})", options), &error);
                if (verb == CHV_VM_VERB_RESIZE) {
                        assert_names(error, CHV_ERROR_NOT_SUPPORTED, "not supported yet");
                } else if (chv_vm_verb_allowed(verb, state)) {
                        g_assert_no_error(error);
                } else {
                        assert_names(error, CHV_ERROR_INVALID_STATE, chv_vm_state_to_string(state));
                }
        }
}

static void assert_state(Service *service, const char *vm, const char *state) {
        g_autofree char *now = vm_get(service, vm, "State");

        g_assert_cmpstr(now, ==, state);
}

static void call(Service *service, const char *vm, const char *method, const char *options) {
        g_autoptr(GVariant) reply = vm_call(service, vm, method, options);
}

static void test_life(void) {
        g_autoptr(Service) service = service_start(NULL);
        g_autofree char *vm = vm_create(service, "a", NULL, NULL);
        g_autofree char *pid = NULL, *reason = NULL, *memory = NULL;

        call(service, vm, "Start", NULL);
        assert_state(service, vm, "running");
        pid = vm_get(service, vm, "WorkerPID");
        g_assert_cmpint(atoi(pid), >, 0);
        memory = vm_get(service, vm, "MemoryActualSize");
        g_assert_cmpstr(memory, ==, "536870912");
        call(service, vm, "Pause", NULL);
        assert_state(service, vm, "paused");
        call(service, vm, "Resume", NULL);
        assert_state(service, vm, "running");
        call(service, vm, "Reset", NULL);
        assert_state(service, vm, "running");
        call(service, vm, "Shutdown", NULL);
        vm_await(service, vm, "shutdown");
        reason = vm_get(service, vm, "StateReason");
        g_assert_cmpstr(reason, ==, "the guest powered off");
        call(service, vm, "Start", "{'paused': <true>}");
        assert_state(service, vm, "paused");
        call(service, vm, "PowerOff", NULL);
        assert_state(service, vm, "shutdown");
        call(service, vm, "Delete", NULL);
        g_assert_false(vm_exists(service, vm));
}

static void test_reboot(void) {
        g_autoptr(Service) service = service_start(NULL);
        g_autofree char *vm = vm_run(service, "a", NULL, NULL);
        g_autofree char *first = vm_get(service, vm, "WorkerPID"), *second = NULL, *third = NULL;

        call(service, vm, "Reboot", NULL);
        assert_state(service, vm, "running");
        second = vm_get(service, vm, "WorkerPID");
        g_assert_cmpstr(first, !=, second);
        call(service, vm, "Reboot", "{'force': <true>}");
        assert_state(service, vm, "running");
        third = vm_get(service, vm, "WorkerPID");
        g_assert_cmpstr(second, !=, third);
        call(service, vm, "Pause", NULL);
        call(service, vm, "Reboot", NULL);
        assert_state(service, vm, "running");
}

static void test_deaf_guest(void) {
        g_autoptr(Service) service = service_start(NULL);
        g_autofree char *vm = vm_run(service, "a", "deaf", NULL);
        g_autofree char *reason = NULL;

        call(service, vm, "Shutdown", NULL);
        assert_state(service, vm, "running");
        /* A second reboot, while the first waits for the guest, is refused unless it is forced. */
        begin(service, vm, "Reboot");
        vm_call_fails(service, vm, "Reboot", NULL, CHV_ERROR_BUSY);
        call(service, vm, "Reboot", "{'force': <true>}");
        assert_state(service, vm, "running");
        call(service, vm, "Reboot", "{'timeout': <uint32 1>}");
        assert_state(service, vm, "running");
        call(service, vm, "Shutdown", "{'timeout': <uint32 1>}");
        vm_await(service, vm, "shutdown");
        reason = vm_get(service, vm, "StateReason");
        g_assert_nonnull(strstr(reason, "in time"));
}

static void test_delete_running(void) {
        g_autoptr(Service) service = service_start(NULL);
        g_autofree char *vm = vm_run(service, "a", "deaf-quit", NULL), *again = NULL;

        vm_call_fails(service, vm, "Delete", NULL, CHV_ERROR_INVALID_STATE);
        assert_state(service, vm, "running");
        call(service, vm, "Delete", "{'force': <true>}");
        g_assert_false(vm_exists(service, vm));
        again = vm_create(service, "a", NULL, NULL);
}

static void test_power_off_ends_start(void) {
        g_autoptr(Service) service = service_start(NULL);
        g_autofree char *vm = vm_create(service, "a", "boot-hang", NULL);

        begin(service, vm, "Start");
        vm_await(service, vm, "starting");
        call(service, vm, "PowerOff", NULL);
        assert_state(service, vm, "shutdown");
}

static void test_not_supported(void) {
        g_autoptr(Service) service = service_start(NULL);
        g_autofree char *vm = vm_run(service, "a", NULL, NULL);
        g_autofree char *device = g_strconcat(vm, "/device/_5fdisk0", NULL);
        g_autoptr(GError) add = NULL, remove = NULL, counters = NULL;
        g_autoptr(GVariant) reply = NULL;

        g_assert_null(service_call(
                        service, vm, VM, "AddDevice",
                        g_variant_new("(sa{sv}a{sh}a{sv})", "disk", NULL, NULL, NULL), &add));
        assert_names(add, CHV_ERROR_NOT_SUPPORTED, "not supported yet");
        g_assert_null(
                        service_call(service, vm, VM, "RemoveDevice",
                                     g_variant_new("(sa{sv})", "_disk0", NULL), &remove));
        assert_names(remove, CHV_ERROR_NOT_SUPPORTED, "not supported yet");
        reply =
                        service_call(service, device, DEVICE, "GetCounters",
                                     g_variant_new("(a{sv})", NULL), &counters);
        g_assert_no_error(counters);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        for (int state = 0; state < CHV_VM_STATE_MAX; state++) {
                g_autofree char *path = g_strconcat(
                                "/states/every-verb-in/", chv_vm_state_to_string(state), NULL);

                g_test_add_data_func(path, GINT_TO_POINTER(state), test_every_verb);
        }
        g_test_add_func("/states/life", test_life);
        g_test_add_func("/states/reboot", test_reboot);
        g_test_add_func("/states/deaf-guest", test_deaf_guest);
        g_test_add_func("/states/delete-running", test_delete_running);
        g_test_add_func("/states/power-off-ends-start", test_power_off_ends_start);
        g_test_add_func("/states/not-supported", test_not_supported);
        return g_test_run();
}
