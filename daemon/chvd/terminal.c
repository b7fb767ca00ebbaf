/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Terminals behind consoles. A pseudo-terminal is made here, because the worker has no /dev/pts; its slave belongs to
 * who makes it, chvd or, as the owner of a VM, chv-open, and to nobody else.
 */

#include "daemon/chvd/terminal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "daemon/chvd/resource.h"
#include "dbus/fd.h"

/* Documentation/admin-guide/devices.txt */
#define PTMX_MAJOR 5
#define PTMX_MINOR 2

static int fail(ChvdFault *fault, const char *what) {
        *fault = (ChvdFault){ errno, what };
        return -1;
}

char *chvd_terminal_path(int master) {
        char path[64];

        return ptsname_r(master, path, sizeof(path)) == 0 ? g_strdup(path) : NULL;
}

int chvd_terminal_make(ChvdFault *ret_fault) {
        chv_autofd master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
        g_autofree char *path = NULL;

        if (master < 0 || grantpt(master) < 0 || unlockpt(master) < 0)
                return fail(ret_fault, "cannot make a pseudo-terminal");
        path = chvd_terminal_path(master);
        if (path && chmod(path, 0600) < 0)
                return fail(ret_fault, "cannot set the mode of the pseudo-terminal");
        return chv_fd_steal(&master);
}

bool chvd_terminal_is_master(int fd) {
        g_autofree char *path = NULL;
        struct statx st;

        if (!chvd_resource_stat(fd, &st) || !S_ISCHR(st.stx_mode) ||
            st.stx_rdev_major != PTMX_MAJOR || st.stx_rdev_minor != PTMX_MINOR)
                return false;
        path = chvd_terminal_path(fd);
        return path != NULL;
}
