/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Starting a worker. What runs between fork and exec only makes system calls. A worker inherits four descriptors and
 * the few variables listed here; an attacker who can set chvd's environment gains nothing over the worker's.
 */

#include "daemon/chvd/spawn.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "dbus/error.h"

#define CHANNEL_FD 3

/* Debugging aids and where messages go. */
static const char *const kept[] = {
        "ASAN_OPTIONS", "G_DEBUG",      "G_MESSAGES_DEBUG", "JOURNAL_STREAM",
        "LSAN_OPTIONS", "TSAN_OPTIONS", "UBSAN_OPTIONS",
};

typedef struct {
        pid_t parent;
} Setup;

static void in_child(gpointer data) {
        const Setup *setup = data;
        sigset_t none;

        (void) setsid();
        (void) dup2(STDERR_FILENO, STDOUT_FILENO);
        (void) sigemptyset(&none);
        (void) sigprocmask(SIG_SETMASK, &none, NULL);
        (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
        /* The parent may have died before the line above took effect. */
        if (getppid() != setup->parent)
                _exit(EXIT_FAILURE);
}

static char **environment(void) {
        g_auto(GStrv) env = g_strdupv(
                        (char *[]){ "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", NULL });

        for (size_t i = 0; i < G_N_ELEMENTS(kept); i++) {
                const char *value = g_getenv(kept[i]);

                if (value)
                        env = g_environ_setenv(env, kept[i], value, /* overwrite= */ true);
        }
        return g_steal_pointer(&env);
}

bool chvd_spawn(const char *program, int channel, pid_t *ret_pid, GError **error) {
        const char *const argv[] = { program, NULL };
        g_auto(GStrv) env = environment();
        g_autoptr(GError) spawn_error = NULL;
        Setup setup = { getpid() };
        const int target = CHANNEL_FD;
        GPid pid;

        if (!g_spawn_async_with_pipes_and_fds(
                            "/", argv, (const char *const *) env, G_SPAWN_DO_NOT_REAP_CHILD,
                            in_child, &setup,
                            /* stdin_fd= */ -1,
                            /* stdout_fd= */ -1,
                            /* stderr_fd= */ -1, &channel, &target,
                            /* n_fds= */ 1, &pid,
                            /* stdin_pipe_out= */ NULL,
                            /* stdout_pipe_out= */ NULL,
                            /* stderr_pipe_out= */ NULL, &spawn_error)) {
                g_set_error(error, CHV_ERROR, CHV_ERROR_FAILED, "starting the worker: %s",
                            spawn_error->message);
                return false;
        }
        *ret_pid = pid;
        return true;
}
