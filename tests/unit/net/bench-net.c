/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What a frame costs the device, and what filters, limits, a capture and hashes add to that, and a hash by itself: sending into /dev/null, so that the port costs
 * nothing, and receiving from a packet socket, whose share is in both numbers that are compared. Prints nanoseconds a frame, driver
 * included; numbers to compare, no test.
 */

#include "net-rig.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define LEN 1514u
#define BATCH 128u
#define ROUNDS 2000u

static const uint8_t own[6] = { 0x52, 0x54, 0, 1, 2, 3 };

struct variant {
        const char *name;
        bool mac_filter, limits, capture;
        unsigned macs; /* in the receive filter; 0: none */
        bool rss;
};

static const struct variant variants[] = {
        { "plain", false, false, false, 0 },   { "MAC filter", true, false, false, 0 },
        { "limits", false, true, false, 0 },   { "64 addresses", false, false, false, 64 },
        { "captured", false, false, true, 0 }, { "hashed, one queue", .rss = true },
};

/* Takes what a capture writes, until its end. */
static gpointer swallow(gpointer data) {
        static char buffer[1 << 16];
        int fd = GPOINTER_TO_INT(data);

        while (read(fd, buffer, sizeof(buffer)) > 0)
                ;
        (void) close(fd);
        return NULL;
}

/* Of everything, with some key. */
static void set_hash(struct net_rig *n) {
        uint8_t config[4 + 8 + 1 + VNET_HASH_KEY_MAX] = { 0xff, 1, [12] = VNET_HASH_KEY_MAX };

        memset(config + 13, 0x6d, VNET_HASH_KEY_MAX);
        g_assert_cmpuint(
                        nrig_command(n, 2, VNET_CLASS_MQ, VNET_MQ_HASH_CONFIG, config,
                                     sizeof(config)),
                        ==, VNET_OK);
}

static GThread *start(struct net_rig *n, const struct variant *v, bool null_port) {
        struct virtio_net_config config = nrig_ports(n, 1);
        struct vnet_filter *filter;
        GThread *reader = NULL;

        config.queue_size = 256;
        config.mac_filter = v->mac_filter;
        if (v->limits)
                config.limits = (struct throttle_config){
                        .bandwidth = { 1ull << 40, 0, 1 },
                        .ops = { 1ull << 40, 0, 1 },
                };
        if (null_port)
                g_assert_cmpint(dup2(open("/dev/null", O_RDWR | O_CLOEXEC), n->device[0]), >=, 0);
        config.rss = v->rss;
        nrig_start_with(n, &config, true, v->rss ? BIT(CTRL_VQ) | BIT(HASH_REPORT) : 0);
        if (v->rss)
                set_hash(n);
        filter = &((struct vnet *) n->r.vd)->pairs[0]->filter;
        if (v->macs > 0) {
                filter->modes[VNET_RX_PROMISC] = false;
                filter->uni.n = v->macs;
                memcpy(filter->uni.mac[v->macs - 1], own, 6);
                memset(filter->mac, 2, 6);
        }
        if (v->capture) {
                struct capture_config c = { .name = "capture" };
                int ends[2];

                g_assert_cmpint(pipe2(ends, O_CLOEXEC), ==, 0);
                c.fd = ends[1];
                g_assert_true(virtio_net_capture(n->r.vd, &c, NULL));
                reader = g_thread_new("reader", swallow, GINT_TO_POINTER(ends[0]));
        }
        return reader;
}

static void finish(struct net_rig *n, GThread *reader) {
        rig_clear(&n->r);
        (void) close(n->host[0]);
        if (reader)
                g_thread_join(reader);
}

static double send_frames(const struct variant *v) {
        struct net_rig n;
        GThread *reader = start(&n, v, /* null_port = */ true);
        unsigned header = vnet_header_len((struct vnet *) n.r.vd);
        uint8_t *frame = rig_host(&n.r, FRAMES, header + LEN);
        gint64 begin = g_get_monotonic_time();
        uint32_t len;

        memcpy(frame + header + 6, own, 6);
        for (unsigned i = 0; i < ROUNDS; i++) {
                struct drv_buf buf = { GADDR(FRAMES), header + LEN, false };

                for (unsigned k = 0; k < BATCH; k++)
                        g_assert_cmpint(drv_add(&n.r.rings[1], &buf, 1, false, NULL), >=, 0);
                rig_publish(&n.r, 1);
                for (unsigned k = 0; k < BATCH; k++)
                        nrig_take(&n, 1, &len);
        }
        begin = g_get_monotonic_time() - begin;
        g_assert_cmpuint(rig_counter(&n.r, "tx_frames"), ==, ROUNDS * BATCH);
        finish(&n, reader);
        return (double) begin * 1000 / (ROUNDS * BATCH);
}

static double receive_frames(const struct variant *v) {
        static uint8_t frame[NET_HEADER_LEN + LEN];
        const unsigned batch = 32; /* that a socket holds */
        struct net_rig n;
        GThread *reader = start(&n, v, /* null_port = */ false);
        gint64 begin = g_get_monotonic_time();
        uint32_t len;

        memcpy(frame + NET_HEADER_LEN, own, 6);
        /* TCP over IPv4. */
        memcpy(frame + NET_HEADER_LEN + 12, "\x08\0\x45", 3);
        frame[NET_HEADER_LEN + 14 + 9] = 6;
        for (unsigned i = 0; i < ROUNDS; i++) {
                for (unsigned k = 0; k < batch; k++) {
                        struct drv_buf buf = { GADDR(BUFFERS + k * 2048), 2048, true };

                        g_assert_cmpint(drv_add(&n.r.rings[0], &buf, 1, false, NULL), >=, 0);
                        nrig_host_send(n.host[0], frame, sizeof(frame));
                }
                rig_publish(&n.r, 0);
                for (unsigned k = 0; k < batch; k++)
                        nrig_take(&n, 0, &len);
        }
        begin = g_get_monotonic_time() - begin;
        finish(&n, reader);
        return (double) begin * 1000 / (ROUNDS * batch);
}

static double cpu_ns(void) {
        struct timespec ts;

        (void) clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
        return (double) ts.tv_sec * 1e9 + (double) ts.tv_nsec;
}

static void hash_frames(void) {
        static const struct {
                const char *name;
                uint8_t start[16], protocol_at;
        } kinds[] = {
                { "IPv4, TCP", { [12] = 8, 0, 0x45 }, 14 + 9 },
                { "IPv6, TCP", { [12] = 0x86, 0xdd, 0x60 }, 14 + 6 },
        };
        const unsigned count = 10000000;
        struct vnet_hash_key key;
        uint8_t frame[128] = { 0 };
        uint32_t hash, sum = 0;

        vnet_hash_prepare(&key, (const uint8_t *) "a key that is forty bytes long, or more.", 40);
        for (size_t i = 0; i < G_N_ELEMENTS(kinds); i++) {
                double begin = cpu_ns();

                memcpy(frame, kinds[i].start, sizeof(kinds[i].start));
                frame[kinds[i].protocol_at] = 6;
                for (unsigned k = 0; k < count; k++) {
                        memcpy(frame + 26, &k, sizeof(k));
                        (void) vnet_hash_frame(&key, VNET_HASH_TYPES, frame, sizeof(frame), &hash);
                        sum += hash;
                }
                begin = cpu_ns() - begin;
                printf("hash of a frame, %s: %.1f ns (%x)\n", kinds[i].name, begin / count, sum);
                frame[kinds[i].protocol_at] = 0;
        }
}

int main(void) {
        (void) signal(SIGPIPE, SIG_IGN);
        hash_frames();
        for (size_t i = 0; i < G_N_ELEMENTS(variants); i++) {
                const struct variant *v = &variants[i];

                /* What is hashed is also received without buffers, and nobody receives from /dev/null. */
                if (v->rss)
                        printf("%-17s receive %7.0f ns\n", v->name, receive_frames(v));
                else
                        printf("%-17s send %7.0f ns, receive %7.0f ns\n", v->name, send_frames(v),
                               receive_frames(v));
        }
        return 0;
}
