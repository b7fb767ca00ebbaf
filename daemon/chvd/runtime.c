/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Where the runs of VMs are found by a chvd that comes later: a folder for each, which holds the socket that its worker
 * listens on and the record of the run. A socket's path has little more than a hundred bytes, whatever folder we were
 * told to use, so it is always named by way of the open folder.
 */

#include "daemon/chvd/runtime.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "dbus/error.h"
#include "dbus/fd.h"

#define SOCKET "socket"
#define BACKLOG 8

static const char *const files[] = { SOCKET, "run", "run.new" };

static char *folder(const char *runtime_dir, const char *vm) {
        return g_build_filename(runtime_dir, "vm", vm, NULL);
}

static int fail(const char *path, const char *what, GError **error) {
        g_set_error(error, CHV_ERROR, CHV_ERROR_RESOURCE, "%s: %s: %s", path, what,
                    g_strerror(errno));
        return -1;
}

static int open_folder(const char *path) {
        return open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

static int make_socket(int dir, struct sockaddr_un *ret_address) {
        *ret_address = (struct sockaddr_un){ .sun_family = AF_UNIX };
        (void) snprintf(ret_address->sun_path, sizeof(ret_address->sun_path),
                        "/proc/self/fd/%d/" SOCKET, dir);
        return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
}

int chvd_runtime_listen(const char *runtime_dir, const char *vm, GError **error) {
        g_autofree char *path = folder(runtime_dir, vm);
        chv_autofd dir = -1, fd = -1;
        struct sockaddr_un address;

        if (g_mkdir_with_parents(path, 0700) < 0)
                return fail(path, "cannot be made", error);
        dir = open_folder(path);
        if (dir < 0)
                return fail(path, "cannot be opened", error);
        fd = make_socket(dir, &address);
        (void) unlinkat(dir, SOCKET, 0);
        if (fd < 0 || fchmod(fd, 0600) < 0 ||
            bind(fd, (const struct sockaddr *) &address, sizeof(address)) < 0 ||
            listen(fd, BACKLOG) < 0) {
                (void) fail(path, "no socket can be made in it", error);
                chvd_runtime_remove(runtime_dir, vm);
                return -1;
        }
        return chv_fd_steal(&fd);
}

int chvd_runtime_connect(const char *runtime_dir, const char *vm, GError **error) {
        g_autofree char *path = folder(runtime_dir, vm);
        chv_autofd dir = open_folder(path), fd = -1;
        struct sockaddr_un address;

        if (dir < 0)
                return fail(path, "cannot be opened", error);
        fd = make_socket(dir, &address);
        if (fd < 0 || connect(fd, (const struct sockaddr *) &address, sizeof(address)) < 0)
                return fail(path, "its socket cannot be connected to", error);
        return chv_fd_steal(&fd);
}

void chvd_runtime_remove(const char *runtime_dir, const char *vm) {
        g_autofree char *path = folder(runtime_dir, vm);
        chv_autofd dir = open_folder(path);

        if (dir < 0)
                return;
        for (size_t i = 0; i < G_N_ELEMENTS(files); i++)
                (void) unlinkat(dir, files[i], 0);
        (void) rmdir(path);
}
