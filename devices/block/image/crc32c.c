/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * CRC-32C, eight bytes at a time: by the processor's own instruction, or by tables, where number n has the sum of a byte with n zeros behind
 * it. The tables are made by who asks first; threads may ask at once.
 */

#include "devices/block/image/crc32c.h"

#include <glib.h>
#include <string.h>

#define POLYNOMIAL 0x82f63b78u /* 0x1edc6f41, bits reversed */

static uint32_t tables[8][256];

static void make_tables(void) {
        for (uint32_t i = 0; i < 256; i++) {
                uint32_t crc = i;

                for (unsigned bit = 0; bit < 8; bit++)
                        crc = crc >> 1 ^ (crc & 1 ? POLYNOMIAL : 0);
                tables[0][i] = crc;
        }
        for (uint32_t i = 0; i < 256; i++)
                for (unsigned n = 1; n < 8; n++)
                        tables[n][i] = tables[n - 1][i] >> 8 ^ tables[0][tables[n - 1][i] & 0xff];
}

uint32_t crc32c_by_tables(const void *data, size_t len) {
        static gsize made;
        const uint8_t *p = data;
        uint32_t crc = ~0u;

        if (g_once_init_enter(&made)) {
                make_tables();
                g_once_init_leave(&made, 1);
        }
        for (; len >= 8; len -= 8, p += 8) {
                uint64_t v;

                memcpy(&v, p, sizeof(v));
                v = GUINT64_FROM_LE(v) ^ crc;
                crc = tables[7][v & 0xff] ^ tables[6][v >> 8 & 0xff] ^ tables[5][v >> 16 & 0xff] ^
                      tables[4][v >> 24 & 0xff] ^ tables[3][v >> 32 & 0xff] ^
                      tables[2][v >> 40 & 0xff] ^ tables[1][v >> 48 & 0xff] ^ tables[0][v >> 56];
        }
        for (; len > 0; len--)
                crc = crc >> 8 ^ tables[0][(crc ^ *p++) & 0xff];
        return ~crc;
}

#ifdef __x86_64__
__attribute__((target("sse4.2"))) static uint32_t sum_by_instruction(const uint8_t *p, size_t len) {
        uint64_t crc = UINT32_MAX;

        for (; len >= 8; len -= 8, p += 8) {
                uint64_t v;

                memcpy(&v, p, sizeof(v));
                crc = __builtin_ia32_crc32di(crc, v);
        }
        for (; len > 0; len--)
                crc = __builtin_ia32_crc32qi((uint32_t) crc, *p++);
        return ~(uint32_t) crc;
}
#endif

uint32_t crc32c(const void *data, size_t len) {
#ifdef __x86_64__
        if (__builtin_cpu_supports("sse4.2"))
                return sum_by_instruction(data, len);
#endif
        return crc32c_by_tables(data, len);
}
