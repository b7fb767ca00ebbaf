/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What of a VM is on disk. A change is stored first and takes effect when it is there; until then the VM is "storing"
 * and takes no other change, and does not start either, so that a run has one configuration from end to end. A
 * transient VM has nothing on disk: its changes take effect at once.
 *
 * The end of a VM may be asked for while it runs or is storing. chvd_vm_settle() looks after every end of one of these
 * whether it is due.
 */

#include "daemon/chvd/vm-private.h"
#include "daemon/chvd/vm-run.h"
#include "dbus/error.h"

typedef struct {
        ChvdVm *vm;
        uid_t owner;
        ChvdPolicy policy;
        ChvdDefinition *definition;
        bool create;
        ChvdStored done;
        gpointer data;
} Change;

static void change_free(Change *change) {
        chvd_definition_unref(change->definition);
        chvd_vm_unref(change->vm);
        g_free(change);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Change, change_free)

bool chvd_vm_may_change(const ChvdVm *vm, GError **error) {
        if (vm->storing)
                g_set_error(error, CHV_ERROR, CHV_ERROR_BUSY, "VM '%s' is being changed already",
                            chvd_vm_name(vm));
        else if (vm->context->stopping)
                g_set_error(error, CHV_ERROR, CHV_ERROR_BUSY, "the service is stopping");
        else
                return true;
        return false;
}

static void apply(const Change *change) {
        ChvdVm *vm = change->vm;

        if (change->owner != vm->owner) {
                vm->hooks->release(vm->hooks_data, vm->owner);
                chvd_vm_set_owner(vm, change->owner);
        }
        chvd_vm_set_policy(vm, &change->policy);
        chvd_vm_set_definition(vm, change->definition);
        if (change->create)
                chvd_vm_set_transient(vm, false);
        chvd_vm_note_change(vm);
        g_dbus_interface_skeleton_flush(G_DBUS_INTERFACE_SKELETON(vm->skeleton));
}

static void on_saved(gpointer data, const GError *error) {
        g_autoptr(Change) change = data;
        ChvdVm *vm = change->vm;

        vm->storing = false;
        if (!error) {
                vm->stored = true;
                apply(change);
                if (change->create && vm->has_run)
                        chvd_store_queue_mark_run(vm->context->store, chvd_vm_name(vm));
        } else if (change->owner != vm->owner)
                vm->hooks->release(vm->hooks_data, change->owner);
        change->done(change->data, error);
        chvd_vm_settle(vm);
}

/* What is to be changed is not set yet. */
static Change *change_new(ChvdVm *vm, ChvdStored done, gpointer data) {
        Change *change = g_new0(Change, 1);

        change->vm = chvd_vm_ref(vm);
        change->owner = vm->owner;
        change->policy = vm->policy;
        change->definition = chvd_definition_ref(vm->definition);
        change->done = done;
        change->data = data;
        return change;
}

static void begin(Change *change) {
        ChvdVm *vm = change->vm;
        g_autoptr(ChvdRecord) record = NULL;

        if (vm->transient && !change->create) {
                g_autoptr(Change) owned = change;

                apply(change);
                return change->done(change->data, /* error= */ NULL);
        }
        vm->storing = true;
        record = chvd_definition_record(
                        change->definition, change->owner, vm->created, &change->policy);
        chvd_store_queue_save(
                        vm->context->store, chvd_vm_name(vm), record, change->create, on_saved,
                        change);
}

void chvd_vm_change(
                ChvdVm *vm,
                const ChvdPolicy *policy,
                ChvdDefinition *definition,
                ChvdStored done,
                gpointer data) {
        Change *change = change_new(vm, done, data);

        if (policy)
                change->policy = *policy;
        if (definition) {
                chvd_definition_unref(change->definition);
                change->definition = chvd_definition_ref(definition);
        }
        begin(change);
}

void chvd_vm_change_owner(ChvdVm *vm, uid_t owner, ChvdStored done, gpointer data) {
        Change *change = change_new(vm, done, data);

        change->owner = owner;
        begin(change);
}

void chvd_vm_keep(ChvdVm *vm, ChvdStored done, gpointer data) {
        Change *change = change_new(vm, done, data);

        change->create = true;
        begin(change);
}

static void on_removed(gpointer data, const GError *error) {
        g_autoptr(ChvdVm) vm = data;

        vm->storing = false;
        if (!error) {
                vm->stored = false;
                return chvd_vm_remove(vm);
        }
        for (unsigned i = 0; i < vm->deletions->len; i++)
                g_dbus_method_invocation_return_gerror(g_ptr_array_index(vm->deletions, i), error);
        g_ptr_array_set_size(vm->deletions, 0);
}

void chvd_vm_settle(ChvdVm *vm) {
        if (vm->gone || vm->storing || chvd_vm_has_run(vm) ||
            (vm->deletions->len == 0 && !vm->transient))
                return;
        if (!vm->stored)
                return chvd_vm_remove(vm);
        vm->storing = true;
        chvd_store_queue_remove(vm->context->store, chvd_vm_name(vm), on_removed, chvd_vm_ref(vm));
}
