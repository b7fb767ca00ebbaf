/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves of a driver's commands about hashes and queues: what is offered, that tables that are not possible change nothing, that the last
 * command says who steers, and that what was said outlives a pause and a restore but no reset; and of the longer header on the way out.
 */

#include "rss-rig.h"

#include <signal.h>
#include <string.h>

static void test_offered(void) {
        struct vnet_space space;
        struct net_rig n;
        uint8_t data[64] = { 0 };

        for (unsigned pairs = 1; pairs <= 2; pairs++) {
                rrig_start(&n, pairs, false, BIT(CTRL_VQ));
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

static uint8_t send_command(struct net_rig *n, GByteArray *a, size_t len) {
        return nrig_command(n, CONTROL, VNET_CLASS_MQ, VNET_MQ_RSS_CONFIG, a->data, (uint32_t) len);
}

static void test_commands(void) {
        struct net_rig n;
        GByteArray *a;

        rrig_start(&n, PAIRS, true, RSS_FEATURES | BIT(HASH_REPORT));
        rrig_configure(&n, VNET_HASH_TYPES, 64, 1);
        nrig_expect_attached(&n, PAIRS);
        for (unsigned pair = 0; pair < PAIRS; pair++)
                rrig_add_buffers(&n, pair, 8);
        for (unsigned i = 0; i < 8; i++) {
                static const struct {
                        uint32_t types;
                        uint16_t n, unclassified, pairs;
                } bad[] = {
                        { 0x200, 64, 0, 3 }, { 1, 63, 0, 3 },      { 1, 256, 0, 3 },
                        { 1, 64, 3, 3 },     { 1, 64, 0xffff, 3 }, { 1, 64, 0, 0 },
                        { 1, 64, 0, 4 },     { 1, 64, 0, 0xffff },
                };

                a = rrig_command(bad[i].types, bad[i].n, bad[i].unclassified, bad[i].pairs);
                g_assert_cmpuint(send_command(&n, a, a->len), ==, VNET_ERR);
                g_byte_array_unref(a);
                rrig_steer(&n, LONG_HEADER, 4);
        }
        /* An entry beyond the pairs, a key that is too long, and all lengths that are too short. */
        a = rrig_command(1, 64, 0, 3);
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
        rrig_steer(&n, LONG_HEADER, 20);

        /* Pairs that cannot be had: nothing has changed either. */
        nrig_set_pairs(&n, 1, VNET_OK);
        nrig_port.attach_error = -E2BIG;
        a = rrig_command(1, 64, 2, 3);
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

        rrig_start(&n, PAIRS, true, RSS_FEATURES | BIT(HASH_REPORT));
        vnet_rss_reset(&rrig_table);
        /* Before there is any command. */
        rrig_make_frame(frame);
        rrig_add_buffers(&n, 0, 1);
        nrig_host_send(n.host[0], frame, sizeof(frame));
        rrig_check(got, nrig_take_frame(&n, 0, got, &count), LONG_HEADER, frame);
        for (unsigned round = 0; round < 4; round++) {
                rrig_configure(&n, VNET_HASH_TYPES, 1, 1);
                if (round % 2 == 0)
                        nrig_set_pairs(&n, 3, VNET_OK);
                else {
                        nrig_fill(config + 4, sizeof(config) - 4);
                        config[12] = VNET_HASH_KEY_MAX;
                        g_assert_true(vnet_rss_set_hash(&rrig_table, config, sizeof(config)));
                        g_assert_cmpuint(
                                        nrig_command(&n, CONTROL, VNET_CLASS_MQ,
                                                     VNET_MQ_HASH_CONFIG, config, sizeof(config)),
                                        ==, VNET_OK);
                }
                for (unsigned pair = 0; pair < PAIRS; pair++) {
                        /* Without buffers the host keeps the frames. */
                        for (unsigned i = 0; i < 10; i++) {
                                rrig_make_frame(frame);
                                nrig_host_send(n.host[pair], frame, sizeof(frame));
                        }
                        g_usleep(2000);
                        for (unsigned i = 0; i < 10; i++) {
                                rrig_add_buffers(&n, pair, 1);
                                g_assert_cmpuint(
                                                nrig_take_frame(&n, 2 * pair, got, &count), ==,
                                                LONG_HEADER + LEN);
                        }
                        rrig_check(got, LONG_HEADER + LEN, LONG_HEADER, frame);
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

        rrig_start(&n, 1, true, BIT(CTRL_VQ) | BIT(HASH_REPORT));
        nrig_fill(config + 13, VNET_HASH_KEY_MAX);
        g_assert_true(vnet_rss_set_hash(&rrig_table, config, sizeof(config)));
        g_assert_cmpuint(
                        nrig_command(&n, 2, VNET_CLASS_MQ, VNET_MQ_HASH_CONFIG, config,
                                     sizeof(config)),
                        ==, VNET_OK);
        g_assert_cmpuint(
                        nrig_command(&n, 2, VNET_CLASS_MQ, VNET_MQ_RSS_CONFIG, config,
                                     sizeof(config)),
                        ==, VNET_ERR);
        for (unsigned i = 0; i < 20; i++) {
                rrig_make_frame(frame);
                rrig_add_buffers(&n, 0, 1);
                nrig_host_send(n.host[0], frame, sizeof(frame));
                rrig_check(got, nrig_take_frame(&n, 0, got, &count), LONG_HEADER, frame);
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

static void test_restore(void) {
        g_autoptr(GVariant) state = NULL;
        g_autoptr(GError) error = NULL;
        const uint64_t features = RSS_FEATURES | BIT(HASH_REPORT);
        struct net_rig n;

        rrig_start(&n, PAIRS, true, features);
        rrig_configure(&n, VNET_HASH_TYPES, 128, 2);
        g_assert_true(n.r.vd->ops->pause(n.r.vd, &error));
        n.r.vd->ops->resume(n.r.vd);
        for (unsigned pair = 0; pair < PAIRS; pair++)
                rrig_add_buffers(&n, pair, 8);
        rrig_steer(&n, LONG_HEADER, 20);
        g_assert_true(n.r.vd->ops->pause(n.r.vd, &error));
        for (unsigned i = 0; i < n.r.vd->n_queues; i++)
                g_assert_cmpuint(n.r.vd->queues[i].in_flight, ==, 0);
        state = g_variant_ref_sink(n.r.vd->ops->save(n.r.vd));
        nrig_stop(&n);

        rrig_start(&n, PAIRS, true, features);
        rig_stop(&n.r);
        rig_prepare(&n.r, features);
        g_assert_true(n.r.vd->ops->restore(n.r.vd, state, &error));
        rig_activate(&n.r);
        nrig_expect_attached(&n, PAIRS);
        for (unsigned pair = 0; pair < PAIRS; pair++)
                rrig_add_buffers(&n, pair, 8);
        rrig_steer(&n, LONG_HEADER, 60);
        /* The next driver begins with nothing. */
        rig_stop(&n.r);
        rig_start(&n.r, BIT(CTRL_VQ) | BIT(MQ));
        nrig_expect_attached(&n, 1);
        nrig_round_trip(&n, 0);
        nrig_stop(&n);
        /* Nor is there a table for queues that are the control queue's. */
        rrig_start(&n, 2, true, features);
        rig_stop(&n.r);
        rig_prepare(&n.r, features);
        g_assert_false(n.r.vd->ops->restore(n.r.vd, state, &error));
        g_clear_error(&error);
        rig_activate(&n.r);
        nrig_stop(&n);
}

int main(int argc, char **argv) {
        (void) signal(SIGPIPE, SIG_IGN);
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/net-rss/offered", test_offered);
        g_test_add_func("/net-rss/commands", test_commands);
        g_test_add_func("/net-rss/automatic", test_automatic);
        g_test_add_func("/net-rss/one-pair", test_one_pair);
        g_test_add_func("/net-rss/transmit", test_transmit);
        g_test_add_func("/net-rss/restore", test_restore);
        return g_test_run();
}
