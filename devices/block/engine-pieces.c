/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Cuts a transfer into pieces that a block device takes at once.
 *
 * What is more than the device takes, the kernel would have to cut, and it does not do that for somebody who does not want to wait: it
 * gives the whole request to a thread of its own, at the price of two switches between threads. Pieces that are small enough are started
 * where they are.
 *
 * A piece is a run of whole buffers, or a part of one: buffers are never changed for it. Pieces run at once and in any order, so
 * only the sum tells how a request ended; when it is short and no piece says why, the whole is done once more, uncut.
 */

#include "devices/block/engine-pieces.h"

#include <assert.h>
#include <errno.h>

bool block_piece_next(const struct block_req *req, struct block_piece *p) {
        const struct iovec *iov = req->iov;
        unsigned i = p->iov ? p->first + p->n_iov : 0;
        size_t skip = 0;

        if (p->plain && p->skip + p->len < iov[p->first].iov_len) {
                i = p->first;
                skip = p->skip + (size_t) p->len;
        }
        while (i < req->n_iov && iov[i].iov_len == skip) {
                i++;
                skip = 0;
        }
        p->at = p->iov ? p->at + p->len : req->offset;
        p->iov = iov;
        p->first = i;
        p->skip = skip;
        p->n_iov = 0;
        p->len = 0;
        p->plain = false;
        if (i == req->n_iov)
                return false;
        if (skip > 0 || iov[i].iov_len > req->piece_max) {
                p->plain = true;
                p->n_iov = 1;
                p->len = MIN(iov[i].iov_len - skip, req->piece_max);
                return true;
        }
        while (i < req->n_iov && iov[i].iov_len <= req->piece_max - p->len) {
                p->len += iov[i++].iov_len;
                p->n_iov++;
        }
        return true;
}

unsigned block_req_count_pieces(const struct block_req *req) {
        struct block_piece p = { 0 };
        unsigned n = 0;

        assert(req);

        /* Each piece of a write through the cache would be one. */
        if ((req->op != BLOCK_READ && req->op != BLOCK_WRITE) || req->dsync ||
            req->piece_max == 0 || req->len <= req->piece_max || req->moved > 0)
                return 1;
        while (block_piece_next(req, &p))
                n++;
        return n;
}

bool block_req_piece_over(struct block_req *req, int res) {
        assert(req->pieces > 0);

        if (res >= 0)
                req->piece_sum += (uint64_t) res;
        else if (res != -EINTR && res != -EAGAIN && req->piece_error == 0)
                req->piece_error = res;
        return --req->pieces == 0;
}
