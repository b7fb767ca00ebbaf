/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <gio/gio.h>

/* How chvd reaches this worker: a listening socket on which one chvd after the other connects. Main thread. */
typedef struct Channel Channel;

typedef struct {
        /* A chvd has connected; the connection before, if any, is closed already. It starts no message processing by itself. */
        void (*connected)(void *opaque, GDBusConnection *connection);
        /* The present connection is gone, and no other has come. */
        void (*lost)(void *opaque);
} ChannelOps;

/* fd: a listening stream socket, which stays the caller's and open for as long as the channel. NULL and error: it is none. */
Channel *channel_new(int fd, const ChannelOps *ops, void *opaque, GError **error);
/* Closes the connection; nothing is told any more. */
void channel_free(Channel *channel);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Channel, channel_free)
