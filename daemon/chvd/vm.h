/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <gio/gio.h>
#include <stdbool.h>
#include <sys/types.h>

#include "daemon/chvd/adopt.h"
#include "daemon/chvd/context.h"
#include "daemon/chvd/definition.h"
#include "daemon/chvd/policy.h"
#include "daemon/chvd/store-queue.h"
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
        /* One VM more, and one less, on the account of owner. */
        bool (*charge)(gpointer data, uid_t owner, GError **error);
        void (*release)(gpointer data, uid_t owner);
        /* The VM is off the bus and about to lose the reference that chvd_vm_new() gave. */
        void (*gone)(gpointer data, ChvdVm *vm);
        /* Gives the VM another name and answers the call. The state has been checked. */
        void (*rename)(gpointer data,
                       ChvdVm *vm,
                       const char *name,
                       GDBusMethodInvocation *invocation);
} ChvdVmHooks;

/* What a VM is beside its definition. */
typedef struct {
        uid_t owner;
        uint64_t created; /* microseconds since 1970 */
        bool transient;
        ChvdPolicy policy;
        bool stored;        /* there is a record of it */
        bool has_run;       /* ever */
        ChvVmState state;   /* created, shutdown or failed */
        const char *reason; /* NULL: none */
} ChvdVmOrigin;

/* Exports the VM. The reference belongs to the VM itself until it is gone. */
ChvdVm *
chvd_vm_new(ChvdContext *context,
            const ChvdVmHooks *hooks,
            gpointer hooks_data,
            ChvdDefinition *definition,
            const ChvdVmOrigin *origin);
ChvdVm *chvd_vm_ref(ChvdVm *vm);
void chvd_vm_unref(ChvdVm *vm);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(ChvdVm, chvd_vm_unref)

/* Gives it the run that another chvd has left; the VM has been made in its state. */
void chvd_vm_adopt(ChvdVm *vm, const ChvdAdopted *adopted);
/* Forgets its run, which goes on without us; the VM is to be removed. */
void chvd_vm_abandon(ChvdVm *vm);

/* It has failed and is to be started again, if nobody does something else with it meanwhile. */
void chvd_vm_crash_restart(ChvdVm *vm);
/* Whatever kept the VM from going may be over: it goes if it is to. */
void chvd_vm_settle(ChvdVm *vm);

/* Takes the VM off the bus and answers what waits for that; its run has to be over. */
void chvd_vm_remove(ChvdVm *vm);

/* A transient VM is to be stored when it has started: a later chvd will do it if this one does not come to it. */
void chvd_vm_set_to_keep(ChvdVm *vm);
bool chvd_vm_is_to_keep(const ChvdVm *vm);
/* Stores a VM that was transient until now; then it no longer is. */
void chvd_vm_keep(ChvdVm *vm, ChvdStored done, gpointer data);
/* No change is under way; else CHV_ERROR_BUSY. */
bool chvd_vm_may_change(const ChvdVm *vm, GError **error);
/* Between the two it takes no change and does not start. */
void chvd_vm_begin_change(ChvdVm *vm);
void chvd_vm_end_change(ChvdVm *vm);

/* Something of it is in memory alone, or under way, though it does not run: all of it, descriptors that its creator gave, how it or its start failed, a
 * change or another start. */
bool chvd_vm_is_volatile(const ChvdVm *vm);

void chvd_vm_set_transient(ChvdVm *vm, bool transient);
void chvd_vm_set_owner(ChvdVm *vm, uid_t owner);
/* Tells an event of source vm. Properties changed so far are told first. properties: consumed if floating, NULL: none. */
void chvd_vm_event(ChvdVm *vm, const char *event, GVariant *properties);
/* What chvd_vm_new() would need to make it anew; borrowed from the VM. */
ChvdVmOrigin chvd_vm_origin(const ChvdVm *vm);
const ChvdPolicy *chvd_vm_policy(const ChvdVm *vm);
const char *chvd_vm_name(const ChvdVm *vm);
const char *chvd_vm_path(const ChvdVm *vm);
uid_t chvd_vm_owner(const ChvdVm *vm);
ChvVmState chvd_vm_state(const ChvdVm *vm);
const char *chvd_vm_state_reason(const ChvdVm *vm);
const ChvdDefinition *chvd_vm_definition(const ChvdVm *vm);
