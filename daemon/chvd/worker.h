/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <gio/gio.h>
#include <gio/gunixfdlist.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "daemon/chvd/context.h"
#include "daemon/chvd/process.h"

/* The process of one running VM and the private connection to it. Main thread only. */
typedef struct ChvdWorker ChvdWorker;

typedef struct {
        /* Its process runs: chvd_worker_handle() says which. */
        void (*started)(gpointer data);
        /* There is no process, and nothing more is told; the worker is to be freed. */
        void (*failed)(gpointer data, const GError *error);
        /* The connection stands: calls may be made. */
        void (*ready)(gpointer data);
        /* Something of the machine, as the worker tells it. */
        void (*event)(gpointer data,
                      uint64_t timestamp,
                      const char *source,
                      const char *event,
                      GVariant *properties);
        /* The worker's State changed: "running", "paused", "shutdown", "failed" or whatever it says. */
        void (*state)(gpointer data, const char *state, const char *reason);
        /* The process is gone, and all that it had sent has been told. Called once, last; the worker is to be freed. */
        void (*exited)(gpointer data, const ChvdExit *exit);
} ChvdWorkerOps;

/* reply (and its descriptors) or error, which is in CHV_ERROR; all borrowed. Called exactly once for each call, also when the worker dies or is
 * freed before, so data has to live that long. */
typedef void (*ChvdWorkerReply)(
                gpointer data, GVariant *reply, GUnixFDList *fds, const GError *error);

/* A new one for the VM of that name, with its folder below the context's runtime_dir. Fails at once, with CHV_ERROR_RESOURCE, when that cannot be made.
 * pins_memory, limits: as of ChvdProcessSetup, the latter consumed if floating. */
ChvdWorker *chvd_worker_start(
                const ChvdContext *context,
                const char *name,
                const char *uuid,
                bool pins_memory,
                GVariant *limits,
                const ChvdWorkerOps *ops,
                gpointer data,
                GError **error);
/* One that another chvd started. A process that nobody has noted (handle NULL) is only talked to: it cannot be killed, and is told to have
 * exited when the connection is gone. */
ChvdWorker *chvd_worker_adopt(
                const ChvdContext *context,
                const char *name,
                const char *handle,
                const ChvdWorkerOps *ops,
                gpointer data);
/* What a worker says is no longer than this makes it. */
char *chvd_worker_bounded(const char *text);
/* What it tells goes elsewhere from now on. */
void chvd_worker_set_ops(ChvdWorker *worker, const ChvdWorkerOps *ops, gpointer data);

/* Forgets the worker: nothing is told any more. A process that is still there is killed. */
void chvd_worker_free(ChvdWorker *worker);
/* The same, but the process goes on. */
void chvd_worker_abandon(ChvdWorker *worker);

/* 0: there is none. */
pid_t chvd_worker_pid(const ChvdWorker *worker);
/* As of chvd_process_handle(). */
const char *chvd_worker_handle(const ChvdWorker *worker);
/* As of chvd_process_unit(). */
const char *chvd_worker_unit(const ChvdWorker *worker);
/* As of chvd_process_has_limits() and _set_limits(). */
bool chvd_worker_has_limits(const ChvdWorker *worker);
void chvd_worker_set_limits(
                ChvdWorker *worker,
                GVariant *limits,
                void (*done)(gpointer data, const GError *error),
                gpointer data);
bool chvd_worker_is_ready(const ChvdWorker *worker);

/* Calls a method of org.cloudhypervisor.Vmm. parameters is consumed if floating, NULL: none. timeout_ms: -1 for the usual, G_MAXINT for none. A
 * reply of another type than reply_type is an error. The worker has to be ready. */
void chvd_worker_call(
                ChvdWorker *worker,
                const char *method,
                GVariant *parameters,
                const char *reply_type,
                GUnixFDList *fds,
                int timeout_ms,
                ChvdWorkerReply done,
                gpointer data);

/* Ends it: asks it to quit, and kills it when it has not gone after grace_ms. 0: kills it at once. */
void chvd_worker_end(ChvdWorker *worker, unsigned grace_ms);
