/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves of a network device's limits: what is beyond them stays with the guest or with the host and is not lost; it goes on when
 * the time has come and not before, or at once under new limits; the directions have buckets of their own, which pairs share; and
 * pause, reset and changes at any moment leave nothing waiting for ever.
 */

#include "net-rig.h"

#include <signal.h>
#include <string.h>
#include <sys/socket.h>

#define LEN 1000u
/* So long that nobody waits for it. */
#define NEVER 86400000u

static void
start_limited(struct net_rig *n,
              unsigned n_pairs,
              struct throttle_config limits,
              uint64_t features) {
        struct virtio_net_config config = nrig_ports(n, n_pairs);

        config.limits = limits;
        nrig_start_with(n, &config, true, features);
}

static void set(struct net_rig *n, struct throttle_config limits) {
        g_assert_cmpint(n->r.vd->ops->set_throttle(n->r.vd, &limits), ==, 0);
}

static void add_frames(struct net_rig *n, unsigned q, unsigned count) {
        for (unsigned i = 0; i < count; i++)
                nrig_add_frame(n, q, FRAMES, LEN);
        rig_publish(&n->r, q);
}

/* Waits for so many frames, and counts those that are there. */
static unsigned host_count(int fd, unsigned at_least) {
        uint8_t got[2 * LEN];
        unsigned n = 0;

        for (;;)
                if (nrig_host_receive(fd, got, sizeof(got)) > 0)
                        n++;
                else if (n >= at_least)
                        return n;
                else
                        g_usleep(100);
}

static void send_frames(struct net_rig *n, unsigned pair, unsigned count) {
        static const uint8_t frame[LEN];

        for (unsigned i = 0; i < count; i++)
                nrig_host_send(n->host[pair], frame, LEN);
}

static void add_buffers(struct net_rig *n, unsigned q, unsigned count) {
        for (unsigned i = 0; i < count; i++)
                nrig_add_buffer(n, q, BUFFERS + i * 4096, 1600);
        rig_publish(&n->r, q);
}

static void take_frames(struct net_rig *n, unsigned q, unsigned count) {
        static uint8_t got[VNET_FRAME_MAX];
        unsigned buffers;

        for (unsigned i = 0; i < count; i++)
                g_assert_cmpuint(nrig_take_frame(n, q, got, &buffers), ==, LEN);
}

/* Everybody has seen what there is. */
static void settle(struct net_rig *n) {
        GError *error = NULL;

        g_assert_true(n->r.vd->ops->pause(n->r.vd, &error));
        for (unsigned q = 0; q < n->r.vd->n_queues; q++)
                g_assert_cmpuint(n->r.vd->queues[q].in_flight, ==, 0);
        n->r.vd->ops->resume(n->r.vd);
}

static void test_tx_waits(void) {
        struct net_rig n;

        start_limited(&n, 1, (struct throttle_config){ .ops = { 10, 5, NEVER } }, 0);
        add_frames(&n, 1, 20);
        g_assert_cmpuint(host_count(n.host[0], 15), ==, 15);
        settle(&n);
        g_assert_cmpuint(rig_counter(&n.r, "tx_frames"), ==, 15);
        g_assert_cmpuint(rig_counter(&n.r, "tx_drops"), ==, 0);
        /* Frames the other way are another bucket's. */
        add_buffers(&n, 0, 15);
        send_frames(&n, 0, 15);
        take_frames(&n, 0, 15);
        /* A fresh bucket, and none. */
        set(&n, (struct throttle_config){ .bandwidth = { 2 * (LEN - NET_HEADER_LEN), 0, NEVER } });
        g_assert_cmpuint(host_count(n.host[0], 2), ==, 2);
        set(&n, (struct throttle_config){ 0 });
        g_assert_cmpuint(host_count(n.host[0], 3), ==, 3);
        nrig_stop(&n);
}

static void test_rx_waits(void) {
        struct net_rig n;
        void *cookie;
        uint32_t len;

        /* Two whole frames, and the third, whose first byte still fits. */
        start_limited(&n, 1,
                      (struct throttle_config){
                                      .bandwidth = { 2 * (LEN - NET_HEADER_LEN), 0, NEVER } },
                      BIT(MRG_RXBUF));
        add_buffers(&n, 0, 30);
        send_frames(&n, 0, 20);
        take_frames(&n, 0, 2);
        settle(&n);
        /* A bucket that is just empty lets one more pass, which is debt. */
        while (rig_wait(&n.r, 0, 20, &cookie, &len))
                ;
        g_assert_cmpuint(rig_counter(&n.r, "rx_frames"), <=, 3);
        g_assert_cmpuint(rig_counter(&n.r, "rx_drops"), ==, 0);
        set(&n, (struct throttle_config){ .ops = { 5, 0, NEVER } });
        take_frames(&n, 0, 5);
        g_assert_false(rig_wait(&n.r, 0, 20, &cookie, &len));
        set(&n, (struct throttle_config){ 0 });
        while (rig_counter(&n.r, "rx_frames") < 20)
                g_usleep(100);
        g_assert_cmpuint(rig_counter(&n.r, "rx_drops"), ==, 0);
        nrig_stop(&n);
}

/* Limits that pass while one waits. */
static void test_time(void) {
        struct net_rig n;
        gint64 start;

        start_limited(&n, 1, (struct throttle_config){ .ops = { 5, 0, 50 } }, 0);
        start = g_get_monotonic_time();
        add_frames(&n, 1, 30);
        g_assert_cmpuint(host_count(n.host[0], 30), ==, 30);
        g_assert_cmpint(g_get_monotonic_time() - start, >=, 250000 - 10000);
        start = g_get_monotonic_time();
        add_buffers(&n, 0, 30);
        send_frames(&n, 0, 30);
        take_frames(&n, 0, 30);
        g_assert_cmpint(g_get_monotonic_time() - start, >=, 250000 - 10000);
        nrig_stop(&n);
}

/* Two pairs, one limit. */
static void test_pairs(void) {
        const uint64_t features = BIT(CTRL_VQ) | BIT(MQ);
        struct net_rig n;
        uint8_t two[2] = { 2 };
        unsigned count;

        start_limited(&n, 2, (struct throttle_config){ .ops = { 10, 0, NEVER } }, features);
        g_assert_cmpuint(
                        nrig_command(&n, 4, VNET_CLASS_MQ, VNET_MQ_PAIRS_SET, two, 2), ==, VNET_OK);
        add_frames(&n, 1, 8);
        add_frames(&n, 3, 8);
        while (rig_counter(&n.r, "tx_frames") < 10)
                g_usleep(100);
        settle(&n);
        count = host_count(n.host[0], 0) + host_count(n.host[1], 0);
        /* What has come back of a token lets one more pass, and two that ask at the same moment both. */
        g_assert_cmpuint(count, >=, 10);
        g_assert_cmpuint(count, <=, 12);
        set(&n, (struct throttle_config){ .ops = { 1, 0, 1 } });
        while (rig_counter(&n.r, "tx_frames") < 16)
                g_usleep(100);
        nrig_stop(&n);
}

/* A host that is full, limits, changes, pauses and resets in any order: every frame goes out once. */
static void test_any_order(void) {
        struct net_rig n;
        unsigned sent = 0, received = 0;

        start_limited(&n, 1, (struct throttle_config){ 0 }, 0);
        for (int round = 0; round < 200; round++) {
                unsigned some = (unsigned) g_test_rand_int_range(0, 8);
                uint64_t size = (uint64_t) g_test_rand_int_range(0, 4);
                void *cookie;
                uint32_t len;

                while (rig_wait(&n.r, 1, 0, &cookie, &len))
                        ;
                if (drv_outstanding(&n.r.rings[1]) < 40) {
                        add_frames(&n, 1, some);
                        sent += some;
                }
                set(&n, (struct throttle_config){ .ops = { size, 0, round % 3 ? 1 : NEVER } });
                if (g_test_rand_int_range(0, 4) == 0)
                        settle(&n);
                if (g_test_rand_int_range(0, 3) == 0)
                        received += host_count(n.host[0], 0);
        }
        set(&n, (struct throttle_config){ 0 });
        g_assert_cmpuint(received + host_count(n.host[0], sent - received), ==, sent);
        /* Limits last over a reset, and nothing waits behind one. */
        set(&n, (struct throttle_config){ .ops = { 1, 0, NEVER } });
        rig_stop(&n.r);
        rig_start(&n.r, 0);
        add_frames(&n, 1, 5);
        (void) host_count(n.host[0], 1);
        rig_stop(&n.r);
        set(&n, (struct throttle_config){ .ops = { 2, 0, NEVER } });
        rig_start(&n.r, 0);
        add_frames(&n, 1, 5);
        g_assert_cmpuint(host_count(n.host[0], 2), ==, 2);
        nrig_stop(&n);
}

int main(int argc, char **argv) {
        (void) signal(SIGPIPE, SIG_IGN);
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/net/limits/tx-waits", test_tx_waits);
        g_test_add_func("/net/limits/rx-waits", test_rx_waits);
        g_test_add_func("/net/limits/time", test_time);
        g_test_add_func("/net/limits/pairs", test_pairs);
        g_test_add_func("/net/limits/any-order", test_any_order);
        return g_test_run();
}
