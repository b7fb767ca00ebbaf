/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A job: exported before its work begins, gone when its work is over. Order for a client that watches: InterfacesAdded,
 * then what the work does, then Completed, then the replies of calls that waited for it, then InterfacesRemoved.
 * Whoever does the work holds the only pointer and calls chvd_job_finish() exactly once.
 */

#include "daemon/chvd/job.h"

#include <inttypes.h>

#include "daemon/chvd/gate.h"
#include "daemon/chvd/options.h"
#include "daemon/chvd/peers.h"
#include "daemon/chvd/quota.h"
#include "dbus/error.h"
#include "dbus/generated.h"

typedef struct {
        ChvdJobDone done;
        gpointer data;
} Waiter;

struct ChvdJob {
        ChvdContext *context;
        char *path, *vm;
        uid_t owner, started_by;
        ChvObjectSkeleton *object;
        ChvJob *skeleton;
        void (*cancel)(gpointer data);
        gpointer data;
        GArray *waiters; /* Waiter */
};

static void subject(gpointer data, GDBusMethodInvocation *invocation, ChvdSubject *ret_subject) {
        ChvdJob *job = data;

        *ret_subject = (ChvdSubject){ .vm = job->vm, .owned = true, .owner = job->owner };
}

static gboolean
on_cancel(ChvJob *skeleton, GDBusMethodInvocation *invocation, GVariant *options, ChvdJob *job) {
        static const char *const known[] = { NULL };
        g_autoptr(GError) error = NULL;

        if (!chvd_options_check(options, known, &error)) {
                g_dbus_method_invocation_return_gerror(invocation, error);
                return true;
        }
        if (!job->cancel) {
                g_dbus_method_invocation_return_error(
                                invocation, CHV_ERROR, CHV_ERROR_NOT_SUPPORTED,
                                "this job cannot be cancelled");
                return true;
        }
        chv_job_complete_cancel(skeleton, invocation);
        /* May end the job at once. */
        job->cancel(job->data);
        return true;
}

ChvdJob *
chvd_job_new(ChvdContext *context,
             const char *operation,
             const char *object,
             const char *vm,
             uid_t owner,
             uid_t started_by,
             void (*cancel)(gpointer data),
             gpointer data,
             GError **error) {
        const char *objects[] = { object, NULL };
        ChvdJob *job;

        if (!chvd_quota_charge(context->quota, CHVD_CHARGE_JOB, started_by, error))
                return NULL;

        job = g_new0(ChvdJob, 1);
        job->context = context;
        job->vm = g_strdup(vm);
        job->owner = owner;
        job->started_by = started_by;
        job->cancel = cancel;
        job->data = data;
        job->waiters = g_array_new(false, false, sizeof(Waiter));
        job->path = g_strdup_printf(CHVD_PATH_JOB "/%" PRIu64, ++context->last_job);

        job->skeleton = chvd_gate_new(CHV_TYPE_JOB_SKELETON, context->authority, subject, job);
        chv_job_set_operation(job->skeleton, operation);
        chv_job_set_objects(job->skeleton, objects);
        chv_job_set_started_by_uid(job->skeleton, started_by);
        chv_job_set_started_at(job->skeleton, (guint64) g_get_real_time());
        chv_job_set_cancelable(job->skeleton, cancel != NULL);
        (void) g_signal_connect(job->skeleton, "handle-cancel", G_CALLBACK(on_cancel), job);

        job->object = chv_object_skeleton_new(job->path);
        chv_object_skeleton_set_job(job->object, job->skeleton);
        chvd_objects_export(job->context, job->object);
        return job;
}

const char *chvd_job_path(const ChvdJob *job) {
        return job->path;
}

void chvd_job_wait(ChvdJob *job, ChvdJobDone done, gpointer data) {
        Waiter waiter = { done, data };

        (void) g_array_append_val(job->waiters, waiter);
}

void chvd_job_finish(ChvdJob *job, const GError *error) {
        if (!job)
                return;
        g_dbus_interface_skeleton_flush(G_DBUS_INTERFACE_SKELETON(job->skeleton));
        chv_job_emit_completed(job->skeleton, error == NULL, error ? error->message : "");
        for (unsigned i = 0; i < job->waiters->len; i++) {
                Waiter *waiter = &g_array_index(job->waiters, Waiter, i);

                waiter->done(waiter->data, job->path, error);
        }
        chvd_objects_unexport(job->context, job->path);
        (void) g_signal_handlers_disconnect_by_data(job->skeleton, job);
        chvd_quota_release(job->context->quota, CHVD_CHARGE_JOB, job->started_by);
        g_object_unref(job->skeleton);
        g_object_unref(job->object);
        g_array_unref(job->waiters);
        g_free(job->path);
        g_free(job->vm);
        g_free(job);
}
