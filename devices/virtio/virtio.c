/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What all virtio devices share, whatever their transport: identity, queues, and the loop that takes
 * chains off a queue on an I/O thread.
 *
 * That loop does a bounded amount of work for a wake-up. A driver that makes chains available as fast as
 * they are served would otherwise keep an I/O thread from its other queues, and from pause. What is left
 * waits for the next round: the loop rings the queue's own doorbell for it.
 */

#include "devices/virtio/virtio.h"

#include <assert.h>
#include <unistd.h>

#define BUDGET_CHAINS 256
#define BUDGET_BYTES (256 << 10)

void virtio_dev_init(
                struct virtio_dev *vd,
                const struct virtio_dev_ops *ops,
                const char *kind,
                const char *id,
                uint16_t type,
                const gmem *mem,
                unsigned n_queues,
                uint16_t queue_size) {
        assert(ops && kind && id && mem && n_queues > 0);
        assert(queue_size > 0 && queue_size <= VIRTQ_SIZE_MAX);
        assert((queue_size & (queue_size - 1)) == 0);

        vd->ops = ops;
        vd->kind = kind;
        vd->id = g_strdup(id);
        vd->type = type;
        vd->mem = mem;
        vd->n_queues = n_queues;
        vd->queues = g_new0(struct virtq, n_queues);
        for (unsigned i = 0; i < n_queues; i++) {
                vd->queues[i] = (struct virtq){
                        .mem = mem,
                        .max_size = queue_size,
                        .kick_fd = -1,
                };
                virtq_reset(&vd->queues[i]);
        }
}

void virtio_dev_release(struct virtio_dev *vd) {
        g_clear_pointer(&vd->queues, g_free);
        g_clear_pointer(&vd->id, g_free);
}

void virtio_queue_flush(struct virtio_dev *vd, struct virtq *q) {
        if (virtq_want_interrupt(q))
                vd->transport->queue_interrupt(vd, q);
}

void virtio_queue_kick(struct virtq *q) {
        uint64_t one = 1;

        /* EAGAIN: the counter is full, so the queue is kicked already. */
        (void) !write(q->kick_fd, &one, sizeof(one));
}

void virtio_queue_clear_kick(struct virtq *q) {
        uint64_t n;

        (void) !read(q->kick_fd, &n, sizeof(n));
}

/* Serves what is there. False when the budget ran out. */
static bool
serve_batch(struct virtio_dev *vd,
            struct virtq *q,
            struct virtq_chain *chain,
            virtio_serve_fn *fn,
            int64_t *bytes,
            unsigned *chains,
            bool *ret_stopped) {
        for (; *chains > 0 && *bytes > 0; (*chains)--) {
                int64_t work;
                int r;

                r = virtq_pop(q, chain);
                if (r == VIRTQ_E_EMPTY)
                        return true;
                if (r == VIRTQ_E_BROKEN) {
                        *ret_stopped = true;
                        vd->transport->needs_reset(vd, "a queue breaks the rules");
                        return true;
                }

                work = fn(vd, q, chain);
                if (work < 0) {
                        virtq_unpop(q, chain->token);
                        *ret_stopped = true;
                        return true;
                }
                *bytes -= work;
        }

        return false;
}

void virtio_queue_serve(
                struct virtio_dev *vd,
                struct virtq *q,
                struct virtq_chain *chain,
                virtio_serve_fn *fn) {
        int64_t bytes = BUDGET_BYTES;
        unsigned chains = BUDGET_CHAINS;
        bool stopped = false, done;

        do {
                virtq_disable_notify(q);
                done = serve_batch(vd, q, chain, fn, &bytes, &chains, &stopped);
        } while (done && !stopped && virtq_enable_notify(q));

        virtio_queue_flush(vd, q);
        if (!done)
                virtio_queue_kick(q);
}
