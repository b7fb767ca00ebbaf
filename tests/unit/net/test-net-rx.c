/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves of frames from the port to a guest: wrong frames and wrong buffers are dropped or refused; frames of any size arrive whole and
 * in order in buffers of any layout, with mergeable buffers and without; a guest without buffers leaves frames with the host.
 */

#include "net-rig.h"

#include <signal.h>
#include <string.h>
#include <sys/socket.h>

/* Frames that are too short, or larger than the one buffer a driver without mergeable ones gives them. */
static void test_rx_dropped(void) {
        static uint8_t frame[4096], got[VNET_FRAME_MAX];
        struct net_rig n;
        unsigned count;

        nrig_start(&n, 1, false, 0);
        nrig_fill(frame, sizeof(frame));
        nrig_add_buffer(&n, 0, BUFFERS, 1000);
        rig_publish(&n.r, 0);
        nrig_host_send(n.host[0], frame, 3);
        nrig_host_send(n.host[0], frame, VNET_FRAME_MIN - 1);
        nrig_host_send(n.host[0], frame, 1001);
        nrig_host_send(n.host[0], frame, 4000);
        nrig_host_send(n.host[0], frame, 1000);
        g_assert_cmpuint(nrig_take_frame(&n, 0, got, &count), ==, 1000);
        nrig_check_frame(got, frame, 1000);
        g_assert_cmpuint(rig_counter(&n.r, "rx_drops"), ==, 4);
        nrig_stop(&n);
}

static void test_rx(void) {
        static uint8_t frame[4096], got[VNET_FRAME_MAX];
        struct net_rig n;
        unsigned count;

        for (int event_idx = 0; event_idx <= 1; event_idx++) {
                nrig_start(&n, 1, event_idx, 0);
                for (int round = 0; round < 300; round++) {
                        uint32_t len = (uint32_t) g_test_rand_int_range(VNET_FRAME_MIN, 1600);

                        nrig_fill(frame, len);
                        if (g_test_rand_bit()) {
                                nrig_add_buffer(&n, 0, BUFFERS, 1600);
                                rig_publish(&n.r, 0);
                                nrig_host_send(n.host[0], frame, len);
                        } else {
                                nrig_host_send(n.host[0], frame, len);
                                nrig_add_buffer(&n, 0, BUFFERS, 1600);
                                rig_publish(&n.r, 0);
                        }
                        g_assert_cmpuint(nrig_take_frame(&n, 0, got, &count), ==, len);
                        g_assert_cmpuint(count, ==, 1);
                        nrig_check_frame(got, frame, len);
                }
                g_assert_cmpuint(rig_counter(&n.r, "rx_frames"), ==, 300);
                g_assert_cmpuint(rig_counter(&n.r, "rx_drops"), ==, 0);
                nrig_stop(&n);
        }
}

/* A guest without buffers: the host keeps the frames. */
static void test_rx_hungry(void) {
        static uint8_t frame[2048], got[VNET_FRAME_MAX];
        struct net_rig n;
        unsigned count;

        nrig_start(&n, 1, true, 0);
        for (uint8_t i = 0; i < 50; i++) {
                memset(frame, i, sizeof(frame));
                nrig_host_send(n.host[0], frame, 1000);
        }
        g_usleep(20000);
        for (uint8_t i = 0; i < 50; i++) {
                nrig_add_buffer(&n, 0, BUFFERS, 1600);
                rig_publish(&n.r, 0);
                g_assert_cmpuint(nrig_take_frame(&n, 0, got, &count), ==, 1000);
                g_assert_cmpuint(got[500], ==, i);
        }
        g_assert_cmpuint(rig_counter(&n.r, "rx_drops"), ==, 0);
        nrig_stop(&n);
}

/* Frames of every size into buffers of every size, added before and after. */
static void test_rx_mergeable(void) {
        static uint8_t frame[VNET_FRAME_MAX], got[VNET_FRAME_MAX];
        struct net_rig n;
        uint64_t addr = 0;
        unsigned buffers_used = 0;

        for (int tso = 0; tso <= 1; tso++) {
                nrig_start_sized(
                                &n, 1, tso,
                                BIT(MRG_RXBUF) | (tso ? BIT(GUEST_CSUM) | BIT(GUEST_TSO4) : 0),
                                256);
                for (int round = 0; round < 400; round++) {
                        uint32_t len = (uint32_t) g_test_rand_int_range(
                                        VNET_FRAME_MIN, round % 4 ? 3000 : VNET_FRAME_MAX + 1);
                        unsigned count;

                        nrig_fill(frame, MIN(len, 4096u));
                        nrig_host_send(n.host[0], frame, len);
                        /* Keep fewer than half the queue's buffers with the device, so that frames wait for more. */
                        while (drv_outstanding(&n.r.rings[0]) < 100) {
                                nrig_add_buffer(&n, 0, BUFFERS + addr,
                                                (uint32_t) g_test_rand_int_range(200, 3000));
                                addr = (addr + 4096) % (4u << 20);
                                if (g_test_rand_int_range(0, 4) == 0)
                                        rig_publish(&n.r, 0);
                        }
                        rig_publish(&n.r, 0);
                        g_assert_cmpuint(nrig_take_frame(&n, 0, got, &count), ==, len);
                        nrig_check_frame(got, frame, len);
                        buffers_used += count;
                }
                g_assert_cmpuint(rig_counter(&n.r, "rx_frames"), ==, 400);
                g_assert_cmpuint(rig_counter(&n.r, "rx_drops"), ==, 0);
                nrig_stop(&n);
        }
        g_assert_cmpuint(buffers_used, >, 1600);
}

/* A frame that does not fit waits for buffers; one that does not fit into half the queue is dropped. */
static void test_rx_held(void) {
        static uint8_t frame[8000], got[VNET_FRAME_MAX];
        struct net_rig n;
        unsigned count;
        GError *error = NULL;
        void *cookie;
        uint32_t len;

        nrig_start_sized(&n, 1, true, BIT(MRG_RXBUF), 16);
        nrig_fill(frame, sizeof(frame));
        nrig_add_buffer(&n, 0, BUFFERS, 1000);
        rig_publish(&n.r, 0);
        nrig_host_send(n.host[0], frame, 2500);
        g_assert_false(rig_wait(&n.r, 0, 30, &cookie, &len));
        nrig_add_buffer(&n, 0, BUFFERS + 4096, 1000);
        rig_publish(&n.r, 0);
        g_assert_false(rig_wait(&n.r, 0, 30, &cookie, &len));
        nrig_add_buffer(&n, 0, BUFFERS + 8192, 1000);
        rig_publish(&n.r, 0);
        g_assert_cmpuint(nrig_take_frame(&n, 0, got, &count), ==, 2500);
        g_assert_cmpuint(count, ==, 3);
        nrig_check_frame(got, frame, 2500);

        /* Paused while it is held: that frame is lost, the buffers are not. */
        nrig_add_buffer(&n, 0, BUFFERS, 1000);
        rig_publish(&n.r, 0);
        nrig_host_send(n.host[0], frame, 2500);
        g_assert_false(rig_wait(&n.r, 0, 30, &cookie, &len));
        g_assert_true(n.r.vd->ops->pause(n.r.vd, &error));
        g_assert_cmpuint(n.r.vd->queues[0].in_flight, ==, 0);
        n.r.vd->ops->resume(n.r.vd);
        g_assert_cmpuint(rig_counter(&n.r, "rx_drops"), ==, 1);
        nrig_host_send(n.host[0], frame, 700);
        g_assert_cmpuint(nrig_take_frame(&n, 0, got, &count), ==, 700);

        for (unsigned i = 0; i < 8; i++)
                nrig_add_buffer(&n, 0, BUFFERS + i * 4096, 500);
        rig_publish(&n.r, 0);
        nrig_host_send(n.host[0], frame, 8000);
        nrig_host_send(n.host[0], frame, 800);
        g_assert_cmpuint(nrig_take_frame(&n, 0, got, &count), ==, 800);
        g_assert_cmpuint(count, ==, 2);
        g_assert_cmpuint(rig_counter(&n.r, "rx_drops"), ==, 2);
        nrig_stop(&n);
}

/* A burst costs few interrupts. */
static void test_rx_batch(void) {
        static uint8_t frame[256], got[VNET_FRAME_MAX];
        struct net_rig n;
        unsigned count, before;
        GError *error = NULL;

        nrig_start(&n, 1, true, 0);
        for (unsigned i = 0; i < 60; i++)
                nrig_add_buffer(&n, 0, BUFFERS + i * 4096, 1600);
        g_assert_true(n.r.vd->ops->pause(n.r.vd, &error));
        rig_publish(&n.r, 0);
        for (unsigned i = 0; i < 60; i++)
                nrig_host_send(n.host[0], frame, sizeof(frame));
        before = rig_interrupts(&n.r, 0);
        n.r.vd->ops->resume(n.r.vd);
        for (unsigned i = 0; i < 60; i++)
                (void) nrig_take_frame(&n, 0, got, &count);
        g_assert_cmpuint(rig_interrupts(&n.r, 0) - before, <=, 2);
        nrig_stop(&n);
}

static void test_broken_chains(void) {
        struct drv_buf readable = { GADDR(BUFFERS), 1600, false };
        struct net_rig n;
        uint32_t len;
        void *cookie;

        /* A receive buffer that the device may only read. */
        nrig_start(&n, 1, false, 0);
        g_assert_cmpint(drv_add(&n.r.rings[0], &readable, 1, false, NULL), >=, 0);
        rig_publish(&n.r, 0);
        g_assert_true(rig_wait_broken(&n.r, TIMEOUT_MS));
        rig_kick(&n.r, 0);
        (void) send(n.host[0], "12345678901234567890123456789", 29, 0);
        g_assert_false(rig_wait(&n.r, 0, 30, &cookie, &len));
        g_assert_cmpuint(n.r.breaks, ==, 1);
        nrig_stop(&n);

        /* A loop in the transmit queue. */
        nrig_start(&n, 1, false, 0);
        drv_put_endless(&n.r.rings[1], GADDR(FRAMES));
        rig_kick(&n.r, 1);
        g_assert_true(rig_wait_broken(&n.r, TIMEOUT_MS));
        rig_stop(&n.r);
        rig_start(&n.r, 0);
        nrig_add_frame(&n, 1, FRAMES, 100);
        rig_publish(&n.r, 1);
        nrig_take(&n, 1, &len);
        nrig_stop(&n);
}

int main(int argc, char **argv) {
        (void) signal(SIGPIPE, SIG_IGN);
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/net/rx-dropped", test_rx_dropped);
        g_test_add_func("/net/rx", test_rx);
        g_test_add_func("/net/rx-hungry", test_rx_hungry);
        g_test_add_func("/net/rx-mergeable", test_rx_mergeable);
        g_test_add_func("/net/rx-held", test_rx_held);
        g_test_add_func("/net/rx-batch", test_rx_batch);
        g_test_add_func("/net/broken-chains", test_broken_chains);
        return g_test_run();
}
