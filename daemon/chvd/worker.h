/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <gio/gio.h>
#include <gio/gunixfdlist.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* The process of one running VM and the private connection to it. Main thread only. */
typedef struct ChvdWorker ChvdWorker;

typedef struct {
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
        /* The process is gone, and all that it had sent has been told. Called once, last; the worker is to be freed. status as of waitpid(). */
        void (*exited)(gpointer data, int status);
} ChvdWorkerOps;

/* reply (and its descriptors) or error, which is in CHV_ERROR; all borrowed. Called exactly once for each call, also when the worker dies or is
 * freed before, so data has to live that long. */
typedef void (*ChvdWorkerReply)(
                gpointer data, GVariant *reply, GUnixFDList *fds, const GError *error);

ChvdWorker *
chvd_worker_start(const char *program, const ChvdWorkerOps *ops, gpointer data, GError **error);

/* Forgets the worker: nothing is told any more. A process that is still there is killed. */
void chvd_worker_free(ChvdWorker *worker);

pid_t chvd_worker_pid(const ChvdWorker *worker);
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
