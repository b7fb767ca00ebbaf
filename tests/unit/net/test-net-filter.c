/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves of filters: commands that are not whole, or name what is not there, change nothing; the frames that reach a guest are those
 * its driver has asked for, on every pair, after a restore, and all of them before it asks and after a reset. And that with a MAC
 * filter no frame leaves from another address than the device's, however its start is cut up, and all others leave whole.
 */

#include "net-rig.h"

#include <signal.h>
#include <string.h>

#define RX_FEATURES                                                                                \
        (BIT(CTRL_VQ) | BIT(CTRL_RX) | BIT(CTRL_RX_EXTRA) | BIT(CTRL_VLAN) | BIT(CTRL_MAC_ADDR))
#define LEN 100u

static const uint8_t own[6] = { 0x52, 0x54, 0, 1, 2, 3 };
static const uint8_t other[6] = { 0x52, 0x54, 0, 9, 9, 9 };
static const uint8_t group[6] = { 0x01, 0x00, 0x5e, 1, 2, 3 };
static const uint8_t everybody[6] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };

static void test_plain(void) {
        struct vnet_filter f;
        uint8_t frame[16] = { 0 };

        vnet_filter_reset(&f, own, /* vlans = */ true);
        memcpy(frame, other, 6);
        g_assert_true(vnet_filter_wants(&f, frame, sizeof(frame)));
        f.modes[VNET_RX_PROMISC] = false;
        g_assert_false(vnet_filter_wants(&f, frame, sizeof(frame)));
        f.modes[VNET_RX_ALLUNI] = true;
        g_assert_true(vnet_filter_wants(&f, frame, 14));
        memcpy(frame, own, 6);
        f.modes[VNET_RX_NOUNI] = true;
        g_assert_false(vnet_filter_wants(&f, frame, sizeof(frame)));
        memcpy(frame, everybody, 6);
        g_assert_true(vnet_filter_wants(&f, frame, sizeof(frame)));
        f.modes[VNET_RX_NOBCAST] = true;
        g_assert_false(vnet_filter_wants(&f, frame, sizeof(frame)));
        memcpy(frame, group, 6);
        g_assert_false(vnet_filter_wants(&f, frame, sizeof(frame)));
        f.modes[VNET_RX_ALLMULTI] = true;
        g_assert_true(vnet_filter_wants(&f, frame, sizeof(frame)));
        /* A tag: priority 7, VLAN 4095. One that is cut off is none. */
        memcpy(frame + 12, "\x81\x00\xff\xff", 4);
        g_assert_false(vnet_filter_wants(&f, frame, sizeof(frame)));
        g_assert_true(vnet_filter_wants(&f, frame, 15));
        g_assert_false(vnet_filter_set_vlan(&f, 4096, true));
        g_assert_true(vnet_filter_set_vlan(&f, 4095, true));
        g_assert_true(vnet_filter_wants(&f, frame, sizeof(frame)));
        g_assert_true(vnet_filter_set_vlan(&f, 4095, false));
        g_assert_false(vnet_filter_wants(&f, frame, sizeof(frame)));
        f.modes[VNET_RX_NOMULTI] = true;
        g_assert_false(vnet_filter_wants(&f, frame, 15));
}

static void send_to(struct net_rig *n, unsigned pair, const uint8_t *mac, int vlan) {
        uint8_t frame[LEN] = { 0 };

        memcpy(frame + NET_HEADER_LEN, mac, 6);
        if (vlan >= 0) {
                memcpy(frame + NET_HEADER_LEN + 12, "\x81\x00", 2);
                frame[NET_HEADER_LEN + 14] = (uint8_t) (vlan >> 8);
                frame[NET_HEADER_LEN + 15] = (uint8_t) vlan;
        }
        nrig_host_send(n->host[pair], frame, LEN);
}

/* Whether a frame to mac arrives; a buffer is there. */
static bool arrives(struct net_rig *n, unsigned pair, const uint8_t *mac, int vlan) {
        uint64_t before = rig_counter(&n->r, "rx_filtered");
        uint64_t frames = rig_counter(&n->r, "rx_frames");
        static uint8_t got[VNET_FRAME_MAX];
        unsigned count;

        send_to(n, pair, mac, vlan);
        while (rig_counter(&n->r, "rx_frames") == frames)
                if (rig_counter(&n->r, "rx_filtered") != before)
                        return false;
        g_assert_cmpuint(nrig_take_frame(n, 2 * pair, got, &count), ==, LEN);
        g_assert_cmpint(memcmp(got + NET_HEADER_LEN, mac, 6), ==, 0);
        nrig_add_buffer(n, 2 * pair, BUFFERS + pair * 4096, 1600);
        rig_publish(&n->r, 2 * pair);
        return true;
}

static void add_first_buffers(struct net_rig *n) {
        for (unsigned pair = 0; pair < n->n_pairs; pair++) {
                nrig_add_buffer(n, 2 * pair, BUFFERS + pair * 4096, 1600);
                rig_publish(&n->r, 2 * pair);
        }
}

static void set_mode(struct net_rig *n, uint8_t mode, uint8_t on) {
        g_assert_cmpuint(nrig_command(n, 2 * n->n_pairs, VNET_CLASS_RX, mode, &on, 1), ==, VNET_OK);
}

/* n_uni and n_multi addresses, of which the last ones are other and group. */
static uint8_t set_table(struct net_rig *n, uint32_t n_uni, uint32_t n_multi, uint32_t cut) {
        g_autoptr(GByteArray) data = g_byte_array_new();
        const uint32_t numbers[2] = { n_uni, n_multi };

        for (int k = 0; k < 2; k++) {
                uint32_t le = GUINT32_TO_LE(numbers[k]);

                g_byte_array_append(data, (uint8_t *) &le, 4);
                for (uint32_t i = 1; i <= numbers[k] && i <= 200; i++) {
                        uint8_t mac[6] = { k ? 3 : 2, 0, 0, 0, (uint8_t) (i >> 8), (uint8_t) i };

                        g_byte_array_append(data, i < numbers[k] ? mac : k ? group : other, 6);
                }
        }
        g_assert_cmpuint(cut, <, data->len);
        return nrig_command(
                        n, 2 * n->n_pairs, VNET_CLASS_MAC, VNET_MAC_TABLE_SET, data->data,
                        data->len - cut);
}

static void test_bad_commands(void) {
        struct net_rig n;
        uint8_t on = 1, vlan[2] = { 0, 0x10 };

        nrig_start(&n, 1, false, RX_FEATURES);
        add_first_buffers(&n);
        set_mode(&n, VNET_RX_PROMISC, 0);
        g_assert_cmpuint(nrig_command(&n, 2, VNET_CLASS_RX, VNET_RX_MODES, &on, 1), ==, VNET_ERR);
        g_assert_cmpuint(
                        nrig_command(&n, 2, VNET_CLASS_RX, VNET_RX_PROMISC, NULL, 0), ==, VNET_ERR);
        for (uint32_t cut = 1; cut < 8 + 12; cut++)
                g_assert_cmpuint(set_table(&n, 1, 1, cut), ==, VNET_ERR);
        g_assert_cmpuint(set_table(&n, UINT32_MAX, 0, 0), ==, VNET_ERR);
        g_assert_cmpuint(set_table(&n, 0, UINT32_MAX, 0), ==, VNET_ERR);
        g_assert_cmpuint(set_table(&n, 0x2aaaaaab, 0, 0), ==, VNET_ERR); /* 6 times that is 2 */
        g_assert_cmpuint(nrig_command(&n, 2, VNET_CLASS_MAC, 2, own, 6), ==, VNET_ERR);
        g_assert_cmpuint(
                        nrig_command(&n, 2, VNET_CLASS_MAC, VNET_MAC_ADDR_SET, own, 5), ==,
                        VNET_ERR);
        g_assert_cmpuint(
                        nrig_command(&n, 2, VNET_CLASS_MAC, VNET_MAC_ADDR_SET, group, 6), ==,
                        VNET_ERR);
        g_assert_cmpuint(
                        nrig_command(&n, 2, VNET_CLASS_VLAN, VNET_VLAN_ADD, vlan, 2), ==, VNET_ERR);
        g_assert_cmpuint(
                        nrig_command(&n, 2, VNET_CLASS_VLAN, VNET_VLAN_ADD, vlan, 1), ==, VNET_ERR);
        g_assert_cmpuint(nrig_command(&n, 2, VNET_CLASS_VLAN, 2, vlan, 2), ==, VNET_ERR);
        g_assert_true(arrives(&n, 0, own, -1));
        g_assert_false(arrives(&n, 0, other, -1));
        g_assert_false(arrives(&n, 0, group, -1));
        g_assert_false(arrives(&n, 0, own, 0));
        nrig_stop(&n);
}

static void test_filter(void) {
        struct net_rig n;
        uint8_t two[2] = { 2 }, vlan[2] = { 5, 0 };
        const uint64_t features = RX_FEATURES | BIT(MQ);

        nrig_start(&n, 2, true, features);
        g_assert_cmpuint(
                        nrig_command(&n, 4, VNET_CLASS_MQ, VNET_MQ_PAIRS_SET, two, 2), ==, VNET_OK);
        add_first_buffers(&n);
        /* As it was before there were filters. */
        for (unsigned pair = 0; pair < 2; pair++) {
                g_assert_true(arrives(&n, pair, other, -1));
                g_assert_true(arrives(&n, pair, group, 17));
        }
        set_mode(&n, VNET_RX_PROMISC, 0);
        for (unsigned pair = 0; pair < 2; pair++) {
                g_assert_true(arrives(&n, pair, own, -1));
                g_assert_true(arrives(&n, pair, everybody, -1));
                g_assert_false(arrives(&n, pair, other, -1));
                g_assert_false(arrives(&n, pair, group, -1));
        }
        g_assert_cmpuint(set_table(&n, 1, VNET_MACS_MAX, 0), ==, VNET_OK);
        g_assert_true(arrives(&n, 1, other, -1));
        g_assert_true(arrives(&n, 1, group, -1));
        /* An empty table forgets; one that is too large lets all of its kind pass. */
        g_assert_cmpuint(set_table(&n, 0, VNET_MACS_MAX + 1, 0), ==, VNET_OK);
        g_assert_false(arrives(&n, 1, other, -1));
        g_assert_true(arrives(&n, 1, (const uint8_t *) "\x01\x80\xc2\0\0\0", -1));
        g_assert_cmpuint(nrig_command(&n, 4, VNET_CLASS_VLAN, VNET_VLAN_ADD, vlan, 2), ==, VNET_OK);
        g_assert_true(arrives(&n, 0, own, 5));
        g_assert_false(arrives(&n, 0, own, 6));
        g_assert_cmpuint(nrig_command(&n, 4, VNET_CLASS_VLAN, VNET_VLAN_DEL, vlan, 2), ==, VNET_OK);
        g_assert_false(arrives(&n, 0, own, 5));
        g_assert_cmpuint(rig_counter(&n.r, "rx_drops"), ==, 0);
        nrig_stop(&n);
}

static void test_restore(void) {
        g_autoptr(GVariant) state = NULL;
        g_autoptr(GError) error = NULL;
        struct vnet_space space;
        struct net_rig n;

        nrig_start(&n, 1, false, RX_FEATURES);
        set_mode(&n, VNET_RX_PROMISC, 0);
        g_assert_cmpuint(set_table(&n, 0, 1, 0), ==, VNET_OK);
        g_assert_cmpuint(
                        nrig_command(&n, 2, VNET_CLASS_MAC, VNET_MAC_ADDR_SET, other, 6), ==,
                        VNET_OK);
        n.r.vd->ops->config_read(n.r.vd, 0, &space, sizeof(space));
        g_assert_cmpint(memcmp(space.mac, other, 6), ==, 0);
        g_assert_true(n.r.vd->ops->pause(n.r.vd, &error));
        state = g_variant_ref_sink(n.r.vd->ops->save(n.r.vd));
        nrig_stop(&n);

        nrig_start(&n, 1, false, RX_FEATURES);
        rig_stop(&n.r);
        rig_prepare(&n.r, RX_FEATURES);
        g_assert_true(n.r.vd->ops->restore(n.r.vd, state, &error));
        rig_activate(&n.r);
        add_first_buffers(&n);
        n.r.vd->ops->config_read(n.r.vd, 0, &space, sizeof(space));
        g_assert_cmpint(memcmp(space.mac, other, 6), ==, 0);
        g_assert_true(arrives(&n, 0, other, -1));
        g_assert_true(arrives(&n, 0, group, -1));
        g_assert_false(arrives(&n, 0, own, -1));
        /* The next driver knows nothing of it. */
        rig_stop(&n.r);
        rig_start(&n.r, 0);
        add_first_buffers(&n);
        n.r.vd->ops->config_read(n.r.vd, 0, &space, sizeof(space));
        g_assert_cmpint(memcmp(space.mac, own, 6), ==, 0);
        g_assert_true(arrives(&n, 0, own, 9));
        g_assert_true(arrives(&n, 0, other, -1));
        nrig_stop(&n);
}

/* Frames of which half have another source: those alone are dropped. */
static void test_spoof(void) {
        static uint8_t got[VNET_FRAME_MAX];
        struct virtio_net_config config;
        struct net_rig n;
        unsigned spoofed = 0;

        config = nrig_ports(&n, 1);
        config.mac_filter = true;
        nrig_start_with(&n, &config, true, 0);
        g_assert_false(n.r.vd->device_features & BIT(CTRL_MAC_ADDR));
        for (int round = 0; round < 500; round++) {
                uint32_t len = (uint32_t) g_test_rand_int_range(
                                VNET_FRAME_MIN, round % 20 ? 200 : VNET_FRAME_MAX + 1);
                uint8_t *frame = rig_host(&n.r, FRAMES, len);
                bool honest = g_test_rand_bit();
                uint32_t used;

                nrig_fill(frame, MIN(len, 4096u));
                memcpy(frame + NET_HEADER_LEN + 6, own, 6);
                if (!honest)
                        frame[NET_HEADER_LEN + 6 + g_test_rand_int_range(0, 6)] ^= 1;
                nrig_add_frame(&n, 1, FRAMES, len);
                rig_publish(&n.r, 1);
                nrig_take(&n, 1, &used);
                spoofed += !honest;
                g_assert_cmpint(nrig_host_receive(n.host[0], got, sizeof(got)), ==,
                                honest ? (int) len : -1);
                if (honest)
                        g_assert_cmpint(memcmp(got, frame, len), ==, 0);
        }
        g_assert_cmpuint(rig_counter(&n.r, "tx_spoofed"), ==, spoofed);
        g_assert_cmpuint(rig_counter(&n.r, "tx_frames"), ==, 500 - spoofed);
        g_assert_cmpuint(rig_counter(&n.r, "tx_drops"), ==, 0);
        nrig_stop(&n);
}

int main(int argc, char **argv) {
        (void) signal(SIGPIPE, SIG_IGN);
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/net/filter/plain", test_plain);
        g_test_add_func("/net/filter/bad-commands", test_bad_commands);
        g_test_add_func("/net/filter/filter", test_filter);
        g_test_add_func("/net/filter/restore", test_restore);
        g_test_add_func("/net/filter/spoof", test_spoof);
        return g_test_run();
}
