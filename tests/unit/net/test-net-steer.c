/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves of frames that are hashed: each goes to the queue that the driver's table says, from whichever of the port's descriptors it
 * comes, whole and with its hash in a header that is as long as was negotiated; a queue that nobody fills loses its own frames only; and
 * tables, pairs, pauses and resets come and go amidst traffic.
 */

#include "rss-rig.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void test_steering(void) {
        const uint64_t more[] = { 0, BIT(MRG_RXBUF), BIT(HASH_REPORT),
                                  BIT(MRG_RXBUF) | BIT(HASH_REPORT) };
        static const uint32_t types[] = { VNET_HASH_TYPES, 1, 0, 0x3a };
        struct net_rig n;

        for (unsigned i = 0; i < 8; i++) {
                unsigned header = more[i / 2] & BIT(HASH_REPORT) ? LONG_HEADER : NET_HEADER_LEN;

                rrig_start(&n, PAIRS, i % 2, RSS_FEATURES | more[i / 2]);
                for (unsigned round = 0; round < 4; round++) {
                        rrig_configure(&n, types[round], (uint16_t) (1u << (7 - round)),
                                       (uint16_t) (round % PAIRS));
                        if (round == 0)
                                for (unsigned pair = 0; pair < PAIRS; pair++)
                                        rrig_add_buffers(&n, pair, 8);
                        rrig_steer(&n, header, 60);
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

        rrig_start(&n, PAIRS, true,
                   RSS_FEATURES | BIT(HASH_REPORT) | BIT(MRG_RXBUF) | BIT(GUEST_CSUM) |
                                   BIT(GUEST_TSO4));
        rrig_configure(&n, 0, 1, 2);
        nrig_fill(frame, sizeof(frame));
        for (uint32_t len = VNET_FRAME_MIN; len <= sizeof(frame); len += 3271) {
                unsigned needed = (len + 8 + BUFFER_LEN - 1) / BUFFER_LEN;

                rrig_add_buffers(&n, 2, needed - 1);
                nrig_host_send(n.host[1], frame, len);
                lost++;
                while (rig_counter(&n.r, "rx_drops") != lost)
                        g_thread_yield();
                nrig_add_buffer(&n, 4, rrig_buffer(2, needed), BUFFER_LEN);
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

        rrig_start(&n, PAIRS, true, RSS_FEATURES);
        rrig_configure(&n, VNET_HASH_TYPES, 128, 0);
        rrig_add_buffers(&n, 0, 40);
        nrig_add_buffer(&n, 4, rrig_buffer(2, 0), 300);
        rig_publish(&n.r, 4);
        for (unsigned i = 0; i < 100; i++) {
                unsigned to;

                rrig_make_frame(frame);
                to = rrig_queue_of(frame);
                nrig_host_send(n.host[i % PAIRS], frame, sizeof(frame));
                if (to == 0) {
                        rrig_check(got, nrig_take_frame(&n, 0, got, &count), NET_HEADER_LEN, frame);
                        rrig_add_buffers(&n, 0, 1);
                        continue;
                }
                lost++;
                while (rig_counter(&n.r, "rx_drops") != lost)
                        g_thread_yield();
        }
        g_assert_cmpuint(lost, >, 10);
        /* As soon as there are buffers, frames arrive: the small one is still the first. */
        rrig_configure(&n, 0, 1, 1);
        rrig_add_buffers(&n, 1, 1);
        nrig_host_send(n.host[2], frame, sizeof(frame));
        rrig_check(got, nrig_take_frame(&n, 2, got, &count), NET_HEADER_LEN, frame);
        rrig_configure(&n, 0, 1, 2);
        nrig_host_send(n.host[0], frame, 300);
        g_assert_cmpuint(nrig_take_frame(&n, 4, got, &count), ==, 300);
        nrig_stop(&n);
}

/* In its own queue a pair's frame waits for buffers, for as long as it was told to. */
static void test_patience(void) {
        static uint8_t frame[NET_HEADER_LEN + LEN], got[VNET_FRAME_MAX];
        struct net_rig n;
        unsigned count;

        rrig_start(&n, PAIRS, true, RSS_FEATURES | BIT(HASH_REPORT) | BIT(MRG_RXBUF));
        rrig_configure(&n, 0, 1, 1);
        ((struct vnet *) n.r.vd)->patience = UINT32_MAX;
        for (unsigned i = 0; i < 20; i++) {
                rrig_make_frame(frame);
                nrig_host_send(n.host[1], frame, sizeof(frame));
                g_usleep(200);
                /* Half of what it needs, and then the rest. */
                nrig_add_buffer(&n, 2, rrig_buffer(1, 0), 320);
                rig_publish(&n.r, 2);
                g_usleep(200);
                nrig_add_buffer(&n, 2, rrig_buffer(1, 1), 320);
                rig_publish(&n.r, 2);
                rrig_check(got, nrig_take_frame(&n, 2, got, &count), LONG_HEADER, frame);
                g_assert_cmpuint(count, ==, 2);
        }
        g_assert_cmpuint(rig_counter(&n.r, "rx_drops"), ==, 0);
        /* Where frames go by another table meanwhile is not asked again. */
        nrig_host_send(n.host[1], frame, sizeof(frame));
        g_usleep(200);
        rrig_configure(&n, 0, 1, 2);
        rrig_add_buffers(&n, 1, 1);
        rrig_check(got, nrig_take_frame(&n, 2, got, &count), LONG_HEADER, frame);
        /* Nor does one that waits keep the device from a pause. */
        rrig_configure(&n, 0, 1, 1);
        nrig_host_send(n.host[1], frame, sizeof(frame));
        g_usleep(200);
        nrig_stop(&n);
}

/* Captured are frames, not headers, from every pair and both ways. */
static void test_capture(void) {
        static uint8_t frame[NET_HEADER_LEN + LEN], got[VNET_FRAME_MAX], record[16 + LEN];
        struct capture_config c = { .name = "capture" };
        struct net_rig n;
        unsigned count;
        uint32_t len;
        int ends[2];

        rrig_start(&n, PAIRS, true, RSS_FEATURES | BIT(HASH_REPORT));
        rrig_configure(&n, 0, 1, 1);
        g_assert_cmpint(pipe2(ends, O_CLOEXEC), ==, 0);
        c.fd = ends[1];
        g_assert_true(virtio_net_capture(n.r.vd, &c, NULL));
        g_assert_cmpint(read(ends[0], record, 24), ==, 24);
        rrig_make_frame(frame);
        rrig_add_buffers(&n, 1, 1);
        nrig_host_send(n.host[2], frame, sizeof(frame));
        rrig_check(got, nrig_take_frame(&n, 2, got, &count), LONG_HEADER, frame);
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

                rrig_start(&n, PAIRS, true, RSS_FEATURES);
                rrig_configure(&n, 0, 1, 2);
                g_assert_cmpint(drv_add(&n.r.rings[4], &buf, 1, false, NULL), >=, 0);
                rig_publish(&n.r, 4);
                rrig_make_frame(frame);
                nrig_host_send(n.host[0], frame, sizeof(frame));
                g_assert_true(rig_wait_broken(&n.r, TIMEOUT_MS));
                nrig_host_send(n.host[1], frame, sizeof(frame));
                while (rig_counter(&n.r, "rx_drops") < 2)
                        g_thread_yield();
                nrig_stop(&n);
        }
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

        rrig_start(&n, PAIRS, true, features);
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
                                rrig_add_buffers(&n, pair, 40);
                }
                rrig_configure(&n, VNET_HASH_TYPES, 128, 0);
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
        g_test_add_func("/net-steer/steering", test_steering);
        g_test_add_func("/net-steer/large", test_large);
        g_test_add_func("/net-steer/full", test_full);
        g_test_add_func("/net-steer/patience", test_patience);
        g_test_add_func("/net-steer/capture", test_capture);
        g_test_add_func("/net-steer/broken", test_broken);
        g_test_add_func("/net-steer/amidst", test_amidst);
        return g_test_run();
}
