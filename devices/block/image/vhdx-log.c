/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The log of a VHDX ([MS-VHDX] 2.3): a ring of entries, each with pages of metadata and where they belong. It is in use
 * while the header has its GUID. What it holds then is the sequence of entries that ends with the highest number and
 * begins where that entry says; all of that is brought to its place, in order, before anything else is read.
 *
 * Reading it: an entry counts when its sum, its GUID and its numbers are right. All entries are found in one pass whose work is bounded, for
 * a hostile log may have entries within entries.
 *
 * Writing it: what was written before is synced first. So the last entry is no longer needed, each entry is a sequence of its own, and
 * two of them must fit in the ring, the one that counts and the one being written. An entry is synced before its pages go to their
 * places, and before the header first says that the log is in use: a log in use is never empty.
 */

#include "devices/block/image/crc32c.h"
#include "devices/block/image/vhdx-private.h"
#include "hypervisor/error.h"

#include <assert.h>
#include <errno.h>

#define HEADER 64u
#define DESCRIPTOR 32u
#define REPLAY_MAX (64u * VHDX_MIB) /* length of a log that is read */
#define WORK_MAX 8u                 /* times that length may be summed up */

struct entry {
        uint32_t at, len, tail;
        uint64_t sequence;
        uint32_t next; /* index + 1 of the entry behind it; 0: none */
};

struct search {
        struct vhdx *v;
        GArray *entries;   /* struct entry, in order of at */
        uint32_t *by_page; /* index + 1 */
        uint64_t work;     /* bytes that may still be summed up */
};

static int read_ring(const struct vhdx *v, uint32_t at, uint8_t *buf, uint32_t len) {
        uint32_t first = MIN(len, v->log_len - at);
        int r = image_file_read(v->file, v->log_at + at, buf, first);

        return r < 0 || first == len
                               ? r
                               : image_file_read(v->file, v->log_at, buf + first, len - first);
}

static int write_ring(const struct vhdx *v, uint32_t at, const uint8_t *buf, uint32_t len) {
        uint32_t first = MIN(len, v->log_len - at);
        int r = image_file_write(v->file, v->log_at + at, buf, first);

        return r < 0 || first == len
                               ? r
                               : image_file_write(v->file, v->log_at, buf + first, len - first);
}

static uint32_t descriptor_pages(uint32_t n) {
        return (HEADER + n * DESCRIPTOR + VHDX_PAGE - 1) / VHDX_PAGE;
}

static bool is_data(const uint8_t *descriptor) {
        return memcmp(descriptor, "desc", 4) == 0;
}

/* Whether descriptors and data of a whole entry belong to it. */
static bool is_consistent(const uint8_t *e, uint32_t len, uint64_t sequence) {
        uint32_t n = vhdx_get32(e + 24), page = descriptor_pages(n);

        for (uint32_t i = 0; i < n; i++) {
                const uint8_t *d = e + HEADER + i * DESCRIPTOR, *data;

                if (vhdx_get64(d + 24) != sequence || vhdx_get64(d + 16) % VHDX_PAGE != 0)
                        return false;
                if (!is_data(d)) {
                        if (memcmp(d, "zero", 4) != 0 || vhdx_get64(d + 8) % VHDX_PAGE != 0)
                                return false;
                        continue;
                }
                if (page >= len / VHDX_PAGE)
                        return false;
                data = e + (size_t) page++ * VHDX_PAGE;
                if (memcmp(data, "data", 4) != 0 ||
                    vhdx_get32(data + 4) != (uint32_t) (sequence >> 32) ||
                    vhdx_get32(data + VHDX_PAGE - 4) != (uint32_t) sequence)
                        return false;
        }
        return true;
}

/* The entry at a page, with all its bytes in *ret_bytes. 1: there is one, 0: there is none, negative errno. */
static int
read_entry(const struct vhdx *v,
           uint32_t at,
           uint64_t *work,
           struct entry *ret,
           uint8_t **ret_bytes) {
        g_autofree uint8_t *e = NULL;
        uint8_t h[HEADER];
        uint32_t n, sum;
        int r = read_ring(v, at, h, sizeof(h));

        if (r < 0)
                return r;
        *ret = (struct entry){
                .at = at,
                .len = vhdx_get32(h + 8),
                .tail = vhdx_get32(h + 12),
                .sequence = vhdx_get64(h + 16),
        };
        n = vhdx_get32(h + 24);
        if (memcmp(h, "loge", 4) != 0 || memcmp(h + 32, &v->log_id, sizeof(v->log_id)) != 0 ||
            ret->len == 0 || ret->len > v->log_len || ret->len % VHDX_PAGE != 0 ||
            ret->tail % VHDX_PAGE != 0 || ret->tail >= v->log_len || ret->sequence == 0 ||
            n > ret->len / DESCRIPTOR || descriptor_pages(n) > ret->len / VHDX_PAGE)
                return 0;
        if (*work < ret->len)
                return -ELOOP;
        *work -= ret->len;
        e = g_malloc(ret->len);
        r = read_ring(v, at, e, ret->len);
        if (r < 0)
                return r;
        sum = vhdx_get32(e + 4);
        vhdx_put32(e + 4, 0);
        if (crc32c(e, ret->len) != sum || !is_consistent(e, ret->len, ret->sequence))
                return 0;
        if (ret_bytes)
                *ret_bytes = g_steal_pointer(&e);
        return 1;
}

static int find_entries(struct search *s) {
        for (uint32_t at = 0; at < s->v->log_len; at += VHDX_PAGE) {
                struct entry e;
                int r = read_entry(s->v, at, &s->work, &e, /* ret_bytes= */ NULL);

                if (r < 0)
                        return r;
                if (r > 0) {
                        g_array_append_val(s->entries, e);
                        s->by_page[at / VHDX_PAGE] = s->entries->len;
                }
        }
        for (guint i = 0; i < s->entries->len; i++) {
                struct entry *e = &g_array_index(s->entries, struct entry, i);
                uint32_t next = s->by_page[(e->at + e->len) % s->v->log_len / VHDX_PAGE];

                if (next > 0 &&
                    g_array_index(s->entries, struct entry, next - 1).sequence == e->sequence + 1)
                        e->next = next;
        }
        return 0;
}

/* Whether the entries from its tail on lead to this one. Numbers rise, so it ends. */
static bool is_whole(const struct search *s, guint head) {
        const struct entry *h = &g_array_index(s->entries, struct entry, head);
        uint32_t i = s->by_page[h->tail / VHDX_PAGE];

        while (i > 0 && i - 1 != head)
                i = g_array_index(s->entries, struct entry, i - 1).next;
        return i > 0;
}

/* The index of the entry that the log ends with; -1: nothing is in it. */
static int find_head(const struct search *s) {
        int best = -1;

        for (guint i = 0; i < s->entries->len; i++) {
                const struct entry *e = &g_array_index(s->entries, struct entry, i);

                if ((best < 0 ||
                     e->sequence > g_array_index(s->entries, struct entry, best).sequence) &&
                    is_whole(s, i))
                        best = (int) i;
        }
        return best;
}

/* Neither the headers nor the log itself. */
static bool is_good_target(const struct vhdx *v, uint64_t at, uint64_t len) {
        return at >= VHDX_REGIONS_AT(0) && at <= INT64_MAX && len <= INT64_MAX - at && len > 0 &&
               (at >= v->log_at + v->log_len || v->log_at >= at + len);
}

static bool add_patches(struct vhdx *v, const uint8_t *e, GError **error) {
        uint32_t n = vhdx_get32(e + 24), page = descriptor_pages(n);

        if (vhdx_get64(e + 48) > v->file->size)
                return vhdx_refuse(error, " was cut off: its log speaks of a longer file");
        for (uint32_t i = 0; i < n; i++) {
                const uint8_t *d = e + HEADER + i * DESCRIPTOR;
                struct vhdx_patch patch = {
                        .at = vhdx_get64(d + 16),
                        .len = is_data(d) ? VHDX_PAGE : vhdx_get64(d + 8),
                };

                if (!is_good_target(v, patch.at, patch.len))
                        return vhdx_refuse(error, "'s log changes what it may not");
                if (is_data(d)) {
                        patch.data = g_memdup2(e + (size_t) page++ * VHDX_PAGE, VHDX_PAGE);
                        memcpy(patch.data, d + 8, 8);
                        memcpy(patch.data + VHDX_PAGE - 4, d + 4, 4);
                }
                g_array_append_val(v->patches, patch);
        }
        return true;
}

static bool take_sequence(struct search *s, guint head, GError **error) {
        struct vhdx *v = s->v;
        const struct entry *h = &g_array_index(s->entries, struct entry, head);
        uint32_t i = s->by_page[h->tail / VHDX_PAGE];

        for (;;) {
                const struct entry *e = &g_array_index(s->entries, struct entry, i - 1);
                g_autofree uint8_t *bytes = NULL;
                struct entry again;
                int r = read_entry(v, e->at, &s->work, &again, &bytes);

                if (r <= 0)
                        return hv_error_errno(error, r < 0 ? -r : EIO, "reading the VHDX's log");
                if (!add_patches(v, bytes, error))
                        return false;
                if (i - 1 == head)
                        break;
                i = e->next;
        }
        v->log_sequence = h->sequence;
        v->log_next = (h->at + h->len) % v->log_len;
        v->replayed = true;
        return true;
}

static void clear_patch(gpointer data) {
        g_free(((struct vhdx_patch *) data)->data);
}

bool vhdx_read_log(struct vhdx *v, GError **error) {
        struct search s = { .v = v, .work = (uint64_t) v->log_len * WORK_MAX };
        g_autoptr(GArray) entries = g_array_new(FALSE, FALSE, sizeof(struct entry));
        g_autofree uint32_t *by_page = NULL;
        int r, head;

        v->patches = g_array_new(FALSE, FALSE, sizeof(struct vhdx_patch));
        g_array_set_clear_func(v->patches, clear_patch);
        if (vhdx_guid_equal(&v->log_id, &vhdx_guid_none))
                return true;
        if (v->log_len > REPLAY_MAX)
                return vhdx_refuse(error, "'s log is in use and longer than 64 MiB");
        by_page = g_new0(uint32_t, v->log_len / VHDX_PAGE);
        s.entries = entries;
        s.by_page = by_page;
        r = find_entries(&s);
        if (r < 0)
                return hv_error_errno(error, -r, "reading the VHDX's log");
        head = find_head(&s);
        return head < 0 || take_sequence(&s, (guint) head, error);
}

void vhdx_forget_patches(struct vhdx *v) {
        g_clear_pointer(&v->patches, g_array_unref);
}

int vhdx_read_patched(struct vhdx *v, uint64_t offset, void *buf, size_t len) {
        int r = image_file_read(v->file, offset, buf, len);

        for (guint i = 0; r == 0 && v->patches && i < v->patches->len; i++) {
                const struct vhdx_patch *p = &g_array_index(v->patches, struct vhdx_patch, i);
                uint64_t from = MAX(p->at, offset), to = MIN(p->at + p->len, offset + len);

                if (from >= to)
                        continue;
                if (p->data)
                        memcpy((uint8_t *) buf + (from - offset), p->data + (from - p->at),
                               (size_t) (to - from));
                else
                        memset((uint8_t *) buf + (from - offset), 0, (size_t) (to - from));
        }
        return r;
}

static int apply(struct vhdx *v) {
        int r = 0;

        for (guint i = 0; r == 0 && i < v->patches->len; i++) {
                const struct vhdx_patch *p = &g_array_index(v->patches, struct vhdx_patch, i);

                r = p->data ? image_file_write(v->file, p->at, p->data, (size_t) p->len)
                            : image_file_zero(v->file, p->at, p->len, /* unmap= */ true);
        }
        return r < 0 ? r : image_file_sync(v->file);
}

bool vhdx_replay(struct vhdx *v, GError **error) {
        int r;

        if (vhdx_guid_equal(&v->log_id, &vhdx_guid_none))
                return true;
        v->file_id = vhdx_guid_random();
        r = vhdx_write_header(v);
        if (r == 0)
                r = apply(v);
        if (r == 0) {
                v->log_id = vhdx_guid_none;
                r = vhdx_write_header(v);
        }
        return r == 0 || hv_error_errno(error, -r, "writing what is in the VHDX's log");
}

static void
fill_entry(const struct vhdx *v,
           uint8_t *e,
           const struct vhdx_guid *id,
           const uint64_t *at,
           const uint8_t *pages,
           unsigned n) {
        uint64_t sequence = v->log_sequence + 1, size = v->file->size;

        memcpy(e, "loge", 4);
        vhdx_put32(e + 8, (1 + n) * VHDX_PAGE);
        vhdx_put32(e + 12, v->log_next);
        vhdx_put64(e + 16, sequence);
        vhdx_put32(e + 24, n);
        memcpy(e + 32, id, sizeof(*id));
        vhdx_put64(e + 48, size - size % VHDX_MIB);
        vhdx_put64(e + 56, size + (-size & (VHDX_MIB - 1)));
        for (unsigned i = 0; i < n; i++) {
                uint8_t *d = e + HEADER + i * DESCRIPTOR, *data = e + (size_t) (1 + i) * VHDX_PAGE;
                const uint8_t *page = pages + (size_t) i * VHDX_PAGE;

                memcpy(d, "desc", 4);
                memcpy(d + 4, page + VHDX_PAGE - 4, 4);
                memcpy(d + 8, page, 8);
                vhdx_put64(d + 16, at[i]);
                vhdx_put64(d + 24, sequence);
                memcpy(data, page, VHDX_PAGE);
                memcpy(data, "data", 4);
                vhdx_put32(data + 4, (uint32_t) (sequence >> 32));
                vhdx_put32(data + VHDX_PAGE - 4, (uint32_t) sequence);
        }
        vhdx_put32(e + 4, crc32c(e, (size_t) (1 + n) * VHDX_PAGE));
}

int vhdx_commit(struct vhdx *v, const uint64_t *at, const uint8_t *pages, unsigned n) {
        uint32_t len = (1 + n) * VHDX_PAGE;
        bool in_use = !vhdx_guid_equal(&v->log_id, &vhdx_guid_none);
        struct vhdx_guid id = in_use ? v->log_id : vhdx_guid_random();
        g_autofree uint8_t *e = g_malloc0(len);
        int r;

        assert(n > 0 && n <= VHDX_COMMIT_MAX && len <= v->log_len / 2);

        r = image_file_sync(v->file);
        fill_entry(v, e, &id, at, pages, n);
        if (r == 0)
                r = write_ring(v, v->log_next, e, len);
        if (r == 0)
                r = image_file_sync(v->file);
        if (r < 0)
                return r;
        v->log_sequence++;
        v->log_next = (v->log_next + len) % v->log_len;
        if (!in_use) {
                struct vhdx_guid none = v->log_id;

                v->log_id = id;
                r = vhdx_write_header(v);
                if (r < 0) {
                        v->log_id = none;
                        return r;
                }
        }
        for (unsigned i = 0; r == 0 && i < n; i++)
                r = image_file_write(v->file, at[i], pages + (size_t) i * VHDX_PAGE, VHDX_PAGE);
        return r;
}
