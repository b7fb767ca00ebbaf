/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "devices/block/engine.h"

#include <stdatomic.h>

/* Between engine.c and the engines. */

struct engine_ops {
        bool (*poll_device)(struct engine *e, GError **error); /* may be NULL */
        bool (*register_memory)(
                        struct engine *e, const gmem *mem, GError **error); /* may be NULL */
        int (*start)(struct engine *e);                                     /* may be NULL */
        void (*queue)(struct engine *e, struct block_req *req);
        void (*submit)(struct engine *e);
        /* Hands finished requests to engine_complete(). With timeout_ms not 0 waits for one that long (-1: for ever). */
        void (*collect)(struct engine *e, int timeout_ms);
        bool (*has_news)(const struct engine *e);  /* may be NULL */
        bool (*must_look)(const struct engine *e); /* may be NULL */
        void (*free)(struct engine *e);
};

struct block_req_list {
        struct block_req *first, *last;
};

struct engine {
        const struct engine_ops *ops;
        int poll_fd;
        unsigned in_flight;
        struct block_req_list finished; /* result is known, done() not called */
        void *bounce;                   /* BOUNCE_SIZE bytes; untouched pages cost nothing */
        atomic_uint_least64_t fixed;    /* transfers with registered memory */
        atomic_uint_least64_t polled;   /* and such that were polled for */
        struct engine_posts *posts;     /* NULL: no other thread finishes requests */
};

void block_req_list_append(struct block_req_list *list, struct block_req *req);
struct block_req *block_req_list_take(struct block_req_list *list);

/* Prepares req for its first transfer. */
void block_req_begin(struct block_req *req);

/* n bytes more went through: true when all did. */
bool block_req_advance(struct block_req *req, size_t n);

/* Puts req->iov back as it was and the request on the finished list. */
void engine_complete(struct engine *e, struct block_req *req, int result);

/* Does all that is left of req with blocking system calls. 0 or negative errno. */
int block_req_execute(struct block_req *req);

/* fallocate(2) mode of a BLOCK_DISCARD or BLOCK_ZERO. */
int block_req_fallocate_mode(const struct block_req *req);

/* The host can't do the BLOCK_DISCARD or BLOCK_ZERO the short way: does it by blocking system calls. 0 or negative errno. */
int block_req_do_without(struct block_req *req);

/* engine-post.c: what other threads have finished goes to the finished list; waits for that or for the engine's own, and says false
 * without doing so if no other thread has a request. */
bool engine_has_posted(const struct engine *e);
void engine_take_posted(struct engine *e);
bool engine_wait_posted(struct engine *e, int timeout_ms);
void engine_posts_free(struct engine_posts *p);

struct engine *engine_uring_new(unsigned depth, int fd, GError **error);
struct engine *engine_sync_new(void);
