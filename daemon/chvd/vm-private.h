/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "daemon/chvd/broker.h"
#include "daemon/chvd/job.h"
#include "daemon/chvd/vm.h"
#include "daemon/chvd/worker.h"
#include "dbus/generated.h"

/* The inside of a VM, for vm.c (the object), vm-run.c (start and stop) and vm-methods.c (calls of clients). */

struct ChvdVm {
        unsigned refs;
        ChvdContext *context;
        const ChvdVmHooks *hooks;
        gpointer hooks_data;
        ChvdDefinition *definition;
        char *path;
        uid_t owner;
        bool transient;
        bool gone; /* off the bus */
        ChvObjectSkeleton *object;
        ChvVm *skeleton;
        ChvVmState state;
        GVariant *console_paths; /* a{ss}; NULL: none */
        GPtrArray *devices;      /* ChvdDevice, while a worker has the machine */

        /* The run: from Start until everything of it is released. */
        ChvVmState before; /* where a start that fails goes back to */
        bool start_paused; /* leave the guest paused at its first instruction */
        unsigned start_timeout_s;
        GCancellable *opening; /* of the broker; NULL: not at it */
        ChvdResources *resources;
        ChvdWorker *worker;
        guint deadline;       /* of the start, or of a guest that was asked to power off */
        ChvVmState end_state; /* what the run ends in; INVALID: nobody ended it yet */
        char *end_reason;
        GError *start_error;  /* why the start under way has failed */
        ChvVmState told;      /* shutdown or failed, told before Boot had returned; else INVALID */
        bool restart;         /* start again when the run has ended */
        ChvdJob *start_job;   /* Start or Reboot */
        ChvdJob *stop_job;    /* PowerOff */
        GPtrArray *deletions; /* GDBusMethodInvocation of Delete, to be answered when gone */
};

/* vm.c */
void chvd_vm_set_state(ChvdVm *vm, ChvVmState state, const char *reason);
/* Properties changed so far are told first. properties: consumed if floating, NULL: none. */
void chvd_vm_event(ChvdVm *vm, const char *event, GVariant *properties);
void chvd_vm_forward_event(
                ChvdVm *vm,
                uint64_t timestamp,
                const char *source,
                const char *event,
                GVariant *properties);

/* vm-methods.c */
void chvd_vm_connect_methods(ChvdVm *vm);
