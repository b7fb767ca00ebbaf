/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * VHDX, written as well as read. Inputs are short: they lack the megabytes of zeros between headers, log, metadata, table and blocks,
 * and every sum is made right, since a fuzzer does not find those.
 */

#include "image-look.h"

#include <string.h>

#include "devices/block/image/crc32c.h"
#include "devices/block/image/vhdx-private.h"

#define MIB VHDX_MIB

/* Where the pages of an input go. */
static const struct {
        uint32_t at, len;
} pieces[] = {
        { 65536, 4096 },          /* the header */
        { 196608, 512 },          /* regions */
        { 2 * MIB, 512 },         /* the table of metadata */
        { 2 * MIB + 65536, 512 }, /* the items */
        { 3 * MIB, 512 },         /* the table of blocks */
        { MIB, 12288 },           /* the log */
};

static void sum(uint8_t *at, size_t len) {
        vhdx_put32(at + 4, 0);
        vhdx_put32(at + 4, crc32c(at, len));
}

/* Makes the sums right of what has come to its place. */
static void sum_piece(uint32_t at, uint8_t *piece) {
        static uint8_t regions[VHDX_REGIONS_LEN];

        if (at == 65536) {
                sum(piece, VHDX_PAGE);
        } else if (at == VHDX_REGIONS_AT(0)) {
                memcpy(regions, piece, 512);
                sum(regions, sizeof(regions));
                memcpy(piece, regions, 512);
        } else if (at == MIB) {
                for (unsigned i = 0; i < 3; i++) {
                        uint32_t len = vhdx_get32(piece + i * VHDX_PAGE + 8);

                        if (len >= 8 && len <= (3 - i) * VHDX_PAGE)
                                sum(piece + i * VHDX_PAGE, len);
                }
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        static uint8_t file[G_N_ELEMENTS(pieces)][3 * VHDX_PAGE];

        for (size_t i = 0; i < G_N_ELEMENTS(pieces); i++) {
                size_t len = MIN(size, pieces[i].len);

                memset(file[i], 0, pieces[i].len);
                if (len > 0)
                        memcpy(file[i], data, len);
                sum_piece(pieces[i].at, file[i]);
                data += len;
                size -= len;
        }
        for (int readonly = 1; readonly >= 0; readonly--) {
                memory_disk_clear();
                memory_disk_put(0, "vhdxfile", 8);
                for (size_t i = 0; i < G_N_ELEMENTS(pieces); i++)
                        memory_disk_put(pieces[i].at, file[i], pieces[i].len);
                memory_disk_put(5 * MIB - 1, "", 1);
                (void) look_at_image("vhdx", readonly);
        }
        return 0;
}
