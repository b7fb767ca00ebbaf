/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/* A driver's tables and frames that go by them (rss-rig.h). */

#include "rss-rig.h"

#include <string.h>

struct vnet_rss rrig_table;

void rrig_start(struct net_rig *n, unsigned n_pairs, bool event_idx, uint64_t features) {
        struct virtio_net_config config = nrig_ports(n, n_pairs);

        config.rss = true;
        nrig_start_with(n, &config, event_idx, features);
}

void rrig_make_frame(uint8_t *frame) {
        uint8_t *p = frame + NET_HEADER_LEN;

        nrig_fill(frame, NET_HEADER_LEN + LEN);
        memset(frame, 0, NET_HEADER_LEN);
        memcpy(p, "\x52\x54\0\1\2\3", 6);
        memcpy(p + 12, "\x08\0\x45\0", 4);
        p[16] = (LEN - 14) >> 8;
        p[17] = (LEN - 14) & 0xff;
        p[20] = p[21] = 0; /* whole */
        p[23] = 17;
}

GByteArray *rrig_command(uint32_t types, uint16_t n, uint16_t unclassified, uint16_t pairs) {
        GByteArray *a = g_byte_array_new();
        uint32_t types_le = GUINT32_TO_LE(types);
        uint16_t first[] = { GUINT16_TO_LE((uint16_t) (n - 1)), GUINT16_TO_LE(unclassified) };
        uint16_t pairs_le = GUINT16_TO_LE(pairs);
        uint8_t key[1 + VNET_HASH_KEY_MAX];

        nrig_fill(key, sizeof(key));
        key[0] = VNET_HASH_KEY_MAX;
        g_byte_array_append(a, (uint8_t *) &types_le, 4);
        g_byte_array_append(a, (uint8_t *) first, 4);
        for (unsigned i = 0; i < n; i++) {
                uint16_t entry = GUINT16_TO_LE((uint16_t) g_test_rand_int_range(0, PAIRS));

                g_byte_array_append(a, (uint8_t *) &entry, 2);
        }
        g_byte_array_append(a, (uint8_t *) &pairs_le, 2);
        g_byte_array_append(a, key, sizeof(key));
        return a;
}

void rrig_configure(struct net_rig *n, uint32_t types, uint16_t entries, uint16_t unclassified) {
        g_autoptr(GByteArray) a = rrig_command(types, entries, unclassified, PAIRS);
        unsigned pairs;

        g_assert_true(vnet_rss_set(&rrig_table, a->data, a->len, PAIRS, &pairs));
        g_assert_cmpuint(
                        nrig_command(n, CONTROL, VNET_CLASS_MQ, VNET_MQ_RSS_CONFIG, a->data,
                                     a->len),
                        ==, VNET_OK);
}

uint64_t rrig_buffer(unsigned pair, unsigned i) {
        return BUFFERS + (pair * 64 + i) * BUFFER_LEN;
}

void rrig_add_buffers(struct net_rig *n, unsigned pair, unsigned count) {
        for (unsigned i = 0; i < count; i++)
                nrig_add_buffer(n, 2 * pair, rrig_buffer(pair, i), BUFFER_LEN);
        rig_publish(&n->r, 2 * pair);
}

enum vnet_hash_report rrig_expected(const uint8_t *frame, uint32_t *ret_hash) {
        return vnet_hash_frame(
                        &rrig_table.prepared, rrig_table.types, frame + NET_HEADER_LEN, LEN,
                        ret_hash);
}

unsigned rrig_queue_of(const uint8_t *frame) {
        uint32_t hash;
        enum vnet_hash_report report = rrig_expected(frame, &hash);

        return vnet_rss_queue(&rrig_table, report, hash);
}

void rrig_check(const uint8_t *got, uint32_t len, unsigned header, const uint8_t *frame) {
        struct vnet_header_hash h;
        uint32_t hash;

        g_assert_cmpuint(len, ==, header + LEN);
        g_assert_cmpmem(got, 10, frame, 10);
        g_assert_cmpmem(got + header, LEN, frame + NET_HEADER_LEN, LEN);
        if (header == NET_HEADER_LEN)
                return;
        memcpy(&h, got + NET_HEADER_LEN, sizeof(h));
        g_assert_cmpuint(GUINT16_FROM_LE(h.report), ==, rrig_expected(frame, &hash));
        g_assert_cmphex(GUINT32_FROM_LE(h.value), ==, hash);
        g_assert_cmpuint(h.padding, ==, 0);
}

void rrig_steer(struct net_rig *n, unsigned header, unsigned frames) {
        static uint8_t frame[NET_HEADER_LEN + LEN], got[VNET_FRAME_MAX + 8];

        for (unsigned i = 0; i < frames; i++) {
                unsigned count, to;

                rrig_make_frame(frame);
                if (i % 8 == 0)
                        frame[NET_HEADER_LEN + 13] = 6; /* ARP */
                to = rrig_queue_of(frame);
                nrig_host_send(n->host[g_test_rand_int_range(0, PAIRS)], frame, sizeof(frame));
                rrig_check(got, nrig_take_frame(n, 2 * to, got, &count), header, frame);
                g_assert_cmpuint(count, ==, 1);
                rrig_add_buffers(n, to, 1);
        }
}
