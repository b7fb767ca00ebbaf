/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * CRC-32C with a table that each call makes: what is summed up are headers and log entries, a few of them for each image, and a
 * table for all would want a moment to be made in.
 */

#include "devices/block/image/crc32c.h"

#define POLYNOMIAL 0x82f63b78u /* 0x1edc6f41, bits reversed */

uint32_t crc32c(const void *data, size_t len) {
        const uint8_t *p = data;
        uint32_t table[256], crc = ~0u;

        for (uint32_t i = 0; i < 256; i++) {
                table[i] = i;
                for (unsigned bit = 0; bit < 8; bit++)
                        table[i] = table[i] >> 1 ^ (table[i] & 1 ? POLYNOMIAL : 0);
        }
        for (; len > 0; len--)
                crc = crc >> 8 ^ table[(crc ^ *p++) & 0xff];
        return ~crc;
}
