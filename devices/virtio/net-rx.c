/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Frames from the port to the guest.
 *
 * A frame is read straight into guest memory. Its length is known only afterwards, so buffers are taken ahead: one chain for a
 * driver whose every buffer holds a frame, and with mergeable buffers as many as the largest frame may need; what a frame leaves
 * stays for the next one. What is read beyond the buffers lands in a spill area behind them. With mergeable buffers the frame is then
 * held until the guest provides more; else it is dropped, as it is when the guest has half its queue ready and it still does not fit,
 * because such a guest is not about to add any.
 *
 * Without buffers the port is not read at all, and the host's queue for it fills up.
 */

#include "devices/virtio/net.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

/* Enough for a frame that is no product of segmentation offload, on most networks; larger ones are held and completed. */
#define USUAL_FRAME 2048u

enum step {
        STEP_NEXT,
        STEP_END,
};

static bool takes_many(const struct vnet_pair *pair) {
        return virtio_has(&pair->net->vd, VNET_F_MRG_RXBUF);
}

/* How much room to have before reading. */
static uint32_t wanted(const struct vnet_pair *pair) {
        const uint64_t large = 1ull << VNET_F_GUEST_TSO4 | 1ull << VNET_F_GUEST_TSO6 |
                               1ull << VNET_F_GUEST_UFO;

        if (!takes_many(pair))
                return 1;
        return MAX(pair->net->vd.features & large ? (uint32_t) VNET_FRAME_MAX : USUAL_FRAME,
                   pair->rx.held);
}

/* Takes buffers until there is room or there are no more. False: the guest broke the rules. */
static bool gather(struct vnet_pair *pair) {
        struct vnet_rx *rx = &pair->rx;
        uint32_t want = wanted(pair);

        while (rx->room < want && rx->n_iov <= VNET_AHEAD_IOVS) {
                struct virtq_chain chain = {
                        .iov = rx->iov + rx->n_iov,
                        .iov_max = (uint16_t) (IOV_MAX - 1 - rx->n_iov),
                };
                int r = virtq_pop(rx->q, &chain);

                if (r == VIRTQ_E_EMPTY)
                        return true;
                if (r == VIRTQ_E_BROKEN) {
                        vnet_pair_broken(pair, rx->q, "a bad descriptor chain in a receive queue");
                        return false;
                }
                if (chain.n_read > 0 || chain.n_write == 0) {
                        virtq_unpop(rx->q, chain.token);
                        vnet_pair_broken(pair, rx->q, "a receive buffer that is not for writing");
                        return false;
                }
                rx->buffers[rx->n_buffers++] =
                                (struct vnet_buffer){ chain.token, chain.n_write, chain.write_len };
                rx->n_iov += chain.n_write;
                rx->room = (uint32_t) MIN((uint64_t) rx->room + chain.write_len, UINT32_MAX);
        }
        return true;
}

/* The n first buffers are used. */
static void forget(struct vnet_rx *rx, unsigned n) {
        unsigned n_iov = 0;

        for (unsigned i = 0; i < n; i++)
                n_iov += rx->buffers[i].n_iov;
        rx->n_buffers -= n;
        rx->n_iov -= n_iov;
        memmove(rx->buffers, rx->buffers + n, rx->n_buffers * sizeof(rx->buffers[0]));
        memmove(rx->iov, rx->iov + n_iov, rx->n_iov * sizeof(rx->iov[0]));
        rx->room = 0;
        for (unsigned i = 0; i < rx->n_buffers; i++)
                rx->room = (uint32_t) MIN((uint64_t) rx->room + rx->buffers[i].len, UINT32_MAX);
}

/* Returns the buffers that the frame of len bytes fills, all at once. */
static void deliver(struct vnet_pair *pair, uint32_t len) {
        struct vnet_rx *rx = &pair->rx;
        uint32_t left = len;
        unsigned n = 0, at = 0;
        uint16_t num_buffers;

        if (pair->capture)
                capture_frame(pair->capture, rx->iov, rx->n_iov, NET_HEADER_LEN,
                              len - NET_HEADER_LEN);
        for (; left > 0; n++) {
                uint32_t part = MIN(left, rx->buffers[n].len);

                rx->done[n] = (struct virtq_used){ rx->buffers[n].token, part };
                left -= part;
        }
        num_buffers = GUINT16_TO_LE(n);
        (void) iov_copy_in(
                        rx->iov, rx->n_iov, offsetof(struct vnet_header, num_buffers), &num_buffers,
                        sizeof(num_buffers));
        for (unsigned i = 0; i < n; i++) {
                struct virtq_chain chain = { .iov = rx->iov + at, .n_write = rx->buffers[i].n_iov };

                virtq_mark_written(rx->q, &chain, rx->done[i].len);
                at += rx->buffers[i].n_iov;
        }
        virtq_push_many(rx->q, rx->done, n);
        forget(rx, n);
        vnet_count(&rx->n.frames, 1);
        vnet_count(&rx->n.bytes, len - NET_HEADER_LEN);
}

static enum step drop(struct vnet_rx *rx) {
        rx->held = 0;
        vnet_count(&rx->n.drops, 1);
        return STEP_NEXT;
}

static enum step wait_for_buffers(struct vnet_rx *rx) {
        if (virtq_enable_notify(rx->q)) {
                virtq_disable_notify(rx->q);
                return STEP_NEXT;
        }
        rx->hungry = true;
        return STEP_END;
}

static enum step finish_held(struct vnet_pair *pair) {
        struct vnet_rx *rx = &pair->rx;
        uint32_t len = rx->held;

        if (rx->room < len) {
                if (rx->n_iov > VNET_AHEAD_IOVS || rx->n_buffers * 2 >= rx->q->size)
                        return drop(rx);
                return wait_for_buffers(rx);
        }
        (void) iov_copy_in(rx->iov, rx->n_iov, rx->placed, rx->spill, len - rx->placed);
        rx->held = 0;
        deliver(pair, len);
        return STEP_NEXT;
}

bool vnet_rx_may(struct vnet_pair *pair, uint64_t *ret_now) {
        struct throttle *limits = &pair->net->rx_limits;
        uint64_t wait;

        *ret_now = 0;
        if (!throttle_limits(limits))
                return true;
        *ret_now = throttle_clock();
        wait = throttle_wait(limits, *ret_now, 0, 1);
        if (wait > 0)
                vnet_pair_wait(pair, &pair->rx.timer, &pair->rx.limited, wait);
        return wait == 0;
}

void vnet_rx_charge(struct vnet_pair *pair, uint64_t now, ssize_t read) {
        if (now != 0 && read > NET_HEADER_LEN)
                throttle_charge(&pair->net->rx_limits, now, (uint64_t) read - NET_HEADER_LEN, 1);
}

/* What has been read lies in iov; its start may have ended in the spill area. */
static bool is_wanted(const struct vnet_pair *pair, size_t len) {
        const struct vnet_rx *rx = &pair->rx;
        uint8_t copy[16];
        size_t n = MIN(len - NET_HEADER_LEN, sizeof(copy));

        if (pair->filter.modes[VNET_RX_PROMISC])
                return true;
        n = iov_copy_out(rx->iov, rx->n_iov + 1u, NET_HEADER_LEN, copy, n);
        return vnet_filter_wants(&pair->filter, copy, n);
}

static enum step receive(struct vnet_pair *pair) {
        struct vnet_rx *rx = &pair->rx;
        uint64_t now;
        ssize_t n;

        if (!vnet_rx_may(pair, &now))
                return STEP_END;
        rx->iov[rx->n_iov] = (struct iovec){ rx->spill, sizeof(rx->spill) };
        n = readv(pair->fd, rx->iov, (int) rx->n_iov + 1);
        vnet_rx_charge(pair, now, n);
        if (n < 0 && errno == EINTR)
                return STEP_NEXT;
        if (n < 0 && errno == EAGAIN)
                return STEP_END;
        if (n <= 0) {
                vnet_pair_died(pair);
                return STEP_END;
        }
        if (n < VNET_FRAME_MIN || n > VNET_FRAME_MAX || !vnet_link_is_up(pair->net))
                return drop(rx);
        if (!is_wanted(pair, (size_t) n)) {
                vnet_count(&rx->n.refused, 1);
                return STEP_NEXT;
        }
        if ((uint32_t) n > rx->room) {
                if (!takes_many(pair))
                        return drop(rx);
                rx->held = (uint32_t) n;
                rx->placed = rx->room;
                return STEP_NEXT;
        }
        deliver(pair, (uint32_t) n);
        return STEP_NEXT;
}

static enum step step(struct vnet_pair *pair) {
        struct vnet_rx *rx = &pair->rx;

        if (!gather(pair)) {
                rx->hungry = true;
                return STEP_END;
        }
        if (rx->held > 0)
                return finish_held(pair);
        if (rx->n_buffers == 0)
                return wait_for_buffers(rx);
        return receive(pair);
}

void vnet_rx_run(struct vnet_pair *pair) {
        struct vnet_rx *rx = &pair->rx;
        int left = VNET_BUDGET;

        rx->hungry = rx->q->broken;
        if (rx->hungry || pair->dead)
                return;
        virtq_disable_notify(rx->q);
        while (left > 0 && step(pair) == STEP_NEXT)
                left--;
        virtio_queue_flush(&pair->net->vd, rx->q);
        /* The port wakes us for frames that are left in it, but not for the one that is held. */
        if (left == 0 && rx->held > 0) {
                rx->hungry = true;
                virtio_queue_kick(rx->q);
        }
}

void vnet_rx_give_back(struct vnet_pair *pair) {
        struct vnet_rx *rx = &pair->rx;

        if (rx->held > 0)
                (void) drop(rx);
        while (rx->n_buffers > 0)
                virtq_unpop(rx->q, rx->buffers[--rx->n_buffers].token);
        rx->n_iov = 0;
        rx->room = 0;
}
