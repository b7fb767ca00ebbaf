/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves of announcements: after a pause and after a restore RARP requests in the device's name leave it, a few and no more; a driver
 * that knows of it is asked, again and again, until it acknowledges; others are not, nor is anybody while the link is down; and a
 * reset or another pause ends it.
 */

#include "net-rig.h"

#include <signal.h>
#include <string.h>

static const uint8_t own[6] = { 0x52, 0x54, 0, 1, 2, 3 };

static void pause_and_resume(struct net_rig *n) {
        GError *error = NULL;

        g_assert_true(n->r.vd->ops->pause(n->r.vd, &error));
        n->r.vd->ops->resume(n->r.vd);
}

static void take_rarp(struct net_rig *n) {
        uint8_t frame[200];
        ssize_t len;

        while ((len = nrig_host_receive(n->host[0], frame, sizeof(frame))) < 0)
                g_usleep(1000);
        g_assert_cmpint(len, ==, NET_HEADER_LEN + 60);
        for (unsigned i = 0; i < NET_HEADER_LEN; i++)
                g_assert_cmpuint(frame[i], ==, 0);
        for (unsigned i = 0; i < 6; i++)
                g_assert_cmpuint(frame[NET_HEADER_LEN + i], ==, 0xff);
        g_assert_cmpint(memcmp(frame + NET_HEADER_LEN + 6, own, 6), ==, 0);
        g_assert_cmpint(memcmp(frame + NET_HEADER_LEN + 12, "\x80\x35\0\1\x08\0\6\4\0\3", 10), ==,
                        0);
        g_assert_cmpint(memcmp(frame + NET_HEADER_LEN + 22, own, 6), ==, 0);
        g_assert_cmpint(memcmp(frame + NET_HEADER_LEN + 32, own, 6), ==, 0);
}

static bool is_asked(struct net_rig *n) {
        uint16_t status;

        n->r.vd->ops->config_read(n->r.vd, 6, &status, 2);
        return GUINT16_FROM_LE(status) & VNET_S_ANNOUNCE;
}

static void test_resume(void) {
        struct net_rig n;
        uint8_t none[200];

        nrig_port.keep_rarp = true;
        nrig_start(&n, 1, false, BIT(CTRL_VQ) | BIT(GUEST_ANNOUNCE) | BIT(STATUS));
        g_assert_cmpint(nrig_host_receive(n.host[0], none, sizeof(none)), ==, -1);
        g_assert_false(is_asked(&n));
        pause_and_resume(&n);
        g_assert_true(is_asked(&n));
        for (int i = 0; i < 5; i++)
                take_rarp(&n);
        g_assert_true(rig_wait_config_change(&n.r, 4, TIMEOUT_MS));
        g_assert_cmpuint(nrig_command(&n, 2, VNET_CLASS_ANNOUNCE, 1, NULL, 0), ==, VNET_ERR);
        g_assert_true(is_asked(&n));
        g_assert_cmpuint(
                        nrig_command(&n, 2, VNET_CLASS_ANNOUNCE, VNET_ANNOUNCE_ACK, NULL, 0), ==,
                        VNET_OK);
        g_assert_false(is_asked(&n));
        g_usleep(700000);
        g_assert_cmpint(nrig_host_receive(n.host[0], none, sizeof(none)), ==, -1);

        /* Again, and a reset in the middle. */
        pause_and_resume(&n);
        take_rarp(&n);
        rig_stop(&n.r);
        while (nrig_host_receive(n.host[0], none, sizeof(none)) > 0)
                ;
        g_usleep(100000);
        g_assert_cmpint(nrig_host_receive(n.host[0], none, sizeof(none)), ==, -1);
        rig_start(&n.r, BIT(CTRL_VQ) | BIT(GUEST_ANNOUNCE));
        g_assert_false(is_asked(&n));
        nrig_stop(&n);
}

static void test_others(void) {
        struct net_rig n;
        uint8_t none[200];

        nrig_port.keep_rarp = true;
        nrig_start(&n, 1, false, BIT(CTRL_VQ));
        pause_and_resume(&n);
        g_assert_false(is_asked(&n));
        take_rarp(&n);
        virtio_net_set_link(n.r.vd, false);
        pause_and_resume(&n);
        pause_and_resume(&n);
        while (nrig_host_receive(n.host[0], none, sizeof(none)) > 0)
                ;
        g_usleep(100000);
        g_assert_cmpint(nrig_host_receive(n.host[0], none, sizeof(none)), ==, -1);
        nrig_stop(&n);
}

static void test_restore(void) {
        const uint64_t features = BIT(CTRL_VQ) | BIT(GUEST_ANNOUNCE);
        g_autoptr(GVariant) state = NULL;
        GError *error = NULL;
        struct net_rig n;

        nrig_port.keep_rarp = true;
        nrig_start(&n, 1, false, features);
        g_assert_true(n.r.vd->ops->pause(n.r.vd, &error));
        state = g_variant_ref_sink(n.r.vd->ops->save(n.r.vd));
        nrig_stop(&n);
        nrig_start(&n, 1, false, features);
        rig_stop(&n.r);
        rig_prepare(&n.r, features);
        g_assert_true(n.r.vd->ops->restore(n.r.vd, state, &error));
        rig_activate(&n.r);
        g_assert_true(is_asked(&n));
        take_rarp(&n);
        nrig_stop(&n);
}

int main(int argc, char **argv) {
        (void) signal(SIGPIPE, SIG_IGN);
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/net/announce/resume", test_resume);
        g_test_add_func("/net/announce/others", test_others);
        g_test_add_func("/net/announce/restore", test_restore);
        return g_test_run();
}
