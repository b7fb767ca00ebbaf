/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "devices/virtio/devices.h"

/* Constructors of the devices that a vhost-user back end serves. Guest memory must be shared. */

struct vhost_user_device_config {
        const char *id;
        int socket;                      /* connected stream socket; taken, also on failure */
        uint16_t num_queues, queue_size; /* of networks: pairs of queues */
        bool readonly;                   /* the back end must be; disks only */
        struct io_thread_hook hook;
        /* The connection is lost (why is a static text), or there is one again; the device's thread. May be NULL. */
        void (*changed)(void *opaque, const char *id, bool connected, const char *why);
        void *opaque;
};

struct virtio_dev *
vhost_user_blk_new(const gmem *mem, const struct vhost_user_device_config *config, GError **error);

struct vhost_user_net_config {
        struct vhost_user_device_config device;
        uint8_t mac[6];
        uint16_t mtu;                                /* 0: none is offered */
        bool offload_tso, offload_ufo, offload_csum; /* are offered, if the back end has them */
};

struct virtio_dev *
vhost_user_net_new(const gmem *mem, const struct vhost_user_net_config *config, GError **error);

/* Gives any such device another connection in place of the present or lost one; takes the socket. False: the back end does not
 * answer as it should, and there is no connection. Main thread. */
bool vhost_user_device_connect(struct virtio_dev *vd, int socket, GError **error);

/* Any thread. */
bool vhost_user_device_is_connected(const struct virtio_dev *vd);
