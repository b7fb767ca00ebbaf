/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

/*
 * One operation on a disk: what an image gives to an I/O engine. It is embedded in its owner's request slot, so that
 * starting one allocates nothing. From disk_image_start() until done() it belongs to the engine.
 */

enum block_op {
        BLOCK_READ,
        BLOCK_WRITE,
        BLOCK_FLUSH, /* what was written before is on stable storage when it is done */
        BLOCK_DISCARD, /* the range's content may go, and on hosts that can't let it go stays; no buffers */
        BLOCK_ZERO,  /* the range reads as zeros; no buffers */
        BLOCK_ERASE, /* of a disk that can: the range's content goes, in every copy that the device may have; no buffers */
        BLOCK_OP_MAX,
        BLOCK_OP_INVALID = -22,
};

struct engine;

const char *block_op_to_string(enum block_op op);
enum block_op block_op_from_string(const char *s);

struct block_req {
        enum block_op op;
        bool dsync; /* a write that is on stable storage when it is done; of a BLOCK_ZERO its owner sees to that */
        bool unmap; /* BLOCK_ZERO: the range need not stay allocated */
        uint64_t offset, len;
        struct iovec *iov; /* of exactly len bytes; changed meanwhile, as it was again when done */
        unsigned n_iov;    /* at most IOV_MAX */

        /* 0 or negative errno. On the engine's thread, within engine_reap() or engine_drain(), never within
         * disk_image_start(). May start requests, this one included. */
        void (*done)(struct block_req *req, int result);

        /* The image's, while the request is under way. */
        struct {
                void *owner;
                struct engine *engine;
                void (*done)(struct block_req *req, int result);
                uint64_t offset;
                unsigned epoch;
        } image;

        /* The engine's. */
        int fd;
        bool cached; /* set by the image: the file is read and written through the page cache */
        uint32_t piece_max; /* set by the image: what the file's device takes at once, bytes; 0: any length */
        int result;
        uint64_t moved;   /* bytes transferred so far */
        unsigned iov_at;  /* first iovec that is not used up */
        size_t iov_taken; /* bytes taken off that one's front */
        unsigned pieces;  /* under way: engine-pieces.c */
        int piece_error;
        uint64_t piece_sum;
        struct block_req *next;
};
