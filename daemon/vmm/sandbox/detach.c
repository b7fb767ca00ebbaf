/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A process gets a number space of its own only when it is born, so a worker that systemd started makes a child and leaves: for
 * systemd that is a service that forks (Type=forking), whose main process is the one that is left. chvd's own children need none of
 * this, they are born there (daemon/chvd/spawn.c).
 *
 * Until the child says that it is ready the first process waits, so that whatever goes wrong is seen as the end of the start.
 *
 * The first process of a namespace is not ended by signals that have no handler, other than what the kernel forces on it: faults,
 * the filter's SIGSYS, and SIGKILL from outside. abort() makes a fault when its signal was not enough; report.c has it before that.
 */

#include "daemon/vmm/sandbox/detach.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/vmm/sandbox/namespaces.h"
#include "dbus/error.h"
#include "dbus/fd.h"

#define FINISH_FD (STDERR_FILENO + 1)

static bool detached;

static _Noreturn void end_as(pid_t child) {
        int status = 0;

        while (waitpid(child, &status, 0) < 0 && errno == EINTR)
                ;
        if (WIFSIGNALED(status)) {
                (void) signal(WTERMSIG(status), SIG_DFL);
                (void) raise(WTERMSIG(status));
        }
        _exit(WIFEXITED(status) ? WEXITSTATUS(status) : EXIT_FAILURE);
}

static _Noreturn void wait_for(pid_t child, int ready) {
        char c;
        ssize_t n;

        while ((n = read(ready, &c, 1)) < 0 && errno == EINTR)
                ;
        if (n != 1)
                end_as(child);
        _exit(EXIT_SUCCESS);
}

static bool fail(GError **error) {
        g_set_error(error, CHV_ERROR, CHV_ERROR_RESOURCE, "detaching: %s", g_strerror(errno));
        return false;
}

bool detach_begin(bool own_namespace, GError **error) {
        chv_autofd ready = -1, finish = -1;
        int ends[2];
        pid_t child;

        if (pipe2(ends, O_CLOEXEC) < 0)
                return fail(error);
        ready = ends[0];
        finish = ends[1];
        if (own_namespace && !namespaces_make(CLONE_NEWPID))
                g_debug("sandbox: a process namespace: %s; going on without", g_strerror(errno));
        child = fork();
        if (child < 0)
                return fail(error);
        if (child > 0) {
                (void) close(chv_fd_steal(&finish));
                wait_for(child, ready);
        }
        if (finish == FINISH_FD)
                (void) chv_fd_steal(&finish);
        else if (dup3(finish, FINISH_FD, O_CLOEXEC) < 0)
                return fail(error);
        if (ready == FINISH_FD)
                (void) chv_fd_steal(&ready); /* it has been replaced */
        detached = true;
        return true;
}

int detach_fd(void) {
        return detached ? FINISH_FD : STDERR_FILENO;
}

void detach_finish(void) {
        if (!detached)
                return;
        detached = false;
        (void) !write(FINISH_FD, "", 1);
        (void) close(FINISH_FD);
}
