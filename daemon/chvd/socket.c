/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The socket behind a console in socket mode. Bound here because the worker sees no file system; removed here when the
 * VM ends. A path where somebody listens, or that is no socket, is left alone.
 */

#include "daemon/chvd/socket.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "daemon/chvd/resource.h"
#include "dbus/fd.h"

static int fail(const ChvResource *resource, int errnum, const char *what, GError **error) {
        (void) chvd_resource_fail(resource, errnum, what, error);
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

int chvd_socket_listen(const ChvResource *resource, GError **error) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        chv_autofd fd = -1;

        if (!resource->path)
                return fail(resource, 0, "is needed: a path or a descriptor", error);
        if (strlen(resource->path) >= sizeof(address.sun_path))
                return fail(resource, 0, "is too long for a socket", error);
        (void) memcpy(address.sun_path, resource->path, strlen(resource->path) + 1);

        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
                return fail(resource, errno, "cannot make a socket", error);
        /* Mode of the file that bind() makes. */
        if (fchmod(fd, 0600) < 0)
                return fail(resource, errno, "cannot set mode", error);
        if (bind(fd, (struct sockaddr *) &address, sizeof(address)) < 0) {
                if (errno != EADDRINUSE || !is_stale(&address))
                        return fail(resource, errno, "cannot bind", error);
                (void) unlink(address.sun_path);
                if (bind(fd, (struct sockaddr *) &address, sizeof(address)) < 0)
                        return fail(resource, errno, "cannot bind", error);
        }
        if (listen(fd, 4) < 0) {
                int errnum = errno;

                (void) unlink(address.sun_path);
                return fail(resource, errnum, "cannot listen", error);
        }
        return chv_fd_steal(&fd);
}
