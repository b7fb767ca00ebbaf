/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A VM as an object: its properties, its state and its events. The state changes only through chvd_vm_set_state(),
 * which holds every change against the table of dbus/state.c. Property changes of one turn of the main loop are sent
 * together, and before the event that tells of them.
 *
 * Life: chvd_vm_new() exports it, chvd_vm_remove() takes it off the bus; between the two it owns itself. What is
 * under way (a job, a call to the worker) holds a reference, so a VM may outlast its object for a moment.
 */

#include "daemon/chvd/vm.h"

#include "daemon/chvd/device.h"
#include "daemon/chvd/gate.h"
#include "daemon/chvd/log.h"
#include "daemon/chvd/path.h"
#include "daemon/chvd/peers.h"
#include "daemon/chvd/vm-private.h"
#include "daemon/chvd/vm-run.h"
#include "dbus/error.h"

static void subject(gpointer data, GDBusMethodInvocation *invocation, ChvdSubject *ret_subject) {
        ChvdVm *vm = data;

        *ret_subject = (ChvdSubject){
                .vm = vm->definition->name,
                .owned = true,
                .owner = vm->owner,
        };
}

ChvdVm *chvd_vm_ref(ChvdVm *vm) {
        vm->refs++;
        return vm;
}

void chvd_vm_unref(ChvdVm *vm) {
        if (!vm || --vm->refs > 0)
                return;
        g_assert(vm->gone && !vm->worker);
        g_clear_error(&vm->start_error);
        g_ptr_array_unref(vm->devices);
        g_ptr_array_unref(vm->deletions);
        g_object_unref(vm->skeleton);
        g_object_unref(vm->object);
        chvd_definition_unref(vm->definition);
        g_free(vm->end_reason);
        g_free(vm->path);
        g_free(vm);
}

const char *chvd_vm_name(const ChvdVm *vm) {
        return vm->definition->name;
}

const char *chvd_vm_path(const ChvdVm *vm) {
        return vm->path;
}

uid_t chvd_vm_owner(const ChvdVm *vm) {
        return vm->owner;
}

ChvVmState chvd_vm_state(const ChvdVm *vm) {
        return vm->state;
}

const char *chvd_vm_state_reason(const ChvdVm *vm) {
        return chv_vm_get_state_reason(vm->skeleton);
}

const ChvdDefinition *chvd_vm_definition(const ChvdVm *vm) {
        return vm->definition;
}

const ChvdPolicy *chvd_vm_policy(const ChvdVm *vm) {
        return &vm->policy;
}

ChvdVmOrigin chvd_vm_origin(const ChvdVm *vm) {
        return (ChvdVmOrigin){
                .owner = vm->owner,
                .created = vm->created,
                .transient = vm->transient,
                .policy = vm->policy,
                .stored = vm->stored,
                .has_run = vm->has_run,
                .state = vm->state,
                .reason = chvd_vm_state_reason(vm),
        };
}

bool chvd_vm_is_volatile(const ChvdVm *vm) {
        bool has_run = chvd_vm_has_run(vm);

        return vm->storing || vm->crash_timer || vm->start_job || vm->stop_job ||
               chvd_fd_set_size(vm->definition->given) > 0 ||
               (!has_run && (!vm->stored || vm->start_failed || vm->state == CHV_VM_STATE_FAILED));
}

void chvd_vm_begin_change(ChvdVm *vm) {
        vm->storing = true;
}

void chvd_vm_end_change(ChvdVm *vm) {
        vm->storing = false;
}

void chvd_vm_set_policy(ChvdVm *vm, const ChvdPolicy *policy) {
        vm->policy = *policy;
        chv_vm_set_autostart(vm->skeleton, policy->autostart);
        chv_vm_set_autostart_order(vm->skeleton, policy->start_order);
        chv_vm_set_autostart_delay(vm->skeleton, policy->start_delay);
        chv_vm_set_crash_policy(vm->skeleton, chvd_crash_to_string(policy->crash));
        chvd_shares_show(&policy->shares, vm->definition->config, vm->skeleton);
}

void chvd_vm_set_definition(ChvdVm *vm, ChvdDefinition *definition) {
        if (definition == vm->definition)
                return;
        chvd_definition_unref(vm->definition);
        vm->definition = chvd_definition_ref(definition);
        chv_vm_set_uuid(vm->skeleton, definition->config->platform.uuid ?: "");
        chv_vm_set_vcpus(vm->skeleton, definition->config->cpus.boot_vcpus);
        chv_vm_set_memory_size(vm->skeleton, definition->config->memory.size);
        chvd_shares_show(&vm->policy.shares, definition->config, vm->skeleton);
}

void chvd_vm_set_transient(ChvdVm *vm, bool transient) {
        vm->transient = transient;
        chv_vm_set_transient(vm->skeleton, transient);
        g_dbus_interface_skeleton_flush(G_DBUS_INTERFACE_SKELETON(vm->skeleton));
}

void chvd_vm_set_owner(ChvdVm *vm, uid_t owner) {
        vm->owner = owner;
        chv_vm_set_owner(vm->skeleton, owner);
        g_dbus_interface_skeleton_flush(G_DBUS_INTERFACE_SKELETON(vm->skeleton));
}

void chvd_vm_set_state(ChvdVm *vm, ChvVmState state, const char *reason) {
        if (state != vm->state && !chv_vm_state_may_follow(vm->state, state))
                g_critical("VM '%s': %s after %s", vm->definition->name,
                           chv_vm_state_to_string(state), chv_vm_state_to_string(vm->state));
        vm->state = state;
        chv_vm_set_state(vm->skeleton, chv_vm_state_to_string(state));
        chv_vm_set_state_reason(vm->skeleton, reason ?: "");
}

void chvd_vm_forward_event(
                ChvdVm *vm,
                uint64_t timestamp,
                const char *source,
                const char *event,
                GVariant *properties) {
        if (vm->gone)
                return;
        g_dbus_interface_skeleton_flush(G_DBUS_INTERFACE_SKELETON(vm->skeleton));
        chv_vm_emit_event(vm->skeleton, timestamp, source, event, properties);
        vm->hooks->event(vm->hooks_data, vm, timestamp, source, event, properties);
}

void chvd_vm_event(ChvdVm *vm, const char *event, GVariant *properties) {
        g_autoptr(GVariant) owned = g_variant_ref_sink(properties ?: g_variant_new("a{sv}", NULL));

        g_debug("VM '%s': %s", vm->definition->name, event);
        chvd_log_event(vm->definition->name, vm->definition->config->platform.uuid, event, owned);
        chvd_vm_forward_event(vm, (uint64_t) g_get_real_time(), "vm", event, owned);
}

static void export(ChvdVm *vm, const char *reason) {
        const ChvdDefinition *definition = vm->definition;

        vm->skeleton = chvd_gate_new(CHV_TYPE_VM_SKELETON, vm->context->authority, subject, vm);
        chv_vm_set_name(vm->skeleton, definition->name);
        chv_vm_set_uuid(vm->skeleton, definition->config->platform.uuid ?: "");
        chv_vm_set_state(vm->skeleton, chv_vm_state_to_string(vm->state));
        chv_vm_set_state_reason(vm->skeleton, reason ?: "");
        chv_vm_set_owner(vm->skeleton, vm->owner);
        chv_vm_set_vcpus(vm->skeleton, definition->config->cpus.boot_vcpus);
        chv_vm_set_memory_size(vm->skeleton, definition->config->memory.size);
        chv_vm_set_transient(vm->skeleton, vm->transient);
        chv_vm_set_created_at(vm->skeleton, vm->created);
        chvd_vm_set_policy(vm, &vm->policy);
        chvd_vm_connect_methods(vm);
        vm->object = chv_object_skeleton_new(vm->path);
        chv_object_skeleton_set_vm(vm->object, vm->skeleton);
        chvd_objects_export(vm->context, vm->object);
}

ChvdVm *
chvd_vm_new(ChvdContext *context,
            const ChvdVmHooks *hooks,
            gpointer hooks_data,
            ChvdDefinition *definition,
            const ChvdVmOrigin *origin) {
        ChvdVm *vm = g_new0(ChvdVm, 1);

        vm->refs = 1;
        vm->context = context;
        vm->hooks = hooks;
        vm->hooks_data = hooks_data;
        vm->definition = chvd_definition_ref(definition);
        vm->path = chvd_path(CHVD_PATH_VM, definition->name);
        vm->owner = origin->owner;
        vm->created = origin->created;
        vm->transient = origin->transient;
        vm->policy = origin->policy;
        vm->stored = origin->stored;
        vm->has_run = origin->has_run;
        vm->state = origin->state;
        vm->end_state = CHV_VM_STATE_INVALID;
        vm->told = CHV_VM_STATE_INVALID;
        vm->devices = g_ptr_array_new_with_free_func((GDestroyNotify) chvd_device_free);
        vm->deletions = g_ptr_array_new();
        export(vm, origin->reason);
        return vm;
}

void chvd_vm_remove(ChvdVm *vm) {
        g_autoptr(ChvdVm) self = vm; /* the VM's reference to itself */

        if (vm->gone) {
                (void) g_steal_pointer(&self);
                return;
        }
        /* What has a record comes back when the service does, or has another name now. */
        if (!vm->stored && !vm->abandoned)
                chvd_vm_event(vm, "deleted",
                              g_variant_new_parsed("{'name': <%s>}", vm->definition->name));
        chvd_vm_crash_forget(vm);
        vm->gone = true;
        chvd_objects_unexport(vm->context, vm->path);
        (void) g_signal_handlers_disconnect_by_data(vm->skeleton, vm);
        for (unsigned i = 0; i < vm->deletions->len; i++)
                g_dbus_method_invocation_return_value(
                                g_ptr_array_index(vm->deletions, i), /* parameters= */ NULL);
        g_ptr_array_set_size(vm->deletions, 0);
        vm->hooks->gone(vm->hooks_data, vm);
}
