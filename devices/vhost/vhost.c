/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What is left to do for a queue when somebody else has served it. Its used ring is the one thing that driver, back end and we
 * agree on. It lies in guest memory, where the driver may have written anything; the queue takes any index, and what a wrong one leads
 * to is found out when the next chain is taken.
 */

#include "devices/vhost/vhost.h"

/* The second word of the avail or used ring, written by somebody else (virtio 1.2, 2.7.6 and 2.7.8). */
static uint16_t ring_idx(const void *ring) {
        return GUINT16_FROM_LE(__atomic_load_n((const uint16_t *) ring + 1, __ATOMIC_ACQUIRE));
}

void vhost_resume_from_used(struct virtq *q) {
        q->last_avail = q->used_idx = q->signalled = q->avail_seen = ring_idx(q->used_host);
        q->in_flight = 0;
}

void vhost_resume(struct virtq *q, uint16_t next) {
        vhost_resume_from_used(q);
        q->last_avail = q->avail_seen = next;
}

bool vhost_ring_is_idle(const struct virtq *q) {
        return ring_idx(q->avail_host) == ring_idx(q->used_host);
}
