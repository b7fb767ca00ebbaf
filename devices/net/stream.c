/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Frames between a stream and a device's port. The port is one end of a pair of packet sockets, whose packets are frames with a
 * virtio-net header as a tap has them; the thread has the other end, and turns the header into the length and back in place: what it
 * overwrites has been sent.
 *
 * Each direction holds what its receiver has no room for and does not read on until there is, so a slow guest slows its peer and the
 * other way round. While there is no peer the guest's frames are dropped, as on a network whose cable is out.
 *
 * The peer is trusted no more than a network: a length that no frame can have ends the connection.
 */

#include "devices/net/stream.h"
#include "devices/virtio/net.h"
#include "hypervisor/error.h"
#include "hypervisor/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define LENGTH_BYTES 4u
#define FRAME_MIN 14u
#define FRAME_MAX (VNET_FRAME_MAX - NET_HEADER_LEN)
#define IN_BYTES (256u << 10)
#define BUDGET 64

struct net_stream {
        char *id;
        void (*changed)(void *opaque, const char *id, bool connected, const char *why);
        void *opaque;
        iothread *thread;
        atomic_bool connected;

        /* Of the thread. */
        bool begun; /* there has been a connection */
        struct io_watch port, peer;
        uint32_t port_events, peer_events;

        /* To the peer: bytes of `out` from out_at on, which are a frame with its length. */
        size_t out_at, out_end;
        uint8_t out[VNET_FRAME_MAX];

        /* From the peer: bytes of `in` from in_at on. held: they begin with a frame of that length, whose length has been taken. */
        size_t in_at, in_end;
        uint32_t held;
        uint8_t in[NET_HEADER_LEN + IN_BYTES];
};

static void watch(struct net_stream *s, struct io_watch *w, uint32_t *have, uint32_t events) {
        if (w->fd >= 0 && *have != events && iothread_modify(s->thread, w, events) == 0)
                *have = events;
}

static void rewatch(struct net_stream *s) {
        bool sending = s->out_at<s->out_end, holding = s->held> 0;

        watch(s, &s->port, &s->port_events,
              (sending ? 0 : (uint32_t) EPOLLIN) | (holding ? (uint32_t) EPOLLOUT : 0));
        watch(s, &s->peer, &s->peer_events,
              EPOLLRDHUP | (holding ? 0 : (uint32_t) EPOLLIN) |
                              (sending ? (uint32_t) EPOLLOUT : 0));
}

static void drop_peer(struct net_stream *s) {
        if (s->peer.fd < 0)
                return;
        iothread_unwatch(s->thread, &s->peer);
        (void) close(s->peer.fd);
        s->peer.fd = -1;
        s->out_at = s->out_end = 0;
        s->in_at = s->in_end = s->held = 0;
        atomic_store(&s->connected, false);
}

static void lose(struct net_stream *s, const char *why) {
        drop_peer(s);
        if (s->changed)
                s->changed(s->opaque, s->id, false, why);
}

/* False: not all of it, or there is no peer any more. */
static bool send_out(struct net_stream *s) {
        while (s->out_at < s->out_end) {
                ssize_t n = write(s->peer.fd, s->out + s->out_at, s->out_end - s->out_at);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0 && errno == EAGAIN)
                        return false;
                if (n < 0) {
                        lose(s, "the other side has closed the connection");
                        return false;
                }
                s->out_at += (size_t) n;
        }
        return true;
}

/* The header's last bytes become the length. */
static void take_frame(struct net_stream *s, size_t n) {
        uint32_t length = GUINT32_TO_BE((uint32_t) (n - NET_HEADER_LEN));

        if (s->peer.fd < 0 || n < NET_HEADER_LEN + FRAME_MIN)
                return;
        s->out_at = NET_HEADER_LEN - LENGTH_BYTES;
        s->out_end = n;
        memcpy(s->out + s->out_at, &length, sizeof(length));
}

static void run_out(struct net_stream *s) {
        for (int left = BUDGET; left > 0; left--) {
                ssize_t n;

                if (s->peer.fd >= 0 && !send_out(s))
                        return;
                n = read(s->port.fd, s->out, sizeof(s->out));
                if (n <= 0)
                        return;
                take_frame(s, (size_t) n);
        }
        (void) (s->peer.fd < 0 || send_out(s));
}

/* The frame at in_at goes to the device; false: there is no room. */
static bool deliver(struct net_stream *s) {
        uint8_t *at = s->in + s->in_at - NET_HEADER_LEN;
        ssize_t n;

        memset(at, 0, NET_HEADER_LEN);
        do
                n = write(s->port.fd, at, NET_HEADER_LEN + s->held);
        while (n < 0 && errno == EINTR);
        if (n < 0 && errno == EAGAIN)
                return false;
        s->in_at += s->held;
        s->held = 0;
        return true;
}

/* Whole frames that have been read. False: one waits for room, or the peer is no more. */
static bool deliver_all(struct net_stream *s) {
        for (;;) {
                uint32_t length;

                if (s->held > 0 && !deliver(s))
                        return false;
                if (s->in_end - s->in_at < LENGTH_BYTES)
                        return true;
                memcpy(&length, s->in + s->in_at, sizeof(length));
                length = GUINT32_FROM_BE(length);
                if (length < FRAME_MIN || length > FRAME_MAX) {
                        lose(s, "the other side breaks the protocol");
                        return false;
                }
                if (s->in_end - s->in_at - LENGTH_BYTES < length)
                        return true;
                s->in_at += LENGTH_BYTES;
                s->held = length;
        }
}

/* What is left of a frame moves to the front, with room for a header before it. */
static void make_room(struct net_stream *s) {
        size_t left = s->in_end - s->in_at;

        memmove(s->in + NET_HEADER_LEN, s->in + s->in_at, left);
        s->in_at = NET_HEADER_LEN;
        s->in_end = NET_HEADER_LEN + left;
}

static void run_in(struct net_stream *s) {
        for (int left = BUDGET; left > 0 && s->peer.fd >= 0; left--) {
                ssize_t n;

                if (!deliver_all(s))
                        return;
                make_room(s);
                n = read(s->peer.fd, s->in + s->in_end, sizeof(s->in) - s->in_end);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0 && errno == EAGAIN)
                        return;
                if (n <= 0) {
                        lose(s, "the other side has closed the connection");
                        return;
                }
                s->in_end += (size_t) n;
        }
        if (s->peer.fd >= 0)
                (void) deliver_all(s);
}

static void on_port(struct io_watch *w, uint32_t events) {
        struct net_stream *s = w->opaque;

        /* The device is gone; whoever made it frees this, too. */
        if (events & EPOLLHUP) {
                iothread_unwatch(s->thread, w);
                return;
        }
        if (events & EPOLLIN)
                run_out(s);
        if (s->held > 0)
                run_in(s);
        rewatch(s);
}

static void on_peer(struct io_watch *w, uint32_t events) {
        struct net_stream *s = w->opaque;

        if (s->out_at < s->out_end && send_out(s))
                run_out(s);
        if (s->peer.fd >= 0 && s->held == 0 && (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP)))
                run_in(s);
        else if (s->peer.fd >= 0 && (events & (EPOLLHUP | EPOLLERR)))
                lose(s, "the other side has closed the connection");
        rewatch(s);
}

struct connect_call {
        struct net_stream *s;
        int socket;
};

static int connect_here(void *opaque) {
        struct connect_call *c = opaque;
        struct net_stream *s = c->s;
        bool again = s->begun && s->peer.fd < 0;
        int r;

        drop_peer(s);
        s->peer.fd = c->socket;
        s->peer_events = EPOLLIN | EPOLLRDHUP;
        s->in_at = s->in_end = NET_HEADER_LEN;
        r = iothread_watch(s->thread, &s->peer, s->peer_events);
        if (r < 0) {
                s->peer.fd = -1;
                (void) close(c->socket);
                return r;
        }
        atomic_store(&s->connected, true);
        s->begun = true;
        if (again && s->changed)
                s->changed(s->opaque, s->id, true, NULL);
        rewatch(s);
        return 0;
}

static int watch_port_here(void *opaque) {
        struct net_stream *s = opaque;

        s->port_events = EPOLLIN;
        return iothread_watch(s->thread, &s->port, s->port_events);
}

static int leave_here(void *opaque) {
        struct net_stream *s = opaque;

        drop_peer(s);
        if (s->port.fd >= 0)
                iothread_unwatch(s->thread, &s->port);
        return 0;
}

bool net_stream_connect(net_stream *s, int socket, GError **error) {
        struct connect_call c = { s, socket };
        int flags = fcntl(socket, F_GETFL), r;

        if (flags < 0 || fcntl(socket, F_SETFL, flags | O_NONBLOCK) < 0) {
                (void) hv_error_errno(
                                error, errno, "%s: making the connection non-blocking", s->id);
                (void) close(socket);
                return false;
        }
        r = iothread_call(s->thread, connect_here, &c);
        if (r < 0)
                return hv_error_errno(error, -r, "%s: watching the connection", s->id);
        return true;
}

bool net_stream_is_connected(const net_stream *s) {
        return atomic_load(&((net_stream *) s)->connected);
}

net_stream *net_stream_free(net_stream *s) {
        if (!s)
                return NULL;
        if (s->thread)
                (void) iothread_call(s->thread, leave_here, s);
        s->thread = iothread_free(s->thread);
        chv_closep(&s->port.fd);
        chv_closep(&s->peer.fd);
        g_free(s->id);
        g_free(s);
        return NULL;
}

static bool prepare(net_stream *s, const struct io_thread_hook *hook, GError **error) {
        g_autofree char *name = g_strdup_printf("stream-%s", s->id);
        struct iothread_config config = {
                .name = name,
                .thread_start = hook->thread_start,
                .opaque = hook->opaque,
        };
        int r;

        s->thread = iothread_new(&config, error);
        if (!s->thread)
                return false;
        r = iothread_call(s->thread, watch_port_here, s);
        return r == 0 || hv_error_errno(error, -r, "%s: watching the port", s->id);
}

net_stream *net_stream_new(const struct net_stream_config *config, int *ret_port, GError **error) {
        g_autoptr(net_stream) s = g_new0(net_stream, 1);
        autofd socket = config->socket, port = -1;
        int ends[2];

        s->id = g_strdup(config->id);
        s->changed = config->changed;
        s->opaque = config->opaque;
        s->port = (struct io_watch){ -1, on_port, s };
        s->peer = (struct io_watch){ -1, on_peer, s };
        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) < 0) {
                (void) hv_error_errno(error, errno, "%s: making a port", s->id);
                return NULL;
        }
        s->port.fd = ends[0];
        port = ends[1];
        if (!prepare(s, &config->hook, error) ||
            !net_stream_connect(s, chv_steal_fd(&socket), error))
                return NULL;
        *ret_port = chv_steal_fd(&port);
        return g_steal_pointer(&s);
}

/* The port */

static bool stream_adopt(int fd, bool several, char ret_name[NET_NAME_LEN], GError **error) {
        (void) g_strlcpy(ret_name, "stream", NET_NAME_LEN);
        return true;
}

static unsigned stream_offloads(int fd) {
        return 0;
}

static int stream_set_offloads(int fd, unsigned offloads) {
        return 0;
}

static int stream_attach(int fd, bool on) {
        return 0;
}

const struct net_port_ops net_stream_ops = {
        .adopt = stream_adopt,
        .offloads = stream_offloads,
        .set_offloads = stream_set_offloads,
        .attach = stream_attach,
};

struct virtio_dev *
virtio_net_stream_new(const gmem *mem, const struct virtio_net_config *config, GError **error) {
        struct virtio_net_config plain = *config;

        plain.offload_tso = plain.offload_ufo = plain.offload_csum = false;
        return vnet_new(mem, &plain, &net_stream_ops, error);
}
