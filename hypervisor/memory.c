/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Guest memory: a short sorted list of regions and the one gate from guest addresses to host memory.
 *
 * The list changes only while no vCPU and no I/O thread runs (memory.h), so look-up takes no lock.
 * What the guest's memory holds may change under us at any time: callers copy once, then look at the
 * copy. Dirty bits are set with atomic ORs by any thread and taken with atomic exchanges by the main
 * thread; a bitmap, once allocated, lives as long as its region, so that switching tracking off
 * needs no handshake with the writers.
 */

#include "hypervisor/memory.h"

#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "hypervisor/backing.h"
#include "hypervisor/error.h"

#define PAGE_SHIFT 12

struct region {
        struct gmem_region pub;
        _Atomic(uint64_t) *dirty;
        size_t n_words;
};

struct gmem {
        struct region **regions; /* sorted by base */
        size_t n;
        atomic_bool tracking;
};

struct gmem *gmem_new(void) {
        return g_new0(struct gmem, 1);
}

static void region_free(struct region *r) {
        backing_unmap(&r->pub);
        g_free((void *) r->dirty);
        g_free(r);
}

struct gmem *gmem_free(struct gmem *m) {
        if (!m)
                return NULL;
        for (size_t i = 0; i < m->n; i++)
                region_free(m->regions[i]);
        g_free(m->regions);
        g_free(m);
        return NULL;
}

static bool check_place(const struct gmem *m, gaddr base, uint64_t size, GError **error) {
        if (size == 0 || size % 4096 != 0 || base.v % 4096 != 0) {
                g_set_error(error, HV_ERROR, HV_ERROR_INVALID,
                            "memory: a region of %#" PRIx64 " bytes at %#" PRIx64
                            " is not made of whole pages",
                            size, base.v);
                return false;
        }
        if (base.v + (size - 1) < base.v) {
                g_set_error(error, HV_ERROR, HV_ERROR_INVALID,
                            "memory: a region of %#" PRIx64 " bytes at %#" PRIx64 " wraps around",
                            size, base.v);
                return false;
        }
        for (size_t i = 0; i < m->n; i++) {
                const struct gmem_region *r = &m->regions[i]->pub;

                if (base.v + (size - 1) < r->base.v || base.v > r->base.v + (r->size - 1))
                        continue;
                g_set_error(error, HV_ERROR, HV_ERROR_INVALID,
                            "memory: a region of %#" PRIx64 " bytes at %#" PRIx64
                            " overlaps the one at %#" PRIx64,
                            size, base.v, r->base.v);
                return false;
        }
        return true;
}

static void alloc_dirty(struct region *r) {
        r->n_words = (size_t) ((r->pub.size >> PAGE_SHIFT) + 63) / 64;
        r->dirty = (_Atomic(uint64_t) *) g_new0(uint64_t, r->n_words);
}

bool gmem_add(struct gmem *m,
              gaddr base,
              uint64_t size,
              const struct gmem_backing *backing,
              GError **error) {
        struct region *r;
        size_t at = 0;

        if (!check_place(m, base, size, error))
                return false;

        r = g_new0(struct region, 1);
        r->pub = (struct gmem_region){ .base = base, .size = size, .fd = -1 };
        if (!backing_map(size, backing, &r->pub, error)) {
                region_free(r);
                return false;
        }
        if (atomic_load_explicit(&m->tracking, memory_order_relaxed))
                alloc_dirty(r);

        m->regions = g_renew(struct region *, m->regions, m->n + 1);
        while (at < m->n && m->regions[at]->pub.base.v < base.v)
                at++;
        memmove(m->regions + at + 1, m->regions + at, (m->n - at) * sizeof(*m->regions));
        m->regions[at] = r;
        m->n++;
        return true;
}

size_t gmem_n_regions(const struct gmem *m) {
        return m->n;
}

const struct gmem_region *gmem_region(const struct gmem *m, size_t i) {
        g_assert(i < m->n);

        return &m->regions[i]->pub;
}

uint64_t gmem_total(const struct gmem *m) {
        uint64_t sum = 0;

        for (size_t i = 0; i < m->n; i++)
                sum += m->regions[i]->pub.size;
        return sum;
}

static struct region *find(const struct gmem *m, uint64_t addr) {
        for (size_t i = 0; i < m->n; i++) {
                struct region *r = m->regions[i];

                /* one comparison: an address below the base wraps to a huge offset */
                if (addr - r->pub.base.v < r->pub.size)
                        return r;
        }
        return NULL;
}

static void mark(struct region *r, uint64_t offset, uint64_t len) {
        uint64_t first = offset >> PAGE_SHIFT, last = (offset + len - 1) >> PAGE_SHIFT;

        for (uint64_t page = first; page <= last;) {
                uint64_t bit = page % 64, n = MIN(64 - bit, last - page + 1);
                uint64_t mask = (n == 64 ? UINT64_MAX : (1ull << n) - 1) << bit;

                atomic_fetch_or_explicit(&r->dirty[page / 64], mask, memory_order_relaxed);
                page += n;
        }
}

static void
mark_if_tracking(const struct gmem *m, struct region *r, uint64_t offset, uint64_t len) {
        /* pairs with the release in gmem_track_dirty(): who sees tracking sees the bitmaps */
        if (G_UNLIKELY(atomic_load_explicit(&m->tracking, memory_order_acquire)))
                mark(r, offset, len);
}

void *gmem_map(const struct gmem *m, gaddr addr, uint64_t len, bool for_write) {
        struct region *r = find(m, addr.v);
        uint64_t offset;

        if (!r || len == 0)
                return NULL;
        offset = addr.v - r->pub.base.v;
        if (len > r->pub.size - offset)
                return NULL;
        if (for_write)
                mark_if_tracking(m, r, offset, len);
        return (uint8_t *) r->pub.host + offset;
}

static bool covered(const struct gmem *m, gaddr addr, uint64_t len) {
        while (len > 0) {
                struct region *r = find(m, addr.v);
                uint64_t left;

                if (!r)
                        return false;
                left = r->pub.size - (addr.v - r->pub.base.v);
                if (len <= left)
                        return true;
                len -= left;
                addr.v += left;
                if (addr.v == 0) /* the end of the address space has no neighbour */
                        return false;
        }
        return true;
}

/* The host memory at addr and how much of len lies in the same region. The range is covered. */
static void *piece(const struct gmem *m, gaddr addr, uint64_t len, bool for_write, uint64_t *ret) {
        struct region *r = find(m, addr.v);
        uint64_t offset = addr.v - r->pub.base.v;

        *ret = MIN(len, r->pub.size - offset);
        if (for_write)
                mark_if_tracking(m, r, offset, *ret);
        return (uint8_t *) r->pub.host + offset;
}

int gmem_read(const struct gmem *m, gaddr addr, void *buf, uint64_t len) {
        uint8_t *to = buf;

        if (!covered(m, addr, len))
                return -EFAULT;
        for (uint64_t done = 0, n; done < len; done += n) {
                const void *from = piece(m, GADDR(addr.v + done), len - done, false, &n);

                memcpy(to + done, from, n);
        }
        return 0;
}

int gmem_write(const struct gmem *m, gaddr addr, const void *buf, uint64_t len) {
        const uint8_t *from = buf;

        if (!covered(m, addr, len))
                return -EFAULT;
        for (uint64_t done = 0, n; done < len; done += n) {
                void *to = piece(m, GADDR(addr.v + done), len - done, true, &n);

                memcpy(to, from + done, n);
        }
        return 0;
}

int gmem_zero(const struct gmem *m, gaddr addr, uint64_t len) {
        if (!covered(m, addr, len))
                return -EFAULT;
        for (uint64_t done = 0, n; done < len; done += n) {
                void *to = piece(m, GADDR(addr.v + done), len - done, true, &n);

                memset(to, 0, n);
        }
        return 0;
}

static int read_piece(int fd, uint8_t *to, uint64_t len, uint64_t offset) {
        while (len > 0) {
                /* pread() takes at most 2 GiB at a time */
                ssize_t n = pread(fd, to, MIN(len, 1ull << 30), (off_t) offset);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return -errno;
                if (n == 0)
                        return -EIO;
                to += n;
                offset += (uint64_t) n;
                len -= (uint64_t) n;
        }
        return 0;
}

int gmem_read_from_fd(const struct gmem *m, gaddr addr, uint64_t len, int fd, uint64_t offset) {
        if (!covered(m, addr, len))
                return -EFAULT;
        if (offset > INT64_MAX || len > INT64_MAX - offset)
                return -EINVAL;
        for (uint64_t done = 0, n; done < len; done += n) {
                uint8_t *to = piece(m, GADDR(addr.v + done), len - done, true, &n);
                int r = read_piece(fd, to, n, offset + done);

                if (r < 0)
                        return r;
        }
        return 0;
}

bool gmem_track_dirty(struct gmem *m, bool on, GError **error) {
        for (size_t i = 0; on && i < m->n; i++) {
                struct region *r = m->regions[i];

                if (!r->dirty)
                        alloc_dirty(r);
                for (size_t w = 0; w < r->n_words; w++)
                        atomic_store_explicit(&r->dirty[w], 0, memory_order_relaxed);
        }
        atomic_store_explicit(&m->tracking, on, memory_order_release);
        return true;
}

bool gmem_tracks_dirty(const struct gmem *m) {
        /* pairs with the release in gmem_track_dirty(), as in mark_if_tracking() */
        return atomic_load_explicit(&m->tracking, memory_order_acquire);
}

void gmem_mark_dirty(const struct gmem *m, gaddr addr, uint64_t len) {
        struct region *r = find(m, addr.v);
        uint64_t offset;

        if (!r || len == 0)
                return;
        offset = addr.v - r->pub.base.v;
        mark_if_tracking(m, r, offset, MIN(len, r->pub.size - offset));
}

void gmem_take_dirty(struct gmem *m, size_t i, uint64_t *bitmap) {
        struct region *r;

        g_assert(i < m->n);

        r = m->regions[i];
        if (!r->dirty)
                return;
        for (size_t w = 0; w < r->n_words; w++)
                bitmap[w] |= atomic_exchange_explicit(&r->dirty[w], 0, memory_order_relaxed);
}
