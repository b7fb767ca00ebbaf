/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/* The hash of a frame: two bytes of enabled types, then the frame. What is reported is enabled, and nothing is hashed without a report. */

#include "fuzz.h"

#include "devices/virtio/net-hash.h"

#include <glib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        static const uint8_t key[VNET_HASH_KEY_MAX] = { 0x6d, 0x5a, 0x56, 0xda, [39] = 0xfa };
        static struct vnet_hash_key prepared;
        enum vnet_hash_report report;
        uint32_t types, hash;

        if (size < 2)
                return 0;
        if (prepared.share[0][8] == 0)
                vnet_hash_prepare(&prepared, key, sizeof(key));
        types = data[0] | (uint32_t) data[1] << 8;
        types &= VNET_HASH_TYPES;
        report = vnet_hash_frame(&prepared, types, data + 2, size - 2, &hash);
        if (report == VNET_HASH_NONE)
                g_assert_cmphex(hash, ==, 0);
        else
                g_assert_true(types >> (report - 1) & 1);
        return 0;
}
