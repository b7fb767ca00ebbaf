/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A worker as a plain process: our child in a session of its own, so that what is typed at our terminal does not reach
 * it, and bound to us by nothing else (spawn.c). It inherits three descriptors and the few variables listed here; an
 * attacker who can set chvd's environment gains nothing over the worker's.
 *
 * A later chvd is not its parent: it holds a pidfd, and knows by the time at which the process was started that the
 * number has not come to be another's.
 */

#include <errno.h>
#include <glib-unix.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/chvd/cgroup.h"
#include "daemon/chvd/process-private.h"
#include "daemon/chvd/spawn.h"
#include "dbus/error.h"
#include "dbus/fd.h"

#define NAME "child"

typedef struct {
        ChvdProcess process;
        GPid child;   /* ours to reap; 0: none */
        int pidfd;    /* of one that is not; -1: none */
        guint source; /* first that of `started`, then that of its end */
        GError *error;
} Child;

static char **environment(void) {
        char **env = chvd_process_debug_environment();
        const char *journal = g_getenv("JOURNAL_STREAM"); /* where messages go */

        env = g_environ_setenv(env, "PATH", "/usr/sbin:/usr/bin:/sbin:/bin", /* overwrite= */ true);
        env = g_environ_setenv(env, "LANG", "C.UTF-8", /* overwrite= */ true);
        if (journal)
                env = g_environ_setenv(env, "JOURNAL_STREAM", journal, /* overwrite= */ true);
        return env;
}

/* Of a process that was started in clock ticks after the boot of the host; 0: there is none of that number. */
static uint64_t start_time(pid_t pid) {
        g_autofree char *file = g_strdup_printf("/proc/%d/stat", pid), *text = NULL;
        uint64_t ticks = 0;
        const char *rest;

        if (!g_file_get_contents(file, &text, /* length= */ NULL, /* error= */ NULL))
                return 0;
        /* The name before it may hold anything, brackets too. The time is the 22nd field, and this is before the third. */
        rest = strrchr(text, ')');
        for (unsigned i = 0; rest && i < 20; i++)
                rest = strchr(rest + 1, ' ');
        return rest && sscanf(rest, " %" SCNu64, &ticks) == 1 ? ticks : 0;
}

static void leave_cgroup(Child *child) {
        if (child->process.cgroup)
                chvd_cgroup_remove(child->process.cgroup);
        g_clear_pointer(&child->process.cgroup, g_free);
}

static void on_reaped(GPid pid, gint status, gpointer data) {
        Child *child = data;

        child->child = 0;
        child->source = 0;
        leave_cgroup(child);
        chvd_process_tell_exited(&child->process, &(ChvdExit){ .known = true, .status = status });
}

static gboolean on_gone(gint fd, GIOCondition condition, gpointer data) {
        Child *child = data;

        child->source = 0;
        leave_cgroup(child);
        chvd_process_tell_exited(&child->process, &(ChvdExit){ .known = false });
        return G_SOURCE_REMOVE;
}

static gboolean on_started(gpointer data) {
        Child *child = data;
        g_autoptr(GError) error = g_steal_pointer(&child->error);

        child->source = 0;
        if (child->child)
                child->source = g_child_watch_add(child->child, on_reaped, child);
        else if (child->pidfd >= 0)
                child->source = g_unix_fd_add(child->pidfd, G_IO_IN, on_gone, child);
        chvd_process_tell_started(&child->process, error);
        return G_SOURCE_REMOVE;
}

static void set_pid(Child *child, pid_t pid) {
        child->process.pid = pid;
        child->process.handle = g_strdup_printf(NAME " %d %" PRIu64, pid, start_time(pid));
}

static void start(ChvdProcess *process, const ChvdContext *context, const ChvdProcessSetup *setup) {
        Child *child = (Child *) process;
        g_auto(GStrv) env = environment();
        g_autoptr(GError) error = NULL;
        chv_autofd procs = -1;
        ChvdSpawn spawn = {
                .argv = setup->argv,
                .env = (const char *const *) env,
                .input = setup->channel,
        };

        process->cgroup = chvd_cgroups_make(context->cgroups, setup->vm, setup->limits, &procs);
        spawn.cgroup = procs;
        child->pidfd = -1;
        child->source = g_idle_add(on_started, child);
        child->child = chvd_spawn(&spawn, &error);
        if (child->child) {
                set_pid(child, child->child);
                return;
        }
        leave_cgroup(child);
        child->error = g_error_new(
                        CHV_ERROR, CHV_ERROR_FAILED, "starting the worker: %s", error->message);
}

static void adopt(ChvdProcess *process, const ChvdContext *context, const char *handle) {
        Child *child = (Child *) process;
        uint64_t ticks = 0;
        int pid = 0;

        child->pidfd = -1;
        child->source = g_idle_add(on_started, child);
        /* First the descriptor and then the look: what is seen is what the descriptor stands for. */
        if (sscanf(handle, NAME " %d %" SCNu64, &pid, &ticks) == 2 && pid > 0 && ticks > 0)
                child->pidfd = pidfd_open(pid, /* flags= */ 0);
        if (child->pidfd >= 0 && start_time(pid) == ticks) {
                set_pid(child, pid);
                process->cgroup = chvd_cgroup_of(pid);
                return;
        }
        if (child->pidfd >= 0)
                (void) close(chv_fd_steal(&child->pidfd));
        child->error = g_error_new_literal(CHV_ERROR, CHV_ERROR_WORKER_DIED, "its process is gone");
}

static void end(ChvdProcess *process) {
        Child *child = (Child *) process;

        /* Its process group, which has its number for as long as it is there to be reaped. */
        if (child->child)
                (void) kill(-child->child, SIGKILL);
        if (child->child)
                (void) kill(child->child, SIGKILL);
        else if (child->pidfd >= 0)
                (void) pidfd_send_signal(child->pidfd, SIGKILL, NULL, /* flags= */ 0);
}

static void
set_limits(ChvdProcess *process,
           GVariant *limits,
           void (*done)(gpointer data, const GError *error),
           gpointer data) {
        g_autoptr(GError) error = NULL;

        if (!chvd_cgroup_limit(process->cgroup, limits, &error))
                g_prefix_error(&error, "limits: ");
        if (done)
                done(data, error);
}

/* data: its control group, or NULL. */
static void reap(GPid pid, gint status, gpointer data) {
        g_autofree char *cgroup = data;

        if (cgroup)
                chvd_cgroup_remove(cgroup);
}

static void clear(ChvdProcess *process) {
        Child *child = (Child *) process;

        g_clear_handle_id(&child->source, g_source_remove);
        if (child->child)
                (void) g_child_watch_add(
                                child->child, reap, g_steal_pointer(&child->process.cgroup));
        if (child->pidfd >= 0)
                (void) close(chv_fd_steal(&child->pidfd));
        g_clear_error(&child->error);
}

const ChvdProcessKind chvd_process_child = {
        .name = NAME,
        .size = sizeof(Child),
        .start = start,
        .adopt = adopt,
        .kill = end,
        .set_limits = set_limits,
        .clear = clear,
};
