/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * An address space. Two span tables carry the run path: one from addresses to regions' ops, one from
 * (address, length) to doorbells. Both hold copies of what an access needs and never a pointer to a
 * bus_region, so regions are freed the moment they are removed and nothing piles up however often a
 * guest moves a BAR.
 *
 * The lock orders changes only; no access takes it, and it is not held while ops run, so a handler may change
 * the bus it was called from. It is held across the hypervisor's doorbell calls, which keeps the hypervisor's
 * picture in step with ours. While a region is moving, its doorbells are in our table or in the hypervisor's or
 * in both: a write in between leaves the guest and is served from here.
 */

#include "devices/bus.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>

#include "devices/guard.h"
#include "devices/span.h"
#include "hypervisor/error.h"

/* The doorbell table's key is address and length in one number. */
#define BELL_SHIFT 4
#define BELL_ADDR_MAX (UINT64_MAX >> BELL_SHIFT)

struct bell {
        uint64_t offset;
        unsigned len;
        int fd;
        bool assigned; /* the hypervisor has it */
};

struct bus_region {
        char *name;
        uint64_t base; /* or BUS_NOWHERE */
        uint64_t size;
        const struct io_ops *ops;
        void *opaque;
        GArray *bells; /* struct bell */
};

struct bus {
        char *name;
        const struct bus_doorbell_ops *doorbells;
        void *opaque;
        struct span_table spans; /* a: ops, b: opaque */
        struct span_table bells; /* a: fd */

        pthread_mutex_t lock; /* for what follows, and to write the tables */
        GPtrArray *regions;
};

static void region_free(void *data) {
        bus_region *r = data;

        g_array_unref(r->bells);
        g_free(r->name);
        g_free(r);
}

bus *bus_new(const char *name, const struct bus_doorbell_ops *doorbells, void *opaque) {
        bus *b = g_new0(bus, 1);

        b->name = g_strdup(name);
        b->doorbells = doorbells;
        b->opaque = opaque;
        (void) pthread_mutex_init(&b->lock, NULL);
        b->regions = g_ptr_array_new_with_free_func(region_free);
        return b;
}

bus *bus_free(bus *b) {
        if (!b)
                return NULL;

        while (b->regions->len > 0)
                bus_remove(b, g_ptr_array_index(b->regions, 0));
        g_ptr_array_unref(b->regions);
        span_table_clear(&b->spans);
        span_table_clear(&b->bells);
        (void) pthread_mutex_destroy(&b->lock);
        g_free(b->name);
        g_free(b);
        return NULL;
}

static bool range_valid(uint64_t base, uint64_t size) {
        return size > 0 && (base == BUS_NOWHERE || base <= UINT64_MAX - size);
}

/* The region other than except that [base, base+size) would overlap. */
static bus_region *find_overlap(bus *b, uint64_t base, uint64_t size, const bus_region *except) {
        if (base == BUS_NOWHERE)
                return NULL;

        for (guint i = 0; i < b->regions->len; i++) {
                bus_region *r = g_ptr_array_index(b->regions, i);

                if (r != except && r->base != BUS_NOWHERE && base < r->base + r->size &&
                    r->base < base + size)
                        return r;
        }
        return NULL;
}

static int compare_spans(const void *a, const void *b) {
        const struct span *x = a, *y = b;

        return x->first < y->first ? -1 : x->first > y->first;
}

static void publish_regions(bus *b) {
        g_autoptr(GArray) spans =
                        g_array_sized_new(FALSE, FALSE, sizeof(struct span), b->regions->len);

        for (guint i = 0; i < b->regions->len; i++) {
                const bus_region *r = g_ptr_array_index(b->regions, i);
                struct span s = {
                        .first = r->base,
                        .last = r->base + r->size - 1,
                        .a = (uintptr_t) r->ops,
                        .b = (uintptr_t) r->opaque,
                };

                if (r->base != BUS_NOWHERE)
                        g_array_append_val(spans, s);
        }
        g_array_sort(spans, compare_spans);
        span_table_publish(&b->spans, (struct span *) (void *) spans->data, spans->len);
}

static uint64_t bell_key(uint64_t addr, unsigned len) {
        return addr << BELL_SHIFT | len;
}

static void publish_bells(bus *b) {
        g_autoptr(GArray) spans = g_array_new(FALSE, FALSE, sizeof(struct span));

        for (guint i = 0; i < b->regions->len; i++) {
                const bus_region *r = g_ptr_array_index(b->regions, i);

                if (r->base == BUS_NOWHERE || r->base + r->size > BELL_ADDR_MAX)
                        continue;

                for (guint j = 0; j < r->bells->len; j++) {
                        const struct bell *bell = &g_array_index(r->bells, struct bell, j);
                        uint64_t key = bell_key(r->base + bell->offset, bell->len);
                        struct span s = { .first = key, .last = key, .a = (uintptr_t) bell->fd };

                        g_array_append_val(spans, s);
                }
        }
        g_array_sort(spans, compare_spans);
        span_table_publish(&b->bells, (struct span *) (void *) spans->data, spans->len);
}

/* A refusal is no failure: the bus itself still serves the bell. */
static void bell_assign(bus *b, const bus_region *r, struct bell *bell) {
        if (!b->doorbells || bell->assigned || r->base == BUS_NOWHERE)
                return;

        bell->assigned = b->doorbells->assign(
                                         b->opaque, r->base + bell->offset, bell->len,
                                         false /* with_data */, 0 /* data */, bell->fd,
                                         true /* on */) >= 0;
}

static void bell_unassign(bus *b, const bus_region *r, struct bell *bell) {
        if (!bell->assigned)
                return;

        (void) b->doorbells->assign(
                        b->opaque, r->base + bell->offset, bell->len, false /* with_data */,
                        0 /* data */, bell->fd, false /* on */);
        bell->assigned = false;
}

bus_region *
bus_add(bus *b,
        const char *name,
        uint64_t base,
        uint64_t size,
        const struct io_ops *ops,
        void *opaque,
        GError **error) {
        bus_region *r, *other;

        assert(b && name && ops);
        GUARD(&b->lock);

        if (!range_valid(base, size)) {
                g_set_error(error, HV_ERROR, HV_ERROR_INVALID,
                            "%s: region %s at 0x%" G_GINT64_MODIFIER "x wraps round or is empty",
                            b->name, name, base);
                return NULL;
        }

        other = find_overlap(b, base, size, NULL /* except */);
        if (other) {
                g_set_error(error, HV_ERROR, HV_ERROR_INVALID,
                            "%s: region %s (0x%" G_GINT64_MODIFIER "x, 0x%" G_GINT64_MODIFIER
                            "x bytes) overlaps %s (0x%" G_GINT64_MODIFIER "x)",
                            b->name, name, base, size, other->name, other->base);
                return NULL;
        }

        r = g_new0(bus_region, 1);
        r->name = g_strdup(name);
        r->base = base;
        r->size = size;
        r->ops = ops;
        r->opaque = opaque;
        r->bells = g_array_new(FALSE, FALSE, sizeof(struct bell));
        g_ptr_array_add(b->regions, r);
        publish_regions(b);
        return r;
}

void bus_remove(bus *b, bus_region *region) {
        bool had_bells;

        if (!region)
                return;

        GUARD(&b->lock);
        had_bells = region->bells->len > 0;
        for (guint i = 0; i < region->bells->len; i++)
                bell_unassign(b, region, &g_array_index(region->bells, struct bell, i));
        if (!g_ptr_array_remove_fast(b->regions, region))
                assert(false);

        publish_regions(b);
        if (had_bells)
                publish_bells(b);
}

int bus_move(bus *b, bus_region *region, uint64_t new_base) {
        assert(b && region);
        GUARD(&b->lock);

        if (region->base == new_base)
                return 0;
        if (!range_valid(new_base, region->size))
                return -EINVAL;
        if (find_overlap(b, new_base, region->size, region))
                return -EEXIST;

        for (guint i = 0; i < region->bells->len; i++)
                bell_unassign(b, region, &g_array_index(region->bells, struct bell, i));

        region->base = new_base;
        publish_regions(b);
        if (region->bells->len > 0)
                publish_bells(b);

        for (guint i = 0; i < region->bells->len; i++)
                bell_assign(b, region, &g_array_index(region->bells, struct bell, i));
        return 0;
}

static bool access_len_valid(unsigned len) {
        return len == 1 || len == 2 || len == 4 || len == 8;
}

static int find_bell(const bus_region *r, uint64_t offset, unsigned len) {
        for (guint i = 0; i < r->bells->len; i++) {
                const struct bell *bell = &g_array_index(r->bells, struct bell, i);

                if (bell->offset == offset && bell->len == len)
                        return (int) i;
        }
        return -ENOENT;
}

int bus_add_doorbell(bus *b, bus_region *region, uint64_t offset, unsigned len, int fd) {
        struct bell bell = { .offset = offset, .len = len, .fd = fd };

        assert(b && region && fd >= 0);
        GUARD(&b->lock);

        if ((len != 0 && !access_len_valid(len)) || offset >= region->size ||
            len > region->size - offset)
                return -EINVAL;
        if (find_bell(region, offset, len) >= 0)
                return -EEXIST;

        g_array_append_val(region->bells, bell);
        publish_bells(b);
        bell_assign(b, region, &g_array_index(region->bells, struct bell, region->bells->len - 1));
        return 0;
}

int bus_remove_doorbell(bus *b, bus_region *region, uint64_t offset, unsigned len, int fd) {
        int i;

        assert(b && region);
        GUARD(&b->lock);

        i = find_bell(region, offset, len);
        if (i < 0 || g_array_index(region->bells, struct bell, i).fd != fd)
                return -ENOENT;

        bell_unassign(b, region, &g_array_index(region->bells, struct bell, i));
        g_array_remove_index_fast(region->bells, (guint) i);
        publish_bells(b);
        return 0;
}

/* The region for an access, or false when it is nobody's. */
static bool find_region(const bus *b, uint64_t addr, unsigned len, struct span *ret) {
        return access_len_valid(len) && span_find(&b->spans, addr, ret) &&
               len - 1 <= ret->last - addr;
}

static bool ring_bell(const bus *b, uint64_t addr, unsigned len) {
        struct span s;

        if (span_table_empty(&b->bells) || addr > BELL_ADDR_MAX)
                return false;
        if (!span_find(&b->bells, bell_key(addr, len), &s) &&
            !span_find(&b->bells, bell_key(addr, 0), &s))
                return false;

        (void) eventfd_write((int) s.a, 1);
        return true;
}

void bus_read(bus *b, uint64_t addr, void *data, unsigned len) {
        struct span s;
        const struct io_ops *ops;

        memset(data, 0xff, MIN(len, 8));
        if (!find_region(b, addr, len, &s))
                return;

        ops = (const struct io_ops *) s.a;
        if (ops->read)
                ops->read((void *) s.b, addr - s.first, data, len);
}

void bus_write(bus *b, uint64_t addr, const void *data, unsigned len) {
        struct span s;
        const struct io_ops *ops;

        if (!access_len_valid(len) || ring_bell(b, addr, len) || !find_region(b, addr, len, &s))
                return;

        ops = (const struct io_ops *) s.a;
        if (ops->write)
                ops->write((void *) s.b, addr - s.first, data, len);
}
