/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Limits of a block queue: a chain that is beyond them goes back to the ring, and the queue's thread looks at no other until a timer says that
 * it fits. All queues of a disk share its buckets, and all disks of a group the group's.
 */

#include "devices/virtio/blk.h"

bool vblk_queue_must_wait(struct vblk_queue *bq, const struct virtq_chain *chain) {
        struct throttle *t = bq->blk->throttle;
        const uint64_t frame = sizeof(struct vblk_header) + 1; /* and the status */
        uint64_t bytes = (uint64_t) chain->read_len + chain->write_len, wait;

        if (!throttle_limits(t))
                return false;
        wait = throttle_take(t, bq->now, bytes > frame ? bytes - frame : 0, 1);
        if (wait == 0)
                return false;
        /* Without a timer the request goes as it is: limits are not worth a disk that hangs. */
        if (!bq->timer.thread || io_timer_arm(&bq->timer, wait) < 0)
                return false;
        bq->limited = true;
        return true;
}

int vblk_queue_start_timer(struct vblk_queue *bq) {
        if (bq->timer.watch.fd < 0 || bq->timer.thread)
                return 0;
        return io_timer_start(&bq->timer, bq->thread);
}

void vblk_queue_stop_timer(struct vblk_queue *bq) {
        io_timer_stop(&bq->timer);
        bq->limited = false;
}

static int prepare_here(void *opaque) {
        struct vblk_queue *bq = opaque;
        int r = io_timer_open(&bq->timer);

        return r < 0 || !bq->serving ? r : vblk_queue_start_timer(bq);
}

static int retry_here(void *opaque) {
        struct vblk_queue *bq = opaque;

        if (bq->limited)
                vblk_queue_retry(bq);
        return 0;
}

int vblk_set_throttle(struct vblk *blk, const struct throttle_config *config) {
        int r = 0;

        /* Timers first: when there is no room for them, the limits stay as they are. */
        for (unsigned i = 0; r >= 0 && i < blk->n_queues; i++)
                r = iothread_call(blk->queues[i].thread, prepare_here, &blk->queues[i]);
        if (r < 0)
                return r;
        if (config)
                throttle_set(&blk->limits, config);
        for (unsigned i = 0; i < blk->n_queues; i++)
                (void) iothread_call(blk->queues[i].thread, retry_here, &blk->queues[i]);
        return 0;
}
