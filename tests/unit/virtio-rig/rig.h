/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "devices/virtio/virtio.h"
#include "driver.h"

#include <pthread.h>

/*
 * A virtio device in a test: guest memory, a transport that counts, a driver's ring for each queue. One thread
 * drives it; the device's own threads run as they do in a machine.
 */

#define RIG_MEMORY (64u << 20)
#define RIG_DATA (32u << 20) /* guest addresses from here on are the test's; rings lie below */
#define RIG_QUEUES_MAX 16

struct rig {
        gmem *mem;
        struct virtio_dev *vd;
        bool event_idx;
        uint16_t table_max;
        struct drv_ring rings[RIG_QUEUES_MAX];

        pthread_mutex_t lock;
        pthread_cond_t changed;
        unsigned interrupts[RIG_QUEUES_MAX];
        unsigned config_changes;
        unsigned breaks; /* calls of needs_reset */
};

/* Memory alone; the device is made with rig->mem and then given to rig_attach(). */
void rig_init(struct rig *r);
/* The same with memory that other processes can map. */
void rig_init_shared(struct rig *r);

/* Takes vd. Rings of each queue's max size; indirect tables of table_max descriptors where that is not 0. */
void rig_attach(struct rig *r, struct virtio_dev *vd, bool event_idx, uint16_t table_max);

/* Negotiates exactly features, sets all rings up anew and activates; or all but the last, for what comes in between. Rings are packed
 * with that feature, or with CHV_TEST_PACKED in the environment. */
void rig_start(struct rig *r, uint64_t features);
void rig_prepare(struct rig *r, uint64_t features);
void rig_activate(struct rig *r);

/* deactivate and reset of the queues. */
void rig_stop(struct rig *r);

/* Frees device and memory. */
void rig_clear(struct rig *r);

void *rig_host(struct rig *r, uint64_t addr, uint64_t len);

/* Publishes what was added to queue q and rings the doorbell if the device asks for it. */
void rig_publish(struct rig *r, unsigned q);
void rig_kick(struct rig *r, unsigned q);

/* Takes one used chain of queue q back, sleeping till the interrupt as a driver does. False after timeout_ms without one. */
bool rig_wait(struct rig *r, unsigned q, unsigned timeout_ms, void **ret_cookie, uint32_t *ret_len);

/* Waits until the device asked for a reset. */
bool rig_wait_broken(struct rig *r, unsigned timeout_ms);
bool rig_wait_config_change(struct rig *r, unsigned more_than, unsigned timeout_ms);

unsigned rig_interrupts(struct rig *r, unsigned q);

uint64_t rig_counter(struct rig *r, const char *name);
