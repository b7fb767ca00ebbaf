/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The socket behind a console in socket mode. Bound here because the worker sees no file system; removed here when the
 * VM ends. A path where somebody listens, or that is no socket, is left alone. Runs in chvd or, with the rights of a
 * VM's owner, in chv-open: the file is the owner's, and what the owner could not remove is not removed.
 */

#include "daemon/chvd/socket.h"

#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "dbus/fd.h"

static int fail(ChvdFault *fault, int errnum, const char *what) {
        *fault = (ChvdFault){ errnum, what };
        return -1;
}

/* A socket file that refuses connections was left by a process that is gone. */
static bool is_stale(const struct sockaddr_un *address) {
        chv_autofd fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        struct stat st;

        return fd >= 0 && lstat(address->sun_path, &st) == 0 && S_ISSOCK(st.st_mode) &&
               connect(fd, (const struct sockaddr *) address, sizeof(*address)) < 0 &&
               errno == ECONNREFUSED;
}

static bool find(const char *path, ChvdSocketFile *ret_file) {
        ChvdFault fault;
        g_autofree char *name = NULL;
        chv_autofd folder = chvd_walk_folder(path, &name, &fault);
        struct stat st;

        if (folder < 0 || fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
            !S_ISSOCK(st.st_mode))
                return false;
        *ret_file = (ChvdSocketFile){ st.st_dev, st.st_ino };
        return true;
}

int chvd_socket_listen(const char *path, ChvdSocketFile *ret_file, ChvdFault *ret_fault) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        g_autofree char *name = NULL;
        chv_autofd fd = -1, folder = -1;

        if (strlen(path) >= sizeof(address.sun_path))
                return fail(ret_fault, 0, "is too long for a socket");
        (void) memcpy(address.sun_path, path, strlen(path) + 1);
        /* For its rules on links. */
        folder = chvd_walk_folder(path, &name, ret_fault);
        if (folder < 0)
                return -1;

        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
                return fail(ret_fault, errno, "cannot make a socket");
        /* Mode of the file that bind() makes. */
        if (fchmod(fd, 0600) < 0)
                return fail(ret_fault, errno, "cannot set mode");
        if (bind(fd, (struct sockaddr *) &address, sizeof(address)) < 0) {
                if (errno != EADDRINUSE || !is_stale(&address))
                        return fail(ret_fault, errno, "cannot bind");
                (void) unlink(address.sun_path);
                if (bind(fd, (struct sockaddr *) &address, sizeof(address)) < 0)
                        return fail(ret_fault, errno, "cannot bind");
        }
        if (!find(path, ret_file))
                return fail(ret_fault, 0, "was changed while it was made");
        if (listen(fd, 4) < 0) {
                int errnum = errno;

                chvd_socket_remove(path, ret_file);
                return fail(ret_fault, errnum, "cannot listen");
        }
        return chv_fd_steal(&fd);
}

int chvd_socket_connect(const char *path, ChvdFault *ret_fault) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        chv_autofd place = chvd_walk(path, ret_fault), fd = -1;
        struct stat st;

        if (place < 0)
                return -1;
        if (fstat(place, &st) < 0)
                return fail(ret_fault, errno, "cannot stat");
        if (!S_ISSOCK(st.st_mode))
                return fail(ret_fault, 0, "not a socket");
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
                return fail(ret_fault, errno, "cannot make a socket");
        /* The one that was looked at, however long its path. */
        (void) g_snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d", place);
        if (connect(fd, (const struct sockaddr *) &address, sizeof(address)) < 0)
                return fail(ret_fault, errno, "cannot connect");
        return chv_fd_steal(&fd);
}

void chvd_socket_remove(const char *path, const ChvdSocketFile *file) {
        ChvdFault fault;
        g_autofree char *name = NULL;
        chv_autofd folder = chvd_walk_folder(path, &name, &fault);
        struct stat st;

        if (folder >= 0 && fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
            S_ISSOCK(st.st_mode) && st.st_dev == file->device && st.st_ino == file->inode)
                (void) unlinkat(folder, name, 0);
}
