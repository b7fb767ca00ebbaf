/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "devices/virtio/virtq.h"
#include "driver.h"

/* A queue and its driver in guest memory, without a device around it. */

#define VQ_RAM (1u << 20)
#define VQ_HOLE (4u << 20) /* nothing from 2 MiB up to here, then one more region */
#define VQ_SIZE 8
#define VQ_IOVS 64

struct vq_rig {
        gmem *mem;
        struct drv_ring d;
        struct virtq q;
        bool packed; /* of the next queue */
        struct iovec iov[VQ_IOVS];
        struct virtq_chain chain;
};

/* Two neighbouring regions of VQ_RAM bytes at 0, a hole, one more region at VQ_HOLE. */
gmem *vq_memory_new(void);

/* Lays the driver's ring out at base, empty, and enables the queue on it; mem and packed are set. */
void vq_rig_queue(struct vq_rig *r, gaddr base, uint16_t size, uint16_t table_max, bool event_idx);

/* All of it: VQ_SIZE entries, indirect tables, no EVENT_IDX. */
void vq_rig_up(struct vq_rig *r);
void vq_rig_up_packed(struct vq_rig *r);
void vq_rig_down(struct vq_rig *r);

/* virtq_enable() of a copy of q with another value in a field returns that. */
#define VQ_RIG_WITH(q, field, value, result)                                                       \
        do {                                                                                       \
                struct virtq bad = (q);                                                            \
                bad.field = (value);                                                               \
                vq_rig_expect_enable(bad, (result));                                               \
        } while (false)
void vq_rig_expect_enable(struct virtq q, int r);

/* A queue that is not enabled, whatever is in its ring, is empty and silent. */
void vq_rig_expect_asleep(struct vq_rig *r);
