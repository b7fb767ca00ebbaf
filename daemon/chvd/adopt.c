/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Adoption: for each run on record, its process is found, connected to and asked what it is at. What runs is handed on
 * with its worker. What does not is brought to its end here, before anybody can see the VM: a start that has not come
 * to a machine, a stop that was under way, a machine that ended while nobody watched. What a run has made on the host
 * is undone when its process is gone, and then its folder goes.
 *
 * A worker has some time to answer; one that does not is of no use to anybody and is killed.
 */

#include "daemon/chvd/adopt.h"

#include <string.h>

#include "daemon/chvd/broker.h"
#include "daemon/chvd/runtime.h"
#include "daemon/chvd/vm-run.h"
#include "dbus/config.h"
#include "dbus/error.h"

#define ANSWER_MS (30 * 1000)
#define UNNOTED_MS (10 * 1000) /* for one that cannot be killed, or does not die of it */

struct ChvdAdoption {
        const ChvdContext *context;
        const ChvdAdoptionOps *ops;
        gpointer data;
        GPtrArray *runs; /* Orphan */
        guint idle;
};

typedef struct {
        ChvdAdoption *adoption; /* NULL: it is no more */
        unsigned refs;
        char *name;
        ChvdRun *run;
        ChvdWorker *worker;
        guint timer;
        bool killed;
        ChvVmState state; /* what the machine has ended in; INVALID: not known */
        char *reason;
} Orphan;

static void orphan_unref(Orphan *orphan) {
        if (--orphan->refs > 0)
                return;
        chvd_run_free(orphan->run);
        g_free(orphan->name);
        g_free(orphan->reason);
        g_free(orphan);
}

/* Its process, if there is one, goes on. */
static void orphan_drop(gpointer data) {
        Orphan *orphan = data;

        orphan->adoption = NULL;
        g_clear_handle_id(&orphan->timer, g_source_remove);
        g_clear_pointer(&orphan->worker, chvd_worker_abandon);
        orphan_unref(orphan);
}

static gboolean on_done(gpointer data) {
        ChvdAdoption *adoption = data;

        adoption->idle = 0;
        adoption->ops->done(adoption->data);
        return G_SOURCE_REMOVE;
}

static void forget(ChvdAdoption *adoption, Orphan *orphan) {
        (void) g_ptr_array_remove(adoption->runs, orphan);
        if (adoption->runs->len == 0)
                adoption->idle = g_idle_add(on_done, adoption);
}

static void settle(Orphan *orphan, const ChvdAdopted *adopted) {
        ChvdAdoption *adoption = orphan->adoption;

        adoption->ops->adopted(adoption->data, orphan->name, adopted);
        forget(adoption, orphan);
}

static void set_end(Orphan *orphan, ChvVmState state, const char *reason) {
        if (orphan->state != CHV_VM_STATE_INVALID)
                return;
        orphan->state = state;
        orphan->reason = g_strdup(reason);
}

/* What it had on the host. */
static void undo(const Orphan *orphan) {
        const ChvdRun *run = orphan->run;
        g_autoptr(GVariant) no_fds = g_variant_ref_sink(g_variant_new("a{sh}", NULL));
        g_autoptr(ChvdDefinition) definition = NULL;
        g_autoptr(GError) error = NULL;

        if (!run->resources)
                return;
        definition = chvd_definition_new(
                        orphan->name, run->record->config, no_fds, /* list= */ NULL, &error);
        if (definition)
                chvd_resources_free(chvd_resources_restore(
                                orphan->adoption->context, definition, run->record->owner,
                                run->resources));
}

/* There is no process any more. why: what is known of that; NULL: nothing. */
static void over(Orphan *orphan, const GError *why) {
        const ChvdRun *run = orphan->run;
        g_autofree char *reason =
                        g_strdup_printf("its worker died while the service was away%s%s",
                                        why ? ": " : "", why ? why->message : "");

        if (run->phase == CHVD_RUN_STOPPING)
                set_end(orphan, run->end, run->reason);
        else if (g_error_matches(why, CHV_ERROR, CHV_ERROR_CANCELLED) &&
                 run->phase == CHVD_RUN_RUNNING)
                set_end(orphan, CHV_VM_STATE_SHUTDOWN,
                        "its unit was stopped while the service was away");
        else if (run->phase == CHVD_RUN_STARTING)
                set_end(orphan, run->before,
                        "its start was interrupted: the service was restarted");
        else
                set_end(orphan, CHV_VM_STATE_FAILED, reason);
        undo(orphan);
        chvd_runtime_remove(orphan->adoption->context->runtime_dir, orphan->name);
        settle(orphan,
               &(ChvdAdopted){ .run = run, .state = orphan->state, .reason = orphan->reason });
}

static void on_exited(gpointer data, const ChvdExit *exit) {
        Orphan *orphan = data;

        g_clear_pointer(&orphan->worker, chvd_worker_free);
        over(orphan, /* why= */ NULL);
}

static void on_failed(gpointer data, const GError *error) {
        Orphan *orphan = data;

        g_clear_pointer(&orphan->worker, chvd_worker_free);
        over(orphan, error);
}

static gboolean on_time(gpointer data) {
        Orphan *orphan = data;
        ChvdAdoption *adoption = orphan->adoption;
        g_autoptr(GError) error = NULL;

        orphan->timer = 0;
        if (!orphan->run->handle) {
                g_message("VM '%s': a worker of an interrupted start does not end; it will by "
                          "itself",
                          orphan->name);
                g_clear_pointer(&orphan->worker, chvd_worker_abandon);
                over(orphan, /* why= */ NULL);
                return G_SOURCE_REMOVE;
        }
        if (!orphan->killed) {
                orphan->killed = true;
                set_end(orphan, CHV_VM_STATE_FAILED,
                        "its worker did not answer the restarted service");
                orphan->timer = g_timeout_add(UNNOTED_MS, on_time, orphan);
                chvd_worker_end(orphan->worker, /* grace_ms= */ 0);
                return G_SOURCE_REMOVE;
        }
        /* Stuck in the kernel: it has the VM's disks still. */
        g_set_error(&error, CHV_ERROR, CHV_ERROR_WORKER_DIED, "process %d does not end when killed",
                    chvd_worker_pid(orphan->worker));
        adoption->ops->broken(adoption->data, orphan->name, error);
        forget(adoption, orphan);
        return G_SOURCE_REMOVE;
}

static void end(Orphan *orphan) {
        chvd_worker_end(orphan->worker, CHVD_QUIT_GRACE_S * 1000);
}

static void take_over(Orphan *orphan, ChvVmState state, const char *reason, GVariant *reply) {
        g_autoptr(GVariant) devices = g_variant_get_child_value(reply, 2);
        gboolean preserve;

        g_variant_get_child(reply, 4, "b", &preserve);
        settle(orphan, &(ChvdAdopted){
                                       .run = orphan->run,
                                       .worker = g_steal_pointer(&orphan->worker),
                                       .state = state,
                                       .reason = reason,
                                       .devices = devices,
                                       .preserve = preserve,
                       });
}

static void on_described(gpointer data, GVariant *reply, GUnixFDList *fds, const GError *error) {
        Orphan *orphan = data;
        g_autofree char *reason = NULL;
        const char *name, *text;
        gboolean preserve;
        ChvVmState state;

        if (!orphan->adoption || !orphan->worker)
                return orphan_unref(orphan);
        if (error) {
                /* If it has died, that will be told. */
                if (!g_error_matches(error, CHV_ERROR, CHV_ERROR_WORKER_DIED)) {
                        set_end(orphan, CHV_VM_STATE_FAILED, error->message);
                        chvd_worker_end(orphan->worker, /* grace_ms= */ 0);
                }
                return orphan_unref(orphan);
        }
        g_variant_get_child(reply, 0, "&s", &name);
        g_variant_get_child(reply, 1, "&s", &text);
        reason = chvd_worker_bounded(text);
        g_variant_get_child(reply, 4, "b", &preserve);
        state = chv_vm_state_from_string(name);
        if (state == CHV_VM_STATE_RUNNING || state == CHV_VM_STATE_PAUSED ||
            (state == CHV_VM_STATE_FAILED && preserve &&
             orphan->run->record->policy.crash == CHVD_CRASH_PRESERVE))
                take_over(orphan, state, reason, reply);
        else {
                if (state == CHV_VM_STATE_SHUTDOWN || state == CHV_VM_STATE_FAILED)
                        set_end(orphan, state, reason);
                end(orphan);
        }
        orphan_unref(orphan);
}

static void on_ready(gpointer data) {
        Orphan *orphan = data;

        if (orphan->run->phase == CHVD_RUN_STOPPING || !orphan->run->handle)
                return end(orphan);
        orphan->refs++;
        chvd_worker_call(
                        orphan->worker, "Describe",
                        /* parameters= */ NULL, "(ssa(sssa{sv})a{ss}b)",
                        /* fds= */ NULL, ANSWER_MS, on_described, orphan);
}

static void on_started(gpointer data) {
}

static void
on_event(gpointer data,
         uint64_t timestamp,
         const char *source,
         const char *event,
         GVariant *properties) {
}

static void on_state(gpointer data, const char *state, const char *reason) {
}

static const ChvdWorkerOps worker_ops = {
        .started = on_started,
        .failed = on_failed,
        .ready = on_ready,
        .event = on_event,
        .state = on_state,
        .exited = on_exited,
};

static ChvdRun *load(ChvdAdoption *adoption, const char *name, GError **error) {
        const char *dir = adoption->context->runtime_dir;
        g_autofree char *text = NULL, *boot = chvd_run_boot();
        g_autoptr(ChvdRun) run = NULL;
        size_t size = 0;

        text = chvd_runtime_load(dir, name, &size, error);
        if (text)
                run = chvd_run_from_text(text, size, error);
        else if (error && !*error)
                /* No process is made before there is a record. */
                chvd_runtime_remove(dir, name);
        if (!run)
                return NULL;
        /* What ran then is gone with the host's memory. */
        if (!g_str_equal(run->boot, boot)) {
                chvd_runtime_remove(dir, name);
                return NULL;
        }
        return g_steal_pointer(&run);
}

static void add(ChvdAdoption *adoption, const char *name) {
        g_autoptr(GError) error = NULL, none = NULL;
        ChvdRun *run;
        Orphan *orphan;

        if (!chv_name_valid(name, &none))
                return g_message("%s/vm/%s: is no VM's", adoption->context->runtime_dir, name);
        run = load(adoption, name, &error);
        if (error)
                return adoption->ops->broken(adoption->data, name, error);
        if (!run)
                return;
        orphan = g_new0(Orphan, 1);
        orphan->refs = 1;
        orphan->adoption = adoption;
        orphan->name = g_strdup(name);
        orphan->run = run;
        orphan->state = CHV_VM_STATE_INVALID;
        g_ptr_array_add(adoption->runs, orphan);
        orphan->timer = g_timeout_add(run->handle ? ANSWER_MS : UNNOTED_MS, on_time, orphan);
        orphan->worker = chvd_worker_adopt(
                        adoption->context, name, run->handle, &worker_ops, orphan);
}

ChvdAdoption *
chvd_adoption_new(const ChvdContext *context, const ChvdAdoptionOps *ops, gpointer data) {
        g_auto(GStrv) names = chvd_runtime_list(context->runtime_dir);
        ChvdAdoption *adoption = g_new0(ChvdAdoption, 1);

        adoption->context = context;
        adoption->ops = ops;
        adoption->data = data;
        adoption->runs = g_ptr_array_new_with_free_func(orphan_drop);
        for (unsigned i = 0; names[i]; i++)
                add(adoption, names[i]);
        if (adoption->runs->len == 0)
                adoption->idle = g_idle_add(on_done, adoption);
        return adoption;
}

void chvd_adoption_free(ChvdAdoption *adoption) {
        if (!adoption)
                return;
        g_clear_handle_id(&adoption->idle, g_source_remove);
        g_ptr_array_unref(adoption->runs);
        g_free(adoption);
}
