/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A run beyond the life of this chvd: what it is at is noted whenever that changes, and before anything is done that
 * depends on it, so that a later chvd can go on from whatever moment this one ends at. That one gives the worker to its
 * own VM here.
 */

#include "daemon/chvd/run-record.h"
#include "daemon/chvd/runtime.h"
#include "daemon/chvd/vm-private.h"
#include "daemon/chvd/vm-run.h"

bool chvd_vm_note(ChvdVm *vm, GError **error) {
        g_autoptr(ChvdRecord) record =
                        chvd_definition_record(vm->definition, vm->owner, vm->created, &vm->policy);
        g_autoptr(GVariant) resources =
                        vm->resources ? g_variant_ref_sink(chvd_resources_save(vm->resources))
                                      : NULL;
        bool ending = vm->end_state != CHV_VM_STATE_INVALID && !vm->start_error;
        const ChvdRun run = {
                .phase = vm->state == CHV_VM_STATE_STARTING || vm->start_error ? CHVD_RUN_STARTING
                         : ending                                              ? CHVD_RUN_STOPPING
                                                                               : CHVD_RUN_RUNNING,
                .transient = vm->transient,
                .restart = vm->restart || vm->again,
                .keep = vm->to_keep && vm->transient,
                .record = record,
                .before = vm->before,
                .end = vm->end_state,
                .reason = ending ? vm->end_reason : NULL,
                .handle = vm->worker ? (char *) chvd_worker_handle(vm->worker) : NULL,
                .started_at = chv_vm_get_started_at(vm->skeleton),
                .deadline = vm->deadline_at,
                .consoles = vm->console_paths,
                .resources = resources,
        };
        g_autofree char *text = chvd_run_to_text(&run, error);

        return text && chvd_runtime_save(vm->context->runtime_dir, chvd_vm_name(vm), text, error);
}

void chvd_vm_note_change(ChvdVm *vm) {
        g_autoptr(GError) error = NULL;

        if (vm->worker && !chvd_vm_note(vm, &error))
                g_warning("VM '%s': %s", chvd_vm_name(vm), error->message);
}

void chvd_vm_adopt(ChvdVm *vm, const ChvdAdopted *adopted) {
        const ChvdRun *run = adopted->run;

        vm->before = run->before;
        vm->restart = run->restart && run->phase == CHVD_RUN_RUNNING;
        vm->keeps = adopted->preserve;
        vm->to_keep = run->keep && vm->transient;
        vm->resources = run->resources ? chvd_resources_restore(
                                                         vm->context, vm->definition, vm->owner,
                                                         run->resources)
                                       : NULL;
        vm->console_paths = run->consoles ? g_variant_ref(run->consoles) : NULL;
        vm->deadline_at = run->deadline;
        chvd_vm_charge_run_again(vm);
        chv_vm_set_started_at(vm->skeleton, run->started_at ?: (guint64) g_get_real_time());
        chv_vm_set_memory_actual_size(vm->skeleton, vm->definition->config->memory.size);
        vm->booted_at = g_get_monotonic_time();
        if (vm->stored && !vm->has_run)
                chvd_store_queue_mark_run(vm->context->store, chvd_vm_name(vm));
        vm->has_run = true;
        chvd_vm_take_worker(vm, adopted->worker, adopted->devices);
        chvd_vm_register(vm);
        chvd_vm_note_change(vm);
        g_dbus_interface_skeleton_flush(G_DBUS_INTERFACE_SKELETON(vm->skeleton));
}

void chvd_vm_set_to_keep(ChvdVm *vm) {
        vm->to_keep = true;
}

bool chvd_vm_is_to_keep(const ChvdVm *vm) {
        return vm->to_keep && vm->transient;
}

void chvd_vm_abandon(ChvdVm *vm) {
        if (vm->opening)
                g_cancellable_cancel(vm->opening);
        g_clear_handle_id(&vm->deadline, g_source_remove);
        chvd_vm_forget_links(vm);
        if (!vm->worker)
                return;
        vm->abandoned = true;
        g_clear_pointer(&vm->worker, chvd_worker_abandon);
        g_clear_pointer(&vm->resources, chvd_resources_abandon);
}
