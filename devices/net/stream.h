/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "devices/net/port.h"
#include "devices/virtio/devices.h"

/*
 * Frames on a stream socket, each led by its length as four bytes, big-endian: what passt speaks, and QEMU's "stream" network. A
 * thread carries them between the socket and a port that a network device takes as it takes a tap; the other side can go and be
 * replaced without the device noticing more than silence.
 */

typedef struct net_stream net_stream;

struct net_stream_config {
        const char *id;
        int socket; /* connected stream socket; taken, also on failure */
        struct io_thread_hook hook;
        /* The connection is lost (why is a static text), or there is one again. The thread's; may be NULL. */
        void (*changed)(void *opaque, const char *id, bool connected, const char *why);
        void *opaque;
};

/* *ret_port: a descriptor for a device with net_stream_ops, the caller's. */
net_stream *net_stream_new(const struct net_stream_config *config, int *ret_port, GError **error);
/* NULL is fine. Returns NULL. */
net_stream *net_stream_free(net_stream *s);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(net_stream, net_stream_free)

/* Takes another socket in place of the present or lost one. Main thread. */
bool net_stream_connect(net_stream *s, int socket, GError **error);
/* Any thread. */
bool net_stream_is_connected(const net_stream *s);

extern const struct net_port_ops net_stream_ops;

/* A network device on such a port; offloads are not offered, as nobody on the other side would finish a frame. */
struct virtio_dev *
virtio_net_stream_new(const gmem *mem, const struct virtio_net_config *config, GError **error);
