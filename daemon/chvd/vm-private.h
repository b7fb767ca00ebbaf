/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "daemon/chvd/broker.h"
#include "daemon/chvd/job.h"
#include "daemon/chvd/quota.h"
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
        uint64_t created;
        bool transient;
        ChvdPolicy policy;
        bool stored;  /* there is a record of it on disk */
        bool storing; /* a change of that is under way */
        bool has_run; /* ever */
        bool gone;    /* off the bus */
        ChvObjectSkeleton *object;
        ChvVm *skeleton;
        ChvVmState state;
        GVariant *console_paths; /* a{ss}; NULL: none */
        GPtrArray *devices;      /* ChvdDevice, while a worker has the machine */

        /* The run: from Start until everything of it is released. */
        ChvVmState before; /* where a start that fails goes back to */
        bool start_paused; /* leave the guest paused at its first instruction */
        bool keeps;        /* the worker was told to keep a machine that fails */
        unsigned start_timeout_s;
        GCancellable *opening;  /* of the broker; NULL: not at it */
        GCancellable *chaining; /* of files that images name; NULL: not at it */
        ChvdResources *resources;
        bool releasing; /* its resources are being undone */
        ChvdWorker *worker;
        bool again;           /* the run under way is the second half of a reboot */
        bool to_keep;         /* transient only until it has started */
        bool abandoned;       /* the run goes on without us */
        int64_t deadline_at;  /* monotonic: of a guest that was asked to power off; 0: none */
        guint deadline;       /* of the start, or of a guest that was asked to power off */
        ChvVmState end_state; /* what the run ends in; INVALID: nobody ended it yet */
        char *end_reason;
        GError *start_error;  /* why the start under way has failed */
        ChvVmState told;      /* shutdown or failed, told before Boot had returned; else INVALID */
        bool start_failed;    /* the last one, as the reason of the state says */
        bool restart;         /* start again when the run has ended */
        ChvdJob *start_job;   /* Start or Reboot */
        ChvdJob *stop_job;    /* PowerOff */
        GPtrArray *deletions; /* GDBusMethodInvocation of Delete, to be answered when gone */

        bool is_charged; /* the owner has been, for the run */
        uint64_t charged[CHVD_CHARGE_MAX];

        GPtrArray *links; /* ChvdLink: connections that are being made anew */

        /* After a crash. */
        guint crash_timer; /* until it is started again */
        bool crash_start;  /* the start under way is such a one */
        unsigned n_crashes;
        gint64 booted_at; /* monotonic; 0: the last run did not come so far */
};

/* vm.c */
void chvd_vm_set_state(ChvdVm *vm, ChvVmState state, const char *reason);
void chvd_vm_set_policy(ChvdVm *vm, const ChvdPolicy *policy);
void chvd_vm_set_definition(ChvdVm *vm, ChvdDefinition *definition);
void chvd_vm_forward_event(
                ChvdVm *vm,
                uint64_t timestamp,
                const char *source,
                const char *event,
                GVariant *properties);

/* vm-store.c */
/* NULL: as it is. It takes effect, and done is called, when it is on disk. */
void chvd_vm_change(
                ChvdVm *vm,
                const ChvdPolicy *policy,
                ChvdDefinition *definition,
                ChvdStored done,
                gpointer data);
/* The same for its owner, who has been charged. */
void chvd_vm_change_owner(ChvdVm *vm, uid_t owner, ChvdStored done, gpointer data);

/* vm-charge.c */
/* CHV_ERROR_LIMIT: nothing is charged. */
bool chvd_vm_charge_run(ChvdVm *vm, GError **error);
/* Whatever the limits are: for a run that was there before. */
void chvd_vm_charge_run_again(ChvdVm *vm);
/* Does nothing when nothing is charged. */
void chvd_vm_release_run(ChvdVm *vm);

/* vm-adopt.c */
/* Records what the run is at, for a chvd to come. */
bool chvd_vm_note(ChvdVm *vm, GError **error);
/* The same if there is a worker; that it can't be recorded is told in the log. */
void chvd_vm_note_change(ChvdVm *vm);

/* vm-chain.c */
/* The worker is ready and has no machine: opens what images name. done is called, maybe before this returns, unless the run ends first. */
void chvd_vm_open_chains(ChvdVm *vm, void (*done)(ChvdVm *vm, const GError *error));

/* vm-run.c */
/* Whatever is under way for the run is in vain. */
bool chvd_vm_is_ending(const ChvdVm *vm);
/* From now on what the worker tells is of this VM, whose state and run are set already. devices: a(sssa{sv}). */
void chvd_vm_take_worker(ChvdVm *vm, ChvdWorker *worker, GVariant *devices);

/* vm-groups.c */
gboolean chvd_vm_on_update_group(
                ChvVm *skeleton,
                GDBusMethodInvocation *invocation,
                const char *group,
                GVariant *config,
                GVariant *options,
                ChvdVm *vm);

/* vm-limits.c */
/* Floating, as of chvd_worker_start(). */
GVariant *chvd_vm_limits(const ChvdVm *vm);
/* Puts the policy's shares in force for a process that runs; done may be called before this returns. */
void chvd_vm_apply_limits(
                ChvdVm *vm, void (*done)(gpointer data, const GError *error), gpointer data);

/* vm-machine.c */
/* It runs, and machinectl may know. */
void chvd_vm_register(ChvdVm *vm);

/* vm-crash.c */
void chvd_vm_crash_forget(ChvdVm *vm);

/* vm-sizes.c */
/* The worker has a machine, another than before: brings the sizes of its disks to their objects. */
void chvd_vm_ask_sizes(ChvdVm *vm);
/* The same with what the worker has said of them, a{st}, and with its event that one of them has another size. */
void chvd_vm_set_sizes(ChvdVm *vm, GVariant *sizes);
void chvd_vm_resized(ChvdVm *vm, GVariant *properties);

/* vm-link.c */
/* The worker tells that a device has lost its connection. */
void chvd_vm_link_lost(ChvdVm *vm, GVariant *properties);
void chvd_vm_forget_links(ChvdVm *vm);

/* vm-methods.c */
void chvd_vm_connect_methods(ChvdVm *vm);
