/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A worker's process: which kind it is, and what all kinds have in common. A new one is a unit where systemd is there
 * to make units, else a child; an old one is what its handle says, since a chvd may come to serve another bus than the
 * one before.
 */

#include "daemon/chvd/process.h"

#include <string.h>

#include "daemon/chvd/process-private.h"
#include "daemon/chvd/units.h"
#include "dbus/error.h"

static const ChvdProcessKind *const kinds[] = { &chvd_process_child, &chvd_process_systemd };

/* A handle that no kind knows: nothing of it can be said but that it is gone. */
typedef struct {
        ChvdProcess process;
        guint idle;
} Unknown;

static gboolean on_unknown(gpointer data) {
        Unknown *unknown = data;
        g_autoptr(GError) error =
                        g_error_new_literal(CHV_ERROR, CHV_ERROR_FAILED, "its process is unknown");

        unknown->idle = 0;
        chvd_process_tell_started(&unknown->process, error);
        return G_SOURCE_REMOVE;
}

static void adopt_unknown(ChvdProcess *process, const ChvdContext *context, const char *handle) {
        Unknown *unknown = (Unknown *) process;

        unknown->idle = g_idle_add(on_unknown, unknown);
}

static void kill_unknown(ChvdProcess *process) {
}

static void clear_unknown(ChvdProcess *process) {
        Unknown *unknown = (Unknown *) process;

        g_clear_handle_id(&unknown->idle, g_source_remove);
}

static const ChvdProcessKind unknown_kind = {
        .name = "unknown",
        .size = sizeof(Unknown),
        .adopt = adopt_unknown,
        .kill = kill_unknown,
        .clear = clear_unknown,
};

char **chvd_process_debug_environment(void) {
        static const char *const kept[] = {
                "ASAN_OPTIONS", "G_DEBUG",      "G_MESSAGES_DEBUG",
                "LSAN_OPTIONS", "TSAN_OPTIONS", "UBSAN_OPTIONS",
        };
        g_auto(GStrv) env = NULL;

        for (size_t i = 0; i < G_N_ELEMENTS(kept); i++) {
                const char *value = g_getenv(kept[i]);

                if (value)
                        env = g_environ_setenv(env, kept[i], value, /* overwrite= */ true);
        }
        return env ? g_steal_pointer(&env) : g_new0(char *, 1);
}

static ChvdProcess *
process_new(const ChvdProcessKind *kind, const ChvdProcessOps *ops, gpointer data) {
        ChvdProcess *process = g_malloc0(kind->size);

        process->kind = kind;
        process->ops = ops;
        process->data = data;
        return process;
}

static const ChvdProcessKind *kind_to_start(const ChvdContext *context) {
        return chvd_units_wanted(context->units) ? &chvd_process_systemd : &chvd_process_child;
}

ChvdProcess *chvd_process_start(
                const ChvdContext *context,
                const ChvdProcessSetup *setup,
                const ChvdProcessOps *ops,
                gpointer data) {
        ChvdProcess *process = process_new(kind_to_start(context), ops, data);

        process->kind->start(process, context, setup);
        return process;
}

ChvdProcess *chvd_process_adopt(
                const ChvdContext *context,
                const char *handle,
                const ChvdProcessOps *ops,
                gpointer data) {
        const ChvdProcessKind *kind = &unknown_kind;
        ChvdProcess *process;

        for (size_t i = 0; i < G_N_ELEMENTS(kinds); i++) {
                size_t length = strlen(kinds[i]->name);

                if (strncmp(handle, kinds[i]->name, length) == 0 && handle[length] == ' ' &&
                    (context->units || kinds[i] != &chvd_process_systemd))
                        kind = kinds[i];
        }
        process = process_new(kind, ops, data);
        kind->adopt(process, context, handle);
        return process;
}

void chvd_process_tell_started(ChvdProcess *process, const GError *error) {
        process->ops->started(process->data, error);
}

void chvd_process_tell_exited(ChvdProcess *process, const ChvdExit *exit) {
        process->pid = 0;
        process->ops->exited(process->data, exit);
}

const char *chvd_process_handle(const ChvdProcess *process) {
        return process->handle;
}

pid_t chvd_process_pid(const ChvdProcess *process) {
        return process->pid;
}

const char *chvd_process_unit(const ChvdProcess *process) {
        return process->unit ?: "";
}

bool chvd_process_has_limits(const ChvdProcess *process) {
        return process->unit || process->cgroup;
}

void chvd_process_kill(ChvdProcess *process) {
        process->kind->kill(process);
}

void chvd_process_set_limits(
                ChvdProcess *process,
                GVariant *limits,
                void (*done)(gpointer data, const GError *error),
                gpointer data) {
        g_autoptr(GVariant) owned = g_variant_ref_sink(limits);
        g_autoptr(GError) error = NULL;

        if (chvd_process_has_limits(process)) {
                process->kind->set_limits(process, owned, done, data);
                return;
        }
        g_set_error(&error, CHV_ERROR, CHV_ERROR_NOT_SUPPORTED,
                    "the VM's process is no unit of systemd, and has no control group");
        if (done)
                done(data, error);
}

void chvd_process_free(ChvdProcess *process) {
        if (!process)
                return;
        process->kind->clear(process);
        g_free(process->handle);
        g_free(process->unit);
        g_free(process->cgroup);
        g_free(process);
}
