/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves of frames from a guest to the port: those that are too short or too long are dropped alone, all others arrive whole and in
 * order, and a host that is full leaves them with the guest.
 */

#include "net-rig.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

/* Too short, too long, nothing readable: returned and not sent. */
static void test_tx_dropped(void) {
        struct drv_buf writable = { GADDR(FRAMES), 100, true };
        struct net_rig n;
        uint32_t len;
        char got[64];

        nrig_start(&n, 1, false, 0);
        nrig_add_frame(&n, 1, FRAMES, 1);
        nrig_add_frame(&n, 1, FRAMES, NET_HEADER_LEN);
        nrig_add_frame(&n, 1, FRAMES, VNET_FRAME_MIN - 1);
        nrig_add_frame(&n, 1, FRAMES, VNET_FRAME_MAX + 1);
        nrig_add_frame(&n, 1, FRAMES, 4u << 20);
        g_assert_cmpint(drv_add(&n.r.rings[1], &writable, 1, false, NULL), >=, 0);
        rig_publish(&n.r, 1);
        for (int i = 0; i < 6; i++)
                nrig_take(&n, 1, &len);
        g_assert_cmpint(nrig_host_receive(n.host[0], got, sizeof(got)), ==, -1);
        g_assert_cmpuint(rig_counter(&n.r, "tx_drops"), ==, 6);
        g_assert_cmpuint(rig_counter(&n.r, "tx_frames"), ==, 0);
        nrig_stop(&n);
}

static void test_tx(void) {
        static uint8_t got[VNET_FRAME_MAX + 16];
        struct net_rig n;
        uint64_t bytes = 0;
        uint32_t len;

        for (int event_idx = 0; event_idx <= 1; event_idx++) {
                nrig_start(&n, 1, event_idx, 0);
                bytes = 0;
                for (int round = 0; round < 50; round++) {
                        uint32_t size[8];
                        unsigned count = (unsigned) g_test_rand_int_range(1, 9);

                        for (unsigned i = 0; i < count; i++) {
                                size[i] = (uint32_t) g_test_rand_int_range(
                                                VNET_FRAME_MIN,
                                                round % 10 ? 2000 : VNET_FRAME_MAX + 1);
                                nrig_fill(rig_host(&n.r, FRAMES + i * 131072, size[i]), size[i]);
                                nrig_add_frame(&n, 1, FRAMES + i * 131072, size[i]);
                                bytes += size[i] - NET_HEADER_LEN;
                        }
                        rig_publish(&n.r, 1);
                        for (unsigned i = 0; i < count; i++) {
                                nrig_take(&n, 1, &len);
                                g_assert_cmpuint(len, ==, 0);
                                g_assert_cmpint(nrig_host_receive(n.host[0], got, sizeof(got)), ==,
                                                size[i]);
                                g_assert_cmpint(memcmp(got,
                                                       rig_host(&n.r, FRAMES + i * 131072, size[i]),
                                                       size[i]),
                                                ==, 0);
                        }
                }
                g_assert_cmpuint(rig_counter(&n.r, "tx_bytes"), ==, bytes);
                g_assert_cmpuint(rig_counter(&n.r, "tx_drops"), ==, 0);
                nrig_stop(&n);
        }
}

/* A host that does not read: frames wait with the guest, and go out in order when it does. */
static void test_tx_blocked(void) {
        struct net_rig n;
        unsigned sent = 0, received = 0;
        uint32_t len;
        uint8_t got[4096];
        GError *error = NULL;

        nrig_start_sized(&n, 1, true, 0, 1024);
        for (; sent < 1024; sent++) {
                struct drv_buf buf = { GADDR(FRAMES + sent * 2048), 2000, false };

                *(unsigned *) rig_host(&n.r, FRAMES + sent * 2048 + 16, 4) = sent;
                if (drv_add(&n.r.rings[1], &buf, 1, false, NULL) < 0)
                        break;
        }
        rig_publish(&n.r, 1);
        nrig_take(&n, 1, &len);
        while (drv_outstanding(&n.r.rings[1]) > 0 && rig_wait(&n.r, 1, 50, &(void *){ NULL }, &len))
                ;
        g_assert_cmpuint(drv_outstanding(&n.r.rings[1]), >, 0);
        /* Paused while blocked. */
        g_assert_true(n.r.vd->ops->pause(n.r.vd, &error));
        g_assert_cmpuint(n.r.vd->queues[1].in_flight, ==, 0);
        n.r.vd->ops->resume(n.r.vd);
        while (received < sent) {
                if (nrig_host_receive(n.host[0], got, sizeof(got)) < 0) {
                        g_assert_cmpint(errno, ==, EAGAIN);
                        nrig_take(&n, 1, &len);
                        continue;
                }
                g_assert_cmpuint(*(unsigned *) (got + 16), ==, received);
                received++;
        }
        g_assert_cmpuint(rig_counter(&n.r, "tx_drops"), ==, 0);
        nrig_stop(&n);
}

int main(int argc, char **argv) {
        (void) signal(SIGPIPE, SIG_IGN);
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/net/tx-dropped", test_tx_dropped);
        g_test_add_func("/net/tx", test_tx);
        g_test_add_func("/net/tx-blocked", test_tx_blocked);
        return g_test_run();
}
