/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The thread of a mapped image: does what blocks, one request after the other, and tells the queues' side where things lie now.
 *
 * Requests come in a list with an eventfd behind it and go back by engine_post(). Before one goes back, what it changed is dropped
 * from the cache, what it touched is put there, and slow_flush says whether a plain sync still is a flush; so whoever begins
 * when he has seen the answer finds things as they are.
 *
 * A change of the disk's size is one more thing that this thread does, a slice at a time, so that requests and a pause wait for one
 * slice at most; before it shrinks nothing is under way to what is cut off (disk-image.h).
 *
 * What the image gives up is held until no request of the fast path can be under way there: a grace period. It begins when there is
 * nothing else to do, or now and then, and needs each epoch's count at 0 once. If more is given up meanwhile it has to
 * be done again; after some rounds of that no request is served until one comes through.
 */

#include "devices/block/mapped-private.h"
#include "hypervisor/error.h"
#include "hypervisor/fd.h"

#include <assert.h>
#include <errno.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define FILL_AHEAD 64u /* units */
#define GRACE_EVERY 256u
#define GRACE_RESTARTS 4u
#define RESIZE_SLICE_US 5000

void mapped_wake(struct mapped *m) {
        uint64_t one = 1;

        (void) !write(m->wake.fd, &one, sizeof(one));
}

/* The number of a file, or -1 when it can only be reached through its own functions. */
static int number_of(struct mapped *m, struct image_file *f, bool writable) {
        unsigned i = 0;

        while (i < m->n_files && m->file_keys[i] != f)
                i++;
        if (i == MAPPED_FILES_MAX)
                return -1;
        if (i == m->n_files) {
                m->file_keys[i] = f;
                m->files[i] = (struct mapped_file){ f->fd, f->align };
                m->n_files++;
                m->n_writable_files += writable && f != m->img->file;
        }
        return f->fd >= 0 ? (int) i : -1;
}

/* All of [at, at + len) can be read, whatever the file's end was. */
static bool is_within(struct image_file *f, uint64_t at, uint64_t len, bool may_grow) {
        if (at <= f->size && len <= f->size - at)
                return true;
        return may_grow && !f->block_device && len <= INT64_MAX - at &&
               image_file_truncate(f, at + len) == 0;
}

/* Puts the whole units from offset on that x covers. Returns how many bytes that are. */
static uint64_t
put(struct mapped *m, uint64_t offset, const struct image_extent *x, bool may_grow) {
        struct extent e = { .zero = x->kind == IMAGE_ZERO, .writable = x->writable };
        uint64_t done = 0;
        int file = 0;

        if (x->kind == IMAGE_PACKED)
                return 0;
        if (x->kind == IMAGE_DATA) {
                file = number_of(m, x->file, x->writable);
                if (file < 0 || x->at % 512 != 0)
                        return 0;
                e.file = (uint8_t) file;
        }
        while (done < x->len) {
                uint64_t unit = MIN(m->unit, m->img->size - offset - done);

                if (x->len - done < unit)
                        break;
                e.at = x->at + done;
                if (!e.zero && !is_within(x->file, e.at, unit, may_grow))
                        break;
                extent_cache_put(&m->cache, (offset + done) / m->unit, &e);
                done += unit;
        }
        return done;
}

/* A raw image below tells of holes in its file in the middle of a unit; for the cache its bytes are of one piece. */
static bool is_raw_below(struct mapped *m, uint64_t at, uint64_t unit, struct image_extent *ret) {
        struct image *raw = m->img->backing;
        struct image_extent top;

        if (!raw || raw->format != &image_raw || at > raw->size || raw->size - at < unit ||
            image_map(m->img, at, unit, &top) < 0 || top.kind != IMAGE_ABSENT || top.len < unit)
                return false;
        *ret = (struct image_extent){
                .kind = IMAGE_DATA, .file = raw->file, .at = at, .len = unit
        };
        return true;
}

/* Tells the cache where the range lies, and what comes after it as far as that was told along. */
static void fill(struct mapped *m, uint64_t offset, uint64_t len, bool may_grow) {
        uint64_t at = offset - offset % m->unit, end = offset + len;

        while (at < end) {
                struct image_extent x;
                uint64_t want = MIN(m->img->size - at,
                                    MAX(end - at, (uint64_t) FILL_AHEAD * m->unit)),
                         unit = MIN(m->unit, m->img->size - at);

                if (image_map_chain(m->img, at, want, &x, NULL) < 0)
                        return;
                if (x.len < unit)
                        (void) is_raw_below(m, at, unit, &x);
                at += MAX(put(m, at, &x, may_grow), m->unit);
        }
}

static int flush(struct mapped *m) {
        int r = 0;

        /* Data that other files have, and that the image may be about to refer to. */
        for (unsigned i = 0; r == 0 && m->n_writable_files > 0 && i < m->n_files; i++)
                if (!m->file_keys[i]->readonly)
                        r = image_file_sync(m->file_keys[i]);
        if (r == 0 && !m->img->unflushed)
                r = image_file_sync(m->img->file);
        return r == 0 ? image_flush(m->img) : r;
}

/* From copies, which the guest cannot change between look and write. */
static int write_checked(struct mapped *m, const struct block_req *req) {
        size_t size = (size_t) MIN(req->len, 64 * 1024), filled = 0;
        g_autofree char *copy = g_try_malloc(size);
        uint64_t at = req->offset;
        int r = copy ? 0 : -ENOMEM;

        for (unsigned i = 0; r == 0 && i < req->n_iov; i++)
                for (size_t done = 0, n; r == 0 && done < req->iov[i].iov_len; done += n) {
                        n = MIN(req->iov[i].iov_len - done, size - filled);
                        memcpy(copy + filled, (char *) req->iov[i].iov_base + done, n);
                        filled += n;
                        if (filled < size && at + filled < req->offset + req->len)
                                continue;
                        r = disk_guard_check(&m->guard, at, copy, filled);
                        if (r == 0)
                                r = image_write(m->img, at, copy, filled);
                        at += filled;
                        filled = 0;
                }
        return r;
}

static int execute(struct mapped *m, struct block_req *req) {
        int r;

        switch (req->op) {
        case BLOCK_READ:
                return image_readv(m->img, req->offset, req->iov, req->n_iov);
        case BLOCK_WRITE:
                r = m->guarded && disk_guard_concerns(&m->guard, req->offset, req->len)
                                    ? write_checked(m, req)
                                    : image_writev(m->img, req->offset, req->iov, req->n_iov);
                return r == 0 && req->dsync ? flush(m) : r;
        case BLOCK_FLUSH:
                return m->img->readonly ? 0 : flush(m);
        case BLOCK_DISCARD:
                return image_discard(m->img, req->offset, req->len);
        case BLOCK_ZERO:
                return image_zero(m->img, req->offset, req->len, req->unmap);
        default:
                return -EINVAL;
        }
}

static void tell_flush(struct mapped *m) {
        atomic_store(&m->slow_flush,
                     m->img->unflushed || m->n_writable_files > 0 || m->img->file->fd < 0);
}

static void serve(struct mapped *m, struct block_req *req) {
        bool changes = req->op != BLOCK_READ && req->op != BLOCK_FLUSH;
        int r = execute(m, req);

        if (changes)
                extent_cache_drop(&m->cache, req->offset, req->len);
        if (r == 0 && (req->op == BLOCK_READ || req->op == BLOCK_WRITE) && req->len > 0)
                fill(m, req->offset, req->len, /* may_grow= */ req->op == BLOCK_WRITE);
        /* What waited for a flush, as the file still referred to it, now waits for the requests in flight. */
        if (r == 0 && (req->op == BLOCK_FLUSH || req->dsync))
                m->given_up = true;
        tell_flush(m);
        m->since_grace++;
        engine_post(req->image.engine, req, r);
}

static void on_moved(void *opaque, uint64_t offset, uint64_t len) {
        struct mapped *m = opaque;

        extent_cache_drop(&m->cache, offset, len);
        m->given_up = true;
}

static bool is_drained(struct mapped *m, unsigned epoch) {
        for (unsigned i = 0; i < MAPPED_STRIPES; i++)
                if (atomic_load(&m->stripes[i].n[epoch]) > 0)
                        return false;
        return true;
}

/* One step of a grace period; false if it has to wait for requests in flight, whose last wakes us. */
static bool advance(struct mapped *m) {
        unsigned epoch = atomic_load(&m->epoch);

        /* The other epoch's, now or after they have been told to use this one. */
        if (!is_drained(m, !epoch))
                return false;
        if (m->grace == GRACE_BEFORE) {
                atomic_store(&m->epoch, !epoch);
                m->grace = GRACE_AFTER;
                return true;
        }
        m->grace = GRACE_NONE;
        atomic_store(&m->grace_waits, false);
        if (m->given_up) {
                m->grace_restarts++;
                return true;
        }
        m->grace_restarts = 0;
        m->img->format->release_held(m->img);
        tell_flush(m);
        return true;
}

/* False: wait for requests in flight. */
static bool run_grace(struct mapped *m) {
        while (m->grace != GRACE_NONE || m->given_up) {
                if (m->grace == GRACE_NONE) {
                        m->given_up = false;
                        m->since_grace = 0;
                        if (!m->img->format->release_held)
                                return true;
                        atomic_store(&m->grace_waits, true);
                        m->grace = GRACE_BEFORE;
                }
                if (!advance(m))
                        return m->grace_restarts < GRACE_RESTARTS;
        }
        return true;
}

static struct block_req *take(struct mapped *m) {
        struct block_req *req;

        pthread_mutex_lock(&m->lock);
        req = block_req_list_take(&m->slow);
        pthread_mutex_unlock(&m->lock);
        return req;
}

static void on_wake(struct io_watch *w, uint32_t events) {
        struct mapped *m = w->opaque;
        struct block_req *req;
        uint64_t n;

        (void) !read(w->fd, &n, sizeof(n));
        do {
                if ((m->grace != GRACE_NONE || m->since_grace >= GRACE_EVERY) && !run_grace(m))
                        return;
                req = take(m);
                if (req)
                        serve(m, req);
        } while (req);
        (void) run_grace(m);
}

struct resize {
        struct mapped *m;
        struct image_resize change;
        uint64_t old, host_size;
        GError **error;
};

/* The cache may know the image's last unit as far as that went; its rest, and all that was cut off, is told anew. */
static void forget_end(struct mapped *m, uint64_t old, uint64_t new) {
        uint64_t from = MIN(old, new), end = MAX(old, new);

        from -= from % m->unit;
        extent_cache_drop(&m->cache, from, end - from);
}

static int begin_resize(struct resize *resize) {
        struct mapped *m = resize->m;
        int r = flush(m);

        resize->old = m->img->size;
        if (r < 0) {
                (void) hv_error_errno(resize->error, -r, "flushing the disk's image");
                return r;
        }
        if (resize->host_size > 0)
                m->img->file->size = resize->host_size;
        return 0;
}

/* As much of it as others may wait for. */
static int resize_here(void *opaque) {
        struct resize *resize = opaque;
        struct mapped *m = resize->m;
        gint64 until = g_get_monotonic_time() + RESIZE_SLICE_US;
        int r = resize->change.begun ? 0 : begin_resize(resize);

        while (r == 0 && !resize->change.done &&
               (!resize->change.begun || g_get_monotonic_time() < until))
                if (!m->img->format->resize_step(m->img, &resize->change, resize->error))
                        r = -EIO;
        /* It has come so far that it is done, but for space that could not be given back. */
        if (r < 0 && resize->change.begun && m->img->size == resize->change.size) {
                g_clear_error(resize->error);
                resize->change.done = true;
                r = 0;
        }
        forget_end(m, resize->old, resize->change.size);
        m->given_up = true;
        tell_flush(m);
        /* For what was given up, when whoever may be under way there has gone. */
        mapped_wake(m);
        return r;
}

bool mapped_slow_resize(struct mapped *m, uint64_t size, const atomic_bool *stop, GError **error) {
        struct resize resize = { .m = m, .change.size = size, .error = error };

        /* A device that holds an image may have been given more room, which is of use whether the disk grows or not. */
        if (m->img->file->block_device && m->img->file->fd >= 0 &&
            ioctl(m->img->file->fd, BLKGETSIZE64, &resize.host_size) < 0)
                return hv_error_errno(error, errno, "asking for the size of a block device");
        while (!resize.change.done) {
                /* One that shrinks is as good as done from its first step on. */
                if (stop && atomic_load(stop) && !resize.change.shrinks)
                        return disk_image_resize_stopped(error);
                if (stop && atomic_load(stop))
                        return true;
                if (iothread_call(m->thread, resize_here, &resize) < 0)
                        return false;
        }
        return true;
}

static int watch_here(void *opaque) {
        struct mapped *m = opaque;

        return iothread_watch(m->thread, &m->wake, EPOLLIN);
}

bool mapped_slow_start(
                struct mapped *m, const struct disk_image_mapped_config *config, GError **error) {
        g_autofree char *name = g_strdup_printf("%.10s_map", config->name);
        struct iothread_config tc = {
                .name = name,
                .thread_start = config->thread_start,
                .opaque = config->opaque,
        };
        int r;

        m->img->hold = true;
        m->img->moved = on_moved;
        m->img->moved_opaque = m;
        atomic_store(&m->slow_flush, m->img->unflushed || m->img->file->fd < 0);
        m->wake = (struct io_watch){ eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), on_wake, m };
        if (m->wake.fd < 0)
                return hv_error_errno(error, errno, "making a wake-up for disk %s", config->name);
        m->thread = iothread_new(&tc, error);
        if (!m->thread)
                return false;
        r = iothread_call(m->thread, watch_here, m);
        return r >= 0 || hv_error_errno(error, -r, "watching for requests of %s", config->name);
}

void mapped_slow_stop(struct mapped *m) {
        assert(!m->slow.first);

        m->thread = iothread_free(m->thread);
        m->img->hold = false;
        m->img->moved = NULL;
        image_free(m->img);
        m->img = NULL;
        chv_closep(&m->wake.fd);
}
