/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "devices/block/engine-private.h"

/* Part of a transfer that a device takes at once, and how far a walk over them is. */
struct block_piece {
        const struct iovec *iov; /* NULL: before the first */
        unsigned first, n_iov;   /* buffers it is in */
        bool plain;              /* a part of the first: len bytes behind its first skip */
        size_t skip;
        uint64_t at, len; /* where in the file, bytes */
};

/* Goes on to the next piece; false at the end. */
bool block_piece_next(const struct block_req *req, struct block_piece *p);

/* 1: it goes as it is. */
unsigned block_req_count_pieces(const struct block_req *req);

/* A piece of req is over, res as of a completion. True: it was the last; req->piece_error and req->piece_sum say how req ended. */
bool block_req_piece_over(struct block_req *req, int res);
