/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A VHD file as the input has it, opened, checked, read and written here and there, flushed and resized. Checksums are
 * corrected first, so that what lies behind them is reached.
 */

#include "fuzz.h"

#include "devices/block/image/vhd-layout.h"

#include <stddef.h>
#include <string.h>

#include "tests/fuzz/memory-disk.h"

static void correct(uint8_t *file, size_t n) {
        struct vhd_footer *tail = (struct vhd_footer *) (file + n - sizeof(*tail));

        vhd_footer_sign(tail);
        if (n < 2048)
                return;
        vhd_footer_sign((struct vhd_footer *) file);
        ((struct vhd_header *) (file + 512))->checksum = GUINT32_TO_BE(
                        vhd_checksum(file + 512, sizeof(struct vhd_header),
                                     offsetof(struct vhd_header, checksum)));
}

static void use(struct image *img) {
        char buf[1536] = { 1 };
        uint64_t places[] = { 0, img->size / 2 / 512 * 512, img->size - 512 };

        for (size_t i = 0; i < G_N_ELEMENTS(places); i++) {
                size_t len = (size_t) MIN(sizeof(buf), img->size - places[i]);

                (void) image_read(img, places[i], buf, len);
                (void) image_write(img, places[i], buf, len);
        }
        (void) image_zero(img, 0, MIN(img->size, 1024 * 1024), true);
        (void) image_flush(img);
        if (img->size < 1ull << 30)
                (void) img->format->resize(img, img->size + 1024 * 1024, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        g_autofree uint8_t *copy = g_memdup2(data, size);
        struct image_open how = { "vhd" };
        struct image_check check = { 0 };
        struct image *img;

        if (size < 1024 || size > 1024 * 1024)
                return 0;
        correct(copy, size);
        for (int round = 0; round < 2; round++) {
                memory_disk_clear();
                memory_disk_put(0, copy, size);
                how.for_check = round;
                img = image_open(memory_disk_open(/* readonly= */ false), &how, NULL);
                if (!img)
                        continue;
                if (round)
                        (void) img->format->check(img, &check, NULL);
                else
                        use(img);
                image_free(img);
        }
        return 0;
}
