/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The queues' side of a mapped image: translates a request whose bytes are known to lie in one piece, and gives every other one to
 * the image's thread (mapped-slow.c).
 *
 * A translated request is in flight on places that the image may give up meanwhile. So it is counted, in the epoch that it found,
 * before it looks anything up; and the image's thread reuses space only after it has dropped it from the cache and then seen the
 * count of each epoch at 0. Whoever it did not see by then looks up after the drop, and finds nothing. All of it is ordered by
 * seq_cst operations.
 *
 * Two requests of a guest that overlap while both are in flight have no order; one that begins after another's end finds what that
 * one left, because the cache is brought up to date before a request is answered.
 */

#include "devices/block/mapped-private.h"
#include "hypervisor/error.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

static struct mapped_stripe *stripe_of(struct mapped *m, const struct engine *e) {
        return &m->stripes[((uintptr_t) e >> 6) % MAPPED_STRIPES];
}

static unsigned enter(struct mapped *m, const struct engine *e) {
        unsigned epoch = atomic_load(&m->epoch);

        (void) atomic_fetch_add(&stripe_of(m, e)->n[epoch], 1);
        return epoch;
}

static void leave(struct mapped *m, const struct engine *e, unsigned epoch) {
        if (atomic_fetch_sub(&stripe_of(m, e)->n[epoch], 1) == 1 && atomic_load(&m->grace_waits))
                mapped_wake(m);
}

/* Where the whole of a request lies. */
static bool translate(const struct mapped *m, const struct block_req *req, struct extent *ret) {
        unsigned shift = m->cache.unit_shift;
        uint64_t first = req->offset >> shift, last = (req->offset + req->len - 1) >> shift;

        if (!extent_cache_find(&m->cache, first, ret))
                return false;
        for (uint64_t unit = first + 1; unit <= last; unit++) {
                struct extent x;

                if (!extent_cache_find(&m->cache, unit, &x) || x.zero != ret->zero)
                        return false;
                if (x.zero)
                        continue;
                if (x.file != ret->file || x.at != ret->at + ((unit - first) << shift))
                        return false;
                ret->writable &= x.writable;
        }
        ret->at += req->offset & ((1ull << shift) - 1);
        return true;
}

static void fast_done(struct block_req *req, int result) {
        struct mapped *m = req->image.owner;

        req->offset = req->image.offset;
        req->done = req->image.done;
        leave(m, req->image.engine, req->image.epoch);
        req->done(req, result);
}

static bool fits_buffers(const struct block_req *req, uint32_t align) {
        for (unsigned i = 0; i < req->n_iov; i++)
                if ((((uintptr_t) req->iov[i].iov_base | req->iov[i].iov_len) & (align - 1)) != 0)
                        return false;
        return true;
}

/* False: not at once. The caller is counted in epoch; if true, the request has taken that over. */
static bool start_fast(struct mapped *m, struct engine *e, struct block_req *req, unsigned epoch) {
        const struct mapped_file *f;
        struct extent x;

        if (!translate(m, req, &x))
                return false;
        if (x.zero && req->op == BLOCK_READ) {
                for (unsigned i = 0; i < req->n_iov; i++)
                        memset(req->iov[i].iov_base, 0, req->iov[i].iov_len);
                leave(m, e, epoch);
                engine_answer(e, req, 0);
                return true;
        }
        if (x.zero || (req->op == BLOCK_WRITE && !x.writable))
                return false;
        f = &m->files[x.file];
        if (f->align > 1 && ((x.at | req->len) & (f->align - 1)) != 0)
                return false;

        req->image.owner = m;
        req->image.engine = e;
        req->image.done = req->done;
        req->image.offset = req->offset;
        req->image.epoch = epoch;
        req->done = fast_done;
        req->offset = x.at;
        req->fd = f->fd;
        req->cached = f->align == 1;
        if (f->align > 1 && !fits_buffers(req, f->align))
                engine_queue_bounced(e, req);
        else
                engine_queue(e, req);
        return true;
}

static bool try_fast(struct mapped *m, struct engine *e, struct block_req *req) {
        bool flushes = req->op == BLOCK_FLUSH || (req->op == BLOCK_WRITE && req->dsync);
        unsigned epoch;

        if (m->no_fast_path ||
            (m->guarded && req->op == BLOCK_WRITE &&
             disk_guard_concerns(&m->guard, req->offset, req->len)) ||
            (flushes && atomic_load(&m->slow_flush)))
                return false;
        if (req->op == BLOCK_FLUSH) {
                req->fd = m->d.main_fd;
                engine_queue(e, req);
                return true;
        }
        if ((req->op != BLOCK_READ && req->op != BLOCK_WRITE) || req->len == 0)
                return false;
        epoch = enter(m, e);
        if (start_fast(m, e, req, epoch))
                return true;
        leave(m, e, epoch);
        return false;
}

static void mapped_start(struct disk_image *d, struct engine *e, struct block_req *req) {
        struct mapped *m = (struct mapped *) d;
        bool was_empty;

        if ((req->op == BLOCK_READ || req->op == BLOCK_WRITE) &&
            ((req->offset | req->len) & (d->topology.logical_block - 1)) != 0) {
                engine_answer(e, req, -EINVAL);
                return;
        }
        if (try_fast(m, e, req))
                return;
        engine_defer(e, req);
        req->image.engine = e;
        pthread_mutex_lock(&m->lock);
        was_empty = !m->slow.first;
        block_req_list_append(&m->slow, req);
        pthread_mutex_unlock(&m->lock);
        if (was_empty)
                mapped_wake(m);
}

static void mapped_free(struct disk_image *d) {
        struct mapped *m = (struct mapped *) d;

        mapped_slow_stop(m);
        extent_cache_clear(&m->cache);
        disk_guard_clear(&m->guard);
        pthread_mutex_destroy(&m->lock);
        free(m); /* by the C library, as its stripes' alignment asked for */
}

static bool mapped_plan(struct disk_image *d, uint64_t *size, GError **error) {
        struct mapped *m = (struct mapped *) d;
        const char *why = NULL;
        uint64_t wanted;

        if (m->img->format != &image_qcow2) {
                g_set_error(error, HV_ERROR, HV_ERROR_UNSUPPORTED,
                            "a %s image cannot be resized while the machine runs", d->format);
                return false;
        }
        wanted = *size == 0 ? d->size : disk_image_whole_blocks(d, *size);
        if (wanted == 0)
                why = "is too large";
        else if (d->readonly && wanted != d->size)
                why = "the disk is read-only";
        if (why) {
                g_set_error(error, HV_ERROR, HV_ERROR_INVALID, "size: %s", why);
                return false;
        }
        *size = wanted;
        return true;
}

static bool
mapped_resize(struct disk_image *d, uint64_t size, const atomic_bool *stop, GError **error) {
        return d->readonly || mapped_slow_resize((struct mapped *) d, size, stop, error);
}

static const struct disk_image_ops mapped_ops = {
        .start = mapped_start,
        .free = mapped_free,
        .plan = mapped_plan,
        .resize = mapped_resize,
};

/* Pieces that are uniform in every image of the chain; where raw ends up below does not matter, it is of one piece. */
static uint32_t unit_of(const struct image *img) {
        uint32_t unit = 64 * 1024;

        for (const struct image *i = img; i; i = i->backing)
                if (i->format != &image_raw)
                        unit = i == img ? i->cluster : MIN(unit, i->cluster);
        return unit;
}

static void describe(struct disk_image *d, const struct image *img) {
        uint32_t logical = MAX(img->file->align, 512u);

        for (const struct image *i = img->backing; i; i = i->backing)
                logical = MAX(logical, i->file->align);
        d->topology = (struct disk_image_topology){
                .logical_block = logical,
                .physical_block = MAX(logical, 4096u),
                .opt_io = img->format == &image_raw ? 0 : img->cluster,
                .memory_align = img->file->align,
                .discard_align = MAX(img->cluster, logical),
        };
        d->format = img->format->name;
        d->direct = img->file->align > 1;
        d->readonly = img->readonly;
        d->size = img->size - img->size % logical;
        d->main_fd = img->file->fd;
        d->accepts_posts = true;
        disk_image_make_serial(d, img->file->fd);
}

static bool starts_with_disk(struct image *img) {
        struct image_extent x;

        return image_map(img, 0, 512, &x) < 0 ||
               (x.kind == IMAGE_DATA && x.file == img->file && x.at == 0);
}

struct disk_image *disk_image_open_mapped(
                struct image *img, const struct disk_image_mapped_config *config, GError **error) {
        struct mapped *m;

        assert(img && config && config->name);

        /* The C library's allocator, because of the stripes' alignment. */
        m = aligned_alloc(_Alignof(struct mapped), sizeof(*m));
        if (!m)
                g_error("out of memory");
        memset(m, 0, sizeof(*m));
        m->d.ops = &mapped_ops;
        m->img = img;
        m->no_fast_path = config->no_fast_path;
        m->unit = unit_of(img);
        m->wake.fd = -1;
        pthread_mutex_init(&m->lock, NULL);
        describe(&m->d, img);
        disk_guard_init(&m->guard, img->file->fd, img->file->size);
        m->guarded = img->probed && img->size >= 512 && starts_with_disk(img);
        if (!extent_cache_init(&m->cache, img->size, m->unit, error) ||
            !mapped_slow_start(m, config, error))
                return disk_image_free(&m->d);
        return &m->d;
}
