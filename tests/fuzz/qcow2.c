/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A qcow2 image whose every byte is the input's. It is opened as a disk is, read, written to, zeroed and discarded, flushed, grown and shrunk, given a
 * snapshot, and checked with repair. Whatever it says, nothing may crash, hang or take much memory; what a repair leaves must be in order.
 *
 * The first two bytes choose what is done; then come the pieces of the image (memory_disk_put_pieces()), which is zeros elsewhere.
 */

#include "fuzz.h"

#include "devices/block/image/qcow2.h"
#include "hypervisor/error.h"

#include <string.h>

#include "tests/fuzz/memory-disk.h"

#define SIZE_MAX_TRIED (64u << 10)

static struct image *open_again(const uint8_t *data, size_t size, bool readonly, bool for_check) {
        const struct image_open how = { .format = "qcow2",
                                        .readonly = readonly,
                                        .for_check = for_check };
        g_autoptr(GError) error = NULL;
        struct image *img;

        memory_disk_clear();
        memory_disk_put_pieces(data, size);
        img = image_open(memory_disk_open(/* readonly= */ false), &how, &error);
        g_assert_true(img || error);
        return img;
}

static void read_all(struct image *img) {
        static char buf[16 * 1024];
        uint64_t end = MIN(img->size, SIZE_MAX_TRIED);

        for (uint64_t at = 0; at < end; at += sizeof(buf))
                (void) image_read(img, at, buf, (size_t) MIN(end - at, sizeof(buf)));
        if (img->size > sizeof(buf))
                (void) image_read(img, img->size - sizeof(buf), buf, sizeof(buf));
}

static void change(struct image *img, unsigned seed) {
        static char buf[16 * 1024];
        uint64_t span = MIN(img->size, SIZE_MAX_TRIED);

        memset(buf, 'w', sizeof(buf));
        for (unsigned i = 0; i < 16 && span > 0; i++) {
                uint64_t at = (uint64_t) (seed + i * 7919u) * 512 % span,
                         len = MIN(span - at, (i % 5 + 1) * 3072u);

                if ((seed + i) % 4 == 0)
                        (void) image_zero(img, at, len, i % 8 < 4);
                else if ((seed + i) % 4 == 1)
                        (void) image_discard(img, at, len);
                else
                        (void) image_write(img, at, buf, (size_t) MIN(len, sizeof(buf)));
                if (i % 6 == 5)
                        (void) image_flush(img);
        }
}

static void shake(struct image *img, unsigned what) {
        g_autoptr(GError) error = NULL;

        if (what & 1)
                (void) img->format->snapshot_create(img, "s", &error);
        g_clear_error(&error);
        if (what & 2)
                (void) img->format->resize(img, img->size / 2, &error);
        g_clear_error(&error);
        if (what & 4)
                (void) img->format->snapshot_apply(img, "s", &error);
        g_clear_error(&error);
        if (what & 8 && img->size < SIZE_MAX_TRIED)
                (void) img->format->resize(img, img->size * 2 + 512, &error);
        g_clear_error(&error);
        if (what & 16)
                (void) img->format->snapshot_delete(img, "s", &error);
}

static uint64_t check(struct image *img, bool repair) {
        struct image_check c = { .repair_all = repair, .repair_leaks = repair };
        g_autoptr(GError) error = NULL;

        return img->format->check(img, &c, &error) ? c.corruptions : UINT64_MAX;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        struct image *img;
        uint64_t left;
        unsigned what;

        if (size < 2)
                return 0;
        qcow2_limits = (struct qcow2_limits){ 0, 0 };
        what = data[0];
        data += 2;
        size -= 2;
        img = open_again(data, size, /* readonly= */ true, /* for_check= */ false);
        if (img) {
                read_all(img);
                (void) check(img, false);
        }
        image_free(img);
        img = open_again(data, size, /* readonly= */ false, /* for_check= */ false);
        if (img) {
                change(img, what);
                shake(img, what);
                change(img, what + 1);
                read_all(img);
        }
        image_free(img);
        img = open_again(data, size, /* readonly= */ false, /* for_check= */ true);
        left = img ? check(img, true) : UINT64_MAX;
        if (left == 0)
                g_assert_cmpuint(check(img, false), ==, 0);
        image_free(img);
        return 0;
}
