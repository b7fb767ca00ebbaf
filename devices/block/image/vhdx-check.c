/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Whether the table of a VHDX names places where blocks can be, each once, and whether the file ends with space that no block uses. Such space
 * is left when the power goes between a block's first write and the next flush, and can be given back. Gaps between blocks are no fault:
 * others leave them for alignment.
 */

#include "devices/block/image/vhdx-private.h"
#include "hypervisor/error.h"

#include <inttypes.h>
#include <stdlib.h>

struct place {
        uint64_t at;
        uint32_t block;
};

static void find(struct image_check *check, bool corruption, bool repaired, const char *format, ...)
                G_GNUC_PRINTF(4, 5);

static void
find(struct image_check *check, bool corruption, bool repaired, const char *format, ...) {
        g_autofree char *text = NULL;
        va_list args;

        if (!check->finding)
                return;
        va_start(args, format);
        text = g_strdup_vprintf(format, args);
        va_end(args);
        check->finding(check->opaque, corruption, repaired, text);
}

static int compare(const void *a, const void *b) {
        const struct place *x = a, *y = b;

        return x->at < y->at ? -1 : x->at > y->at;
}

/* Places that blocks may have, in order. */
static GArray *collect(const struct vhdx *v, struct image_check *check) {
        GArray *places = g_array_new(FALSE, FALSE, sizeof(struct place));

        for (uint32_t i = 0; i < v->n_blocks; i++) {
                uint64_t entry = v->bat[vhdx_entry_of(v->ratio, i)];
                enum vhdx_state state = VHDX_STATE(entry);
                struct place place = { VHDX_PLACE(entry), i };

                if (state == VHDX_PRESENT && vhdx_is_good_place(v, place.at))
                        g_array_append_val(places, place);
                else if (state == VHDX_PRESENT || state > VHDX_UNMAPPED) {
                        check->corruptions++;
                        find(check, /* corruption= */ true, /* repaired= */ false,
                             "block %u has a wrong entry, %#" PRIx64, i, entry);
                }
        }
        g_array_sort(places, compare);
        return places;
}

/* The end of what is in use. */
static uint64_t
find_overlaps(const struct vhdx *v, const GArray *places, struct image_check *check) {
        uint64_t end =
                        MAX(v->log_at + v->log_len,
                            MAX(v->bat_at + v->bat_len, v->metadata_at + v->metadata_len));

        for (guint i = 0; i < places->len; i++) {
                const struct place *p = &g_array_index(places, struct place, i);

                if (i > 0 && p->at < p[-1].at + v->block) {
                        check->corruptions++;
                        find(check, /* corruption= */ true, /* repaired= */ false,
                             "blocks %u and %u share a place", p[-1].block, p->block);
                }
                end = MAX(end, p->at + v->block);
        }
        return end;
}

bool vhdx_check(struct image *img, struct image_check *check, GError **error) {
        struct vhdx *v = (struct vhdx *) img;
        g_autoptr(GArray) places = collect(v, check);
        uint64_t end = find_overlaps(v, places, check), tail;

        check->total = v->n_blocks;
        check->allocated = places->len;
        tail = v->file->size > end ? (v->file->size - end) / VHDX_MIB : 0;
        if (tail > 0 && check->corruptions == 0) {
                bool repair = check->repair_leaks && !img->readonly;
                int r = repair ? image_file_truncate(v->file, end) : 0;

                if (r < 0)
                        return hv_error_errno(error, -r, "giving back what the VHDX does not use");
                *(repair ? &check->fixed_leaks : &check->leaks) += tail;
                find(check, /* corruption= */ false, repair,
                     "%" PRIu64 " MiB at the end of the file are not used", tail);
        }
        return true;
}
