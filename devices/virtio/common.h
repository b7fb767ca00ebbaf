/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "devices/virtio/pci-transport.h"
#include "devices/virtio/virtio.h"

/*
 * The common configuration of a virtio device (virtio 1.2, 4.1.4.3): feature negotiation, queue
 * set-up, and the status machine that starts and stops the device. The transport forwards register
 * accesses here and keeps interrupts and doorbells to itself.
 */

#define VIRTIO_COMMON_BYTES 56u

/* virtio 1.2, 2.1 */
enum {
        VSTATUS_ACKNOWLEDGE = 1,
        VSTATUS_DRIVER = 2,
        VSTATUS_DRIVER_OK = 4,
        VSTATUS_FEATURES_OK = 8,
        VSTATUS_NEEDS_RESET = 64,
        VSTATUS_FAILED = 128,
};

/* What a driver can write; NEEDS_RESET is the device's. */
#define VSTATUS_OF_DRIVER                                                                          \
        (VSTATUS_ACKNOWLEDGE | VSTATUS_DRIVER | VSTATUS_FEATURES_OK | VSTATUS_DRIVER_OK |          \
         VSTATUS_FAILED)

struct virtio_common {
        struct virtio_dev *vd;
        uint16_t n_vectors;
        virtio_event_fn *event;
        void *event_opaque;

        /* Of the lock, which is held while the device starts, stops or answers for its configuration. No I/O
         * thread ever takes it: those are waited for under it. */
        pthread_mutex_t lock;
        uint32_t device_feature_select, driver_feature_select;
        uint64_t driver_features;
        uint16_t queue_select;
        bool start_on_resume; /* was active when saved */
        bool paused;          /* the device is; false for one that was not active */

        /* Written under the lock, read by any thread. */
        _Atomic uint8_t status;
        _Atomic uint16_t config_vector;

        /* Any thread. */
        _Atomic uint8_t generation;
        _Atomic bool broken; /* shown as NEEDS_RESET */
};

void virtio_common_init(
                struct virtio_common *c,
                struct virtio_dev *vd,
                uint16_t n_vectors,
                virtio_event_fn *event,
                void *event_opaque);
void virtio_common_clear(struct virtio_common *c); /* stops the device */

/* Register accesses of vCPU threads; offset below VIRTIO_COMMON_BYTES. Accesses of the wrong width do nothing, and
 * read as zero. */
void virtio_common_read(struct virtio_common *c, unsigned offset, void *data, unsigned len);
void virtio_common_write(struct virtio_common *c, unsigned offset, const void *data, unsigned len);

/* The device's own configuration, with any range. */
void virtio_common_config_read(struct virtio_common *c, uint64_t offset, void *data, unsigned len);
void virtio_common_config_write(
                struct virtio_common *c, uint64_t offset, const void *data, unsigned len);

/* Main thread. */
void virtio_common_reset(struct virtio_common *c);
bool virtio_common_pause(struct virtio_common *c, GError **error);
void virtio_common_resume(struct virtio_common *c);

/* Registers and queues, without the device's own part. */
GVariant *virtio_common_save(struct virtio_common *c);
bool virtio_common_restore(struct virtio_common *c, GVariant *state, GError **error);

/* Shared by common.c and common-state.c; the lock is held. */
uint64_t virtio_common_offered(const struct virtio_common *c); /* features */
uint16_t virtio_common_valid_vector(const struct virtio_common *c, uint16_t vector);
void virtio_common_set_ring_features(struct virtio_common *c);
void virtio_common_power_on(
                struct virtio_common *c); /* all registers and queues; the device is stopped */
