/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <gio/gio.h>
#include <sys/types.h>

#include "daemon/chvd/context.h"

/* Work on a VM that takes time, as an object on the bus. Main thread only. */
typedef struct ChvdJob ChvdJob;

/* How a job ended: error is NULL on success, and borrowed. */
typedef void (*ChvdJobDone)(gpointer data, const char *job_path, const GError *error);

/* Charges started_by and exports the job. object, vm and owner: what it works on. cancel is called when a client cancels the job, and
 * has to end it in the end; NULL: cannot be cancelled. */
ChvdJob *
chvd_job_new(ChvdContext *context,
             const char *operation,
             const char *object,
             const char *vm,
             uid_t owner,
             uid_t started_by,
             void (*cancel)(gpointer data),
             gpointer data,
             GError **error);

const char *chvd_job_path(const ChvdJob *job);

/* done is called when the job is over, after Completed has been emitted. */
void chvd_job_wait(ChvdJob *job, ChvdJobDone done, gpointer data);

/* Emits Completed, tells who waits, and removes the job. */
void chvd_job_finish(ChvdJob *job, const GError *error);
