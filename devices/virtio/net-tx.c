/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Frames from the guest to the port: one writev(2) each, out of guest memory.
 *
 * The header is the kernel's to check: it copies header and frame before it looks at them. A source address is checked in a copy of the
 * frame's start, which is what is sent then, as it is where the driver's header is longer than the port's. What the port refuses is dropped, as a
 * network does; when it would block, the frame goes back to the queue until the port is writable.
 */

#include "devices/virtio/net.h"

#include <errno.h>
#include <string.h>

enum sent {
        SENT,
        NOT_SENT, /* dropped */
        WOULD_BLOCK,
        LIMITED,
        SPOOFED,
};

/* How long the frame has to wait for tokens; they are taken when it has been sent, at *ret_now (0: no limits). */
static uint64_t must_wait(struct vnet_pair *pair, uint64_t bytes, uint64_t *ret_now) {
        struct throttle *limits = &pair->net->tx_limits;

        *ret_now = throttle_limits(limits) ? throttle_clock() : 0;
        return *ret_now ? throttle_wait(limits, *ret_now, bytes, 1) : 0;
}

/* 0: less than a header. */
static uint32_t frame_len(const struct vnet_pair *pair, const struct virtq_chain *chain) {
        unsigned header = vnet_header_len(pair->net);

        return chain->read_len > header ? chain->read_len - header : 0;
}

/* Puts a copy of the frame's start, with a header as the port has it, in front of the rest: chain->iov[-1] is free. */
static void copy_start(struct vnet_pair *pair, struct virtq_chain *chain) {
        unsigned header = vnet_header_len(pair->net);
        struct vnet_tx *tx = &pair->tx;
        size_t skip = header + (VNET_FRAME_MIN - NET_HEADER_LEN);

        (void) iov_copy_out(chain->iov, chain->n_read, 0, tx->start, skip);
        memmove(tx->start + NET_HEADER_LEN, tx->start + header, VNET_FRAME_MIN - NET_HEADER_LEN);
        for (; chain->n_read > 0 && chain->iov[0].iov_len <= skip; chain->n_read--)
                skip -= (chain->iov++)->iov_len;
        if (skip > 0) {
                chain->iov[0].iov_base = (char *) chain->iov[0].iov_base + skip;
                chain->iov[0].iov_len -= skip;
        }
        *--chain->iov = (struct iovec){ tx->start, VNET_FRAME_MIN };
        chain->n_read++;
}

static enum sent send_frame(struct vnet_pair *pair, struct virtq_chain *chain) {
        uint32_t len = frame_len(pair, chain);
        uint64_t wait, now;
        ssize_t n;

        if (len < VNET_FRAME_MIN - NET_HEADER_LEN || len > VNET_FRAME_MAX - NET_HEADER_LEN ||
            pair->dead || !vnet_link_is_up(pair->net))
                return NOT_SENT;
        if (pair->net->mac_filter || vnet_header_len(pair->net) != NET_HEADER_LEN)
                copy_start(pair, chain);
        if (pair->net->mac_filter &&
            memcmp(pair->tx.start + NET_HEADER_LEN + 6, pair->net->mac, 6) != 0)
                return SPOOFED;
        wait = must_wait(pair, len, &now);
        if (wait > 0) {
                vnet_pair_wait(pair, &pair->tx.timer, &pair->tx.limited, wait);
                return LIMITED;
        }
        do
                n = writev(pair->fd, chain->iov, chain->n_read);
        while (n < 0 && errno == EINTR);
        if (n >= 0) {
                if (pair->capture)
                        capture_frame(pair->capture, chain->iov, chain->n_read, NET_HEADER_LEN,
                                      len);
                if (now != 0)
                        throttle_charge(&pair->net->tx_limits, now, len, 1);
                return SENT;
        }
        if (errno == EAGAIN)
                return WOULD_BLOCK;
        if (errno == EBADFD || errno == EBADF || errno == EPIPE)
                vnet_pair_died(pair);
        return NOT_SENT;
}

static bool transmit(struct vnet_pair *pair, struct virtq_chain *chain) {
        struct vnet_tx *tx = &pair->tx;

        switch (send_frame(pair, chain)) {
        case SENT:
                vnet_count(&tx->n.frames, 1);
                vnet_count(&tx->n.bytes, frame_len(pair, chain));
                break;
        case NOT_SENT:
                vnet_count(&tx->n.drops, 1);
                break;
        case SPOOFED:
                vnet_count(&tx->n.refused, 1);
                break;
        case WOULD_BLOCK:
                virtq_unpop(tx->q, chain->token);
                tx->blocked = true;
                return false;
        case LIMITED:
                virtq_unpop(tx->q, chain->token);
                return false;
        }
        virtq_push(tx->q, chain->token, 0);
        return true;
}

void vnet_tx_run(struct vnet_pair *pair) {
        struct vnet_tx *tx = &pair->tx;
        struct virtq_chain chain = { .iov_max = IOV_MAX - 1 };
        int left = VNET_BUDGET;

        if (tx->q->broken)
                return;
        virtq_disable_notify(tx->q);
        for (; left > 0; left--) {
                int r;

                chain.iov = tx->iov + 1;
                r = virtq_pop(tx->q, &chain);

                if (r == VIRTQ_E_BROKEN) {
                        vnet_pair_broken(pair, tx->q, "a bad descriptor chain in a transmit queue");
                        return;
                }
                if (r == 0 && !transmit(pair, &chain))
                        break;
                if (r == VIRTQ_E_EMPTY) {
                        if (!virtq_enable_notify(tx->q))
                                break;
                        virtq_disable_notify(tx->q);
                }
        }
        virtio_queue_flush(&pair->net->vd, tx->q);
        /* More may be there: after everybody else had a turn. */
        if (left == 0)
                virtio_queue_kick(tx->q);
}
