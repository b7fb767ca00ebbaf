/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What a frame costs the device, and what filters, limits and a capture add to that: sending into /dev/null, so that the port costs
 * nothing, and receiving from a packet socket, whose share is in both numbers that are compared. Prints nanoseconds a frame, driver
 * included; numbers to compare, no test.
 */

#include "net-rig.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define LEN 1514u
#define BATCH 128u
#define ROUNDS 2000u

static const uint8_t own[6] = { 0x52, 0x54, 0, 1, 2, 3 };

struct variant {
        const char *name;
        bool mac_filter, limits, capture;
        unsigned macs; /* in the receive filter; 0: none */
};

static const struct variant variants[] = {
        { "plain", false, false, false, 0 },   { "MAC filter", true, false, false, 0 },
        { "limits", false, true, false, 0 },   { "64 addresses", false, false, false, 64 },
        { "captured", false, false, true, 0 },
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
        nrig_start_with(n, &config, true, 0);
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
        uint8_t *frame = rig_host(&n.r, FRAMES, NET_HEADER_LEN + LEN);
        gint64 begin = g_get_monotonic_time();
        uint32_t len;

        memcpy(frame + NET_HEADER_LEN + 6, own, 6);
        for (unsigned i = 0; i < ROUNDS; i++) {
                struct drv_buf buf = { GADDR(FRAMES), NET_HEADER_LEN + LEN, false };

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

int main(void) {
        (void) signal(SIGPIPE, SIG_IGN);
        for (size_t i = 0; i < G_N_ELEMENTS(variants); i++)
                printf("%-14s send %7.0f ns, receive %7.0f ns\n", variants[i].name,
                       send_frames(&variants[i]), receive_frames(&variants[i]));
        return 0;
}
