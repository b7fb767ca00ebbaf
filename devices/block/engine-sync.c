/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The synchronous engine: plain system calls on the queue's own thread, for hosts and sandboxes where io_uring is forbidden.
 * A request is over when engine_submit() returns. Its execute function also serves the bounce buffer and the io_uring engine in
 * distress.
 */

#include "devices/block/engine-private.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/falloc.h>
#include <unistd.h>

struct sync_engine {
        struct engine e;
        struct block_req_list queued;
};

int block_req_fallocate_mode(const struct block_req *req) {
        bool hole = req->op == BLOCK_DISCARD || req->unmap;

        return FALLOC_FL_KEEP_SIZE | (hole ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE);
}

static ssize_t transfer(struct block_req *req) {
        const struct iovec *iov = req->iov + req->iov_at;
        int n = (int) (req->n_iov - req->iov_at);
        off_t at = (off_t) (req->offset + req->moved);

        if (req->op == BLOCK_READ)
                return preadv(req->fd, iov, n, at);
        return pwritev2(req->fd, iov, n, at, req->dsync ? RWF_DSYNC : 0);
}

static int retry_on_interrupt(struct block_req *req) {
        int r;

        do
                r = req->op == BLOCK_FLUSH ? fdatasync(req->fd)
                                           : fallocate(req->fd, block_req_fallocate_mode(req),
                                                       (off_t) req->offset, (off_t) req->len);
        while (r < 0 && errno == EINTR);
        return r < 0 ? -errno : 0;
}

/* 0 or negative errno. */
static int move_all(struct block_req *req) {
        while (req->moved < req->len) {
                ssize_t n = transfer(req);

                if (n < 0 && (errno == EINTR || errno == EAGAIN))
                        continue;
                if (n < 0)
                        return -errno;
                /* The file ends before the size we saw: somebody cut it. */
                if (n == 0)
                        return -EIO;
                (void) block_req_advance(req, (size_t) n);
        }
        return 0;
}

static int write_zeros(const struct block_req *req) {
        static char zeros[64 * 1024]
                        __attribute__((aligned(4096))); /* aligned for O_DIRECT; never written */
        struct iovec iov[16];

        for (uint64_t done = 0; done < req->len;) {
                struct block_req part = {
                        .op = BLOCK_WRITE,
                        .fd = req->fd,
                        .offset = req->offset + done,
                        .iov = iov,
                };
                int r;

                for (; part.n_iov < G_N_ELEMENTS(iov) && done < req->len; part.n_iov++) {
                        size_t n = (size_t) MIN(req->len - done, sizeof(zeros));

                        iov[part.n_iov] = (struct iovec){ zeros, n };
                        part.len += n;
                        done += n;
                }
                r = move_all(&part);
                if (r < 0)
                        return r;
        }
        return 0;
}

int block_req_do_without(struct block_req *req) {
        if (req->op == BLOCK_DISCARD)
                return 0;
        if (req->unmap) {
                int r;

                req->unmap = false;
                r = retry_on_interrupt(req);
                if (r != -EOPNOTSUPP)
                        return r;
        }
        return write_zeros(req);
}

int block_req_execute(struct block_req *req) {
        int r;

        if (req->op == BLOCK_READ || req->op == BLOCK_WRITE)
                return move_all(req);
        r = retry_on_interrupt(req);
        return r == -EOPNOTSUPP ? block_req_do_without(req) : r;
}

static void sync_queue(struct engine *e, struct block_req *req) {
        struct sync_engine *s = (struct sync_engine *) e;

        block_req_list_append(&s->queued, req);
}

static void sync_submit(struct engine *e) {
        struct sync_engine *s = (struct sync_engine *) e;
        struct block_req *req;

        while ((req = block_req_list_take(&s->queued)))
                engine_complete(e, req, block_req_execute(req));
}

static void sync_collect(struct engine *e, int timeout_ms) {
        sync_submit(e);
}

static void sync_free(struct engine *e) {
        g_free(e);
}

static const struct engine_ops sync_ops = {
        .queue = sync_queue,
        .submit = sync_submit,
        .collect = sync_collect,
        .free = sync_free,
};

struct engine *engine_sync_new(void) {
        struct sync_engine *s = g_new0(struct sync_engine, 1);

        s->e.ops = &sync_ops;
        s->e.poll_fd = -1;
        return &s->e;
}
