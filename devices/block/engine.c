/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What all I/O engines share: the choice of one, the list of finished requests, the bounce buffer.
 *
 * A request's done() runs from engine_reap() and engine_drain() only, whichever way the request ended, so that its owner
 * never finds its state changed under its feet while it starts requests. An engine belongs to one thread; there is no lock.
 */

#include "devices/block/engine.h"
#include "devices/block/engine-private.h"
#include "hypervisor/error.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define BOUNCE_SIZE (1024u * 1024u)

static const char *const kind_names[ENGINE_KIND_MAX] = {
        [ENGINE_AUTO] = "auto",
        [ENGINE_URING] = "io_uring",
        [ENGINE_SYNC] = "sync",
};

static const char *const op_names[BLOCK_OP_MAX] = {
        [BLOCK_READ] = "read",       [BLOCK_WRITE] = "write", [BLOCK_FLUSH] = "flush",
        [BLOCK_DISCARD] = "discard", [BLOCK_ZERO] = "zero",   [BLOCK_ERASE] = "erase",
};

const char *engine_kind_to_string(enum engine_kind kind) {
        return kind >= 0 && kind < ENGINE_KIND_MAX ? kind_names[kind] : NULL;
}

enum engine_kind engine_kind_from_string(const char *s) {
        for (int i = 0; i < ENGINE_KIND_MAX; i++)
                if (strcmp(s, kind_names[i]) == 0)
                        return (enum engine_kind) i;
        return ENGINE_KIND_INVALID;
}

const char *block_op_to_string(enum block_op op) {
        return op >= 0 && op < BLOCK_OP_MAX ? op_names[op] : NULL;
}

enum block_op block_op_from_string(const char *s) {
        for (int i = 0; i < BLOCK_OP_MAX; i++)
                if (strcmp(s, op_names[i]) == 0)
                        return (enum block_op) i;
        return BLOCK_OP_INVALID;
}

void block_req_list_append(struct block_req_list *list, struct block_req *req) {
        req->next = NULL;
        if (list->last)
                list->last->next = req;
        else
                list->first = req;
        list->last = req;
}

struct block_req *block_req_list_take(struct block_req_list *list) {
        struct block_req *req = list->first;

        if (!req)
                return NULL;
        list->first = req->next;
        if (!list->first)
                list->last = NULL;
        return req;
}

struct engine *engine_new(enum engine_kind kind, unsigned depth, int fd, GError **error) {
        g_autoptr(GError) refused = NULL;
        struct engine *e = NULL;

        assert(kind >= 0 && kind < ENGINE_KIND_MAX);
        assert(depth > 0);

        if (kind != ENGINE_SYNC)
                e = engine_uring_new(depth, fd, &refused);
        if (!e && kind == ENGINE_URING) {
                g_propagate_error(error, g_steal_pointer(&refused));
                return NULL;
        }
        if (!e)
                e = engine_sync_new();

        e->bounce =
                        mmap(NULL, BOUNCE_SIZE, PROT_READ | PROT_WRITE,
                             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (e->bounce == MAP_FAILED) {
                e->bounce = NULL;
                (void) hv_error_errno(error, errno, "mapping a bounce buffer");
                return engine_free(e);
        }
        /* It is hardly ever used. */
        (void) madvise(e->bounce, BOUNCE_SIZE, MADV_NOHUGEPAGE);
        return e;
}

bool engine_poll_device(struct engine *e, GError **error) {
        assert(e);

        if (e->ops->poll_device)
                return e->ops->poll_device(e, error);
        g_set_error_literal(
                        error, HV_ERROR, HV_ERROR_UNSUPPORTED,
                        "there is no io_uring to poll a device with");
        return false;
}

bool engine_register_memory(struct engine *e, const gmem *mem, GError **error) {
        assert(e && mem);

        if (e->ops->register_memory)
                return e->ops->register_memory(e, mem, error);
        g_set_error_literal(
                        error, HV_ERROR, HV_ERROR_UNSUPPORTED,
                        "there is no io_uring to register memory with");
        return false;
}

uint64_t engine_count_fixed(const struct engine *e) {
        assert(e);

        return atomic_load_explicit(&e->fixed, memory_order_relaxed);
}

uint64_t engine_count_polled(const struct engine *e) {
        assert(e);

        return atomic_load_explicit(&e->polled, memory_order_relaxed);
}

bool engine_must_look(const struct engine *e) {
        assert(e);

        return e->ops->must_look && e->ops->must_look(e);
}

int engine_start(struct engine *e) {
        assert(e);

        return e->ops->start ? e->ops->start(e) : 0;
}

struct engine *engine_free(struct engine *e) {
        if (!e)
                return NULL;
        assert(e->in_flight == 0);
        engine_posts_free(e->posts);
        if (e->bounce)
                (void) munmap(e->bounce, BOUNCE_SIZE);
        e->ops->free(e);
        return NULL;
}

int engine_poll_fd(const struct engine *e) {
        assert(e);

        return e->poll_fd;
}

bool engine_is_ready(const struct engine *e) {
        assert(e);

        return e->finished.first;
}

bool engine_has_news(const struct engine *e) {
        assert(e);

        return e->finished.first || engine_has_posted(e) ||
               (e->ops->has_news && e->ops->has_news(e));
}

unsigned engine_in_flight(const struct engine *e) {
        assert(e);

        return e->in_flight;
}

void block_req_begin(struct block_req *req) {
        req->moved = 0;
        req->iov_at = 0;
        req->iov_taken = 0;
        req->pieces = 0;
}

bool block_req_advance(struct block_req *req, size_t n) {
        req->moved += n;
        while (req->iov_at < req->n_iov) {
                struct iovec *v = &req->iov[req->iov_at];

                if (n < v->iov_len) {
                        v->iov_base = (char *) v->iov_base + n;
                        v->iov_len -= n;
                        req->iov_taken += n;
                        break;
                }
                n -= v->iov_len;
                v->iov_base = (char *) v->iov_base - req->iov_taken;
                v->iov_len += req->iov_taken;
                req->iov_taken = 0;
                req->iov_at++;
        }
        return req->moved >= req->len;
}

void engine_complete(struct engine *e, struct block_req *req, int result) {
        if (req->iov_taken > 0) {
                struct iovec *v = &req->iov[req->iov_at];

                v->iov_base = (char *) v->iov_base - req->iov_taken;
                v->iov_len += req->iov_taken;
                req->iov_taken = 0;
        }
        req->result = result;
        block_req_list_append(&e->finished, req);
}

void engine_queue(struct engine *e, struct block_req *req) {
        assert(e && req && req->done);

        block_req_begin(req);
        e->in_flight++;
        e->ops->queue(e, req);
}

void engine_answer(struct engine *e, struct block_req *req, int result) {
        assert(e && req && req->done && result <= 0);

        block_req_begin(req);
        e->in_flight++;
        engine_complete(e, req, result);
}

/* Copies n bytes between buf and what is left of the request's buffers, without moving on in them. */
static void copy_rest(struct block_req *req, char *buf, size_t n) {
        for (unsigned i = req->iov_at; n > 0 && i < req->n_iov; i++) {
                size_t part = MIN(n, req->iov[i].iov_len);

                if (req->op == BLOCK_READ)
                        memcpy(req->iov[i].iov_base, buf, part);
                else
                        memcpy(buf, req->iov[i].iov_base, part);
                buf += part;
                n -= part;
        }
}

static int bounce(struct engine *e, struct block_req *req, engine_check_fn *check, void *opaque) {
        while (req->moved < req->len) {
                size_t n = MIN(req->len - req->moved, (uint64_t) BOUNCE_SIZE);
                struct iovec v = { e->bounce, n };
                struct block_req part = {
                        .op = req->op,
                        .dsync = req->dsync,
                        .offset = req->offset + req->moved,
                        .len = n,
                        .iov = &v,
                        .n_iov = 1,
                        .fd = req->fd,
                };
                int r = 0;

                if (req->op == BLOCK_WRITE)
                        copy_rest(req, e->bounce, n);
                if (check)
                        r = check(opaque, part.offset, e->bounce, n);
                if (r == 0)
                        r = block_req_execute(&part);
                if (r < 0)
                        return r;
                if (req->op == BLOCK_READ)
                        copy_rest(req, e->bounce, n);
                (void) block_req_advance(req, n);
        }
        return 0;
}

void engine_queue_checked(
                struct engine *e, struct block_req *req, engine_check_fn *check, void *opaque) {
        assert(e && req && req->done);
        assert(req->op == BLOCK_READ || req->op == BLOCK_WRITE);

        block_req_begin(req);
        e->in_flight++;
        engine_complete(e, req, bounce(e, req, check, opaque));
}

void engine_queue_bounced(struct engine *e, struct block_req *req) {
        engine_queue_checked(e, req, /* check= */ NULL, /* opaque= */ NULL);
}

void engine_submit(struct engine *e) {
        assert(e);

        e->ops->submit(e);
}

unsigned engine_reap(struct engine *e) {
        struct block_req *req;
        unsigned n = 0;

        assert(e);

        /* Only what is finished now: done() may start requests that finish at once, and the caller bounds its
         * work by calls. */
        e->ops->collect(e, /* timeout_ms= */ 0);
        if (e->posts)
                engine_take_posted(e);
        for (struct block_req *last = e->finished.last; last; n++) {
                bool end = e->finished.first == last;

                req = block_req_list_take(&e->finished);
                e->in_flight--;
                req->done(req, req->result);
                if (end)
                        last = NULL;
        }
        e->ops->submit(e);
        return n;
}

static int64_t now_ms(void) {
        struct timespec ts;

        (void) clock_gettime(CLOCK_MONOTONIC, &ts);
        return (int64_t) ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

int engine_drain(struct engine *e, int timeout_ms) {
        int64_t end = timeout_ms < 0 ? 0 : now_ms() + timeout_ms;

        assert(e);

        e->ops->submit(e);
        for (;;) {
                int left = timeout_ms < 0 ? -1 : (int) MAX(end - now_ms(), 0);

                (void) engine_reap(e);
                if (e->in_flight == 0)
                        return 0;
                if (left == 0)
                        return -ETIMEDOUT;
                if (e->finished.first)
                        continue;
                if (engine_must_look(e) || !engine_wait_posted(e, left))
                        e->ops->collect(e, left);
        }
}
