/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Terminals behind consoles. A pseudo-terminal is made here, because the worker has no /dev/pts; its slave is for the
 * daemon's user alone. In tty mode the terminal is the creator's own and came as a descriptor.
 */

#include "daemon/chvd/terminal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "dbus/error.h"
#include "dbus/fd.h"

static int fail(const char *name, const char *what, GError **error) {
        g_set_error(error, CHV_ERROR, CHV_ERROR_RESOURCE, "%s.mode: %s: %s", name, what,
                    g_strerror(errno));
        return -1;
}

char *chvd_terminal_path(int master) {
        char path[64];

        return ptsname_r(master, path, sizeof(path)) == 0 ? g_strdup(path) : NULL;
}

static int open_pty(const char *name, GError **error) {
        chv_autofd master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
        g_autofree char *path = NULL;

        if (master < 0 || grantpt(master) < 0 || unlockpt(master) < 0)
                return fail(name, "cannot make a pseudo-terminal", error);
        path = chvd_terminal_path(master);
        if (path && chmod(path, 0600) < 0)
                return fail(name, "cannot set the mode of the pseudo-terminal", error);
        return chv_fd_steal(&master);
}

int chvd_terminal_open(const char *name, ChvConsoleMode mode, int given, GError **error) {
        int fd;

        if (given < 0 && mode == CHV_CONSOLE_PTY)
                return open_pty(name, error);
        if (given < 0) {
                g_set_error(error, CHV_ERROR, CHV_ERROR_RESOURCE,
                            "%s.mode: tty needs the creator's terminal as a descriptor", name);
                return -1;
        }
        fd = fcntl(given, F_DUPFD_CLOEXEC, 3);
        return fd >= 0 ? fd : fail(name, "cannot duplicate the terminal", error);
}
