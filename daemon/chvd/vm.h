/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <gio/gio.h>
#include <stdbool.h>
#include <sys/types.h>

#include "daemon/chvd/context.h"
#include "daemon/chvd/definition.h"
#include "dbus/state.h"

/* One virtual machine: its object on the bus, its state and, while it runs, its worker. Main thread only. */
typedef struct ChvdVm ChvdVm;

/* What the manager hears of its VMs. */
typedef struct {
        void (*event)(gpointer data,
                      ChvdVm *vm,
                      uint64_t timestamp,
                      const char *source,
                      const char *event,
                      GVariant *properties);
        /* A new owner is asked for. False: the error says why not; else chvd_vm_set_owner() has been called. */
        bool (*chown)(gpointer data, ChvdVm *vm, uid_t owner, GError **error);
        /* The VM is off the bus and about to lose the reference that chvd_vm_new() gave. */
        void (*gone)(gpointer data, ChvdVm *vm);
} ChvdVmHooks;

/* Exports the VM in state created, and tells the event "created". The reference belongs to the VM itself until it is gone. */
ChvdVm *
chvd_vm_new(ChvdContext *context,
            const ChvdVmHooks *hooks,
            gpointer hooks_data,
            ChvdDefinition *definition,
            uid_t owner,
            bool transient);
ChvdVm *chvd_vm_ref(ChvdVm *vm);
void chvd_vm_unref(ChvdVm *vm);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(ChvdVm, chvd_vm_unref)

/* Takes the VM off the bus and answers what waits for that; its run has to be over. */
void chvd_vm_remove(ChvdVm *vm);

void chvd_vm_set_transient(ChvdVm *vm, bool transient);
void chvd_vm_set_owner(ChvdVm *vm, uid_t owner);
const char *chvd_vm_name(const ChvdVm *vm);
const char *chvd_vm_path(const ChvdVm *vm);
uid_t chvd_vm_owner(const ChvdVm *vm);
ChvVmState chvd_vm_state(const ChvdVm *vm);
const char *chvd_vm_state_reason(const ChvdVm *vm);
const ChvdDefinition *chvd_vm_definition(const ChvdVm *vm);
