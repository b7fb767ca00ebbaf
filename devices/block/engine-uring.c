/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The io_uring engine: one ring per queue, one io_uring_enter() per batch.
 *
 * The ring's own descriptor says when there are completions, which spares the eventfd and a read(2) per wake-up. The ring is
 * born disabled on the control side and enabled on the thread that uses it, because a ring with a single issuer binds itself
 * to the task that enables it. A request has one entry in the submission queue, or some if it is more than the device takes at once;
 * never are more under way than the completion queue has room for.
 */

#include "devices/block/engine-fixed.h"
#include "devices/block/engine-pieces.h"
#include "devices/block/pace.h"
#include "devices/throttle.h"
#include "hypervisor/error.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>

#define HERE_MAX (256u * 1024u)

struct uring_engine {
        struct engine e;
        struct io_uring ring;
        int fixed_fd;     /* registered as file 0, or -1 */
        unsigned started; /* in the kernel or in the submission queue */
        struct pace flushes, writes;
        struct fixed_memory memory;
};

/* Best first: completions do not interrupt the thread but wait for its next system call (5.19, 6.0). DEFER_TASKRUN would batch
 * them further, but then nothing makes the ring's descriptor readable; an eventfd would cost more than it saves. */
static const unsigned setup_flags[] = {
        IORING_SETUP_R_DISABLED | IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG |
                        IORING_SETUP_SINGLE_ISSUER,
        IORING_SETUP_R_DISABLED | IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
        IORING_SETUP_R_DISABLED,
};

static const int needed_ops[] = {
        IORING_OP_READV, IORING_OP_WRITEV,    IORING_OP_READ,       IORING_OP_WRITE,
        IORING_OP_FSYNC, IORING_OP_FALLOCATE, IORING_OP_READ_FIXED, IORING_OP_WRITE_FIXED,
};

static void
finish_entry(const struct uring_engine *u, struct io_uring_sqe *sqe, struct block_req *req) {
        if (req->fd == u->fixed_fd)
                io_uring_sqe_set_flags(sqe, IOSQE_FIXED_FILE);
        io_uring_sqe_set_data(sqe, req);
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
        atomic_store_explicit(
                        &u->e.fixed, atomic_load_explicit(&u->e.fixed, memory_order_relaxed) + 1,
                        memory_order_relaxed);
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
static bool queue_pieces(struct uring_engine *u, struct block_req *req, unsigned n) {
        struct block_piece p = { 0 };

        if (n > io_uring_sq_space_left(&u->ring) || u->started + n > *u->ring.cq.kring_entries)
                return false;
        req->pieces = n;
        req->piece_error = 0;
        req->piece_sum = 0;
        u->started += n;
        while (block_piece_next(req, &p))
                prepare_piece(u, io_uring_get_sqe(&u->ring), req, &p);
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

static void uring_submit(struct engine *e);

static void uring_queue(struct engine *e, struct block_req *req) {
        struct uring_engine *u = (struct uring_engine *) e;
        unsigned n = block_req_count_pieces(req);
        struct io_uring_sqe *sqe;

        if (do_here(u, req))
                return;
        if (io_uring_sq_space_left(&u->ring) < n)
                uring_submit(e);
        if (n > 1 && queue_pieces(u, req, n))
                return;
        sqe = io_uring_get_sqe(&u->ring);
        /* The kernel takes no more, yet nothing is lost. */
        if (!sqe) {
                engine_complete(e, req, block_req_execute(req));
                return;
        }
        u->started++;
        prepare(u, sqe, req);
}

/* The kernel did not take the entries (out of memory): takes them back, which is safe because without SQPOLL it looks at
 * the queue only inside io_uring_enter(), and does them here. */
static void do_it_ourselves(struct uring_engine *u) {
        struct io_uring_sq *sq = &u->ring.sq;
        unsigned head = *sq->khead, mask = *sq->kring_mask, tail = sq->sqe_tail;

        for (unsigned i = head; i != tail; i++) {
                struct block_req *req =
                                (struct block_req *) (uintptr_t) sq->sqes[i & mask].user_data;

                u->started--;
                if (req->pieces > 0 && !block_req_piece_over(req, -EAGAIN))
                        continue;
                engine_complete(&u->e, req, block_req_execute(req));
        }
        sq->sqe_tail = sq->sqe_head = head;
        *sq->ktail = head;
}

static void uring_submit(struct engine *e) {
        struct uring_engine *u = (struct uring_engine *) e;
        int r;

        while (io_uring_sq_ready(&u->ring) > 0) {
                r = io_uring_submit(&u->ring);
                if (r < 0 && r != -EINTR) {
                        do_it_ourselves(u);
                        return;
                }
        }
}

static void finish_piece(struct uring_engine *u, struct block_req *req, int res) {
        if (!block_req_piece_over(req, res))
                return;
        if (req->piece_error < 0 || req->piece_sum == req->len) {
                engine_complete(&u->e, req, req->piece_error);
                return;
        }
        req->piece_max = 0;
        uring_queue(&u->e, req);
}

static void finish(struct uring_engine *u, struct block_req *req, int res) {
        bool moves = req->op == BLOCK_READ || req->op == BLOCK_WRITE;

        u->started--;
        if (req->pieces > 0) {
                finish_piece(u, req, res);
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
        engine_complete(&u->e, req, MIN(res, 0));
}

static void uring_collect(struct engine *e, int timeout_ms) {
        struct uring_engine *u = (struct uring_engine *) e;
        struct __kernel_timespec ts = { timeout_ms / 1000, timeout_ms % 1000 * 1000000ll };
        struct io_uring_cqe *cqe, *cqes[32];
        unsigned n;

        pace_new_batch(&u->flushes);
        pace_new_batch(&u->writes);
        if (timeout_ms != 0 && u->started > 0)
                (void) io_uring_wait_cqes(&u->ring, &cqe, 1, timeout_ms < 0 ? NULL : &ts, NULL);

        while ((n = io_uring_peek_batch_cqe(&u->ring, cqes, G_N_ELEMENTS(cqes))) > 0) {
                for (unsigned i = 0; i < n; i++) {
                        struct block_req *req = io_uring_cqe_get_data(cqes[i]);

                        finish(u, req, cqes[i]->res);
                }
                io_uring_cq_advance(&u->ring, n);
        }
        uring_submit(e);
}

/* With cooperative task running a completion is first a flag, and an entry after the next system call. */
static bool uring_has_news(const struct engine *e) {
        const struct uring_engine *u = (const struct uring_engine *) e;

        return io_uring_cq_ready(&u->ring) > 0 ||
               IO_URING_READ_ONCE(*u->ring.sq.kflags) & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW);
}

static bool uring_register_memory(struct engine *e, const gmem *mem, GError **error) {
        struct uring_engine *u = (struct uring_engine *) e;
        int r;

        fixed_memory_init(&u->memory, mem);
        r = fixed_memory_register(&u->memory, &u->ring);
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

        /* liburing 2.3 forgets to export io_uring_enable_rings(). */
        return io_uring_register((unsigned) u->ring.ring_fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0);
}

static void uring_free(struct engine *e) {
        struct uring_engine *u = (struct uring_engine *) e;

        io_uring_queue_exit(&u->ring);
        fixed_memory_clear(&u->memory);
        g_free(u);
}

static const struct engine_ops uring_ops = {
        .register_memory = uring_register_memory,
        .start = uring_start,
        .queue = uring_queue,
        .submit = uring_submit,
        .collect = uring_collect,
        .has_news = uring_has_news,
        .free = uring_free,
};

static bool probe(struct io_uring *ring, GError **error) {
        struct io_uring_probe *p = io_uring_get_probe_ring(ring);
        /* Waiting with a timeout takes no entry of its own (5.11). */
        bool ok = p && ring->features & IORING_FEAT_EXT_ARG;

        for (size_t i = 0; ok && i < G_N_ELEMENTS(needed_ops); i++)
                ok = io_uring_opcode_supported(p, needed_ops[i]);
        io_uring_free_probe(p);
        if (!ok)
                g_set_error_literal(
                                error, HV_ERROR, HV_ERROR_UNSUPPORTED,
                                "io_uring of this host lacks an operation disks need");
        return ok;
}

/* The ring does what disks need and nothing else, whatever is written into it: its requests pass by a filter of system calls.
 * Kernels before 5.10 know no restrictions. */
static bool restrict_ring(struct io_uring *ring) {
        struct io_uring_restriction r[G_N_ELEMENTS(needed_ops) + 2] = {
                { .opcode = IORING_RESTRICTION_SQE_FLAGS_ALLOWED, .sqe_flags = IOSQE_FIXED_FILE },
                { .opcode = IORING_RESTRICTION_REGISTER_OP,
                  .register_op = IORING_REGISTER_ENABLE_RINGS },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(needed_ops); i++)
                r[i + 2] = (struct io_uring_restriction){
                        .opcode = IORING_RESTRICTION_SQE_OP,
                        .sqe_op = (uint8_t) needed_ops[i],
                };
        /* Another one that liburing 2.3 forgets to export. */
        return io_uring_register(
                               (unsigned) ring->ring_fd, IORING_REGISTER_RESTRICTIONS, r,
                               G_N_ELEMENTS(r)) == 0;
}

struct engine *engine_uring_new(unsigned depth, int fd, GError **error) {
        g_autofree struct uring_engine *u = g_new0(struct uring_engine, 1);
        int r = -EINVAL;

        for (size_t i = 0; r == -EINVAL && i < G_N_ELEMENTS(setup_flags); i++)
                r = io_uring_queue_init(depth, &u->ring, setup_flags[i]);
        if (r < 0) {
                (void) hv_error_errno(error, -r, "setting an io_uring of %u entries up", depth);
                return NULL;
        }
        if (!probe(&u->ring, error)) {
                io_uring_queue_exit(&u->ring);
                return NULL;
        }
        u->e.ops = &uring_ops;
        u->e.poll_fd = u->ring.ring_fd;
        u->fixed_fd = -1;
        /* Spares a look-up per request; not worth failing for. */
        if (fd >= 0 && io_uring_register_files(&u->ring, &fd, 1) == 0)
                u->fixed_fd = fd;
        if (!restrict_ring(&u->ring)) {
                g_set_error_literal(
                                error, HV_ERROR, HV_ERROR_UNSUPPORTED,
                                "io_uring of this host cannot be restricted to what disks need");
                io_uring_queue_exit(&u->ring);
                return NULL;
        }
        return &g_steal_pointer(&u)->e;
}
