/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A back end that connects to us (vhost_mode=server). The socket's file is the owner's and for nobody else, so whoever gets in is the owner
 * or root. It is waited for as long as it takes: the machine cannot be built without knowing what the back end can do.
 */

#include "daemon/chvd/back-end.h"

#include <errno.h>
#include <sys/socket.h>

#include "daemon/chvd/resource.h"

int chvd_back_end_accept(
                int listener, const ChvResource *need, GCancellable *cancellable, GError **error) {
        GPollFD polled[2] = { { .fd = listener, .events = G_IO_IN } };
        bool cancellable_too = g_cancellable_make_pollfd(cancellable, &polled[1]);
        int fd = -1;

        while (!g_cancellable_set_error_if_cancelled(cancellable, error)) {
                fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
                if (fd >= 0)
                        break;
                if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) {
                        (void) chvd_resource_fail(need, errno, "cannot accept", error);
                        break;
                }
                (void) g_poll(polled, cancellable_too ? 2 : 1, -1);
        }
        if (cancellable_too)
                g_cancellable_release_fd(cancellable);
        return fd;
}
