/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Starting a program in a namespace of processes. That takes a flag of clone() that no function of a library passes on, and where we
 * are not privileged a user namespace around it, in which the child maps itself before it becomes the program.
 *
 * Each way that the host might allow is tried, from the narrowest to none at all. The child shares no memory with us and makes only
 * system calls; what goes wrong in it comes back through a pipe that exec closes, and what was signalled meanwhile
 * comes to us alone.
 */

#include "daemon/chvd/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "dbus/error.h"
#include "dbus/fd.h"
#include "dbus/user-map.h"

typedef enum {
        STEP_NAMESPACE,
        STEP_CGROUP,
        STEP_SETUP,
        STEP_EXEC,
} Step;

/* What the child says before it ends. */
typedef struct {
        Step step;
        int errnum;
} Failure;

#ifdef CHVD_INSTRUMENTED
/* Sanitizers look their process up in /proc, by the number it has for itself. */
static const unsigned long ways[] = { 0 };
#else
static const unsigned long ways[] = { CLONE_NEWPID, CLONE_NEWUSER | CLONE_NEWPID, 0 };
#endif

static bool take_input(int input) {
        if (input == STDIN_FILENO)
                return fcntl(input, F_SETFD, 0) == 0;
        return dup2(input, STDIN_FILENO) >= 0;
}

static void reset_signals(void) {
        sigset_t none;

        /* Some cannot be set. */
        for (int i = 1; i < NSIG; i++)
                (void) signal(i, SIG_DFL);
        (void) sigemptyset(&none);
        (void) sigprocmask(SIG_SETMASK, &none, NULL);
}

static _Noreturn void give_up(int pipe, Step step) {
        Failure failure = { step, errno };

        (void) !write(pipe, &failure, sizeof(failure));
        _exit(EXIT_FAILURE);
}

static _Noreturn void
in_child(const ChvdSpawn *spawn, unsigned long way, uid_t uid, gid_t gid, int pipe) {
        if ((way & CLONE_NEWUSER) && !chv_user_map(uid, gid))
                give_up(pipe, STEP_NAMESPACE);
        if (spawn->cgroup >= 0 && write(spawn->cgroup, "0", 1) != 1)
                give_up(pipe, STEP_CGROUP);
        (void) setsid();
        if (chdir("/") < 0 || !take_input(spawn->input) || dup2(STDERR_FILENO, STDOUT_FILENO) < 0 ||
            syscall(SYS_close_range, STDERR_FILENO + 1, ~0u, CLOSE_RANGE_CLOEXEC) < 0)
                give_up(pipe, STEP_SETUP);
        reset_signals();
        (void) execve(spawn->argv[0], (char *const *) spawn->argv, (char *const *) spawn->env);
        give_up(pipe, STEP_EXEC);
}

/* As fork(), whose house-keeping is for children that go on with the library. */
static pid_t make_child(unsigned long way) {
        if (way == 0)
                return fork();
        return (pid_t) syscall(SYS_clone, way | SIGCHLD, NULL, NULL, NULL, NULL);
}

/* 0: *ret_failure says why not. */
static pid_t try_way(const ChvdSpawn *spawn, unsigned long way, Failure *ret_failure) {
        uid_t uid = geteuid();
        gid_t gid = getegid();
        chv_autofd ours = -1, theirs = -1;
        int ends[2];
        ssize_t n;
        pid_t pid;

        *ret_failure = (Failure){ STEP_SETUP, 0 };
        if (pipe2(ends, O_CLOEXEC) < 0) {
                ret_failure->errnum = errno;
                return 0;
        }
        ours = ends[0];
        theirs = ends[1];
        pid = make_child(way);
        if (pid == 0)
                in_child(spawn, way, uid, gid, theirs);
        if (pid < 0) {
                *ret_failure = (Failure){ way == 0 ? STEP_SETUP : STEP_NAMESPACE, errno };
                return 0;
        }
        (void) close(chv_fd_steal(&theirs));
        while ((n = read(ours, ret_failure, sizeof(*ret_failure))) < 0 && errno == EINTR)
                ;
        if (n != (ssize_t) sizeof(*ret_failure))
                return pid;
        while (waitpid(pid, /* wstatus= */ NULL, /* options= */ 0) < 0 && errno == EINTR)
                ;
        return 0;
}

pid_t chvd_spawn(const ChvdSpawn *spawn, GError **error) {
        static const char *const steps[] = { "a namespace: ", "its cgroup: ", "", "" };
        Failure failure = { STEP_NAMESPACE, 0 };
        sigset_t all, before;
        pid_t pid = 0;

        (void) sigfillset(&all);
        (void) pthread_sigmask(SIG_SETMASK, &all, &before);
        for (size_t i = 0; i < G_N_ELEMENTS(ways) && pid == 0 && failure.step == STEP_NAMESPACE;
             i++)
                pid = try_way(spawn, ways[i], &failure);
        (void) pthread_sigmask(SIG_SETMASK, &before, NULL);
        if (pid == 0)
                g_set_error(error, CHV_ERROR, CHV_ERROR_FAILED, "%s: %s%s", spawn->argv[0],
                            steps[failure.step], g_strerror(failure.errnum));
        return pid;
}
