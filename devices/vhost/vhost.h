/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "devices/virtio/virtq.h"

/*
 * Who serves a device's rings in our stead: another process (user.h) or the kernel. It is handed the guest's memory and, ring
 * by ring, two eventfds, and from then on frames and blocks pass us by until it is told to stop.
 *
 * One thread at a time. Everything returns 0 or negative errno.
 */

struct vhost;

struct vhost_ring {
        unsigned index;
        const struct virtq *q; /* enabled; last_avail is where to go on */
        int kick_fd, call_fd;  /* borrowed */
        int fault_fd; /* signalled when the driver breaks the rules; borrowed; -1: nobody listens */
        bool off;     /* it is to wait; of back ends that know of that (user.h) */
};

struct vhost_ops {
        /* What the rings will be served with: set_features and set_memory before the first start. */
        int (*set_features)(struct vhost *v, uint64_t features);
        int (*set_memory)(struct vhost *v, const gmem *mem);
        int (*start)(struct vhost *v, const struct vhost_ring *ring);
        /* When it returns 0 the ring is left alone; the next avail entry to take is *ret_next. */
        int (*stop)(struct vhost *v, unsigned index, uint16_t *ret_next);
};

struct vhost {
        const struct vhost_ops *ops;
};

/* The queue is ours again, and the back end has said which avail entry is next / has said nothing: everything that it has taken is
 * used. */
void vhost_resume(struct virtq *q, uint16_t next);
void vhost_resume_from_used(struct virtq *q);

/* Whether everything that the driver has made available is used. */
bool vhost_ring_is_idle(const struct virtq *q);
