/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "devices/vhost/devices.h"
#include "devices/vhost/user.h"

#include <pthread.h>
#include <stdatomic.h>

/* A virtio device whose rings a vhost-user back end serves: what is the same for all kinds. */

#define VUSER_CONFIG_MAX VU_CONFIG_MAX

struct vuser;

/* What is the kind's own. The functions may be NULL, and are called on the device's thread unless they say otherwise. */
struct vuser_kind {
        const char *name; /* "vhost-user-blk" */
        uint16_t type;
        uint64_t features; /* that the driver may be offered if the back end has them; the ring's besides */
        uint64_t own_features; /* that are offered in any case, and are nothing to the back end */
        unsigned rings;        /* that a queue of the configuration has */
        unsigned own_queues;   /* behind all others: we serve them */
        unsigned config_len;   /* of the device's configuration */
        bool own_config;       /* it is ours; else the back end's */
        bool keep_inflight;    /* requests are done in any order */
        /* Looks at a new back end's features and configuration, and changes the latter to what the driver sees, or makes it. A static text: no. */
        const char *(*inspect)(struct vuser *v, uint64_t features, uint8_t *config);
        /* How many rings the back end has now, and whether one of them waits. All, and none. */
        unsigned (*n_served)(const struct vuser *v);
        bool (*is_off)(const struct vuser *v, unsigned ring);
        /* The back end is to be told more, before it has a ring. 0 or negative errno. */
        int (*prepare)(struct vuser *v);
        /* The driver wants the device: queues of our own are served, until the other is called. serve may be called again. */
        void (*serve)(struct vuser *v);
        void (*leave)(struct vuser *v);
        void (*lost)(struct vuser *v);
        void (*reset)(struct vuser *v);
        /* As in virtio_dev_ops. */
        bool (*negotiated)(struct virtio_dev *vd, uint64_t features);
        /* A number of the kind's in the device's state; vCPUs are parked. Restoring: false if it is no good. */
        uint32_t (*save)(const struct vuser *v);
        bool (*restore)(struct vuser *v, uint32_t number);
        void (*resumed)(struct vuser *v); /* any thread */
};

struct vuser {
        struct virtio_dev vd; /* first */
        const struct vuser_kind *kind;
        uint16_t n_queues, queue_size; /* of the configuration */
        bool readonly;
        void (*changed)(void *opaque, const char *id, bool connected, const char *why);
        void *opaque;

        atomic_bool connected;
        atomic_bool want; /* the driver wants its rings served */
        iothread *thread;
        struct io_watch nudge; /* `want` or the configuration has changed */
        int hurry;             /* eventfd: somebody waits for the thread */
        struct io_watch calls; /* interrupts that cannot go straight to the guest */
        struct io_watch peer;

        /* Of the thread. */
        struct vhost_user back;
        bool running, offered;
        bool spoiled; /* nobody knows which requests are done: until the driver resets */

        pthread_mutex_t lock; /* for what follows */
        uint8_t config[VUSER_CONFIG_MAX];
        unsigned written_from, written_to; /* by the driver since its reset; equal: nothing */

        atomic_uint_least64_t connections, losses;
};

/* v is zeroed memory of g_malloc()'s, and begins what the kind has; it is freed with the device, and on failure. Takes the socket, also on
 * failure, and makes the device with what the back end offers. */
struct virtio_dev *
vuser_init(struct vuser *v,
           const gmem *mem,
           const struct vuser_kind *kind,
           const struct vhost_user_device_config *config,
           GError **error);

/* The connection is of no use any more; why: a static text, NULL if it has ended by itself. On the thread. */
void vuser_lose(struct vuser *v, const char *why);
