/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/* The port of packet sockets, and the driver's side of queues (net-rig.h). */

#include "net-rig.h"

#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct nrig_port nrig_port;

static bool socket_adopt(int fd, bool several, char ret_name[NET_NAME_LEN], GError **error) {
        (void) g_strlcpy(ret_name, "socket0", NET_NAME_LEN);
        return fcntl(fd, F_SETFL, O_RDWR | O_NONBLOCK) == 0;
}

static unsigned socket_offloads(int fd) {
        return NET_OFFLOAD_CSUM | NET_OFFLOAD_TSO4 | NET_OFFLOAD_TSO6 | NET_OFFLOAD_ECN |
               NET_OFFLOAD_UFO;
}

static int socket_set_offloads(int fd, unsigned offloads) {
        nrig_port.offloads = offloads;
        return 0;
}

static int socket_attach(int fd, bool on) {
        if (on && nrig_port.attach_error)
                return nrig_port.attach_error;
        nrig_port.attached[fd] = on;
        return 0;
}

static int socket_set_program(int fd, const struct sock_fprog *program) {
        if (nrig_port.program_error)
                return nrig_port.program_error;
        nrig_port.program_len = program ? program->len : 0;
        return 0;
}

static const struct net_port_ops socket_ops = {
        .adopt = socket_adopt,
        .offloads = socket_offloads,
        .set_offloads = socket_set_offloads,
        .attach = socket_attach,
        .set_program = socket_set_program,
};

struct virtio_net_config nrig_config(const int *fds, unsigned n_pairs) {
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

struct virtio_net_config nrig_ports(struct net_rig *n, unsigned n_pairs) {
        for (unsigned i = 0; i < n_pairs; i++) {
                int ends[2];

                g_assert_cmpint(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), ==, 0);
                n->host[i] = ends[0];
                n->device[i] = ends[1];
                g_assert_cmpint(fcntl(ends[0], F_SETFL, O_RDWR | O_NONBLOCK), ==, 0);
                g_assert_cmpint(ends[1], <, 1024);
                nrig_port.attached[ends[1]] = true;
        }
        n->n_pairs = n_pairs;
        return nrig_config(n->device, n_pairs);
}

struct virtio_dev *
nrig_new(const gmem *mem, const struct virtio_net_config *config, GError **error) {
        return vnet_new(mem, config, &socket_ops, error);
}

void nrig_start_with(
                struct net_rig *n,
                const struct virtio_net_config *config,
                bool event_idx,
                uint64_t features) {
        g_autoptr(GError) error = NULL;

        rig_init(&n->r);
        rig_attach(&n->r, nrig_new(n->r.mem, config, &error), event_idx, 64);
        g_assert_no_error(error);
        rig_start(&n->r, features);
}

void nrig_start_sized(
                struct net_rig *n,
                unsigned n_pairs,
                bool event_idx,
                uint64_t features,
                uint16_t queue_size) {
        struct virtio_net_config config = nrig_ports(n, n_pairs);

        config.queue_size = queue_size;
        nrig_start_with(n, &config, event_idx, features);
}

void nrig_start(struct net_rig *n, unsigned n_pairs, bool event_idx, uint64_t features) {
        nrig_start_sized(n, n_pairs, event_idx, features, 64);
}

void nrig_stop(struct net_rig *n) {
        rig_clear(&n->r);
        for (unsigned i = 0; i < n->n_pairs; i++) {
                (void) close(n->host[i]);
                /* The device closed its ends. */
                g_assert_cmpint(fcntl(n->device[i], F_GETFD), ==, -1);
        }
}

void nrig_fill(uint8_t *p, size_t len) {
        for (size_t i = 0; i < len; i++)
                p[i] = (uint8_t) g_test_rand_int();
}

/* Adds len bytes at addr (header included) cut into pieces; the first piece's end may lie in the header. */
void nrig_add_frame(struct net_rig *n, unsigned q, uint64_t addr, uint32_t len) {
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

void nrig_take(struct net_rig *n, unsigned q, uint32_t *ret_len) {
        void *cookie;

        g_assert_true(rig_wait(&n->r, q, TIMEOUT_MS, &cookie, ret_len));
}

ssize_t nrig_host_receive(int fd, void *buf, size_t len) {
        ssize_t n;

        do
                n = recv(fd, buf, len, 0);
        while (n == NET_HEADER_LEN + 60 && !nrig_port.keep_rarp &&
               memcmp((uint8_t *) buf + NET_HEADER_LEN + 12, "\x80\x35\0\x01", 4) == 0);
        return n;
}

void nrig_add_buffer(struct net_rig *n, unsigned q, uint64_t addr, uint32_t len) {
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
uint32_t nrig_take_frame(struct net_rig *n, unsigned q, uint8_t *out, unsigned *ret_buffers) {
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

void nrig_check_frame(const uint8_t *got, const uint8_t *sent, uint32_t len) {
        g_assert_cmpint(memcmp(got, sent, 10), ==, 0);
        g_assert_cmpint(memcmp(got + NET_HEADER_LEN, sent + NET_HEADER_LEN, len - NET_HEADER_LEN),
                        ==, 0);
}

void nrig_host_send(int fd, const uint8_t *frame, uint32_t len) {
        g_assert_cmpint(send(fd, frame, len, 0), ==, len);
}

/* Control queue */
uint8_t
nrig_command(struct net_rig *n,
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
        nrig_take(n, q, &len);
        g_assert_cmpuint(len, ==, 1);
        return *(uint8_t *) rig_host(&n->r, COMMAND + 4096, 1);
}

void nrig_round_trip(struct net_rig *n, unsigned pair) {
        static uint8_t frame[512], got[VNET_FRAME_MAX];
        unsigned count;
        uint32_t len;

        nrig_fill(frame, sizeof(frame));
        nrig_add_buffer(n, 2 * pair, BUFFERS, 1600);
        rig_publish(&n->r, 2 * pair);
        nrig_host_send(n->host[pair], frame, sizeof(frame));
        g_assert_cmpuint(nrig_take_frame(n, 2 * pair, got, &count), ==, sizeof(frame));
        nrig_check_frame(got, frame, sizeof(frame));
        memcpy(rig_host(&n->r, FRAMES, sizeof(frame)), frame, sizeof(frame));
        nrig_add_frame(n, 2 * pair + 1, FRAMES, sizeof(frame));
        rig_publish(&n->r, 2 * pair + 1);
        nrig_take(n, 2 * pair + 1, &len);
        g_assert_cmpint(nrig_host_receive(n->host[pair], got, sizeof(got)), ==, sizeof(frame));
        g_assert_cmpint(memcmp(got, frame, sizeof(frame)), ==, 0);
}

void nrig_set_pairs(struct net_rig *n, uint16_t pairs, uint8_t expected) {
        uint8_t data[2] = { (uint8_t) pairs, (uint8_t) (pairs >> 8) };

        g_assert_cmpuint(
                        nrig_command(n, 6, VNET_CLASS_MQ, VNET_MQ_PAIRS_SET, data, 2), ==,
                        expected);
}

void nrig_expect_attached(const struct net_rig *n, unsigned pairs) {
        for (unsigned i = 0; i < n->n_pairs; i++)
                g_assert_true(nrig_port.attached[n->device[i]] == (i < pairs));
}
