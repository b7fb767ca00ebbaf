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

/* What is the kind's own. */
struct vuser_kind {
        const char *name; /* "vhost-user-blk" */
        uint16_t type;
        uint64_t features;   /* that the driver may be offered; the ring's besides */
        unsigned config_len; /* of the back end's configuration; 0: it has none */
        /* Looks at a new back end's features and configuration, and changes the latter to what the driver sees. A static text: no. May be NULL. */
        const char *(*inspect)(struct vuser *v, uint64_t features, uint8_t *config);
        bool keep_inflight; /* requests are done in any order */
};

struct vuser {
        struct virtio_dev vd; /* first */
        const struct vuser_kind *kind;
        uint16_t n_queues, queue_size;
        bool readonly;
        void (*changed)(void *opaque, const char *id, bool connected, const char *why);
        void *opaque;

        atomic_bool connected;
        atomic_bool want; /* the driver wants its rings served */
        iothread *thread;
        struct io_watch nudge; /* `want` or the configuration has changed */
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

/* Takes the socket, also on failure, and makes the device with what the back end offers. */
struct vuser *
vuser_new(const gmem *mem,
          const struct vuser_kind *kind,
          const struct vhost_user_device_config *config,
          GError **error);
