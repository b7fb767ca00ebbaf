/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Frames from the port to the guest for a driver that wants to know their hashes, or says which queue each goes to (virtio 1.2, 5.1.6.4.3
 * and 5.1.6.5.7). Where a frame goes shows when it has been read, so it is read into the pair's own memory, which also keeps what is hashed
 * from the guest, and copied into the buffers of its queue.
 *
 * Any pair's thread may put a frame into any pair's receive queue, so here, and only here, a queue has a lock; it is held for one
 * frame, and for the interrupt when a thread is through. Buffers are taken for a frame that is there and never ahead, so that between two
 * frames nobody has any. Who finds no room in another's queue drops the frame: one queue that nobody fills must not hold up the others.
 * In its own, where the host's tap puts what the guest answers, it waits a while, because drivers fill their queues in bursts; but once,
 * until the queue has taken a frame again. Without a table of the driver's there is one queue for a thread's frames, its own, and as
 * elsewhere they wait with the host.
 */

#include "devices/virtio/net.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

#define RETRY_NS 50000u

enum put {
        PUT,
        PUT_CLOSED,  /* the queue is not served */
        PUT_NO_ROOM, /* its buffers are too few or too small */
        PUT_EMPTY,   /* it has none */
};

static void broken(struct vnet_pair *to, const char *why) {
        vnet_pair_broken(to, to->rx.q, why);
}

/* What was taken for a frame goes back. */
static void give_back(struct vnet_rx *rx, struct virtq *q) {
        while (rx->n_buffers > 0)
                virtq_unpop(q, rx->buffers[--rx->n_buffers].token);
}

/* Takes buffers for len bytes from the queue, into the lists of the thread's own pair. */
static enum put gather(struct vnet_pair *pair, struct vnet_pair *to, uint32_t len) {
        bool many = virtio_has(&pair->net->vd, VNET_F_MRG_RXBUF);
        struct vnet_rx *rx = &pair->rx;
        struct virtq *q = to->rx.q;
        uint64_t room = 0;

        rx->n_buffers = rx->n_iov = 0;
        while (room < len) {
                struct virtq_chain chain = {
                        .iov = rx->iov + rx->n_iov,
                        .iov_max = (uint16_t) (IOV_MAX - rx->n_iov),
                };
                int r = rx->n_iov > VNET_AHEAD_IOVS || (rx->n_buffers > 0 && !many)
                                        ? VIRTQ_E_EMPTY
                                        : virtq_pop(q, &chain);

                if (r == VIRTQ_E_BROKEN) {
                        broken(to, "a bad descriptor chain in a receive queue");
                        return PUT_CLOSED;
                }
                if (r == VIRTQ_E_EMPTY) {
                        enum put result = rx->n_buffers > 0 ? PUT_NO_ROOM : PUT_EMPTY;

                        give_back(rx, q);
                        return result;
                }
                if (chain.n_read > 0 || chain.n_write == 0) {
                        virtq_unpop(q, chain.token);
                        broken(to, "a receive buffer that is not for writing");
                        return PUT_CLOSED;
                }
                rx->buffers[rx->n_buffers++] =
                                (struct vnet_buffer){ chain.token, chain.n_write, chain.write_len };
                rx->n_iov += chain.n_write;
                room += chain.write_len;
        }
        return PUT;
}

/* Copies the frame of len bytes into the buffers that were taken for it, and returns them all at once. */
static void fill(struct vnet_pair *pair, struct virtq *q, uint32_t len) {
        struct vnet_rx *rx = &pair->rx;
        uint16_t num_buffers = GUINT16_TO_LE(rx->n_buffers);
        unsigned at = 0;
        uint32_t left = len;

        memcpy(rx->spill + offsetof(struct vnet_header, num_buffers), &num_buffers,
               sizeof(num_buffers));
        (void) iov_copy_in(rx->iov, rx->n_iov, 0, rx->spill, len);
        for (unsigned i = 0; i < rx->n_buffers; i++) {
                struct virtq_chain chain = { .iov = rx->iov + at, .n_write = rx->buffers[i].n_iov };
                uint32_t part = MIN(left, rx->buffers[i].len);

                virtq_mark_written(q, &chain, part);
                rx->done[i] = (struct virtq_used){ rx->buffers[i].token, part };
                at += rx->buffers[i].n_iov;
                left -= part;
        }
        virtq_push_many(q, rx->done, rx->n_buffers);
}

static enum put put(struct vnet_pair *pair, struct vnet_pair *to, uint32_t len) {
        enum put result = PUT_CLOSED;

        pthread_mutex_lock(&to->rx.lock);
        if (to->rx.open && !to->rx.q->broken)
                result = gather(pair, to, len);
        if (result == PUT)
                fill(pair, to->rx.q, len);
        pthread_mutex_unlock(&to->rx.lock);
        pair->rx.n_buffers = pair->rx.n_iov = 0;
        if (result == PUT)
                pair->touched[to->index / 64] |= 1ull << to->index % 64;
        return result;
}

/* Whoever waits for buffers is told of them. False: they have come. */
static bool wait_for_buffers(struct vnet_pair *pair) {
        struct vnet_rx *rx = &pair->rx;
        bool come;

        pthread_mutex_lock(&rx->lock);
        come = !rx->q->broken && virtq_enable_notify(rx->q);
        if (come)
                virtq_disable_notify(rx->q);
        pthread_mutex_unlock(&rx->lock);
        rx->hungry = !come;
        return !come;
}

/* False: it has waited long enough. */
static bool wait_a_while(struct vnet_pair *pair) {
        struct vnet_rx *rx = &pair->rx;

        if (rx->target != pair->index || rx->tries >= pair->net->patience || !rx->timer.thread)
                return false;
        rx->tries++;
        vnet_pair_wait(pair, &rx->timer, &rx->limited, RETRY_NS);
        return true;
}

static void drop(struct vnet_pair *pair) {
        pair->rx.held = 0;
        vnet_count(&pair->rx.n.drops, 1);
}

/* The frame that has been read, of held bytes, goes to its queue. False: it waits for buffers. */
static bool deliver(struct vnet_pair *pair) {
        struct vnet_rx *rx = &pair->rx;
        unsigned header = vnet_header_len(pair->net);
        struct iovec frame = { rx->spill + header, rx->held - header };
        enum put result = put(pair, pair->net->pairs[rx->target], rx->held);

        if (result == PUT_EMPTY && !pair->rss.steering)
                return !wait_for_buffers(pair);
        if ((result == PUT_EMPTY || result == PUT_NO_ROOM) && pair->rss.steering &&
            wait_a_while(pair))
                return false;
        if (result != PUT) {
                drop(pair);
                return true;
        }
        if (pair->capture)
                capture_frame(pair->capture, &frame, 1, 0, frame.iov_len);
        vnet_count(&rx->n.frames, 1);
        vnet_count(&rx->n.bytes, frame.iov_len);
        if (rx->target != pair->index)
                vnet_count(&rx->n.steered, 1);
        else
                rx->tries = 0;
        rx->held = 0;
        return true;
}

/* Fills in the rest of the header, and chooses the queue. */
static void hash(struct vnet_pair *pair, const uint8_t *frame, size_t len) {
        struct vnet_rx *rx = &pair->rx;
        uint32_t value;
        enum vnet_hash_report report =
                        vnet_hash_frame(&pair->rss.prepared, pair->rss.types, frame, len, &value);

        rx->target = pair->rss.steering ? vnet_rss_queue(&pair->rss, report, value) : pair->index;
        if (virtio_has(&pair->net->vd, VNET_F_HASH_REPORT)) {
                struct vnet_header_hash h = {
                        .value = GUINT32_TO_LE(value),
                        .report = GUINT16_TO_LE((uint16_t) report),
                };

                memcpy(rx->spill + NET_HEADER_LEN, &h, sizeof(h));
        }
}

/* False: there is none at present, or never again. */
static bool receive(struct vnet_pair *pair) {
        struct vnet_rx *rx = &pair->rx;
        uint8_t *frame = rx->spill + vnet_header_len(pair->net);
        struct iovec iov[] = {
                { rx->spill, NET_HEADER_LEN },
                { frame, VNET_FRAME_MAX - NET_HEADER_LEN + 1 },
        };
        uint64_t now;
        size_t len;
        ssize_t n;

        if (!vnet_rx_may(pair, &now))
                return false;
        n = readv(pair->fd, iov, G_N_ELEMENTS(iov));
        vnet_rx_charge(pair, now, n);
        if (n < 0 && errno == EINTR)
                return true;
        if (n < 0 && errno == EAGAIN)
                return false;
        if (n <= 0) {
                vnet_pair_died(pair);
                return false;
        }
        if (n < VNET_FRAME_MIN || n > VNET_FRAME_MAX || !vnet_link_is_up(pair->net)) {
                drop(pair);
                return true;
        }
        len = (size_t) n - NET_HEADER_LEN;
        if (!vnet_filter_wants(&pair->filter, frame, len)) {
                vnet_count(&rx->n.refused, 1);
                return true;
        }
        hash(pair, frame, len);
        rx->held = (uint32_t) (vnet_header_len(pair->net) + len);
        return true;
}

static void flush(struct vnet_pair *pair) {
        for (unsigned i = 0; i < G_N_ELEMENTS(pair->touched); i++)
                for (; pair->touched[i] != 0; pair->touched[i] &= pair->touched[i] - 1) {
                        unsigned bit = (unsigned) __builtin_ctzll(pair->touched[i]);
                        struct vnet_rx *to = &pair->net->pairs[64 * i + bit]->rx;

                        pthread_mutex_lock(&to->lock);
                        if (to->open && !to->q->broken)
                                virtio_queue_flush(&pair->net->vd, to->q);
                        pthread_mutex_unlock(&to->lock);
                }
}

static void disable_notify(struct vnet_rx *rx) {
        pthread_mutex_lock(&rx->lock);
        if (!rx->q->broken)
                virtq_disable_notify(rx->q);
        pthread_mutex_unlock(&rx->lock);
}

void vnet_steer_open(struct vnet_pair *pair, bool open) {
        struct vnet_rx *rx = &pair->rx;

        pthread_mutex_lock(&rx->lock);
        rx->open = open;
        pthread_mutex_unlock(&rx->lock);
        if (!open && rx->held > 0)
                drop(pair);
        rx->tries = 0;
        /* So that the first run asks the driver not to tell of buffers. */
        rx->hungry = open;
}

void vnet_steer_run(struct vnet_pair *pair) {
        struct vnet_rx *rx = &pair->rx;
        int left = VNET_BUDGET;

        if (rx->hungry)
                disable_notify(rx);
        rx->hungry = false;
        if (pair->dead)
                return;
        for (; left > 0; left--)
                if (rx->held > 0 ? !deliver(pair) : !receive(pair))
                        break;
        flush(pair);
        /* The port wakes us for frames that are left in it, but not for the one that is held. */
        if (left == 0 && rx->held > 0) {
                rx->hungry = true;
                virtio_queue_kick(rx->q);
        }
}
