/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Namespaces of the process's own. Privileges make them, or a user namespace does, where the host lets anybody have one: in that
 * the process has all rights, so that more namespaces can be made later without another around them.
 */

#include "daemon/vmm/sandbox/namespaces.h"

#include <errno.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "dbus/user-map.h"

static bool has_user_namespace; /* that was made here */

static bool make_around(int flags, uid_t uid, gid_t gid) {
        return unshare(CLONE_NEWUSER | flags) == 0 && chv_user_map(uid, gid);
}

/* Some hosts let anybody have a user namespace and nobody use it. Tried by a child, for there is no way back. */
static bool is_of_use(int flags, uid_t uid, gid_t gid) {
        int status = -1;
        pid_t pid = fork();

        if (pid == 0)
                _exit(!make_around(flags, uid, gid) ||
                      ((flags & CLONE_NEWNS) &&
                       mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0));
        if (pid < 0)
                return false;
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
                ;
        errno = EPERM;
        return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

bool namespaces_make(int flags) {
        uid_t uid = geteuid();
        gid_t gid = getegid();

        if (unshare(flags) == 0)
                return true;
        /* The maps are a readable process's own. */
        if (errno != EPERM || has_user_namespace || prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) < 0 ||
            !is_of_use(flags, uid, gid) || !make_around(flags, uid, gid))
                return false;
        has_user_namespace = true;
        return true;
}
