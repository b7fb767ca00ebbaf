/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "devices/device.h"
#include "devices/throttle.h"
#include "devices/virtio/virtq.h"

/*
 * A virtio device apart from its transport (virtio 1.2, 2). The transport (virtio over PCI) owns status, feature
 * negotiation and queue set-up; the device owns what its queues mean.
 *
 * Threads: negotiate, activate, reset and config accesses run on a vCPU thread under the transport's lock, or on the main
 * thread with vCPUs parked. Between activate and reset/pause the queues belong to the device's I/O threads.
 */

/* Features of the rings that a device offers if it likes; virtio 1.2, 6. */
enum {
        VIRTIO_F_RING_PACKED = 34,
        VIRTIO_F_IN_ORDER = 35, /* chains are returned in the order in which they were taken */
};

struct virtio_dev;

struct virtio_dev_ops {
        /* Feature bits were accepted (FEATURES_OK): false refuses them. May be NULL. */
        bool (*negotiated)(struct virtio_dev *vd, uint64_t features);

        /* Device-specific configuration. The range is inside [0, config_len). config_write may be NULL. */
        void (*config_read)(struct virtio_dev *vd, unsigned offset, void *data, unsigned len);
        void (*config_write)(
                        struct virtio_dev *vd, unsigned offset, const void *data, unsigned len);

        /* DRIVER_OK: start to serve the ready queues. 0, or negative errno → NEEDS_RESET. */
        int (*activate)(struct virtio_dev *vd);

        /* Stop to serve; when it returns, no thread touches guest memory or a queue, and every request in flight is finished or
         * dropped. Called for reset, and only when active, which a paused device is. */
        void (*deactivate)(struct virtio_dev *vd);

        /* The same without forgetting: requests in flight are completed (pause) or resubmitted after resume. */
        bool (*pause)(struct virtio_dev *vd, GError **error);
        void (*resume)(struct virtio_dev *vd);

        /* The driver has given an active device's queue another interrupt. For who serves the queue from outside. May be
         * NULL. */
        void (*vector_changed)(struct virtio_dev *vd, struct virtq *q);

        /* Device-specific part; may be NULL. Only while paused, with every chain that was popped pushed or put back.
         * A device that was active when saved is restored first (features are set, queues enabled) and activated
         * by the machine's resume. */
        GVariant *(*save)(struct virtio_dev *vd);
        bool (*restore)(struct virtio_dev *vd, GVariant *state, GError **error);

        /* New limits for the device's throttles, while it serves or not. NULL: a throttle that it shares with others has been
         * changed already. What waits is tried again at once. Main thread. Negative errno when there is no room for timers.
         * The op is NULL for a device without limits. */
        int (*set_throttle)(struct virtio_dev *vd, const struct throttle_config *config);

        /* Of disks: gives it a size of *size bytes, 0: what its file has by now, and says what has come of it. shrink: may cut off its end.
         * Tells the driver. It may take long, on a thread of its own, one change of a disk at a time; whatever else is done with the device goes on, but it is not
         * freed. stop: as of disk_image_resize(). */
        bool (*resize)(struct virtio_dev *vd,
                       uint64_t *size,
                       bool shrink,
                       const atomic_bool *stop,
                       GError **error);

        void (*counters)(
                        struct virtio_dev *vd,
                        device_counter_fn *fn,
                        void *opaque); /* may be NULL */
        void (*free)(struct virtio_dev *vd);
};

/* What the transport does for a device. */
struct virtio_transport_ops {
        /* Any thread: interrupt for a queue's vector / for a configuration change (bumps the generation; the device has
         * written the new values before). */
        void (*queue_interrupt)(struct virtio_dev *vd, struct virtq *q);
        void (*config_changed)(struct virtio_dev *vd);
        /* Any thread: the guest broke the rules on this device: NEEDS_RESET and a configuration interrupt. */
        void (*needs_reset)(struct virtio_dev *vd, const char *why);
        /* The eventfd whose signal is the queue's interrupt as queue_interrupt() would send it; -1: there is none at
         * present. For who serves the queue from outside. May be NULL. */
        int (*queue_interrupt_fd)(struct virtio_dev *vd, struct virtq *q);
};

struct virtio_dev {
        const struct virtio_dev_ops *ops;
        const char *kind;         /* "virtio-blk" */
        char *id;                 /* owned */
        uint16_t type;            /* device id: 1 net, 2 block, 3 console, 4 rng */
        uint64_t device_features; /* offered, without the ring features that the transport adds (VERSION_1, INDIRECT_DESC, EVENT_IDX) */
        uint64_t withheld;        /* ring features that are not to be offered */
        uint64_t features;        /* negotiated */
        unsigned config_len;
        unsigned n_queues;
        struct virtq *queues; /* n_queues, allocated by virtio_dev_init */
        const gmem *mem;
        bool active;

        const struct virtio_transport_ops *transport; /* set when a transport takes the device */
        void *transport_opaque;
};

/* Allocates n_queues queues of max size queue_size (power of 2). id is copied. */
void virtio_dev_init(
                struct virtio_dev *vd,
                const struct virtio_dev_ops *ops,
                const char *kind,
                const char *id,
                uint16_t type,
                const gmem *mem,
                unsigned n_queues,
                uint16_t queue_size);
void virtio_dev_release(struct virtio_dev *vd);

static inline bool virtio_has(const struct virtio_dev *vd, unsigned bit) {
        return vd->features >> bit & 1;
}

/* Interrupts the driver if it wants to know of what was pushed. */
void virtio_queue_flush(struct virtio_dev *vd, struct virtq *q);

/* Wakes the queue's own I/O thread / takes the wake-up. Any thread; never block. */
void virtio_queue_kick(struct virtq *q);
void virtio_queue_clear_kick(struct virtq *q);

/* Handles one chain and pushes it; returns the bytes of work it was. Negative: not now, the chain goes back and
 * the driver's notifications stay off. */
typedef int64_t virtio_serve_fn(struct virtio_dev *vd, struct virtq *q, struct virtq_chain *chain);

/* On the queue's I/O thread: serves chains until there are none, then asks for notifications; interrupts once.
 * Does a bounded amount of work and kicks the queue for the rest. chain has the caller's iovec. For devices
 * whose requests are done when fn returns. */
void virtio_queue_serve(
                struct virtio_dev *vd,
                struct virtq *q,
                struct virtq_chain *chain,
                virtio_serve_fn *fn);
