/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * After a pause, which may have ended on another host, the network learns anew where the guest is: a RARP request in the device's name
 * goes out of the first pair, five times within a second because a switch may still be opening its port, and a driver that knows of
 * announcements (virtio 1.2, 5.1.6.5.4) is asked to make its own, as it alone knows all its addresses. It is reminded as often until it acknowledges.
 *
 * On the first pair's thread, as the control queue is.
 */

#include "devices/virtio/net.h"

#include <string.h>
#include <sys/uio.h>

#define ROUNDS 5u
#define FIRST_NS 50000000ull
#define MORE_NS 100000000ull

#define ETHER_RARP 0x8035

static void send_rarp(struct vnet_pair *pair) {
        const uint8_t *mac = pair->net->filter.mac;
        /* Header; to everybody; from us; a request for the protocol address of this hardware address. */
        uint8_t frame[NET_HEADER_LEN + 60] = { 0 }, *p = frame + NET_HEADER_LEN;
        static const uint8_t request[] = { 0, 1, 8, 0, 6, 4, 0, 3 };
        struct iovec iov = { frame, sizeof(frame) };

        memset(p, 0xff, 6);
        memcpy(p + 6, mac, 6);
        p[12] = ETHER_RARP >> 8;
        p[13] = ETHER_RARP & 0xff;
        memcpy(p + 14, request, sizeof(request));
        memcpy(p + 22, mac, 6);
        memcpy(p + 32, mac, 6);
        /* One of several, so nobody waits for a port that is full. */
        if (writev(pair->fd, &iov, 1) < 0)
                return;
        vnet_count(&pair->net->announce.frames, 1);
        vnet_count(&pair->net->announce.bytes, sizeof(frame) - NET_HEADER_LEN);
}

static void announce(struct vnet *net) {
        struct vnet_pair *pair = net->pairs[0];
        unsigned done = ROUNDS - net->announce.left;

        net->announce.left--;
        if (!pair->dead && vnet_link_is_up(net))
                send_rarp(pair);
        if (atomic_load(&net->announce.pending))
                net->vd.transport->config_changed(&net->vd);
        if (net->announce.left > 0)
                (void) io_timer_arm(&net->announce.timer, FIRST_NS + done * MORE_NS);
}

static void on_timer(void *opaque) {
        announce(opaque);
}

static int start_here(void *opaque) {
        struct vnet *net = opaque;
        int r = io_timer_open(&net->announce.timer);

        if (r >= 0 && !net->announce.timer.thread)
                r = io_timer_start(&net->announce.timer, net->pairs[0]->thread);
        if (r < 0)
                return r;
        net->announce.left = ROUNDS;
        announce(net);
        return 0;
}

static int stop_here(void *opaque) {
        struct vnet *net = opaque;

        io_timer_stop(&net->announce.timer);
        net->announce.left = 0;
        return 0;
}

void vnet_announce_init(struct vnet *net) {
        io_timer_init(&net->announce.timer, on_timer, net);
}

void vnet_announce(struct vnet *net) {
        atomic_store(&net->announce.pending, virtio_has(&net->vd, VNET_F_GUEST_ANNOUNCE));
        /* Without a timer the guest goes on unannounced. */
        (void) iothread_call(net->pairs[0]->thread, start_here, net);
}

void vnet_announce_stop(struct vnet *net) {
        (void) iothread_call(net->pairs[0]->thread, stop_here, net);
}
