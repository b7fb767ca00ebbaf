/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * L2 tables and refcount blocks in memory, found by where they lie in the file. The number of tables is fixed; their memory is taken when they are
 * first used. The one that was not asked for longest makes way.
 *
 * A refcount block that the file does not have may be written at any time: counts are raised early and lowered late. An L2 table may not,
 * so a cache full of changed ones flushes the image, which then has no changed table left.
 */

#include "devices/block/image/qcow2.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ALIGN 4096u
#define TABLES_MIN 4u
#define TABLES_MAX 65536u

struct qcow2_limits qcow2_limits = { .l2_cache = 32u << 20, .refcount_cache = 8u << 20 };

void qcow2_cache_init(struct qcow2_cache *c, uint32_t cluster, uint64_t bytes) {
        unsigned buckets = 1;

        *c = (struct qcow2_cache){
                .cluster = cluster,
                .n = (unsigned) CLAMP(bytes / cluster, TABLES_MIN, TABLES_MAX),
        };
        while (buckets < c->n)
                buckets *= 2;
        c->mask = buckets - 1;
        c->tables = g_new0(struct qcow2_table, c->n);
        c->buckets = g_new0(struct qcow2_table *, buckets);
}

void qcow2_cache_clear(struct qcow2_cache *c) {
        for (unsigned i = 0; i < c->used; i++)
                free(c->tables[i].data);
        g_free(c->tables);
        g_free(c->buckets);
        *c = (struct qcow2_cache){};
}

static struct qcow2_table **bucket(struct qcow2_cache *c, uint64_t offset) {
        return &c->buckets[((offset / c->cluster) * 0x9e3779b97f4a7c15ull >> 32) & c->mask];
}

static void unlink_age(struct qcow2_cache *c, struct qcow2_table *t) {
        *(t->newer ? &t->newer->older : &c->newest) = t->older;
        *(t->older ? &t->older->newer : &c->oldest) = t->newer;
        t->newer = t->older = NULL;
}

static void link_newest(struct qcow2_cache *c, struct qcow2_table *t) {
        t->older = c->newest;
        *(c->newest ? &c->newest->newer : &c->oldest) = t;
        c->newest = t;
}

static void link_oldest(struct qcow2_cache *c, struct qcow2_table *t) {
        t->newer = c->oldest;
        *(c->oldest ? &c->oldest->older : &c->newest) = t;
        c->oldest = t;
}

static bool is_dirty(const struct qcow2_table *t) {
        return t->dirty_to > t->dirty_from;
}

static void clean(struct qcow2_cache *c, struct qcow2_table *t) {
        if (!is_dirty(t))
                return;
        *(t->prev_dirty ? &t->prev_dirty->next_dirty : &c->dirty) = t->next_dirty;
        if (t->next_dirty)
                t->next_dirty->prev_dirty = t->prev_dirty;
        t->next_dirty = t->prev_dirty = NULL;
        t->dirty_from = t->dirty_to = 0;
}

void qcow2_cache_touch(struct qcow2_cache *c, struct qcow2_table *t, uint32_t from, uint32_t to) {
        assert(from < to && to <= c->cluster);

        if (is_dirty(t)) {
                t->dirty_from = MIN(t->dirty_from, from);
                t->dirty_to = MAX(t->dirty_to, to);
                return;
        }
        t->dirty_from = from;
        t->dirty_to = to;
        t->next_dirty = c->dirty;
        if (c->dirty)
                c->dirty->prev_dirty = t;
        c->dirty = t;
}

static int write_table(struct qcow2 *q, struct qcow2_cache *c, struct qcow2_table *t) {
        enum qcow2_kind kind = qcow2_set_get(&q->kinds, t->offset >> q->cluster_bits);
        uint32_t from = t->dirty_from & ~511u, to = MIN((t->dirty_to + 511) & ~511u, c->cluster);
        int r;

        if (kind != (c == &q->l2_cache ? QCOW2_L2 : QCOW2_REFBLOCK))
                return qcow2_corrupt(
                                q, "a table was to be written to 0x%" G_GINT64_MODIFIER "x: %s",
                                t->offset, qcow2_kind_to_string(kind));
        r = image_file_write(q->img.file, t->offset + from, t->data + from, to - from);
        if (r == 0)
                clean(c, t);
        return r;
}

int qcow2_cache_write(struct qcow2 *q, struct qcow2_cache *c) {
        int r = 0;

        while (r == 0 && c->dirty)
                r = write_table(q, c, c->dirty);
        return r;
}

static struct qcow2_table *find(struct qcow2_cache *c, uint64_t offset) {
        struct qcow2_table *t = *bucket(c, offset);

        while (t && t->offset != offset)
                t = t->chain;
        if (t && t != c->newest) {
                unlink_age(c, t);
                link_newest(c, t);
        }
        return t;
}

static void forget(struct qcow2_cache *c, struct qcow2_table *t) {
        struct qcow2_table **at = bucket(c, t->offset);

        while (*at != t)
                at = &(*at)->chain;
        *at = t->chain;
        clean(c, t);
        t->offset = 0;
        t->chain = NULL;
}

void qcow2_cache_drop(struct qcow2_cache *c, uint64_t offset) {
        struct qcow2_table *t = find(c, offset);

        if (!t)
                return;
        forget(c, t);
        unlink_age(c, t);
        link_oldest(c, t);
}

/* A table that is nothing, and the newest. */
static int make_room(struct qcow2 *q, struct qcow2_cache *c, struct qcow2_table **ret) {
        struct qcow2_table *t;
        int r = 0;

        if (c->used < c->n && !(c->oldest && c->oldest->offset == 0)) {
                t = &c->tables[c->used];
                t->data = aligned_alloc(MIN(c->cluster, ALIGN), c->cluster);
                if (!t->data)
                        return -ENOMEM;
                c->used++;
                link_newest(c, t);
                *ret = t;
                return 0;
        }
        if (is_dirty(c->oldest))
                r = c == &q->l2_cache ? qcow2_flush(&q->img) : write_table(q, c, c->oldest);
        if (r < 0)
                return r;
        t = c->oldest;
        if (t->offset)
                forget(c, t);
        unlink_age(c, t);
        link_newest(c, t);
        *ret = t;
        return 0;
}

static void insert(struct qcow2_cache *c, struct qcow2_table *t, uint64_t offset) {
        struct qcow2_table **at = bucket(c, offset);

        t->offset = offset;
        t->chain = *at;
        *at = t;
}

int qcow2_cache_load(
                struct qcow2 *q, struct qcow2_cache *c, uint64_t offset, struct qcow2_table **ret) {
        struct qcow2_table *t = find(c, offset);
        int r;

        assert(offset > 0 && offset % c->cluster == 0);

        if (!t) {
                r = make_room(q, c, &t);
                if (r == 0)
                        r = image_file_read(q->img.file, offset, t->data, c->cluster);
                if (r < 0)
                        return r;
                insert(c, t, offset);
        }
        *ret = t;
        return 0;
}

int qcow2_cache_new(
                struct qcow2 *q, struct qcow2_cache *c, uint64_t offset, struct qcow2_table **ret) {
        struct qcow2_table *t = find(c, offset);
        int r = t ? 0 : make_room(q, c, &t);

        if (r < 0)
                return r;
        if (!t->offset)
                insert(c, t, offset);
        memset(t->data, 0, c->cluster);
        qcow2_cache_touch(c, t, 0, c->cluster);
        *ret = t;
        return 0;
}
