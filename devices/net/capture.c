/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Records lie in a ring in the order of time, whole ones only. Whoever adds one wakes the writer if the ring was empty; the writer goes on
 * until it is empty again or the reader does not take more, and then waits for the reader. When enough frames are captured and
 * written, or the reader has gone, the descriptor is closed, which is how the reader hears of the end.
 *
 * The lock guards the ring's two ends and is held for the copy of a frame; writing needs none, as bytes before `head` stay.
 */

#include "devices/net/capture.h"
#include "devices/iothread.h"
#include "devices/virtio/virtq.h"
#include "hypervisor/error.h"
#include "hypervisor/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <time.h>

#define RING_SIZE (4u << 20)
#define MAGIC_NS 0xa1b23c4du
#define LINK_ETHERNET 1u
#define WRITE_MAX (256u << 10)

struct file_header {
        uint32_t magic;
        uint16_t major, minor;
        uint32_t zone, sigfigs, snaplen, link;
};

struct record_header {
        uint32_t s, ns, kept, len;
};

struct capture {
        iothread *thread;
        uint32_t snaplen;
        uint64_t limit;

        pthread_mutex_t lock;
        uint64_t head, tail; /* written to, read from; head - tail bytes are there */
        uint64_t frames, drops;
        bool over; /* no more frames */
        bool done; /* and nothing left to write */

        void (*ended)(void *opaque);
        void *ended_opaque;

        /* Of the thread. */
        struct io_watch wake, sink;
        bool waits; /* for the reader */

        uint8_t ring[RING_SIZE];
};

static void put(capture *c, const void *data, size_t len) {
        size_t at = c->head % RING_SIZE, first = MIN(len, RING_SIZE - at);

        memcpy(c->ring + at, data, first);
        memcpy(c->ring, (const uint8_t *) data + first, len - first);
        c->head += len;
}

static void put_frame(capture *c, const struct iovec *iov, size_t n, size_t offset, size_t len) {
        size_t at = c->head % RING_SIZE, first = MIN(len, RING_SIZE - at);

        (void) iov_copy_out(iov, n, offset, c->ring + at, first);
        (void) iov_copy_out(iov, n, offset + first, c->ring, len - first);
        c->head += len;
}

void capture_frame(capture *c, const struct iovec *iov, size_t n, size_t offset, size_t len) {
        struct record_header h = { .kept = (uint32_t) MIN(len, c->snaplen), .len = (uint32_t) len };
        const uint64_t one = 1;
        struct timespec now;
        bool was_empty = false;

        (void) clock_gettime(CLOCK_REALTIME, &now);
        h.s = (uint32_t) now.tv_sec;
        h.ns = (uint32_t) now.tv_nsec;
        pthread_mutex_lock(&c->lock);
        if (!c->over && RING_SIZE - (c->head - c->tail) >= sizeof(h) + h.kept) {
                was_empty = c->head == c->tail;
                put(c, &h, sizeof(h));
                put_frame(c, iov, n, offset, h.kept);
                c->frames++;
                c->over = c->frames == c->limit;
        } else if (!c->over)
                c->drops++;
        pthread_mutex_unlock(&c->lock);
        if (was_empty)
                (void) !write(c->wake.fd, &one, sizeof(one));
}

static void close_sink(capture *c) {
        if (c->waits)
                iothread_unwatch(c->thread, &c->sink);
        c->waits = false;
        chv_closep(&c->sink.fd);
        c->sink.fd = -1;
}

static void wait_for_reader(capture *c) {
        if (!c->waits && iothread_watch(c->thread, &c->sink, EPOLLOUT) >= 0)
                c->waits = true;
}

bool capture_has_ended(capture *c) {
        bool done;

        pthread_mutex_lock(&c->lock);
        done = c->done;
        pthread_mutex_unlock(&c->lock);
        return done;
}

/* What there is, in one piece; 0: nothing. */
static size_t peek(capture *c, bool *ret_over) {
        uint64_t n;

        pthread_mutex_lock(&c->lock);
        n = c->head - c->tail;
        *ret_over = c->over;
        pthread_mutex_unlock(&c->lock);
        return MIN(MIN(n, RING_SIZE - c->tail % RING_SIZE), WRITE_MAX);
}

static void forget(capture *c, size_t n) {
        pthread_mutex_lock(&c->lock);
        c->tail += n;
        pthread_mutex_unlock(&c->lock);
}

static void end(capture *c) {
        close_sink(c);
        pthread_mutex_lock(&c->lock);
        c->over = c->done = true;
        c->tail = c->head;
        pthread_mutex_unlock(&c->lock);
}

static void end_by_itself(capture *c) {
        bool before = capture_has_ended(c);

        end(c);
        if (!before && c->ended)
                c->ended(c->ended_opaque);
}

static void drain(capture *c) {
        bool over = false;
        size_t n;

        while (c->sink.fd >= 0 && (n = peek(c, &over)) > 0) {
                ssize_t done = write(c->sink.fd, c->ring + c->tail % RING_SIZE, n);

                if (done > 0)
                        forget(c, (size_t) done);
                else if (done < 0 && errno == EAGAIN)
                        return wait_for_reader(c);
                else if (done == 0 || errno != EINTR)
                        return end_by_itself(c);
        }
        if (over)
                return end_by_itself(c);
        if (c->waits)
                iothread_unwatch(c->thread, &c->sink);
        c->waits = false;
}

static void on_wake(struct io_watch *w, uint32_t events) {
        uint64_t n;

        (void) !read(w->fd, &n, sizeof(n));
        drain(w->opaque);
}

static void on_sink(struct io_watch *w, uint32_t events) {
        drain(w->opaque);
}

static int start_here(void *opaque) {
        capture *c = opaque;
        int r = iothread_watch(c->thread, &c->wake, EPOLLIN);

        drain(c);
        return r;
}

static int stop_here(void *opaque) {
        end(opaque);
        return 0;
}

static bool check_sink(int fd, GError **error) {
        int flags = fcntl(fd, F_GETFL);
        struct stat st;

        if (fstat(fd, &st) < 0 || flags < 0)
                return hv_error_errno(error, errno, "looking at the descriptor of a capture");
        if (!S_ISFIFO(st.st_mode) && !S_ISSOCK(st.st_mode)) {
                g_set_error(error, HV_ERROR, HV_ERROR_INVALID,
                            "a capture is written to a pipe or a socket");
                return false;
        }
        if ((flags & O_ACCMODE) == O_RDONLY) {
                g_set_error(error, HV_ERROR, HV_ERROR_INVALID,
                            "the descriptor of a capture cannot be written to");
                return false;
        }
        return fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0 ||
               hv_error_errno(error, errno, "making the descriptor of a capture non-blocking");
}

capture *capture_new(const struct capture_config *config, GError **error) {
        struct iothread_config tc = {
                .name = config->name,
                .thread_start = config->thread_start,
                .opaque = config->opaque,
        };
        g_autoptr(capture) c = g_new0(capture, 1);
        struct file_header h = {
                .magic = MAGIC_NS,
                .major = 2,
                .minor = 4,
                .link = LINK_ETHERNET,
        };
        int r;

        pthread_mutex_init(&c->lock, NULL);
        c->snaplen = config->snaplen ? MIN(config->snaplen, CAPTURE_SNAPLEN_MAX)
                                     : CAPTURE_SNAPLEN_MAX;
        c->limit = config->count;
        c->ended = config->ended;
        c->ended_opaque = config->ended_opaque;
        c->sink = (struct io_watch){ config->fd, on_sink, c };
        c->wake = (struct io_watch){ -1, on_wake, c };
        if (!check_sink(config->fd, error))
                return NULL;
        c->wake.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (c->wake.fd < 0) {
                hv_error_errno(error, errno, "creating the wake-up of a capture");
                return NULL;
        }
        h.snaplen = c->snaplen;
        put(c, &h, sizeof(h));
        c->thread = iothread_new(&tc, error);
        if (!c->thread)
                return NULL;
        r = iothread_call(c->thread, start_here, c);
        if (r < 0) {
                hv_error_errno(error, -r, "starting a capture");
                return NULL;
        }
        return g_steal_pointer(&c);
}

capture *capture_free(capture *c) {
        if (!c)
                return NULL;
        if (c->thread)
                (void) iothread_call(c->thread, stop_here, c);
        c->thread = iothread_free(c->thread);
        chv_closep(&c->wake.fd);
        chv_closep(&c->sink.fd);
        pthread_mutex_destroy(&c->lock);
        g_free(c);
        return NULL;
}

void capture_counters(capture *c, uint64_t *ret_frames, uint64_t *ret_drops) {
        pthread_mutex_lock(&c->lock);
        *ret_frames = c->frames;
        *ret_drops = c->drops;
        pthread_mutex_unlock(&c->lock);
}
