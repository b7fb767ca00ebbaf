/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "devices/block/disk-image.h"
#include "devices/io-timer.h"
#include "devices/virtio/blk-wire.h"
#include "devices/virtio/devices.h"

#include <stdatomic.h>

/* Sectors that one discard or one writing of zeros takes at most: 1 GiB, so that each is over in foreseeable time. */
#define VBLK_MAX_RANGE (1u << 21)

/* The same of erasing, which nothing can interrupt and a device may take its time for: 64 MiB. */
#define VBLK_MAX_ERASE (1u << 17)

/* Between blk.c (the device), blk-queue.c (its threads) and blk-request.c (one request). */

/* Counters of one queue: written by its thread, read by the main thread at any time. */
struct vblk_stats {
        atomic_uint_least64_t ops[BLOCK_OP_MAX];
        atomic_uint_least64_t bytes[BLOCK_OP_MAX];
        atomic_uint_least64_t time_ns[BLOCK_OP_MAX]; /* sum */
        atomic_uint_least64_t min_ns[BLOCK_OP_MAX];
        atomic_uint_least64_t max_ns[BLOCK_OP_MAX];
        atomic_uint_least64_t
                        looks; /* that found something: without them the thread would have slept */
};

struct vblk_slot {
        struct block_req req; /* first: done() gets from it to the slot */
        struct vblk_queue *queue;
        struct virtq_chain chain;
        struct iovec *status_iov; /* the chain's last: one byte shorter while the request runs */
        uint64_t started;         /* ns */
        struct vblk_slot *next;   /* free list, or with VIRTIO_F_IN_ORDER taken after it */
        uint32_t used_len;        /* with VIRTIO_F_IN_ORDER, once it is answered */
        bool answered;
};

struct vblk_queue {
        struct vblk *blk;
        struct virtq *q;
        iothread *thread;
        struct engine *engine;
        struct io_watch kick, finished, posted;
        struct io_poller poller;

        /* Of the queue's thread. */
        bool serving;
        bool dropping; /* requests that end are not returned to the guest */
        bool starved;  /* chains wait for a slot; notifications are off */
        bool silent;   /* notifications are off until the thread sleeps */
        bool limited;  /* a chain waits for the timer; the same */
        bool in_order; /* chains are returned in the order in which they were taken */
        struct vblk_slot *oldest,
                        *newest; /* in_order: under way, or answered and waiting for an older one */
        struct io_timer timer;
        uint64_t now; /* ns, of the current batch */
        uint64_t last_error_report;

        /* One slot a queue entry, up to a limit; used from the front, so that idle ones cost no memory. */
        unsigned n_slots, n_touched, max_iov;
        struct vblk_slot *slots, *free;
        struct iovec *iovs;

        struct vblk_stats stats;
};

struct vblk {
        struct virtio_dev vd; /* first */
        struct disk_image *image;
        uint8_t serial[VBLK_ID_LEN];
        uint32_t seg_max;
        bool no_discard, in_order;
        uint32_t poll_us;
        bool iopoll;
        atomic_bool writeback; /* set by a vCPU thread, read by the queues' */
        void (*io_error)(void *opaque, const char *id, const char *operation, int errnum);
        void *io_error_opaque;
        struct throttle limits, *throttle; /* its own; the one in force, which may be a group's */
        unsigned n_queues;
        struct vblk_queue *queues;
};

/* blk-request.c; on the queue's thread. */

/* Looks at the chain popped into s and starts what it asks for. False: the guest broke the rules, why says how. */
bool vblk_request_begin(struct vblk_slot *s, const char **why);

/* Adds n to a counter of the queue's. */
void vblk_count(atomic_uint_least64_t *counter, uint64_t n);

/* blk-queue.c */

bool vblk_queue_init(
                struct vblk_queue *bq,
                struct vblk *blk,
                unsigned index,
                const struct virtio_blk_config *config,
                GError **error);
void vblk_queue_release(struct vblk_queue *bq);

void vblk_slot_give_back(struct vblk_queue *bq, struct vblk_slot *s);

/* The slot's chain has been looked at, and will be answered / has been answered, and can go back to the driver. */
void vblk_slot_taken(struct vblk_queue *bq, struct vblk_slot *s);
void vblk_slot_answered(struct vblk_queue *bq, struct vblk_slot *s, uint32_t used_len);

/* From any other thread; return when it is done. stop drops what is in flight instead of returning it to the guest;
 * quiesce returns it, or after a time limit fails with -ETIMEDOUT and goes on to serve; drain returns it and goes on to serve, what
 * is taken after its call being another matter. */
int vblk_queue_start(struct vblk_queue *bq);
void vblk_queue_stop(struct vblk_queue *bq);
int vblk_queue_quiesce(struct vblk_queue *bq);
int vblk_queue_drain(struct vblk_queue *bq);

/* On the queue's thread: the timer has expired, or the limits are others. */
void vblk_queue_retry(struct vblk_queue *bq);

/* blk-limits.c; on the queue's thread. Whether the chain that was just popped has to go back; if so the timer is set. */
bool vblk_queue_must_wait(struct vblk_queue *bq, const struct virtq_chain *chain);
int vblk_queue_start_timer(struct vblk_queue *bq);
void vblk_queue_stop_timer(struct vblk_queue *bq);

/* As virtio_dev_ops.resize. */
bool vblk_resize(
                struct vblk *blk,
                uint64_t *size,
                bool shrink,
                const atomic_bool *stop,
                GError **error);

/* As virtio_dev_ops.set_throttle. */
int vblk_set_throttle(struct vblk *blk, const struct throttle_config *config);
