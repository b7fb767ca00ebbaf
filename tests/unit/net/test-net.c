/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves of the virtio network device, with packet sockets in the tap's place: wrong configurations, feature sets, frames, buffers
 * and commands are refused or dropped alone; frames of any size and layout arrive whole and in order both ways, with mergeable
 * buffers and without; a guest without buffers leaves frames with the host, a host that is full leaves them with the guest; pairs
 * are switched as the driver says; pause, reset, restore and the death of the port leave nothing behind.
 */

#include "devices/virtio/net.h"
#include "hypervisor/error.h"
#include "rig.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define TIMEOUT_MS 20000
#define MAX_PAIRS 4
#define BIT(f) (1ull << VNET_F_##f)
#define BUFFERS RIG_DATA               /* receive buffers */
#define FRAMES (RIG_DATA + (8u << 20)) /* frames to send */
#define COMMAND (RIG_DATA + (24u << 20))

/* What the device did to its port. */
static unsigned port_offloads;
static bool port_attached[1024];
static int port_attach_error;

static bool socket_adopt(int fd, bool several, char ret_name[NET_NAME_LEN], GError **error) {
        (void) g_strlcpy(ret_name, "socket0", NET_NAME_LEN);
        return fcntl(fd, F_SETFL, O_RDWR | O_NONBLOCK) == 0;
}

static unsigned socket_offloads(int fd) {
        return NET_OFFLOAD_CSUM | NET_OFFLOAD_TSO4 | NET_OFFLOAD_TSO6 | NET_OFFLOAD_ECN |
               NET_OFFLOAD_UFO;
}

static int socket_set_offloads(int fd, unsigned offloads) {
        port_offloads = offloads;
        return 0;
}

static int socket_attach(int fd, bool on) {
        if (on && port_attach_error)
                return port_attach_error;
        port_attached[fd] = on;
        return 0;
}

static const struct net_port_ops socket_ops = {
        .adopt = socket_adopt,
        .offloads = socket_offloads,
        .set_offloads = socket_set_offloads,
        .attach = socket_attach,
};

struct net_rig {
        struct rig r;
        int host[MAX_PAIRS], device[MAX_PAIRS];
        unsigned n_pairs;
};

static struct virtio_net_config good_config(const int *fds, unsigned n_pairs) {
        return (struct virtio_net_config){
                .id = "_net1",
                .tap_fds = fds,
                .n_pairs = (uint16_t) n_pairs,
                .queue_size = 64,
                .mac = { 0x52, 0x54, 0, 1, 2, 3 },
                .mtu = 1400,
                .offload_tso = true,
                .offload_ufo = true,
                .offload_csum = true,
        };
}

static void
start_sized(struct net_rig *n,
            unsigned n_pairs,
            bool event_idx,
            uint64_t features,
            uint16_t queue_size) {
        g_autoptr(GError) error = NULL;
        struct virtio_net_config config = good_config(n->device, n_pairs);

        for (unsigned i = 0; i < n_pairs; i++) {
                int ends[2];

                g_assert_cmpint(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), ==, 0);
                n->host[i] = ends[0];
                n->device[i] = ends[1];
                g_assert_cmpint(fcntl(ends[0], F_SETFL, O_RDWR | O_NONBLOCK), ==, 0);
                g_assert_cmpint(ends[1], <, 1024);
                port_attached[ends[1]] = true;
        }
        n->n_pairs = n_pairs;
        config.queue_size = queue_size;
        rig_init(&n->r);
        rig_attach(&n->r, vnet_new(n->r.mem, &config, &socket_ops, &error), event_idx, 64);
        g_assert_no_error(error);
        rig_start(&n->r, features);
}

static void start(struct net_rig *n, unsigned n_pairs, bool event_idx, uint64_t features) {
        start_sized(n, n_pairs, event_idx, features, 64);
}

static void stop(struct net_rig *n) {
        rig_clear(&n->r);
        for (unsigned i = 0; i < n->n_pairs; i++) {
                (void) close(n->host[i]);
                /* The device closed its ends. */
                g_assert_cmpint(fcntl(n->device[i], F_GETFD), ==, -1);
        }
}

static void test_bad_config(void) {
        struct rig r;
        int fds[2];

        rig_init(&r);
        for (int i = 0; i < 8; i++) {
                g_autoptr(GError) error = NULL;
                struct virtio_net_config config = good_config(fds, 2);

                g_assert_cmpint(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, fds), ==, 0);
                switch (i) {
                case 0:
                        config.n_pairs = 0;
                        break;
                case 1:
                        config.queue_size = 3;
                        break;
                case 2:
                        config.queue_size = 0;
                        break;
                case 3:
                        config.mtu = 1279;
                        break;
                case 4:
                        config.mac[0] = 1;
                        break;
                case 5:
                        config.offload_csum = config.offload_ufo = false;
                        break;
                case 6:
                        config.offload_csum = config.offload_tso = false;
                        break;
                default:
                        /* A socket is no tap. */
                        break;
                }
                g_assert_null(virtio_net_new(r.mem, &config, &error));
                g_assert_error(error, HV_ERROR, HV_ERROR_INVALID);
                g_assert_true(g_str_has_prefix(error->message, "network device _net1: "));
                for (int k = 0; k < config.n_pairs; k++)
                        g_assert_cmpint(fcntl(fds[k], F_GETFD), ==, -1);
                for (int k = config.n_pairs; k < 2; k++)
                        (void) close(fds[k]);
        }
        rig_clear(&r);
}

static void test_features(void) {
        struct net_rig n;
        struct vnet_space space;
        static const uint64_t wrong[] = {
                BIT(GUEST_TSO4), BIT(GUEST_TSO6), BIT(GUEST_UFO), BIT(GUEST_ECN) | BIT(GUEST_CSUM),
                BIT(HOST_TSO4),  BIT(HOST_TSO6),  BIT(HOST_UFO),  BIT(HOST_ECN) | BIT(CSUM),
                BIT(MQ),
        };
        struct virtio_dev *vd;

        start(&n, 2, false, 0);
        vd = n.r.vd;
        g_assert_cmpuint(vd->type, ==, 1);
        g_assert_cmpuint(vd->n_queues, ==, 5);
        g_assert_cmphex(vd->device_features, ==,
                        BIT(CSUM) | BIT(GUEST_CSUM) | BIT(CTRL_GUEST_OFFLOADS) | BIT(MTU) |
                                        BIT(MAC) | BIT(GUEST_TSO4) | BIT(GUEST_TSO6) |
                                        BIT(GUEST_ECN) | BIT(GUEST_UFO) | BIT(HOST_TSO4) |
                                        BIT(HOST_TSO6) | BIT(HOST_ECN) | BIT(HOST_UFO) |
                                        BIT(MRG_RXBUF) | BIT(STATUS) | BIT(CTRL_VQ) | BIT(MQ));
        for (size_t i = 0; i < G_N_ELEMENTS(wrong); i++)
                g_assert_false(vd->ops->negotiated(vd, wrong[i]));
        g_assert_true(vd->ops->negotiated(vd, vd->device_features));
        vd->ops->config_read(vd, 0, &space, sizeof(space));
        g_assert_cmpint(memcmp(space.mac, (uint8_t[]){ 0x52, 0x54, 0, 1, 2, 3 }, 6), ==, 0);
        g_assert_cmpuint(space.status, ==, VNET_S_LINK_UP);
        g_assert_cmpuint(space.max_pairs, ==, 2);
        g_assert_cmpuint(space.mtu, ==, 1400);
        stop(&n);
}

/* Transmit */

static void fill_random(uint8_t *p, size_t len) {
        for (size_t i = 0; i < len; i++)
                p[i] = (uint8_t) g_test_rand_int();
}

/* Adds len bytes at addr (header included) cut into pieces; the first piece's end may lie in the header. */
static void add_frame(struct net_rig *n, unsigned q, uint64_t addr, uint32_t len) {
        struct drv_buf bufs[16];
        uint32_t done = 0;
        uint16_t k = 0;

        while (done < len) {
                uint32_t part = k == 15 ? len - done
                                        : (uint32_t) g_test_rand_int_range(
                                                          1, (gint32) (len - done) + 1);

                bufs[k++] = (struct drv_buf){ GADDR(addr + done), part, false };
                done += part;
        }
        g_assert_cmpint(drv_add(&n->r.rings[q], bufs, k, true, NULL), >=, 0);
}

static void take(struct net_rig *n, unsigned q, uint32_t *ret_len) {
        void *cookie;

        g_assert_true(rig_wait(&n->r, q, TIMEOUT_MS, &cookie, ret_len));
}

static ssize_t host_receive(int fd, void *buf, size_t len) {
        return recv(fd, buf, len, 0);
}

static void test_tx(void) {
        static uint8_t got[VNET_FRAME_MAX + 16];
        struct net_rig n;
        uint64_t bytes = 0;
        uint32_t len;

        for (int event_idx = 0; event_idx <= 1; event_idx++) {
                start(&n, 1, event_idx, 0);
                bytes = 0;
                for (int round = 0; round < 50; round++) {
                        uint32_t size[8];
                        unsigned count = (unsigned) g_test_rand_int_range(1, 9);

                        for (unsigned i = 0; i < count; i++) {
                                size[i] = (uint32_t) g_test_rand_int_range(
                                                VNET_FRAME_MIN,
                                                round % 10 ? 2000 : VNET_FRAME_MAX + 1);
                                fill_random(rig_host(&n.r, FRAMES + i * 131072, size[i]), size[i]);
                                add_frame(&n, 1, FRAMES + i * 131072, size[i]);
                                bytes += size[i] - NET_HEADER_LEN;
                        }
                        rig_publish(&n.r, 1);
                        for (unsigned i = 0; i < count; i++) {
                                take(&n, 1, &len);
                                g_assert_cmpuint(len, ==, 0);
                                g_assert_cmpint(host_receive(n.host[0], got, sizeof(got)), ==,
                                                size[i]);
                                g_assert_cmpint(memcmp(got,
                                                       rig_host(&n.r, FRAMES + i * 131072, size[i]),
                                                       size[i]),
                                                ==, 0);
                        }
                }
                g_assert_cmpuint(rig_counter(&n.r, "tx_bytes"), ==, bytes);
                g_assert_cmpuint(rig_counter(&n.r, "tx_drops"), ==, 0);
                stop(&n);
        }
}

/* Too short, too long, nothing readable: returned and not sent. */
static void test_tx_dropped(void) {
        struct drv_buf writable = { GADDR(FRAMES), 100, true };
        struct net_rig n;
        uint32_t len;
        char got[64];

        start(&n, 1, false, 0);
        add_frame(&n, 1, FRAMES, 1);
        add_frame(&n, 1, FRAMES, NET_HEADER_LEN);
        add_frame(&n, 1, FRAMES, VNET_FRAME_MIN - 1);
        add_frame(&n, 1, FRAMES, VNET_FRAME_MAX + 1);
        add_frame(&n, 1, FRAMES, 4u << 20);
        g_assert_cmpint(drv_add(&n.r.rings[1], &writable, 1, false, NULL), >=, 0);
        rig_publish(&n.r, 1);
        for (int i = 0; i < 6; i++)
                take(&n, 1, &len);
        g_assert_cmpint(host_receive(n.host[0], got, sizeof(got)), ==, -1);
        g_assert_cmpuint(rig_counter(&n.r, "tx_drops"), ==, 6);
        g_assert_cmpuint(rig_counter(&n.r, "tx_frames"), ==, 0);
        stop(&n);
}

/* A host that does not read: frames wait with the guest, and go out in order when it does. */
static void test_tx_blocked(void) {
        struct net_rig n;
        unsigned sent = 0, received = 0;
        uint32_t len;
        uint8_t got[4096];
        GError *error = NULL;

        start_sized(&n, 1, true, 0, 1024);
        for (; sent < 1024; sent++) {
                struct drv_buf buf = { GADDR(FRAMES + sent * 2048), 2000, false };

                *(unsigned *) rig_host(&n.r, FRAMES + sent * 2048 + 16, 4) = sent;
                if (drv_add(&n.r.rings[1], &buf, 1, false, NULL) < 0)
                        break;
        }
        rig_publish(&n.r, 1);
        take(&n, 1, &len);
        while (drv_outstanding(&n.r.rings[1]) > 0 && rig_wait(&n.r, 1, 50, &(void *){ NULL }, &len))
                ;
        g_assert_cmpuint(drv_outstanding(&n.r.rings[1]), >, 0);
        /* Paused while blocked. */
        g_assert_true(n.r.vd->ops->pause(n.r.vd, &error));
        g_assert_cmpuint(n.r.vd->queues[1].in_flight, ==, 0);
        n.r.vd->ops->resume(n.r.vd);
        while (received < sent) {
                if (host_receive(n.host[0], got, sizeof(got)) < 0) {
                        g_assert_cmpint(errno, ==, EAGAIN);
                        take(&n, 1, &len);
                        continue;
                }
                g_assert_cmpuint(*(unsigned *) (got + 16), ==, received);
                received++;
        }
        g_assert_cmpuint(rig_counter(&n.r, "tx_drops"), ==, 0);
        stop(&n);
}

/* Receive */

static void add_buffer(struct net_rig *n, unsigned q, uint64_t addr, uint32_t len) {
        struct drv_buf bufs[2] = { { GADDR(addr), len, true } };
        uint16_t k = 1;

        if (len > 40 && g_test_rand_bit()) {
                uint32_t cut = (uint32_t) g_test_rand_int_range(1, (gint32) len);

                bufs[0].len = cut;
                bufs[1] = (struct drv_buf){ GADDR(addr + cut), len - cut, true };
                k = 2;
        }
        g_assert_cmpint(drv_add(&n->r.rings[q], bufs, k, true, GSIZE_TO_POINTER(addr)), >=, 0);
}

/* Takes one frame back; returns its length. The first buffer's header tells how many it has. */
static uint32_t take_frame(struct net_rig *n, unsigned q, uint8_t *out, unsigned *ret_buffers) {
        uint32_t len, total = 0;
        unsigned left = 1, count = 0;
        void *cookie;

        for (; left > 0; left--, count++) {
                uint64_t addr;

                /* Of one frame all buffers come at once. */
                if (count == 0)
                        g_assert_true(rig_wait(&n->r, q, TIMEOUT_MS, &cookie, &len));
                else
                        g_assert_true(drv_take(&n->r.rings[q], &cookie, &len));
                addr = GPOINTER_TO_SIZE(cookie);
                memcpy(out + total, rig_host(&n->r, addr, len), len);
                total += len;
                if (count == 0)
                        left = GUINT16_FROM_LE(((struct vnet_header *) (void *) out)->num_buffers);
        }
        *ret_buffers = count;
        return total;
}

static void check_frame(const uint8_t *got, const uint8_t *sent, uint32_t len) {
        g_assert_cmpint(memcmp(got, sent, 10), ==, 0);
        g_assert_cmpint(memcmp(got + NET_HEADER_LEN, sent + NET_HEADER_LEN, len - NET_HEADER_LEN),
                        ==, 0);
}

static void host_send(int fd, const uint8_t *frame, uint32_t len) {
        g_assert_cmpint(send(fd, frame, len, 0), ==, len);
}

static void test_rx(void) {
        static uint8_t frame[4096], got[VNET_FRAME_MAX];
        struct net_rig n;
        unsigned count;

        for (int event_idx = 0; event_idx <= 1; event_idx++) {
                start(&n, 1, event_idx, 0);
                for (int round = 0; round < 300; round++) {
                        uint32_t len = (uint32_t) g_test_rand_int_range(VNET_FRAME_MIN, 1600);

                        fill_random(frame, len);
                        if (g_test_rand_bit()) {
                                add_buffer(&n, 0, BUFFERS, 1600);
                                rig_publish(&n.r, 0);
                                host_send(n.host[0], frame, len);
                        } else {
                                host_send(n.host[0], frame, len);
                                add_buffer(&n, 0, BUFFERS, 1600);
                                rig_publish(&n.r, 0);
                        }
                        g_assert_cmpuint(take_frame(&n, 0, got, &count), ==, len);
                        g_assert_cmpuint(count, ==, 1);
                        check_frame(got, frame, len);
                }
                g_assert_cmpuint(rig_counter(&n.r, "rx_frames"), ==, 300);
                g_assert_cmpuint(rig_counter(&n.r, "rx_drops"), ==, 0);
                stop(&n);
        }
}

/* Frames that are too short, or larger than the one buffer a driver without mergeable ones gives them. */
static void test_rx_dropped(void) {
        static uint8_t frame[4096], got[VNET_FRAME_MAX];
        struct net_rig n;
        unsigned count;

        start(&n, 1, false, 0);
        fill_random(frame, sizeof(frame));
        add_buffer(&n, 0, BUFFERS, 1000);
        rig_publish(&n.r, 0);
        host_send(n.host[0], frame, 3);
        host_send(n.host[0], frame, VNET_FRAME_MIN - 1);
        host_send(n.host[0], frame, 1001);
        host_send(n.host[0], frame, 4000);
        host_send(n.host[0], frame, 1000);
        g_assert_cmpuint(take_frame(&n, 0, got, &count), ==, 1000);
        check_frame(got, frame, 1000);
        g_assert_cmpuint(rig_counter(&n.r, "rx_drops"), ==, 4);
        stop(&n);
}

/* A guest without buffers: the host keeps the frames. */
static void test_rx_hungry(void) {
        static uint8_t frame[2048], got[VNET_FRAME_MAX];
        struct net_rig n;
        unsigned count;

        start(&n, 1, true, 0);
        for (uint8_t i = 0; i < 50; i++) {
                memset(frame, i, sizeof(frame));
                host_send(n.host[0], frame, 1000);
        }
        g_usleep(20000);
        for (uint8_t i = 0; i < 50; i++) {
                add_buffer(&n, 0, BUFFERS, 1600);
                rig_publish(&n.r, 0);
                g_assert_cmpuint(take_frame(&n, 0, got, &count), ==, 1000);
                g_assert_cmpuint(got[500], ==, i);
        }
        g_assert_cmpuint(rig_counter(&n.r, "rx_drops"), ==, 0);
        stop(&n);
}

/* Frames of every size into buffers of every size, added before and after. */
static void test_rx_mergeable(void) {
        static uint8_t frame[VNET_FRAME_MAX], got[VNET_FRAME_MAX];
        struct net_rig n;
        uint64_t addr = 0;
        unsigned buffers_used = 0;

        for (int tso = 0; tso <= 1; tso++) {
                start_sized(&n, 1, tso,
                            BIT(MRG_RXBUF) | (tso ? BIT(GUEST_CSUM) | BIT(GUEST_TSO4) : 0), 256);
                for (int round = 0; round < 400; round++) {
                        uint32_t len = (uint32_t) g_test_rand_int_range(
                                        VNET_FRAME_MIN, round % 4 ? 3000 : VNET_FRAME_MAX + 1);
                        unsigned count;

                        fill_random(frame, MIN(len, 4096u));
                        host_send(n.host[0], frame, len);
                        /* Keep fewer than half the queue's buffers with the device, so that frames wait for more. */
                        while (drv_outstanding(&n.r.rings[0]) < 100) {
                                add_buffer(&n, 0, BUFFERS + addr,
                                           (uint32_t) g_test_rand_int_range(200, 3000));
                                addr = (addr + 4096) % (4u << 20);
                                if (g_test_rand_int_range(0, 4) == 0)
                                        rig_publish(&n.r, 0);
                        }
                        rig_publish(&n.r, 0);
                        g_assert_cmpuint(take_frame(&n, 0, got, &count), ==, len);
                        check_frame(got, frame, len);
                        buffers_used += count;
                }
                g_assert_cmpuint(rig_counter(&n.r, "rx_frames"), ==, 400);
                g_assert_cmpuint(rig_counter(&n.r, "rx_drops"), ==, 0);
                stop(&n);
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

        start_sized(&n, 1, true, BIT(MRG_RXBUF), 16);
        fill_random(frame, sizeof(frame));
        add_buffer(&n, 0, BUFFERS, 1000);
        rig_publish(&n.r, 0);
        host_send(n.host[0], frame, 2500);
        g_assert_false(rig_wait(&n.r, 0, 30, &cookie, &len));
        add_buffer(&n, 0, BUFFERS + 4096, 1000);
        rig_publish(&n.r, 0);
        g_assert_false(rig_wait(&n.r, 0, 30, &cookie, &len));
        add_buffer(&n, 0, BUFFERS + 8192, 1000);
        rig_publish(&n.r, 0);
        g_assert_cmpuint(take_frame(&n, 0, got, &count), ==, 2500);
        g_assert_cmpuint(count, ==, 3);
        check_frame(got, frame, 2500);

        /* Paused while it is held: that frame is lost, the buffers are not. */
        add_buffer(&n, 0, BUFFERS, 1000);
        rig_publish(&n.r, 0);
        host_send(n.host[0], frame, 2500);
        g_assert_false(rig_wait(&n.r, 0, 30, &cookie, &len));
        g_assert_true(n.r.vd->ops->pause(n.r.vd, &error));
        g_assert_cmpuint(n.r.vd->queues[0].in_flight, ==, 0);
        n.r.vd->ops->resume(n.r.vd);
        g_assert_cmpuint(rig_counter(&n.r, "rx_drops"), ==, 1);
        host_send(n.host[0], frame, 700);
        g_assert_cmpuint(take_frame(&n, 0, got, &count), ==, 700);

        for (unsigned i = 0; i < 8; i++)
                add_buffer(&n, 0, BUFFERS + i * 4096, 500);
        rig_publish(&n.r, 0);
        host_send(n.host[0], frame, 8000);
        host_send(n.host[0], frame, 800);
        g_assert_cmpuint(take_frame(&n, 0, got, &count), ==, 800);
        g_assert_cmpuint(count, ==, 2);
        g_assert_cmpuint(rig_counter(&n.r, "rx_drops"), ==, 2);
        stop(&n);
}

/* A burst costs few interrupts. */
static void test_rx_batch(void) {
        static uint8_t frame[256], got[VNET_FRAME_MAX];
        struct net_rig n;
        unsigned count, before;
        GError *error = NULL;

        start(&n, 1, true, 0);
        for (unsigned i = 0; i < 60; i++)
                add_buffer(&n, 0, BUFFERS + i * 4096, 1600);
        g_assert_true(n.r.vd->ops->pause(n.r.vd, &error));
        rig_publish(&n.r, 0);
        for (unsigned i = 0; i < 60; i++)
                host_send(n.host[0], frame, sizeof(frame));
        before = rig_interrupts(&n.r, 0);
        n.r.vd->ops->resume(n.r.vd);
        for (unsigned i = 0; i < 60; i++)
                (void) take_frame(&n, 0, got, &count);
        g_assert_cmpuint(rig_interrupts(&n.r, 0) - before, <=, 2);
        stop(&n);
}

static void test_broken_chains(void) {
        struct drv_buf readable = { GADDR(BUFFERS), 1600, false };
        struct net_rig n;
        uint32_t len;
        void *cookie;

        /* A receive buffer that the device may only read. */
        start(&n, 1, false, 0);
        g_assert_cmpint(drv_add(&n.r.rings[0], &readable, 1, false, NULL), >=, 0);
        rig_publish(&n.r, 0);
        g_assert_true(rig_wait_broken(&n.r, TIMEOUT_MS));
        rig_kick(&n.r, 0);
        (void) send(n.host[0], "12345678901234567890123456789", 29, 0);
        g_assert_false(rig_wait(&n.r, 0, 30, &cookie, &len));
        g_assert_cmpuint(n.r.breaks, ==, 1);
        stop(&n);

        /* A loop in the transmit queue. */
        start(&n, 1, false, 0);
        drv_put_desc(n.r.mem, n.r.rings[1].desc, 0, FRAMES, 64, DRV_NEXT, 0);
        drv_put_avail(&n.r.rings[1], 0, 0);
        drv_put_avail_idx(&n.r.rings[1], 1);
        rig_kick(&n.r, 1);
        g_assert_true(rig_wait_broken(&n.r, TIMEOUT_MS));
        rig_stop(&n.r);
        rig_start(&n.r, 0);
        add_frame(&n, 1, FRAMES, 100);
        rig_publish(&n.r, 1);
        take(&n, 1, &len);
        stop(&n);
}

/* Control queue */

static uint8_t
command_on(struct net_rig *n,
           unsigned q,
           uint8_t class,
           uint8_t number,
           const void *data,
           uint32_t data_len) {
        uint8_t *p = rig_host(&n->r, COMMAND, data_len + 2);
        struct drv_buf bufs[] = {
                { GADDR(COMMAND), 2, false },
                { GADDR(COMMAND + 2), data_len, false },
                { GADDR(COMMAND + 4096), 1, true },
        };
        uint32_t len;

        p[0] = class;
        p[1] = number;
        if (data_len > 0)
                memcpy(p + 2, data, data_len);
        else
                bufs[1] = bufs[2];
        *(uint8_t *) rig_host(&n->r, COMMAND + 4096, 1) = 0xee;
        g_assert_cmpint(drv_add(&n->r.rings[q], bufs, data_len ? 3 : 2, false, NULL), >=, 0);
        rig_publish(&n->r, q);
        take(n, q, &len);
        g_assert_cmpuint(len, ==, 1);
        return *(uint8_t *) rig_host(&n->r, COMMAND + 4096, 1);
}

static void test_commands(void) {
        struct net_rig n;
        uint64_t offloads = BIT(GUEST_CSUM) | BIT(GUEST_TSO4);
        uint8_t data[16] = { 1 };
        const unsigned q = 2;

        start(&n, 1, false,
              BIT(CTRL_VQ) | BIT(CTRL_GUEST_OFFLOADS) | BIT(GUEST_CSUM) | BIT(GUEST_TSO4) |
                              BIT(GUEST_TSO6));
        g_assert_cmphex(port_offloads, ==, NET_OFFLOAD_CSUM | NET_OFFLOAD_TSO4 | NET_OFFLOAD_TSO6);

        g_assert_cmpuint(command_on(&n, q, 0, 6, data, 1), ==, VNET_ERR);
        g_assert_cmpuint(command_on(&n, q, 0, 0, NULL, 0), ==, VNET_ERR);
        g_assert_cmpuint(command_on(&n, q, 1, 1, data, 6), ==, VNET_ERR);
        g_assert_cmpuint(command_on(&n, q, 2, 2, data, 2), ==, VNET_ERR);
        g_assert_cmpuint(command_on(&n, q, 3, 1, NULL, 0), ==, VNET_ERR);
        g_assert_cmpuint(command_on(&n, q, 4, 0, data, 2), ==, VNET_ERR);
        g_assert_cmpuint(command_on(&n, q, 5, 0, &offloads, 7), ==, VNET_ERR);
        g_assert_cmpuint(command_on(&n, q, 255, 255, data, 16), ==, VNET_ERR);
        offloads |= BIT(GUEST_UFO);
        g_assert_cmpuint(command_on(&n, q, 5, 0, &offloads, 8), ==, VNET_ERR);

        g_assert_cmpuint(command_on(&n, q, 0, 0, data, 1), ==, VNET_OK);
        g_assert_cmpuint(command_on(&n, q, 1, 0, data, 8), ==, VNET_OK);
        g_assert_cmpuint(command_on(&n, q, 2, 1, data, 2), ==, VNET_OK);
        g_assert_cmpuint(command_on(&n, q, 3, 0, NULL, 0), ==, VNET_OK);
        offloads &= ~BIT(GUEST_UFO);
        g_assert_cmpuint(command_on(&n, q, 5, 0, &offloads, 8), ==, VNET_OK);
        g_assert_cmphex(port_offloads, ==, NET_OFFLOAD_CSUM | NET_OFFLOAD_TSO4);
        offloads = 0;
        g_assert_cmpuint(command_on(&n, q, 5, 0, &offloads, 8), ==, VNET_OK);
        g_assert_cmphex(port_offloads, ==, 0);
        stop(&n);
}

static void test_no_room_for_ack(void) {
        struct drv_buf buf = { GADDR(COMMAND), 16, false };
        struct net_rig n;

        start(&n, 1, false, BIT(CTRL_VQ));
        g_assert_cmpint(drv_add(&n.r.rings[2], &buf, 1, false, NULL), >=, 0);
        rig_publish(&n.r, 2);
        g_assert_true(rig_wait_broken(&n.r, TIMEOUT_MS));
        stop(&n);
}

/* The control queue's place depends on MQ (5.1.2). */
static void test_without_mq(void) {
        struct net_rig n;
        uint8_t data[2] = { 1 };

        start(&n, 3, false, BIT(CTRL_VQ));
        g_assert_cmpuint(command_on(&n, 2, 0, 0, data, 1), ==, VNET_OK);
        g_assert_false(port_attached[n.device[1]]);
        stop(&n);
}

static void round_trip(struct net_rig *n, unsigned pair) {
        static uint8_t frame[512], got[VNET_FRAME_MAX];
        unsigned count;
        uint32_t len;

        fill_random(frame, sizeof(frame));
        add_buffer(n, 2 * pair, BUFFERS, 1600);
        rig_publish(&n->r, 2 * pair);
        host_send(n->host[pair], frame, sizeof(frame));
        g_assert_cmpuint(take_frame(n, 2 * pair, got, &count), ==, sizeof(frame));
        check_frame(got, frame, sizeof(frame));
        memcpy(rig_host(&n->r, FRAMES, sizeof(frame)), frame, sizeof(frame));
        add_frame(n, 2 * pair + 1, FRAMES, sizeof(frame));
        rig_publish(&n->r, 2 * pair + 1);
        take(n, 2 * pair + 1, &len);
        g_assert_cmpint(host_receive(n->host[pair], got, sizeof(got)), ==, sizeof(frame));
        g_assert_cmpint(memcmp(got, frame, sizeof(frame)), ==, 0);
}

static void set_pairs(struct net_rig *n, uint16_t pairs, uint8_t expected) {
        uint8_t data[2] = { (uint8_t) pairs, (uint8_t) (pairs >> 8) };

        g_assert_cmpuint(command_on(n, 6, VNET_CLASS_MQ, VNET_MQ_PAIRS_SET, data, 2), ==, expected);
}

static void expect_attached(const struct net_rig *n, unsigned pairs) {
        for (unsigned i = 0; i < n->n_pairs; i++)
                g_assert_true(port_attached[n->device[i]] == (i < pairs));
}

static void test_pairs(void) {
        struct net_rig n;
        GError *error = NULL;

        start(&n, 3, true, BIT(CTRL_VQ) | BIT(MQ));
        expect_attached(&n, 1);
        round_trip(&n, 0);
        set_pairs(&n, 0, VNET_ERR);
        set_pairs(&n, 4, VNET_ERR);
        set_pairs(&n, 0x8001, VNET_ERR);
        set_pairs(&n, 3, VNET_OK);
        expect_attached(&n, 3);
        for (unsigned i = 0; i < 3; i++)
                round_trip(&n, i);
        set_pairs(&n, 2, VNET_OK);
        expect_attached(&n, 2);
        g_assert_true(n.r.vd->ops->pause(n.r.vd, &error));
        expect_attached(&n, 2);
        n.r.vd->ops->resume(n.r.vd);
        round_trip(&n, 1);

        port_attach_error = -E2BIG;
        set_pairs(&n, 3, VNET_ERR);
        port_attach_error = 0;
        expect_attached(&n, 2);
        set_pairs(&n, 3, VNET_OK);
        round_trip(&n, 2);

        /* Reset goes back to one. */
        rig_stop(&n.r);
        expect_attached(&n, 1);
        rig_start(&n.r, BIT(CTRL_VQ) | BIT(MQ));
        expect_attached(&n, 1);
        round_trip(&n, 0);
        stop(&n);
}

static void test_save_restore(void) {
        g_autoptr(GError) error = NULL;
        g_autoptr(GVariant) state = NULL;
        const uint64_t features = BIT(CTRL_VQ) | BIT(MQ) | BIT(GUEST_CSUM);
        GVariant *wrong[] = {
                g_variant_new("(us)", 1, "x"),
                g_variant_new("(uuub)", 2, 1, 0, TRUE),
                g_variant_new("(uuub)", 1, 0, 0, TRUE),
                g_variant_new("(uuub)", 1, 4, 0, TRUE),
                g_variant_new("(uuub)", 1, 1, 0x1000, TRUE),
        };
        struct net_rig n;

        start(&n, 3, true, features);
        set_pairs(&n, 2, VNET_OK);
        g_assert_true(n.r.vd->ops->pause(n.r.vd, &error));
        state = g_variant_ref_sink(n.r.vd->ops->save(n.r.vd));
        stop(&n);

        start(&n, 3, true, features);
        rig_stop(&n.r);
        for (size_t i = 0; i < G_N_ELEMENTS(wrong); i++) {
                g_autoptr(GVariant) v = g_variant_ref_sink(wrong[i]);

                g_assert_false(n.r.vd->ops->restore(n.r.vd, v, &error));
                g_assert_error(error, HV_ERROR, HV_ERROR_STATE);
                g_clear_error(&error);
        }
        rig_prepare(&n.r, features);
        g_assert_true(n.r.vd->ops->restore(n.r.vd, state, &error));
        port_offloads = 0;
        rig_activate(&n.r);
        g_assert_cmphex(port_offloads, ==, NET_OFFLOAD_CSUM);
        expect_attached(&n, 2);
        round_trip(&n, 0);
        round_trip(&n, 1);

        /* A driver without MQ has one pair, whatever the state says; the next driver starts with one, too. */
        rig_stop(&n.r);
        rig_prepare(&n.r, BIT(CTRL_VQ));
        g_assert_true(n.r.vd->ops->restore(n.r.vd, state, &error));
        rig_activate(&n.r);
        expect_attached(&n, 1);
        rig_stop(&n.r);
        g_assert_true(n.r.vd->ops->restore(n.r.vd, state, &error));
        rig_start(&n.r, features);
        expect_attached(&n, 1);
        stop(&n);
}

static void test_reset_with_work(void) {
        static uint8_t frame[1000];
        struct net_rig n;

        start_sized(&n, 1, false, BIT(MRG_RXBUF), 256);
        for (int round = 0; round < 50; round++) {
                for (unsigned i = 0; i < 100; i++) {
                        add_buffer(&n, 0, BUFFERS + i * 4096, 1600);
                        add_frame(&n, 1, FRAMES, 1000);
                }
                rig_publish(&n.r, 0);
                rig_publish(&n.r, 1);
                for (int i = 0; i < 10; i++)
                        (void) send(n.host[0], frame, sizeof(frame), 0);
                rig_stop(&n.r);
                memset(rig_host(&n.r, BUFFERS, 1u << 20), 0x33, 1u << 20);
                while (host_receive(n.host[0], frame, sizeof(frame)) > 0)
                        ;
                (void) send(n.host[0], frame, sizeof(frame), 0);
                for (unsigned i = 0; i < 1u << 20; i += 4096)
                        g_assert_cmpuint(
                                        ((uint8_t *) rig_host(&n.r, BUFFERS, 1u << 20))[i], ==,
                                        0x33);
                rig_start(&n.r, BIT(MRG_RXBUF));
        }
        stop(&n);
}

static uint16_t status_of(struct net_rig *n) {
        uint16_t status;

        n->r.vd->ops->config_read(n->r.vd, 6, &status, 2);
        return GUINT16_FROM_LE(status);
}

static void test_link(void) {
        static uint8_t frame[100], got[VNET_FRAME_MAX];
        struct net_rig n;
        unsigned count;
        uint32_t len;

        start(&n, 1, false, BIT(STATUS));
        virtio_net_set_link(n.r.vd, true);
        g_assert_cmpuint(n.r.config_changes, ==, 0);
        virtio_net_set_link(n.r.vd, false);
        g_assert_cmpuint(n.r.config_changes, ==, 1);
        g_assert_cmpuint(status_of(&n), ==, 0);
        add_buffer(&n, 0, BUFFERS, 1600);
        rig_publish(&n.r, 0);
        host_send(n.host[0], frame, sizeof(frame));
        add_frame(&n, 1, FRAMES, 100);
        rig_publish(&n.r, 1);
        take(&n, 1, &len);
        g_assert_cmpint(host_receive(n.host[0], got, sizeof(got)), ==, -1);
        while (rig_counter(&n.r, "rx_drops") == 0)
                g_thread_yield();
        virtio_net_set_link(n.r.vd, true);
        g_assert_cmpuint(status_of(&n), ==, VNET_S_LINK_UP);
        host_send(n.host[0], frame, sizeof(frame));
        g_assert_cmpuint(take_frame(&n, 0, got, &count), ==, sizeof(frame));
        stop(&n);
}

/* The other end goes: the link is down, frames are dropped, and no thread spins. */
static void test_port_dies(void) {
        struct net_rig n;
        struct timespec before, after;
        uint32_t len;

        start(&n, 1, false, BIT(STATUS));
        add_buffer(&n, 0, BUFFERS, 1600);
        rig_publish(&n.r, 0);
        g_assert_cmpint(shutdown(n.host[0], SHUT_RDWR), ==, 0);
        g_assert_true(rig_wait_config_change(&n.r, 0, TIMEOUT_MS));
        g_assert_cmpuint(status_of(&n), ==, 0);
        add_frame(&n, 1, FRAMES, 100);
        rig_publish(&n.r, 1);
        take(&n, 1, &len);
        g_assert_cmpuint(rig_counter(&n.r, "tx_drops"), ==, 1);
        (void) clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before);
        g_usleep(100000);
        (void) clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after);
        g_assert_cmpint((after.tv_sec - before.tv_sec) * 1000000000l + after.tv_nsec -
                                        before.tv_nsec,
                        <, 50000000);
        stop(&n);
}

static void test_vandal(void) {
        g_autoptr(GRand) rand = g_rand_new_with_seed((guint32) g_test_rand_int());
        const uint64_t features = BIT(CTRL_VQ) | BIT(MQ) | BIT(MRG_RXBUF) | BIT(GUEST_CSUM) |
                                  BIT(GUEST_TSO4) | BIT(CTRL_GUEST_OFFLOADS);
        static uint8_t frame[3000];
        struct net_rig n;

        start(&n, 3, true, features);
        for (int round = 0; round < 150; round++) {
                fill_random(rig_host(&n.r, COMMAND, 64), 64);
                for (int i = 0; i < 40; i++) {
                        unsigned q = (unsigned) g_test_rand_int_range(0, 7);

                        drv_vandalise(&n.r.rings[q], rand, RIG_MEMORY);
                        rig_kick(&n.r, q);
                        (void) send(n.host[i % 3], frame, (size_t) g_test_rand_int_range(1, 3000),
                                    0);
                }
                rig_stop(&n.r);
                for (unsigned i = 0; i < 3; i++)
                        while (host_receive(n.host[i], frame, sizeof(frame)) > 0)
                                ;
                rig_start(&n.r, round % 2 ? features : features & ~BIT(MRG_RXBUF));
        }
        stop(&n);
}

int main(int argc, char **argv) {
        (void) signal(SIGPIPE, SIG_IGN);
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/net/bad-config", test_bad_config);
        g_test_add_func("/net/features", test_features);
        g_test_add_func("/net/tx-dropped", test_tx_dropped);
        g_test_add_func("/net/tx", test_tx);
        g_test_add_func("/net/tx-blocked", test_tx_blocked);
        g_test_add_func("/net/rx-dropped", test_rx_dropped);
        g_test_add_func("/net/rx", test_rx);
        g_test_add_func("/net/rx-hungry", test_rx_hungry);
        g_test_add_func("/net/rx-mergeable", test_rx_mergeable);
        g_test_add_func("/net/rx-held", test_rx_held);
        g_test_add_func("/net/rx-batch", test_rx_batch);
        g_test_add_func("/net/broken-chains", test_broken_chains);
        g_test_add_func("/net/commands", test_commands);
        g_test_add_func("/net/no-room-for-ack", test_no_room_for_ack);
        g_test_add_func("/net/without-mq", test_without_mq);
        g_test_add_func("/net/pairs", test_pairs);
        g_test_add_func("/net/save-restore", test_save_restore);
        g_test_add_func("/net/reset-with-work", test_reset_with_work);
        g_test_add_func("/net/link", test_link);
        g_test_add_func("/net/port-dies", test_port_dies);
#ifndef __SANITIZE_THREAD__ /* such a driver races with the device on purpose */
        g_test_add_func("/net/vandal", test_vandal);
#else
        (void) test_vandal;
#endif
        return g_test_run();
}
