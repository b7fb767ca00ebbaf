/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The way in: a listening socket that chvd made before it started us, and that a later chvd finds again. There is one
 * connection at a time and the newest wins, because the older one may belong to a chvd that hangs. It wins when its
 * handshake is over, not when it is accepted, so that a connection that comes to nothing ends no good one.
 *
 * Who may connect is decided by the folder that the socket is in; that the peer is root, or who made the socket, or
 * who we are, is checked again here.
 */

#include "daemon/vmm/channel.h"

#include <errno.h>
#include <fcntl.h>
#include <glib-unix.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <unistd.h>

#include "dbus/fd.h"

struct Channel {
        int fd;
        const ChannelOps *ops;
        void *opaque;
        guint source;
        GCancellable *joining; /* of the handshake under way; NULL: none */
        GDBusConnection *connection;
};

typedef struct {
        Channel *channel;
        GCancellable *cancellable; /* the channel may be gone when this is cancelled */
} Join;

static bool peer_uid(int fd, uid_t *ret) {
        struct ucred credentials;
        socklen_t size = sizeof(credentials);

        if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size) < 0)
                return false;
        *ret = credentials.uid;
        return true;
}

static bool is_allowed(const Channel *channel, int fd) {
        uid_t uid, maker;

        if (!peer_uid(fd, &uid))
                return false;
        return uid == 0 || uid == geteuid() || (peer_uid(channel->fd, &maker) && uid == maker);
}

static void forget_connection(Channel *channel) {
        g_autoptr(GDBusConnection) connection = g_steal_pointer(&channel->connection);

        if (!connection)
                return;
        (void) g_signal_handlers_disconnect_by_data(connection, channel);
        if (!g_dbus_connection_is_closed(connection))
                g_dbus_connection_close(connection, NULL, NULL, NULL);
}

static void
on_closed(GDBusConnection *connection, gboolean vanished, GError *error, Channel *channel) {
        forget_connection(channel);
        channel->ops->lost(channel->opaque);
}

static void on_joined(GObject *source, GAsyncResult *result, gpointer data) {
        g_autofree Join *join = data;
        g_autoptr(GCancellable) cancellable = join->cancellable;
        g_autoptr(GError) error = NULL;
        g_autoptr(GDBusConnection) connection = g_dbus_connection_new_finish(result, &error);
        Channel *channel = join->channel;

        /* A newer one has come meanwhile, or the channel is gone. */
        if (g_cancellable_is_cancelled(cancellable)) {
                if (connection)
                        g_dbus_connection_close(connection, NULL, NULL, NULL);
                return;
        }
        g_clear_object(&channel->joining);
        if (!connection) {
                g_debug("a connection came to nothing: %s", error->message);
                return;
        }
        forget_connection(channel);
        channel->connection = g_object_ref(connection);
        g_dbus_connection_set_exit_on_close(connection, false);
        (void) g_signal_connect(connection, "closed", G_CALLBACK(on_closed), channel);
        channel->ops->connected(channel->opaque, connection);
}

/* Takes fd over. */
static void join(Channel *channel, int fd) {
        g_autoptr(GSocketConnection) stream = NULL;
        g_autoptr(GError) error = NULL;
        g_autoptr(GSocket) socket = g_socket_new_from_fd(fd, &error);
        Join *data;

        if (!socket) {
                (void) close(fd);
                return;
        }
        if (channel->joining)
                g_cancellable_cancel(channel->joining);
        g_clear_object(&channel->joining);
        channel->joining = g_cancellable_new();
        data = g_new0(Join, 1);
        data->channel = channel;
        data->cancellable = g_object_ref(channel->joining);
        stream = g_socket_connection_factory_create_connection(socket);
        g_dbus_connection_new(
                        G_IO_STREAM(stream),
                        /* guid= */ NULL,
                        G_DBUS_CONNECTION_FLAGS_AUTHENTICATION_CLIENT |
                                        G_DBUS_CONNECTION_FLAGS_DELAY_MESSAGE_PROCESSING,
                        /* observer= */ NULL, channel->joining, on_joined, data);
}

static gboolean on_incoming(gint fd, GIOCondition condition, gpointer data) {
        Channel *channel = data;
        chv_autofd peer = accept4(fd, NULL, NULL, SOCK_CLOEXEC);

        if (peer >= 0 && is_allowed(channel, peer))
                join(channel, chv_fd_steal(&peer));
        return G_SOURCE_CONTINUE;
}

Channel *channel_new(int fd, const ChannelOps *ops, void *opaque, GError **error) {
        Channel *channel;
        int listens = 0;
        socklen_t size = sizeof(listens);

        if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) < 0 || !listens ||
            fcntl(fd, F_SETFD, FD_CLOEXEC) < 0) {
                g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                            "descriptor %d is no listening socket (chv-vmm is started by chvd)",
                            fd);
                return NULL;
        }
        /* Who has connected may be gone again before accept() is called. */
        (void) g_unix_set_fd_nonblocking(fd, true, /* error= */ NULL);
        channel = g_new0(Channel, 1);
        channel->fd = fd;
        channel->ops = ops;
        channel->opaque = opaque;
        channel->source = g_unix_fd_add(fd, G_IO_IN, on_incoming, channel);
        return channel;
}

void channel_free(Channel *channel) {
        if (!channel)
                return;
        g_clear_handle_id(&channel->source, g_source_remove);
        if (channel->joining)
                g_cancellable_cancel(channel->joining);
        g_clear_object(&channel->joining);
        forget_connection(channel);
        g_free(channel);
}
