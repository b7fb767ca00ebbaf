/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The virtio network device with receive, transmit and control queue as the input has them, and frames that wait to be received. The
 * first byte is the driver's choice (mergeable buffers, event index, indirect tables, filters; hashes with both filters and several pairs), the
 * second how many frames of which size there are, packed rings among the sizes, the rest rings and buffers as they lie in guest memory, and behind
 * those what the frames begin with. Sockets stand for the tap.
 */

#include "fuzz.h"
#include "rig.h"

#include "devices/virtio/net.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>

#define QUEUE 8
#define PAIRS 2
/* Each queue's ring takes a page, those of the second pair are skipped by most inputs; then buffers. */
#define FILL 24576

static struct rig rig;
static int host[PAIRS], port_end[PAIRS];

static bool adopt(int fd, bool several, char ret_name[NET_NAME_LEN], GError **error) {
        (void) g_strlcpy(ret_name, "fuzz", NET_NAME_LEN);
        return fcntl(fd, F_SETFL, O_RDWR | O_NONBLOCK) == 0;
}

static unsigned offloads(int fd) {
        return NET_OFFLOAD_CSUM | NET_OFFLOAD_TSO4 | NET_OFFLOAD_TSO6 | NET_OFFLOAD_ECN |
               NET_OFFLOAD_UFO;
}

static int set_offloads(int fd, unsigned bits) {
        return 0;
}

static int attach(int fd, bool on) {
        return 0;
}

static const struct net_port_ops port = { adopt, offloads, set_offloads, attach };

static void set_up(void) {
        g_autoptr(GError) error = NULL;
        int device[PAIRS];
        struct virtio_net_config config = {
                .id = "fuzz",
                .tap_fds = device,
                .n_pairs = PAIRS,
                .queue_size = QUEUE,
                .offload_csum = true,
                .offload_tso = true,
                .offload_ufo = true,
                .rss = true,
        };

        (void) signal(SIGPIPE, SIG_IGN);
        for (int i = 0; i < PAIRS; i++) {
                int ends[2];

                g_assert_cmpint(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), ==, 0);
                host[i] = ends[0];
                device[i] = ends[1];
                port_end[i] = fcntl(ends[1], F_DUPFD_CLOEXEC, 0);
        }
        rig_init(&rig);
        rig_attach(&rig, vnet_new(rig.mem, &config, &port, &error), false, 0);
        g_assert_no_error(error);
}

static void empty(int fd) {
        static uint8_t frame[VNET_FRAME_MAX];

        while (recv(fd, frame, sizeof(frame), MSG_DONTWAIT) > 0)
                ;
}

static void send_frames(uint8_t frames, const uint8_t *data, size_t size) {
        static uint8_t frame[4096];

        memset(frame, 0, sizeof(frame));
        if (size > 2 + FILL)
                memcpy(frame + NET_HEADER_LEN, data + 2 + FILL,
                       MIN(size - 2 - FILL, sizeof(frame) - NET_HEADER_LEN));
        for (unsigned i = 0; i < frames % 8; i++)
                (void) send(host[i % PAIRS], frame, VNET_FRAME_MIN + (frames >> 3) * 64u,
                            MSG_DONTWAIT);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        g_autoptr(GError) error = NULL;
        uint8_t choice = size > 0 ? data[0] : 0, frames = size > 1 ? data[1] : 0;
        uint64_t features = 1ull << VNET_F_CTRL_VQ | 1ull << VNET_F_CTRL_GUEST_OFFLOADS;

        if (!rig.vd)
                set_up();
        if (frames & 128)
                features |= 1ull << VIRTIO_F_RING_PACKED;
        if (choice & 1)
                features |= 1ull << VNET_F_MRG_RXBUF;
        if (choice & 2)
                features |= 1ull << VNET_F_GUEST_CSUM | 1ull << VNET_F_GUEST_TSO4;
        if (choice & 4)
                features |= 1ull << VNET_F_MQ;
        if (choice & 64)
                features |= 1ull << VNET_F_CTRL_RX | 1ull << VNET_F_CTRL_RX_EXTRA |
                            1ull << VNET_F_CTRL_VLAN | 1ull << VNET_F_CTRL_MAC_ADDR |
                            1ull << VNET_F_GUEST_ANNOUNCE;
        if ((choice & 68) == 68)
                features |= 1ull << VNET_F_RSS | 1ull << VNET_F_HASH_REPORT;
        ((struct vnet *) rig.vd)->mac_filter = choice & 128;
        rig.event_idx = choice >> 3 & 1;
        rig_start(&rig, features);
        g_assert_true(rig.vd->ops->pause(rig.vd, &error));
        for (unsigned i = 0; i < rig.vd->n_queues; i++)
                rig.vd->queues[i].indirect = choice >> 4 & 1;
        memset(rig_host(&rig, 0, FILL), 0, FILL);
        if (size > 2)
                memcpy(rig_host(&rig, 0, FILL), data + 2, MIN(size - 2, FILL));
        send_frames(frames, data, size);
        rig.vd->ops->resume(rig.vd);
        if (choice >> 5 & 1) {
                g_assert_true(rig.vd->ops->pause(rig.vd, &error));
                for (unsigned i = 0; i < rig.vd->n_queues; i++)
                        g_assert_true(rig.vd->queues[i].broken || rig.vd->queues[i].in_flight == 0);
                /* What the driver has said of its frames by now holds for these. */
                send_frames(frames, data, size);
                rig.vd->ops->resume(rig.vd);
        }
        rig_stop(&rig);
        /* Frames that the device sent, and those it had no buffers for: the next input must not see them. */
        for (int i = 0; i < PAIRS; i++) {
                empty(host[i]);
                empty(port_end[i]);
        }
        return 0;
}
