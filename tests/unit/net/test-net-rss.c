/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves of a driver that has frames hashed: each goes to the queue that its table says, from whichever of the port's descriptors it comes,
 * whole and with its hash in a header that is as long as was negotiated, both ways; tables that are not possible change nothing; a queue that
 * nobody empties loses its own frames only; and tables, pairs, pauses and resets come and go amidst traffic.
 */

#include "net-rig.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define PAIRS 3u
#define CONTROL (2 * PAIRS)
#define RSS_FEATURES (BIT(CTRL_VQ) | BIT(MQ) | BIT(RSS))
#define LONG_HEADER (NET_HEADER_LEN + sizeof(struct vnet_header_hash))
#define LEN 600u /* of a frame, without a header */
#define BUFFER_LEN 2048u

static void start(struct net_rig *n, unsigned n_pairs, bool event_idx, uint64_t features) {
        struct virtio_net_config config = nrig_ports(n, n_pairs);

        config.rss = true;
        nrig_start_with(n, &config, event_idx, features);
}

/* UDP over IPv4 in a frame of LEN bytes, behind a header as the port has it. */
static void make_frame(uint8_t *frame) {
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

static struct vnet_rss table;

static GByteArray *command(uint32_t types, uint16_t n, uint16_t unclassified, uint16_t pairs) {
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

/* A random table, which `table` is then, too. */
static void configure(struct net_rig *n, uint32_t types, uint16_t entries, uint16_t unclassified) {
        g_autoptr(GByteArray) a = command(types, entries, unclassified, PAIRS);
        unsigned pairs;

        g_assert_true(vnet_rss_set(&table, a->data, a->len, PAIRS, &pairs));
        g_assert_cmpuint(
                        nrig_command(n, CONTROL, VNET_CLASS_MQ, VNET_MQ_RSS_CONFIG, a->data,
                                     a->len),
                        ==, VNET_OK);
}

static uint64_t buffer(unsigned pair, unsigned i) {
        return BUFFERS + (pair * 64 + i) * BUFFER_LEN;
}

static void add_buffers(struct net_rig *n, unsigned pair, unsigned count) {
        for (unsigned i = 0; i < count; i++)
                nrig_add_buffer(n, 2 * pair, buffer(pair, i), BUFFER_LEN);
        rig_publish(&n->r, 2 * pair);
}

static enum vnet_hash_report expected(const uint8_t *frame, uint32_t *ret_hash) {
        return vnet_hash_frame(&table.prepared, table.types, frame + NET_HEADER_LEN, LEN, ret_hash);
}

static unsigned queue_of(const uint8_t *frame) {
        uint32_t hash;
        enum vnet_hash_report report = expected(frame, &hash);

        return vnet_rss_queue(&table, report, hash);
}

/* What came is the frame, behind a header of that length. */
static void check(const uint8_t *got, uint32_t len, unsigned header, const uint8_t *frame) {
        struct vnet_header_hash h;
        uint32_t hash;

        g_assert_cmpuint(len, ==, header + LEN);
        g_assert_cmpmem(got, 10, frame, 10);
        g_assert_cmpmem(got + header, LEN, frame + NET_HEADER_LEN, LEN);
        if (header == NET_HEADER_LEN)
                return;
        memcpy(&h, got + NET_HEADER_LEN, sizeof(h));
        g_assert_cmpuint(GUINT16_FROM_LE(h.report), ==, expected(frame, &hash));
        g_assert_cmphex(GUINT32_FROM_LE(h.value), ==, hash);
        g_assert_cmpuint(h.padding, ==, 0);
}

static void test_offered(void) {
        struct vnet_space space;
        struct net_rig n;
        uint8_t data[64] = { 0 };

        for (unsigned pairs = 1; pairs <= 2; pairs++) {
                start(&n, pairs, false, BIT(CTRL_VQ));
                g_assert_cmpuint(n.r.vd->config_len, ==, 24);
                g_assert_cmphex(n.r.vd->device_features & (BIT(RSS) | BIT(HASH_REPORT)), ==,
                                BIT(HASH_REPORT) | (pairs > 1 ? BIT(RSS) : 0));
                n.r.vd->ops->config_read(n.r.vd, 0, &space, sizeof(space));
                g_assert_cmpuint(space.rss_max_key, ==, 40);
                g_assert_cmpuint(GUINT16_FROM_LE(space.rss_max_table), ==, pairs > 1 ? 128 : 0);
                g_assert_cmphex(GUINT32_FROM_LE(space.hash_types), ==, 0x1ff);
                /* Neither was negotiated. */
                for (uint8_t number = 1; number < 4; number++)
                        g_assert_cmpuint(
                                        nrig_command(&n, 2, VNET_CLASS_MQ, number, data,
                                                     sizeof(data)),
                                        ==, VNET_ERR);
                nrig_stop(&n);
        }
        nrig_start(&n, 2, false, 0);
        g_assert_cmpuint(n.r.vd->config_len, ==, 12);
        g_assert_cmphex(n.r.vd->device_features & (BIT(RSS) | BIT(HASH_REPORT)), ==, 0);
        nrig_stop(&n);
}

/* Each frame to where it belongs, from any of the port's descriptors. */
static void steer(struct net_rig *n, unsigned header, unsigned frames) {
        static uint8_t frame[NET_HEADER_LEN + LEN], got[VNET_FRAME_MAX + 8];

        for (unsigned i = 0; i < frames; i++) {
                unsigned count, to;

                make_frame(frame);
                if (i % 8 == 0)
                        frame[NET_HEADER_LEN + 13] = 6; /* ARP */
                to = queue_of(frame);
                nrig_host_send(n->host[g_test_rand_int_range(0, PAIRS)], frame, sizeof(frame));
                check(got, nrig_take_frame(n, 2 * to, got, &count), header, frame);
                g_assert_cmpuint(count, ==, 1);
                add_buffers(n, to, 1);
        }
}

static void test_steering(void) {
        const uint64_t more[] = { 0, BIT(MRG_RXBUF), BIT(HASH_REPORT),
                                  BIT(MRG_RXBUF) | BIT(HASH_REPORT) };
        static const uint32_t types[] = { VNET_HASH_TYPES, 1, 0, 0x3a };
        struct net_rig n;

        for (unsigned i = 0; i < 8; i++) {
                unsigned header = more[i / 2] & BIT(HASH_REPORT) ? LONG_HEADER : NET_HEADER_LEN;

                start(&n, PAIRS, i % 2, RSS_FEATURES | more[i / 2]);
                for (unsigned round = 0; round < 4; round++) {
                        configure(&n, types[round], (uint16_t) (1u << (7 - round)),
                                  (uint16_t) (round % PAIRS));
                        if (round == 0)
                                for (unsigned pair = 0; pair < PAIRS; pair++)
                                        add_buffers(&n, pair, 8);
                        steer(&n, header, 60);
                }
                g_assert_cmpuint(rig_counter(&n.r, "rx_frames"), ==, 240);
                g_assert_cmpuint(rig_counter(&n.r, "rx_bytes"), ==, 240 * LEN);
                g_assert_cmpuint(rig_counter(&n.r, "rx_drops"), ==, 0);
                g_assert_cmpuint(rig_counter(&n.r, "rx_steered"), >, 60);
                nrig_stop(&n);
        }
}

/* Frames of all sizes in several buffers of another pair's queue; with one buffer less they are lost, and those that are there stay. */
static void test_large(void) {
        static uint8_t frame[VNET_FRAME_MAX], got[VNET_FRAME_MAX + 8];
        uint64_t lost = 0;
        struct net_rig n;
        unsigned count;

        start(&n, PAIRS, true,
              RSS_FEATURES | BIT(HASH_REPORT) | BIT(MRG_RXBUF) | BIT(GUEST_CSUM) | BIT(GUEST_TSO4));
        configure(&n, 0, 1, 2);
        nrig_fill(frame, sizeof(frame));
        for (uint32_t len = VNET_FRAME_MIN; len <= sizeof(frame); len += 3271) {
                unsigned needed = (len + 8 + BUFFER_LEN - 1) / BUFFER_LEN;

                add_buffers(&n, 2, needed - 1);
                nrig_host_send(n.host[1], frame, len);
                lost++;
                while (rig_counter(&n.r, "rx_drops") != lost)
                        g_thread_yield();
                nrig_add_buffer(&n, 4, buffer(2, needed), BUFFER_LEN);
                rig_publish(&n.r, 4);
                nrig_host_send(n.host[0], frame, len);
                g_assert_cmpuint(nrig_take_frame(&n, 4, got, &count), ==, len + 8);
                g_assert_cmpuint(count, ==, needed);
                g_assert_cmpmem(got + LONG_HEADER, len - NET_HEADER_LEN, frame + NET_HEADER_LEN,
                                len - NET_HEADER_LEN);
        }
        g_assert_cmpuint(lost, >, 10);
        nrig_stop(&n);
}

/* Of queue 1 there are no buffers, and of queue 2 they are too small. */
static void test_full(void) {
        static uint8_t frame[NET_HEADER_LEN + LEN], got[VNET_FRAME_MAX];
        uint64_t lost = 0;
        struct net_rig n;
        unsigned count;

        start(&n, PAIRS, true, RSS_FEATURES);
        configure(&n, VNET_HASH_TYPES, 128, 0);
        add_buffers(&n, 0, 40);
        nrig_add_buffer(&n, 4, buffer(2, 0), 300);
        rig_publish(&n.r, 4);
        for (unsigned i = 0; i < 100; i++) {
                unsigned to;

                make_frame(frame);
                to = queue_of(frame);
                nrig_host_send(n.host[i % PAIRS], frame, sizeof(frame));
                if (to == 0) {
                        check(got, nrig_take_frame(&n, 0, got, &count), NET_HEADER_LEN, frame);
                        add_buffers(&n, 0, 1);
                        continue;
                }
                lost++;
                while (rig_counter(&n.r, "rx_drops") != lost)
                        g_thread_yield();
        }
        g_assert_cmpuint(lost, >, 10);
        /* As soon as there are buffers, frames arrive: the small one is still the first. */
        configure(&n, 0, 1, 1);
        add_buffers(&n, 1, 1);
        nrig_host_send(n.host[2], frame, sizeof(frame));
        check(got, nrig_take_frame(&n, 2, got, &count), NET_HEADER_LEN, frame);
        configure(&n, 0, 1, 2);
        nrig_host_send(n.host[0], frame, 300);
        g_assert_cmpuint(nrig_take_frame(&n, 4, got, &count), ==, 300);
        nrig_stop(&n);
}

static uint8_t send_command(struct net_rig *n, GByteArray *a, size_t len) {
        return nrig_command(n, CONTROL, VNET_CLASS_MQ, VNET_MQ_RSS_CONFIG, a->data, (uint32_t) len);
}

static void test_commands(void) {
        struct net_rig n;
        GByteArray *a;

        start(&n, PAIRS, true, RSS_FEATURES | BIT(HASH_REPORT));
        configure(&n, VNET_HASH_TYPES, 64, 1);
        nrig_expect_attached(&n, PAIRS);
        for (unsigned pair = 0; pair < PAIRS; pair++)
                add_buffers(&n, pair, 8);
        for (unsigned i = 0; i < 8; i++) {
                static const struct {
                        uint32_t types;
                        uint16_t n, unclassified, pairs;
                } bad[] = {
                        { 0x200, 64, 0, 3 }, { 1, 63, 0, 3 },      { 1, 256, 0, 3 },
                        { 1, 64, 3, 3 },     { 1, 64, 0xffff, 3 }, { 1, 64, 0, 0 },
                        { 1, 64, 0, 4 },     { 1, 64, 0, 0xffff },
                };

                a = command(bad[i].types, bad[i].n, bad[i].unclassified, bad[i].pairs);
                g_assert_cmpuint(send_command(&n, a, a->len), ==, VNET_ERR);
                g_byte_array_unref(a);
                steer(&n, LONG_HEADER, 4);
        }
        /* An entry beyond the pairs, a key that is too long, and all lengths that are too short. */
        a = command(1, 64, 0, 3);
        a->data[8 + 2 * 33] = PAIRS;
        g_assert_cmpuint(send_command(&n, a, a->len), ==, VNET_ERR);
        a->data[8 + 2 * 33] = 0;
        a->data[a->len - 41] = 41;
        g_assert_cmpuint(send_command(&n, a, a->len), ==, VNET_ERR);
        a->data[a->len - 41] = 40;
        for (size_t len = 1; len < a->len; len++)
                g_assert_cmpuint(send_command(&n, a, len), ==, VNET_ERR);
        g_assert_cmpuint(
                        nrig_command(&n, CONTROL, VNET_CLASS_MQ, VNET_MQ_RSS_CONFIG, NULL, 0), ==,
                        VNET_ERR);
        g_assert_cmpuint(
                        nrig_command(&n, CONTROL, VNET_CLASS_MQ, 3, a->data, a->len), ==, VNET_ERR);
        g_byte_array_unref(a);
        steer(&n, LONG_HEADER, 20);

        /* Pairs that cannot be had: nothing has changed either. */
        nrig_set_pairs(&n, 1, VNET_OK);
        nrig_port.attach_error = -E2BIG;
        a = command(1, 64, 2, 3);
        g_assert_cmpuint(send_command(&n, a, a->len), ==, VNET_ERR);
        g_byte_array_unref(a);
        nrig_port.attach_error = 0;
        nrig_expect_attached(&n, 1);
        nrig_stop(&n);
}

/* The last command says who steers; hashes are reported all the same. */
static void test_automatic(void) {
        static uint8_t frame[NET_HEADER_LEN + LEN], got[VNET_FRAME_MAX];
        uint8_t config[4 + 8 + 1 + VNET_HASH_KEY_MAX] = { 0xff, 1 };
        struct net_rig n;
        unsigned count;

        start(&n, PAIRS, true, RSS_FEATURES | BIT(HASH_REPORT));
        vnet_rss_reset(&table);
        /* Before there is any command. */
        make_frame(frame);
        add_buffers(&n, 0, 1);
        nrig_host_send(n.host[0], frame, sizeof(frame));
        check(got, nrig_take_frame(&n, 0, got, &count), LONG_HEADER, frame);
        for (unsigned round = 0; round < 4; round++) {
                configure(&n, VNET_HASH_TYPES, 1, 1);
                if (round % 2 == 0)
                        nrig_set_pairs(&n, 3, VNET_OK);
                else {
                        nrig_fill(config + 4, sizeof(config) - 4);
                        config[12] = VNET_HASH_KEY_MAX;
                        g_assert_true(vnet_rss_set_hash(&table, config, sizeof(config)));
                        g_assert_cmpuint(
                                        nrig_command(&n, CONTROL, VNET_CLASS_MQ,
                                                     VNET_MQ_HASH_CONFIG, config, sizeof(config)),
                                        ==, VNET_OK);
                }
                for (unsigned pair = 0; pair < PAIRS; pair++) {
                        /* Without buffers the host keeps the frames. */
                        for (unsigned i = 0; i < 10; i++) {
                                make_frame(frame);
                                nrig_host_send(n.host[pair], frame, sizeof(frame));
                        }
                        g_usleep(2000);
                        for (unsigned i = 0; i < 10; i++) {
                                add_buffers(&n, pair, 1);
                                g_assert_cmpuint(
                                                nrig_take_frame(&n, 2 * pair, got, &count), ==,
                                                LONG_HEADER + LEN);
                        }
                        check(got, LONG_HEADER + LEN, LONG_HEADER, frame);
                }
        }
        g_assert_cmpuint(rig_counter(&n.r, "rx_drops"), ==, 0);
        g_assert_cmpuint(rig_counter(&n.r, "rx_steered"), ==, 0);
        nrig_stop(&n);
}

/* One pair, and hashes alone. */
static void test_one_pair(void) {
        static uint8_t frame[NET_HEADER_LEN + LEN], got[VNET_FRAME_MAX];
        uint8_t config[4 + 8 + 1 + VNET_HASH_KEY_MAX] = { 0x3f, [12] = VNET_HASH_KEY_MAX };
        struct net_rig n;
        unsigned count;

        start(&n, 1, true, BIT(CTRL_VQ) | BIT(HASH_REPORT));
        nrig_fill(config + 13, VNET_HASH_KEY_MAX);
        g_assert_true(vnet_rss_set_hash(&table, config, sizeof(config)));
        g_assert_cmpuint(
                        nrig_command(&n, 2, VNET_CLASS_MQ, VNET_MQ_HASH_CONFIG, config,
                                     sizeof(config)),
                        ==, VNET_OK);
        g_assert_cmpuint(
                        nrig_command(&n, 2, VNET_CLASS_MQ, VNET_MQ_RSS_CONFIG, config,
                                     sizeof(config)),
                        ==, VNET_ERR);
        for (unsigned i = 0; i < 20; i++) {
                make_frame(frame);
                add_buffers(&n, 0, 1);
                nrig_host_send(n.host[0], frame, sizeof(frame));
                check(got, nrig_take_frame(&n, 0, got, &count), LONG_HEADER, frame);
        }
        nrig_stop(&n);
}

/* Frames of the guest lose the hash's part of the header on their way, however they are cut up. */
static void test_transmit(void) {
        static uint8_t frame[LONG_HEADER + LEN], got[VNET_FRAME_MAX];
        const uint32_t sizes[] = { LONG_HEADER, LONG_HEADER + 13, LONG_HEADER + 14,
                                   LONG_HEADER + 15, LONG_HEADER + LEN };
        struct net_rig n;
        uint32_t len;

        for (int filter = 0; filter < 2; filter++) {
                struct virtio_net_config config = nrig_ports(&n, 1);
                uint64_t bytes = 0, frames = 0;

                config.rss = true;
                config.mac_filter = filter;
                nrig_start_with(&n, &config, false, BIT(CTRL_VQ) | BIT(HASH_REPORT));
                for (unsigned i = 0; i < 200; i++) {
                        uint32_t size = sizes[i % G_N_ELEMENTS(sizes)];

                        nrig_fill(frame, sizeof(frame));
                        memcpy(frame + LONG_HEADER + 6, "\x52\x54\0\1\2\3", 6);
                        memcpy(rig_host(&n.r, FRAMES, size), frame, size);
                        nrig_add_frame(&n, 1, FRAMES, size);
                        rig_publish(&n.r, 1);
                        nrig_take(&n, 1, &len);
                        if (size < LONG_HEADER + 14) {
                                g_assert_cmpint(nrig_host_receive(n.host[0], got, sizeof(got)), <,
                                                0);
                                continue;
                        }
                        g_assert_cmpint(nrig_host_receive(n.host[0], got, sizeof(got)), ==,
                                        size - 8);
                        g_assert_cmpmem(got, NET_HEADER_LEN, frame, NET_HEADER_LEN);
                        g_assert_cmpmem(got + NET_HEADER_LEN, size - LONG_HEADER,
                                        frame + LONG_HEADER, size - LONG_HEADER);
                        frames++;
                        bytes += size - LONG_HEADER;
                }
                g_assert_cmpuint(rig_counter(&n.r, "tx_frames"), ==, frames);
                g_assert_cmpuint(rig_counter(&n.r, "tx_bytes"), ==, bytes);
                g_assert_cmpuint(rig_counter(&n.r, "tx_drops"), ==, 200 - frames);
                nrig_stop(&n);
        }
}

/* Captured are frames, not headers, from every pair and both ways. */
static void test_capture(void) {
        static uint8_t frame[NET_HEADER_LEN + LEN], got[VNET_FRAME_MAX], record[16 + LEN];
        struct capture_config c = { .name = "capture" };
        struct net_rig n;
        unsigned count;
        uint32_t len;
        int ends[2];

        start(&n, PAIRS, true, RSS_FEATURES | BIT(HASH_REPORT));
        configure(&n, 0, 1, 1);
        g_assert_cmpint(pipe2(ends, O_CLOEXEC), ==, 0);
        c.fd = ends[1];
        g_assert_true(virtio_net_capture(n.r.vd, &c, NULL));
        g_assert_cmpint(read(ends[0], record, 24), ==, 24);
        make_frame(frame);
        add_buffers(&n, 1, 1);
        nrig_host_send(n.host[2], frame, sizeof(frame));
        check(got, nrig_take_frame(&n, 2, got, &count), LONG_HEADER, frame);
        g_assert_cmpint(read(ends[0], record, sizeof(record)), ==, sizeof(record));
        g_assert_cmpmem(record + 16, LEN, frame + NET_HEADER_LEN, LEN);
        memset(rig_host(&n.r, FRAMES, LONG_HEADER), 0, LONG_HEADER);
        memcpy(rig_host(&n.r, FRAMES + LONG_HEADER, LEN), frame + NET_HEADER_LEN, LEN);
        nrig_add_frame(&n, 3, FRAMES, LONG_HEADER + LEN);
        rig_publish(&n.r, 3);
        nrig_take(&n, 3, &len);
        g_assert_cmpint(read(ends[0], record, sizeof(record)), ==, sizeof(record));
        g_assert_cmpmem(record + 16, LEN, frame + NET_HEADER_LEN, LEN);
        nrig_stop(&n);
        (void) close(ends[0]);
}

/* A bad chain in a queue is found by whoever uses it, and the device asks for a reset. */
static void test_broken(void) {
        static uint8_t frame[NET_HEADER_LEN + LEN];
        struct net_rig n;

        for (int readable = 0; readable < 2; readable++) {
                struct drv_buf buf = { GADDR(readable ? BUFFERS : RIG_MEMORY), 4096, !readable };

                start(&n, PAIRS, true, RSS_FEATURES);
                configure(&n, 0, 1, 2);
                g_assert_cmpint(drv_add(&n.r.rings[4], &buf, 1, false, NULL), >=, 0);
                rig_publish(&n.r, 4);
                make_frame(frame);
                nrig_host_send(n.host[0], frame, sizeof(frame));
                g_assert_true(rig_wait_broken(&n.r, TIMEOUT_MS));
                nrig_host_send(n.host[1], frame, sizeof(frame));
                while (rig_counter(&n.r, "rx_drops") < 2)
                        g_thread_yield();
                nrig_stop(&n);
        }
}

static void test_restore(void) {
        g_autoptr(GVariant) state = NULL;
        g_autoptr(GError) error = NULL;
        const uint64_t features = RSS_FEATURES | BIT(HASH_REPORT);
        struct net_rig n;

        start(&n, PAIRS, true, features);
        configure(&n, VNET_HASH_TYPES, 128, 2);
        g_assert_true(n.r.vd->ops->pause(n.r.vd, &error));
        n.r.vd->ops->resume(n.r.vd);
        for (unsigned pair = 0; pair < PAIRS; pair++)
                add_buffers(&n, pair, 8);
        steer(&n, LONG_HEADER, 20);
        g_assert_true(n.r.vd->ops->pause(n.r.vd, &error));
        for (unsigned i = 0; i < n.r.vd->n_queues; i++)
                g_assert_cmpuint(n.r.vd->queues[i].in_flight, ==, 0);
        state = g_variant_ref_sink(n.r.vd->ops->save(n.r.vd));
        nrig_stop(&n);

        start(&n, PAIRS, true, features);
        rig_stop(&n.r);
        rig_prepare(&n.r, features);
        g_assert_true(n.r.vd->ops->restore(n.r.vd, state, &error));
        rig_activate(&n.r);
        nrig_expect_attached(&n, PAIRS);
        for (unsigned pair = 0; pair < PAIRS; pair++)
                add_buffers(&n, pair, 8);
        steer(&n, LONG_HEADER, 60);
        /* The next driver begins with nothing. */
        rig_stop(&n.r);
        rig_start(&n.r, BIT(CTRL_VQ) | BIT(MQ));
        nrig_expect_attached(&n, 1);
        nrig_round_trip(&n, 0);
        nrig_stop(&n);
        /* Nor is there a table for queues that are the control queue's. */
        start(&n, 2, true, features);
        rig_stop(&n.r);
        rig_prepare(&n.r, features);
        g_assert_false(n.r.vd->ops->restore(n.r.vd, state, &error));
        g_clear_error(&error);
        nrig_stop(&n);
}

struct load {
        struct net_rig *n;
        unsigned host;
        atomic_bool end;
};

static gpointer keep_sending(gpointer data) {
        struct load *l = data;
        uint8_t frame[NET_HEADER_LEN + LEN] = { 0 };
        uint32_t x = l->host + 1;

        memcpy(frame + NET_HEADER_LEN + 12, "\x08\0\x45\0\0\0", 6);
        frame[NET_HEADER_LEN + 23] = 17;
        while (!atomic_load(&l->end)) {
                x = x * 1664525 + 1013904223;
                memcpy(frame + NET_HEADER_LEN + 26, &x, sizeof(x));
                if (send(l->n->host[l->host], frame, sizeof(frame), 0) < 0)
                        g_thread_yield();
        }
        return NULL;
}

/* Takes what has come, and gives the buffers again. */
static void recycle(struct net_rig *n) {
        for (unsigned pair = 0; pair < PAIRS; pair++) {
                void *cookie;
                uint32_t len;

                while (drv_take(&n->r.rings[2 * pair], &cookie, &len)) {
                        g_assert_cmpuint(len, ==, LONG_HEADER + LEN);
                        nrig_add_buffer(n, 2 * pair, GPOINTER_TO_SIZE(cookie), BUFFER_LEN);
                }
                rig_publish(&n->r, 2 * pair);
        }
}

static void test_amidst(void) {
        const uint64_t features = RSS_FEATURES | BIT(HASH_REPORT) | BIT(MRG_RXBUF);
        struct load load[PAIRS];
        GThread *threads[PAIRS];
        GError *error = NULL;
        uint64_t steered;
        struct net_rig n;

        start(&n, PAIRS, true, features);
        for (unsigned i = 0; i < PAIRS; i++) {
                load[i] = (struct load){ &n, i, false };
                threads[i] = g_thread_new("load", keep_sending, &load[i]);
        }
        for (unsigned round = 0; round < 60; round++) {
                if (round % 20 == 0) {
                        if (round > 0) {
                                rig_stop(&n.r);
                                rig_start(&n.r, features);
                        }
                        for (unsigned pair = 0; pair < PAIRS; pair++)
                                add_buffers(&n, pair, 40);
                }
                configure(&n, VNET_HASH_TYPES, 128, 0);
                for (unsigned i = 0; i < 20; i++)
                        recycle(&n);
                if (round % 4 == 1)
                        nrig_set_pairs(&n, (uint16_t) (1 + round % 3), VNET_OK);
                if (round % 4 == 2) {
                        g_assert_true(n.r.vd->ops->pause(n.r.vd, &error));
                        for (unsigned i = 0; i < n.r.vd->n_queues; i++)
                                g_assert_cmpuint(n.r.vd->queues[i].in_flight, ==, 0);
                        n.r.vd->ops->resume(n.r.vd);
                }
                recycle(&n);
        }
        steered = rig_counter(&n.r, "rx_steered");
        for (unsigned i = 0; i < PAIRS; i++)
                atomic_store(&load[i].end, true);
        for (unsigned i = 0; i < PAIRS; i++)
                g_thread_join(threads[i]);
        g_assert_cmpuint(steered, >, 0);
        nrig_stop(&n);
}

int main(int argc, char **argv) {
        (void) signal(SIGPIPE, SIG_IGN);
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/net-rss/offered", test_offered);
        g_test_add_func("/net-rss/steering", test_steering);
        g_test_add_func("/net-rss/large", test_large);
        g_test_add_func("/net-rss/full", test_full);
        g_test_add_func("/net-rss/commands", test_commands);
        g_test_add_func("/net-rss/automatic", test_automatic);
        g_test_add_func("/net-rss/one-pair", test_one_pair);
        g_test_add_func("/net-rss/transmit", test_transmit);
        g_test_add_func("/net-rss/capture", test_capture);
        g_test_add_func("/net-rss/broken", test_broken);
        g_test_add_func("/net-rss/restore", test_restore);
        g_test_add_func("/net-rss/amidst", test_amidst);
        return g_test_run();
}
