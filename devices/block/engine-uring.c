/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The io_uring engine: one ring per queue, one io_uring_enter() per batch.
 *
 * The ring's own descriptor says when there are completions, which spares the eventfd and a read(2) per wake-up. A request has one entry in the submission queue, or some if it is more than the device takes at once;
 * never are more under way than the completion queue has room for.
 *
 * With engine_poll_device() transfers have a ring of their own, a lane, whose completions the kernel finds out by asking the device when it is
 * asked itself; flushes, discards and zeros cannot be had so, and keep to the first.
 */

#include "devices/block/engine-fixed.h"
#include "devices/block/engine-pieces.h"
#include "devices/block/engine-ring.h"
#include "devices/block/pace.h"
#include "devices/throttle.h"
#include "hypervisor/error.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>

#define HERE_MAX (256u * 1024u)

struct lane {
        struct io_uring ring;
        unsigned started; /* in the kernel or in the submission queue */
};

struct uring_engine {
        struct engine e;
        struct lane main, polled;
        bool polls;   /* there is a second lane */
        int fixed_fd; /* registered as file 0, or -1 */
        struct pace flushes, writes;
        struct fixed_memory memory;
};

static void
finish_entry(const struct uring_engine *u, struct io_uring_sqe *sqe, struct block_req *req) {
        if (req->fd == u->fixed_fd)
                io_uring_sqe_set_flags(sqe, IOSQE_FIXED_FILE);
        io_uring_sqe_set_data(sqe, req);
}

static void count(atomic_uint_least64_t *counter, uint64_t n) {
        atomic_store_explicit(
                        counter, atomic_load_explicit(counter, memory_order_relaxed) + n,
                        memory_order_relaxed);
}

/* One buffer, which need not be a whole one of req's. */
static void
prepare_plain(struct uring_engine *u,
              struct io_uring_sqe *sqe,
              const struct block_req *req,
              void *buf,
              size_t len,
              uint64_t at) {
        int fd = req->fd == u->fixed_fd ? 0 : req->fd;
        int buffer = fixed_memory_find(&u->memory, buf, len);
        bool reads = req->op == BLOCK_READ;

        if (buffer < 0) {
                io_uring_prep_rw(
                                reads ? IORING_OP_READ : IORING_OP_WRITE, sqe, fd, buf,
                                (unsigned) len, at);
                return;
        }
        io_uring_prep_rw(
                        reads ? IORING_OP_READ_FIXED : IORING_OP_WRITE_FIXED, sqe, fd, buf,
                        (unsigned) len, at);
        sqe->buf_index = (uint16_t) buffer;
        count(&u->e.fixed, 1);
}

static void prepare(struct uring_engine *u, struct io_uring_sqe *sqe, struct block_req *req) {
        const struct iovec *iov = req->iov ? req->iov + req->iov_at : NULL;
        unsigned n = req->n_iov - req->iov_at;
        uint64_t at = req->offset + req->moved;
        int fd = req->fd == u->fixed_fd ? 0 : req->fd;

        switch (req->op) {
        case BLOCK_READ:
        case BLOCK_WRITE:
                if (n == 1)
                        prepare_plain(u, sqe, req, iov->iov_base, iov->iov_len, at);
                else if (req->op == BLOCK_READ)
                        io_uring_prep_readv(sqe, fd, iov, n, at);
                else
                        io_uring_prep_writev(sqe, fd, iov, n, at);
                sqe->rw_flags = req->dsync ? RWF_DSYNC : 0;
                break;
        case BLOCK_FLUSH:
                io_uring_prep_fsync(sqe, fd, IORING_FSYNC_DATASYNC);
                break;
        default:
                io_uring_prep_fallocate(
                                sqe, fd, block_req_fallocate_mode(req), (off_t) req->offset,
                                (off_t) req->len);
                break;
        }
        finish_entry(u, sqe, req);
}

static void
prepare_piece(struct uring_engine *u,
              struct io_uring_sqe *sqe,
              struct block_req *req,
              const struct block_piece *p) {
        const struct iovec *iov = p->iov + p->first;
        int fd = req->fd == u->fixed_fd ? 0 : req->fd;

        if (p->n_iov == 1)
                prepare_plain(u, sqe, req, (char *) iov->iov_base + p->skip, p->len, p->at);
        else if (req->op == BLOCK_READ)
                io_uring_prep_readv(sqe, fd, iov, p->n_iov, p->at);
        else
                io_uring_prep_writev(sqe, fd, iov, p->n_iov, p->at);
        finish_entry(u, sqe, req);
}

/* False: there is no room for them. */
static bool
queue_pieces(struct uring_engine *u, struct lane *lane, struct block_req *req, unsigned n) {
        struct block_piece p = { 0 };

        if (n > io_uring_sq_space_left(&lane->ring) ||
            lane->started + n > *lane->ring.cq.kring_entries)
                return false;
        req->pieces = n;
        req->piece_error = 0;
        req->piece_sum = 0;
        lane->started += n;
        while (block_piece_next(req, &p))
                prepare_piece(u, io_uring_get_sqe(&lane->ring), req, &p);
        return true;
}

/* The kernel would hand req to a thread of its own. True: that is spared, and it is over. */
static bool do_here(struct uring_engine *u, struct block_req *req) {
        struct pace *pace;
        uint64_t begin;

        /* A flush may take long by its nature, so nobody else may be waiting. */
        if (req->op == BLOCK_FLUSH && u->e.in_flight == 1)
                pace = &u->flushes;
        else if (req->op == BLOCK_WRITE && req->cached && !req->dsync && req->len <= HERE_MAX)
                pace = &u->writes;
        else
                return false;
        if (!pace_allows(pace))
                return false;
        begin = throttle_clock();
        engine_complete(&u->e, req, block_req_execute(req));
        pace_note(pace, throttle_clock() - begin, req->len);
        return true;
}

/* What is to be on stable storage when it is over ends with a flush, which cannot be polled for. */
static struct lane *lane_of(struct uring_engine *u, const struct block_req *req) {
        bool polled = u->polls && (req->op == BLOCK_READ || req->op == BLOCK_WRITE) &&
                      !req->dsync && req->fd == u->fixed_fd;

        return polled ? &u->polled : &u->main;
}

/* The kernel did not take the entries (out of memory): takes them back, which is safe because without SQPOLL it looks at
 * the queue only inside io_uring_enter(), and does them here. */
static void do_it_ourselves(struct uring_engine *u, struct lane *lane) {
        struct io_uring_sq *sq = &lane->ring.sq;
        unsigned head = *sq->khead, mask = *sq->kring_mask, tail = sq->sqe_tail;

        for (unsigned i = head; i != tail; i++) {
                struct block_req *req =
                                (struct block_req *) (uintptr_t) sq->sqes[i & mask].user_data;

                lane->started--;
                if (req->pieces > 0 && !block_req_piece_over(req, -EAGAIN))
                        continue;
                engine_complete(&u->e, req, block_req_execute(req));
        }
        sq->sqe_tail = sq->sqe_head = head;
        *sq->ktail = head;
}

static void submit(struct uring_engine *u, struct lane *lane) {
        int r;

        while (io_uring_sq_ready(&lane->ring) > 0) {
                r = io_uring_submit(&lane->ring);
                if (r < 0 && r != -EINTR) {
                        do_it_ourselves(u, lane);
                        return;
                }
        }
}

static void uring_submit(struct engine *e) {
        struct uring_engine *u = (struct uring_engine *) e;

        submit(u, &u->main);
        if (u->polls)
                submit(u, &u->polled);
}

static void uring_queue(struct engine *e, struct block_req *req) {
        struct uring_engine *u = (struct uring_engine *) e;
        struct lane *lane = lane_of(u, req);
        unsigned n = block_req_count_pieces(req);
        struct io_uring_sqe *sqe;

        if (do_here(u, req))
                return;
        if (io_uring_sq_space_left(&lane->ring) < n)
                submit(u, lane);
        if (lane == &u->polled)
                count(&e->polled, n);
        if (n > 1 && queue_pieces(u, lane, req, n))
                return;
        sqe = io_uring_get_sqe(&lane->ring);
        /* The kernel takes no more, yet nothing is lost. */
        if (!sqe) {
                engine_complete(e, req, block_req_execute(req));
                return;
        }
        lane->started++;
        prepare(u, sqe, req);
}

static void
finish_piece(struct uring_engine *u, struct lane *lane, struct block_req *req, int res) {
        bool unpollable;

        if (!block_req_piece_over(req, res))
                return;
        unpollable = lane == &u->polled && req->piece_error == -EOPNOTSUPP;
        if ((req->piece_error < 0 && !unpollable) || req->piece_sum == req->len) {
                engine_complete(&u->e, req, req->piece_error);
                return;
        }
        req->piece_max = 0;
        uring_queue(&u->e, req);
}

static void finish(struct uring_engine *u, struct lane *lane, struct block_req *req, int res) {
        bool moves = req->op == BLOCK_READ || req->op == BLOCK_WRITE;

        lane->started--;
        if (req->pieces > 0) {
                finish_piece(u, lane, req, res);
                return;
        }
        if (res == -EINTR || res == -EAGAIN || (moves && res > 0 && !block_req_advance(req, res))) {
                uring_queue(&u->e, req);
                return;
        }
        /* Nothing moved although something was left: the file ends before the size we saw. */
        if (moves && res == 0 && req->moved < req->len)
                res = -EIO;
        if (res == -EOPNOTSUPP && (req->op == BLOCK_DISCARD || req->op == BLOCK_ZERO))
                res = block_req_do_without(req);
        /* A device may have lost its queues for polling. */
        if (res == -EOPNOTSUPP && lane == &u->polled)
                res = block_req_execute(req);
        engine_complete(&u->e, req, MIN(res, 0));
}

/* With cooperative task running a completion is first a flag, and an entry after the next system call. */
static bool uring_has_news(const struct engine *e) {
        const struct uring_engine *u = (const struct uring_engine *) e;

        return io_uring_cq_ready(&u->main.ring) > 0 ||
               IO_URING_READ_ONCE(*u->main.ring.sq.kflags) &
                               (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW);
}

static void reap(struct uring_engine *u, struct lane *lane) {
        struct io_uring_cqe *cqes[32];
        unsigned n;

        while ((n = io_uring_peek_batch_cqe(&lane->ring, cqes, G_N_ELEMENTS(cqes))) > 0) {
                for (unsigned i = 0; i < n; i++) {
                        struct block_req *req = io_uring_cqe_get_data(cqes[i]);

                        finish(u, lane, req, cqes[i]->res);
                }
                io_uring_cq_advance(&lane->ring, n);
        }
}

static void look_at_device(struct uring_engine *u) {
        if (u->polled.started > 0)
                (void) io_uring_get_events(&u->polled.ring);
}

static void wait_for_one(struct uring_engine *u, int timeout_ms) {
        struct __kernel_timespec ts = { timeout_ms / 1000, timeout_ms % 1000 * 1000000ll };
        uint64_t begin = throttle_clock();
        struct io_uring_cqe *cqe;

        if (u->polled.started == 0) {
                if (u->main.started > 0)
                        (void) io_uring_wait_cqes(
                                        &u->main.ring, &cqe, 1, timeout_ms < 0 ? NULL : &ts, NULL);
                return;
        }
        do
                look_at_device(u);
        while (io_uring_cq_ready(&u->polled.ring) == 0 && !uring_has_news(&u->e) &&
               (timeout_ms < 0 || throttle_clock() - begin < timeout_ms * 1000000ull));
}

static void uring_collect(struct engine *e, int timeout_ms) {
        struct uring_engine *u = (struct uring_engine *) e;

        pace_new_batch(&u->flushes);
        pace_new_batch(&u->writes);
        if (timeout_ms != 0)
                wait_for_one(u, timeout_ms);
        else
                look_at_device(u);
        reap(u, &u->main);
        if (u->polls)
                reap(u, &u->polled);
        uring_submit(e);
}

static bool uring_must_look(const struct engine *e) {
        return ((const struct uring_engine *) e)->polled.started > 0;
}

static bool uring_register_memory(struct engine *e, const gmem *mem, GError **error) {
        struct uring_engine *u = (struct uring_engine *) e;
        int r;

        fixed_memory_init(&u->memory, mem);
        r = fixed_memory_register(&u->memory, &u->main.ring);
        if (r == 0 && u->polls)
                r = fixed_memory_register(&u->memory, &u->polled.ring);
        if (r == 0)
                return true;
        fixed_memory_clear(&u->memory);
        return hv_error_errno(
                        error, -r, "pinning the guest's memory%s",
                        r == -ENOMEM ? ", of which there is too little, or RLIMIT_MEMLOCK is too "
                                       "low "
                                       "for it times the disk's queues"
                                     : "");
}

static int uring_start(struct engine *e) {
        struct uring_engine *u = (struct uring_engine *) e;
        int r = ring_enable(&u->main.ring);

        return r < 0 || !u->polls ? r : ring_enable(&u->polled.ring);
}

static void uring_free(struct engine *e) {
        struct uring_engine *u = (struct uring_engine *) e;

        io_uring_queue_exit(&u->main.ring);
        if (u->polls)
                io_uring_queue_exit(&u->polled.ring);
        fixed_memory_clear(&u->memory);
        g_free(u);
}

static bool uring_poll_device(struct engine *e, GError **error) {
        struct uring_engine *u = (struct uring_engine *) e;
        int r;

        assert(u->memory.n_regions == 0);

        if (u->fixed_fd < 0) {
                g_set_error_literal(
                                error, HV_ERROR, HV_ERROR_UNSUPPORTED,
                                "the disk's file could not be registered with io_uring");
                return false;
        }
        r = ring_try_to_poll(u->fixed_fd, u->e.bounce);
        if (r < 0)
                return hv_error_errno(error, -r, "the disk's file or device cannot be polled");
        r = ring_open(&u->polled.ring, *u->main.ring.sq.kring_entries, true);
        if (r < 0)
                return hv_error_errno(error, -r, "setting an io_uring up that polls");
        r = io_uring_register_files(&u->polled.ring, &u->fixed_fd, 1);
        if (r == 0 && !ring_restrict(&u->polled.ring, true))
                r = -EOPNOTSUPP;
        if (r == 0) {
                u->polls = true;
                return true;
        }
        io_uring_queue_exit(&u->polled.ring);
        return hv_error_errno(error, -r, "setting an io_uring up that polls");
}

static const struct engine_ops uring_ops = {
        .poll_device = uring_poll_device,
        .register_memory = uring_register_memory,
        .start = uring_start,
        .queue = uring_queue,
        .submit = uring_submit,
        .collect = uring_collect,
        .has_news = uring_has_news,
        .must_look = uring_must_look,
        .free = uring_free,
};

struct engine *engine_uring_new(unsigned depth, int fd, GError **error) {
        g_autofree struct uring_engine *u = g_new0(struct uring_engine, 1);
        int r = ring_open(&u->main.ring, depth, false);

        if (r < 0) {
                (void) hv_error_errno(error, -r, "setting an io_uring of %u entries up", depth);
                return NULL;
        }
        if (!ring_probe(&u->main.ring, error)) {
                io_uring_queue_exit(&u->main.ring);
                return NULL;
        }
        u->e.ops = &uring_ops;
        u->e.poll_fd = u->main.ring.ring_fd;
        u->fixed_fd = -1;
        /* Spares a look-up per request; not worth failing for. */
        if (fd >= 0 && io_uring_register_files(&u->main.ring, &fd, 1) == 0)
                u->fixed_fd = fd;
        if (!ring_restrict(&u->main.ring, false)) {
                g_set_error_literal(
                                error, HV_ERROR, HV_ERROR_UNSUPPORTED,
                                "io_uring of this host cannot be restricted to what disks need");
                io_uring_queue_exit(&u->main.ring);
                return NULL;
        }
        return &g_steal_pointer(&u)->e;
}
