/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * One request of a block device, from its descriptor chain to its status byte (virtio 1.2, 5.2.6).
 *
 * The driver may cut header, data and status over descriptors as it likes: the header is the first 16 bytes that the device may
 * read, the status the last byte it may write, and data what lies between. The header is copied once and only the copy is looked at.
 * A chain without room for a status cannot be answered and breaks the device; any other mistake fails the request.
 */

#include "devices/virtio/blk.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#define ERROR_REPORT_INTERVAL_NS 1000000000ull

void vblk_count(atomic_uint_least64_t *counter, uint64_t n) {
        /* One writer: a plain addition that readers see whole. */
        atomic_store_explicit(
                        counter, atomic_load_explicit(counter, memory_order_relaxed) + n,
                        memory_order_relaxed);
}

static void account(struct vblk_queue *bq, const struct vblk_slot *s) {
        enum block_op op = s->req.op;
        struct vblk_stats *st = &bq->stats;
        uint64_t ns = bq->now - s->started;

        if (ns < atomic_load_explicit(&st->min_ns[op], memory_order_relaxed) ||
            atomic_load_explicit(&st->ops[op], memory_order_relaxed) == 0)
                atomic_store_explicit(&st->min_ns[op], ns, memory_order_relaxed);
        if (ns > atomic_load_explicit(&st->max_ns[op], memory_order_relaxed))
                atomic_store_explicit(&st->max_ns[op], ns, memory_order_relaxed);
        vblk_count(&st->time_ns[op], ns);
        vblk_count(&st->bytes[op], s->req.len);
        vblk_count(&st->ops[op], 1);
}

/* Writes the status and returns the chain. data_written are the bytes of the part before the status that hold data. */
static void answer(struct vblk_slot *s, enum vblk_status status, uint32_t data_written) {
        struct vblk_queue *bq = s->queue;
        struct virtq_chain *chain = &s->chain;
        uint32_t data_room = chain->write_len - 1;
        struct iovec *last = s->status_iov;

        if (!bq->dropping)
                *((uint8_t *) last->iov_base + last->iov_len) = status;
        last->iov_len++;
        /* Also what is dropped: a read may have written. */
        virtq_mark_written(bq->q, chain, chain->write_len);
        /* The length counts from the chain's start and must not cover bytes we did not write (2.7.8.2). */
        vblk_slot_answered(bq, s, data_written == data_room ? data_room + 1 : data_written);
}

static void report(struct vblk_queue *bq, const struct vblk_slot *s, int errnum) {
        struct vblk *blk = bq->blk;

        /* A guest can repeat this as fast as it likes. */
        if (!blk->io_error || (bq->last_error_report != 0 &&
                               bq->now - bq->last_error_report < ERROR_REPORT_INTERVAL_NS))
                return;
        bq->last_error_report = bq->now;
        blk->io_error(blk->io_error_opaque, blk->vd.id, block_op_to_string(s->req.op), errnum);
}

static void begin_flush(struct vblk_slot *s) {
        s->req.op = BLOCK_FLUSH;
        s->req.len = 0;
        s->req.n_iov = 0;
        disk_image_start(s->queue->blk->image, s->queue->engine, &s->req);
}

/* What was zeroed is on stable storage when it is answered, for a driver that does not flush. */
static bool needs_flush(const struct vblk_slot *s) {
        return s->req.op == BLOCK_ZERO && s->req.dsync;
}

static void request_done(struct block_req *req, int result) {
        struct vblk_slot *s = (struct vblk_slot *) req;
        struct vblk_queue *bq = s->queue;

        if (result < 0) {
                /* What the image refuses for the guest's own fault is no news of the host. */
                if (result != -EINVAL && result != -EROFS)
                        report(bq, s, -result);
                answer(s, VBLK_S_IOERR, 0);
                return;
        }
        account(bq, s);
        if (needs_flush(s)) {
                begin_flush(s);
                return;
        }
        answer(s, VBLK_S_OK, req->op == BLOCK_READ ? (uint32_t) req->len : 0);
}

/* Takes the status byte off the end of the writable part. False when there is none. */
static bool take_status(struct vblk_slot *s) {
        struct virtq_chain *chain = &s->chain;
        unsigned n = chain->n_write;
        struct iovec *iov = chain->iov + chain->n_read;

        while (n > 0 && iov[n - 1].iov_len == 0)
                n--;
        if (n == 0)
                return false;
        s->status_iov = &iov[n - 1];
        s->status_iov->iov_len--;
        return true;
}

/* Points the request at the chain's readable part behind the header. */
static void use_readable(struct vblk_slot *s) {
        struct iovec *iov = s->chain.iov;
        unsigned n = s->chain.n_read;
        size_t skip = sizeof(struct vblk_header);

        while (n > 0 && skip >= iov->iov_len) {
                skip -= iov->iov_len;
                iov++;
                n--;
        }
        if (n > 0) {
                iov->iov_base = (char *) iov->iov_base + skip;
                iov->iov_len -= skip;
        }
        s->req.iov = iov;
        s->req.n_iov = n;
        s->req.len = s->chain.read_len - sizeof(struct vblk_header);
}

static void use_writable(struct vblk_slot *s) {
        s->req.iov = s->chain.iov + s->chain.n_read;
        /* The status may have had its iovec for itself. */
        s->req.n_iov = (unsigned) (s->status_iov - s->req.iov) + (s->status_iov->iov_len > 0);
        s->req.len = s->chain.write_len - 1;
}

static void begin_transfer(struct vblk_slot *s, enum block_op op, uint64_t sector) {
        struct vblk *blk = s->queue->blk;
        uint64_t capacity = blk->image->size / VBLK_SECTOR;
        struct block_req *req = &s->req;

        req->op = op;
        if (op == BLOCK_READ)
                use_writable(s);
        else
                use_readable(s);
        if (req->len % VBLK_SECTOR != 0 || sector > capacity ||
            req->len / VBLK_SECTOR > capacity - sector ||
            (op == BLOCK_WRITE && blk->image->readonly)) {
                answer(s, VBLK_S_IOERR, 0);
                return;
        }
        if (req->len == 0) {
                answer(s, VBLK_S_OK, 0);
                return;
        }
        req->offset = sector * VBLK_SECTOR;
        req->dsync = op == BLOCK_WRITE &&
                     !atomic_load_explicit(&blk->writeback, memory_order_relaxed);
        disk_image_start(blk->image, s->queue->engine, req);
}

/* VBLK_S_OK: it may be done. */
static enum vblk_status
check_range(const struct vblk *blk, enum block_op op, const struct vblk_range *range) {
        uint64_t sector = GUINT64_FROM_LE(range->sector), n = GUINT32_FROM_LE(range->num_sectors),
                 capacity = blk->image->size / VBLK_SECTOR;
        uint32_t known = op == BLOCK_ZERO ? VBLK_RANGE_UNMAP : 0,
                 max = op == BLOCK_ERASE ? VBLK_MAX_ERASE : VBLK_MAX_RANGE;

        if (GUINT32_FROM_LE(range->flags) & ~known)
                return VBLK_S_UNSUPP;
        if (n > max || sector > capacity || n > capacity - sector || blk->image->readonly)
                return VBLK_S_IOERR;
        return VBLK_S_OK;
}

/* Discard, write zeroes and secure erase: the data is one range (max_discard_seg and its like are 1). */
static void begin_range(struct vblk_slot *s, enum block_op op) {
        struct vblk *blk = s->queue->blk;
        const struct virtq_chain *chain = &s->chain;
        struct block_req *req = &s->req;
        enum vblk_status status = VBLK_S_IOERR;
        struct vblk_range range;

        if (chain->read_len == sizeof(struct vblk_header) + sizeof(range) &&
            iov_copy_out(chain->iov, chain->n_read, sizeof(struct vblk_header), &range,
                         sizeof(range)) == sizeof(range))
                status = check_range(blk, op, &range);
        if (status != VBLK_S_OK || range.num_sectors == 0) {
                answer(s, status, 0);
                return;
        }
        req->op = op;
        /* A driver may ask for it all the same; then it gets zeros. */
        req->unmap = GUINT32_FROM_LE(range.flags) & VBLK_RANGE_UNMAP && !blk->no_discard;
        req->dsync = op == BLOCK_ZERO &&
                     !atomic_load_explicit(&blk->writeback, memory_order_relaxed);
        req->offset = GUINT64_FROM_LE(range.sector) * VBLK_SECTOR;
        req->len = (uint64_t) GUINT32_FROM_LE(range.num_sectors) * VBLK_SECTOR;
        req->n_iov = 0;
        disk_image_start(blk->image, s->queue->engine, req);
}

static void begin_if(struct vblk_slot *s, unsigned feature, enum block_op op) {
        if (virtio_has(&s->queue->blk->vd, feature))
                begin_range(s, op);
        else
                answer(s, VBLK_S_UNSUPP, 0);
}

static void answer_id(struct vblk_slot *s) {
        const struct virtq_chain *chain = &s->chain;
        /* The status byte is off the iovecs already, so it is safe from the copy. */
        size_t n =
                        iov_copy_in(chain->iov + chain->n_read, chain->n_write, 0,
                                    s->queue->blk->serial, VBLK_ID_LEN);

        answer(s, VBLK_S_OK, (uint32_t) n);
}

bool vblk_request_begin(struct vblk_slot *s, const char **why) {
        const struct virtq_chain *chain = &s->chain;
        struct vblk_header header;

        assert(s && why);

        if (!take_status(s)) {
                *why = "a block request without room for its status";
                return false;
        }
        vblk_slot_taken(s->queue, s);
        s->started = s->queue->now;
        s->req.done = request_done;
        if (iov_copy_out(chain->iov, chain->n_read, 0, &header, sizeof(header)) < sizeof(header)) {
                answer(s, VBLK_S_IOERR, 0);
                return true;
        }

        switch (GUINT32_FROM_LE(header.type)) {
        case VBLK_T_IN:
                begin_transfer(s, BLOCK_READ, GUINT64_FROM_LE(header.sector));
                break;
        case VBLK_T_OUT:
                begin_transfer(s, BLOCK_WRITE, GUINT64_FROM_LE(header.sector));
                break;
        case VBLK_T_FLUSH:
                begin_flush(s);
                break;
        case VBLK_T_GET_ID:
                answer_id(s);
                break;
        case VBLK_T_DISCARD:
                begin_if(s, VBLK_F_DISCARD, BLOCK_DISCARD);
                break;
        case VBLK_T_WRITE_ZEROES:
                begin_if(s, VBLK_F_WRITE_ZEROES, BLOCK_ZERO);
                break;
        case VBLK_T_SECURE_ERASE:
                begin_if(s, VBLK_F_SECURE_ERASE, BLOCK_ERASE);
                break;
        default:
                answer(s, VBLK_S_UNSUPP, 0);
                break;
        }
        return true;
}
