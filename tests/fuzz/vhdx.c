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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        static uint8_t file[5 * MIB];
        const uint8_t *log = file + MIB;

        memset(file, 0, sizeof(file));
        memcpy(file, "vhdxfile", 8);
        for (size_t i = 0; i < G_N_ELEMENTS(pieces); i++) {
                size_t len = MIN(size, pieces[i].len);

                memcpy(file + pieces[i].at, data, len);
                data += len;
                size -= len;
        }
        sum(file + 65536, VHDX_PAGE);
        sum(file + VHDX_REGIONS_AT(0), VHDX_REGIONS_LEN);
        for (unsigned i = 0; i < 3; i++)
                if (vhdx_get32(log + i * VHDX_PAGE + 8) <= 3 * VHDX_PAGE)
                        sum(file + MIB + i * VHDX_PAGE, vhdx_get32(log + i * VHDX_PAGE + 8));
        (void) look_at_image("vhdx", file, sizeof(file), /* readonly= */ true);
        return look_at_image("vhdx", file, sizeof(file), /* readonly= */ false);
}
