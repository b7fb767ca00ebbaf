/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Requests of an engine that another thread finishes: what an image cannot do without blocking it gives to a thread of its own,
 * and from there they come back here.
 *
 * The lock guards the list of what has come back, and is held over the write to the eventfd: who finds a request in the list may
 * answer it, and then the engine may go. It is taken by the queue's thread only when the list is not empty, so an engine whose
 * requests go to the kernel alone pays one look at a pointer for it.
 */

#include "devices/block/engine-private.h"
#include "hypervisor/fd.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct engine_posts {
        int fd;
        pthread_mutex_t lock;
        _Atomic(struct block_req *) first; /* last come, first; written under the lock */
        unsigned deferred;                 /* of the engine's thread: not taken back yet */
};

int engine_accept_posts(struct engine *e) {
        struct engine_posts *p;
        int fd;

        assert(e);

        if (e->posts)
                return 0;
        fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (fd < 0)
                return -errno;
        p = g_new0(struct engine_posts, 1);
        p->fd = fd;
        pthread_mutex_init(&p->lock, NULL);
        e->posts = p;
        return 0;
}

void engine_posts_free(struct engine_posts *p) {
        if (!p)
                return;
        assert(p->deferred == 0);
        chv_closep(&p->fd);
        pthread_mutex_destroy(&p->lock);
        g_free(p);
}

int engine_post_fd(const struct engine *e) {
        assert(e);

        return e->posts ? e->posts->fd : -1;
}

void engine_defer(struct engine *e, struct block_req *req) {
        assert(e && e->posts && req && req->done);

        block_req_begin(req);
        e->in_flight++;
        e->posts->deferred++;
}

void engine_post(struct engine *e, struct block_req *req, int result) {
        struct engine_posts *p = e->posts;
        uint64_t one = 1;

        assert(p && req);

        req->result = result;
        pthread_mutex_lock(&p->lock);
        req->next = atomic_load_explicit(&p->first, memory_order_relaxed);
        atomic_store_explicit(&p->first, req, memory_order_release);
        /* What was in the list has been told of. */
        if (!req->next)
                (void) !write(p->fd, &one, sizeof(one));
        pthread_mutex_unlock(&p->lock);
}

void engine_clear_posts(struct engine *e) {
        uint64_t n;

        if (e->posts)
                (void) !read(e->posts->fd, &n, sizeof(n));
}

bool engine_has_posted(const struct engine *e) {
        return e->posts && atomic_load_explicit(&e->posts->first, memory_order_relaxed);
}

void engine_take_posted(struct engine *e) {
        struct engine_posts *p = e->posts;
        struct block_req *req, *in_order = NULL;

        if (!atomic_load_explicit(&p->first, memory_order_acquire))
                return;
        pthread_mutex_lock(&p->lock);
        req = atomic_exchange_explicit(&p->first, NULL, memory_order_relaxed);
        pthread_mutex_unlock(&p->lock);

        while (req) {
                struct block_req *next = req->next;

                req->next = in_order;
                in_order = req;
                req = next;
        }
        while (in_order) {
                req = in_order;
                in_order = req->next;
                p->deferred--;
                engine_complete(e, req, req->result);
        }
}

bool engine_wait_posted(struct engine *e, int timeout_ms) {
        struct pollfd fds[2] = { { .fd = e->poll_fd, .events = POLLIN } };

        if (!e->posts || e->posts->deferred == 0)
                return false;
        fds[1] = (struct pollfd){ .fd = e->posts->fd, .events = POLLIN };
        if (poll(fds, G_N_ELEMENTS(fds), timeout_ms) > 0 && fds[1].revents)
                engine_clear_posts(e);
        return true;
}
