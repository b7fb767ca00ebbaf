/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves of frames on a stream: lengths that no frame can have end the connection and nothing else; frames of any size arrive whole and
 * in order both ways, however the stream is cut, and when the receiver is slow; without a peer the guest's frames are dropped, and
 * another peer takes over; and a driver of our own gets an address from the real passt.
 */

#include "devices/net/stream.h"
#include "net-rig.h"
#include "tests/unit/support/real-passt.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define FRAME_MAX (VNET_FRAME_MAX - NET_HEADER_LEN)

static atomic_int connected, lost;

static void on_changed(void *opaque, const char *id, bool is, const char *why) {
        g_assert_cmpstr(id, ==, "_net0");
        g_assert_true(is || why);
        atomic_fetch_add(is ? &connected : &lost, 1);
}

struct fixture {
        net_stream *s;
        int port, peer;
};

static int pair(int *ret_peer) {
        int ends[2];

        g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), ==, 0);
        *ret_peer = ends[1];
        return ends[0];
}

static void begin(struct fixture *f) {
        struct net_stream_config config = { .id = "_net0", .changed = on_changed };
        g_autoptr(GError) error = NULL;

        atomic_store(&connected, 0);
        atomic_store(&lost, 0);
        config.socket = pair(&f->peer);
        f->s = net_stream_new(&config, &f->port, &error);
        g_assert_no_error(error);
        g_assert_true(net_stream_is_connected(f->s));
}

static void finish(struct fixture *f) {
        (void) close(f->port);
        f->s = net_stream_free(f->s);
        (void) close(f->peer);
}

static void await(atomic_int *counter, int n) {
        gint64 end = g_get_monotonic_time() + 20 * G_USEC_PER_SEC;

        while (atomic_load(counter) < n && g_get_monotonic_time() < end)
                g_usleep(1000);
        g_assert_cmpint(atomic_load(counter), ==, n);
}

static void await_fd(int fd, short events) {
        struct pollfd p = { .fd = fd, .events = events };

        g_assert_cmpint(poll(&p, 1, TIMEOUT_MS), ==, 1);
}

static void write_all(int fd, const void *data, size_t len) {
        const char *at = data;

        while (len > 0) {
                ssize_t n = write(fd, at, len);

                if (n < 0 && errno == EAGAIN) {
                        await_fd(fd, POLLOUT);
                        continue;
                }
                g_assert_cmpint(n, >, 0);
                at += n;
                len -= (size_t) n;
        }
}

static void read_all(int fd, void *data, size_t len) {
        char *at = data;

        while (len > 0) {
                ssize_t n;

                await_fd(fd, POLLIN);
                n = read(fd, at, len);
                g_assert_cmpint(n, >, 0);
                at += n;
                len -= (size_t) n;
        }
}

static void test_bad_length(void) {
        static const uint32_t lengths[] = { 0, 1, 13, FRAME_MAX + 1, 1 << 20, UINT32_MAX };
        static uint8_t frame[60];

        for (size_t i = 0; i < G_N_ELEMENTS(lengths); i++) {
                uint32_t length = GUINT32_TO_BE(lengths[i]), good = GUINT32_TO_BE(sizeof(frame));
                struct fixture f;
                uint8_t got[128];

                begin(&f);
                /* A good one ahead of it arrives. */
                write_all(f.peer, &good, sizeof(good));
                write_all(f.peer, frame, sizeof(frame));
                await_fd(f.port, POLLIN);
                g_assert_cmpint(read(f.port, got, sizeof(got)), ==, 72);
                write_all(f.peer, &length, sizeof(length));
                await(&lost, 1);
                g_assert_false(net_stream_is_connected(f.s));
                /* The device goes on; what it sends goes nowhere. */
                g_assert_cmpint(write(f.port, got, 72), ==, 72);
                finish(&f);
        }
}

static const uint32_t sizes[] = { 14, 15, 60, 1514, 9018, 65535, FRAME_MAX };

static void test_to_guest(void) {
        static uint8_t stream[1 << 20], got[VNET_FRAME_MAX];
        struct fixture f;

        for (size_t cut = 1; cut <= sizeof(stream); cut = cut * 7 + 1) {
                size_t len = 0, at = 0;

                begin(&f);
                for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++) {
                        uint32_t length = GUINT32_TO_BE(sizes[i]);

                        memcpy(stream + len, &length, 4);
                        memset(stream + len + 4, (int) i + 1, sizes[i]);
                        len += 4 + sizes[i];
                }
                /* Byte by byte only as far as it takes to cut every part of a frame. */
                for (size_t n = 0; n < 200 && at < len; n++, at += MIN(cut, len - at))
                        write_all(f.peer, stream + at, MIN(cut, len - at));
                if (at < len)
                        write_all(f.peer, stream + at, len - at);
                for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++) {
                        static const uint8_t no_header[NET_HEADER_LEN];

                        await_fd(f.port, POLLIN);
                        g_assert_cmpint(read(f.port, got, sizeof(got)), ==,
                                        NET_HEADER_LEN + sizes[i]);
                        g_assert_cmpmem(got, NET_HEADER_LEN, no_header, NET_HEADER_LEN);
                        for (size_t j = 0; j < sizes[i]; j++)
                                g_assert_cmpuint(got[NET_HEADER_LEN + j], ==, i + 1);
                }
                finish(&f);
        }
}

static void test_from_guest(void) {
        static uint8_t frame[VNET_FRAME_MAX], got[VNET_FRAME_MAX];
        struct fixture f;

        begin(&f);
        /* Too short to be one. */
        g_assert_cmpint(write(f.port, frame, NET_HEADER_LEN + 13), ==, NET_HEADER_LEN + 13);
        for (size_t i = 0; i < G_N_ELEMENTS(sizes); i++) {
                uint32_t length;

                memset(frame, 0xff, NET_HEADER_LEN);
                memset(frame + NET_HEADER_LEN, (int) i + 1, sizes[i]);
                await_fd(f.port, POLLOUT);
                g_assert_cmpint(write(f.port, frame, NET_HEADER_LEN + sizes[i]), ==,
                                NET_HEADER_LEN + sizes[i]);
                read_all(f.peer, &length, sizeof(length));
                g_assert_cmpuint(GUINT32_FROM_BE(length), ==, sizes[i]);
                read_all(f.peer, got, sizes[i]);
                g_assert_cmpmem(got, sizes[i], frame + NET_HEADER_LEN, sizes[i]);
        }
        finish(&f);
}

#define MANY 3000
#define MANY_BYTES 2000u

/* Nobody reads until nothing more can be written, in either direction. */
static void test_slow(void) {
        static uint8_t frame[NET_HEADER_LEN + MANY_BYTES];
        uint32_t length = GUINT32_TO_BE(MANY_BYTES), sent = 0, received = 0;
        struct fixture f;

        begin(&f);
        while (received < MANY) {
                struct pollfd p = { .fd = f.port, .events = POLLOUT };

                while (sent < MANY && poll(&p, 1, received == 0 ? 50 : 0) == 1) {
                        memcpy(frame + NET_HEADER_LEN, &sent, sizeof(sent));
                        if (write(f.port, frame, sizeof(frame)) < 0)
                                break;
                        sent++;
                }
                for (unsigned i = 0; i < 10 && received < sent; i++, received++) {
                        uint32_t n;

                        read_all(f.peer, &n, sizeof(n));
                        g_assert_cmpuint(n, ==, length);
                        read_all(f.peer, frame, MANY_BYTES);
                        memcpy(&n, frame, sizeof(n));
                        g_assert_cmpuint(n, ==, received);
                }
        }
        g_assert_cmpint(fcntl(f.peer, F_SETFL, O_RDWR | O_NONBLOCK), ==, 0);
        for (sent = received = 0; received < MANY;) {
                struct pollfd p = { .fd = f.peer, .events = POLLOUT };

                while (sent < MANY && poll(&p, 1, received == 0 ? 50 : 0) == 1) {
                        memcpy(frame, &length, sizeof(length));
                        memcpy(frame + 4, &sent, sizeof(sent));
                        /* A part of it is finished when somebody reads. */
                        if (received == 0 && sent > 300)
                                break;
                        write_all(f.peer, frame, 4 + MANY_BYTES);
                        sent++;
                        if (received > 0)
                                break;
                }
                for (unsigned i = 0; i < 10 && received < sent; i++, received++) {
                        uint32_t n;

                        await_fd(f.port, POLLIN);
                        g_assert_cmpint(read(f.port, frame, sizeof(frame)), ==, sizeof(frame));
                        memcpy(&n, frame + NET_HEADER_LEN, sizeof(n));
                        g_assert_cmpuint(n, ==, received);
                }
        }
        g_assert_cmpint(atomic_load(&lost), ==, 0);
        finish(&f);
}

static void test_another(void) {
        uint8_t frame[NET_HEADER_LEN + 60] = { 0 };
        g_autoptr(GError) error = NULL;
        struct fixture f;
        uint32_t length;

        begin(&f);
        (void) close(f.peer);
        await(&lost, 1);
        g_assert_cmpint(write(f.port, frame, sizeof(frame)), ==, sizeof(frame));
        /* It is dropped before the next peer comes. */
        g_usleep(50000);
        g_assert_true(net_stream_connect(f.s, pair(&f.peer), &error));
        await(&connected, 1);
        frame[NET_HEADER_LEN] = 7;
        g_assert_cmpint(write(f.port, frame, sizeof(frame)), ==, sizeof(frame));
        read_all(f.peer, &length, sizeof(length));
        read_all(f.peer, frame, 60);
        g_assert_cmpuint(frame[0], ==, 7);
        finish(&f);
}

/* passt */

static const uint8_t our_mac[] = { 2, 0, 0, 0, 0, 1 };

static uint16_t ip_checksum(const uint8_t *header) {
        uint32_t sum = 0;

        for (unsigned i = 0; i < 20; i += 2)
                sum += (uint32_t) header[i] << 8 | header[i + 1];
        sum = (sum & 0xffff) + (sum >> 16);
        return (uint16_t) ~((sum & 0xffff) + (sum >> 16));
}

/* A DHCP DISCOVER (RFC 2131) after the virtio header; its length with that. */
static uint32_t make_discover(uint8_t *at) {
        uint8_t *ip = at + NET_HEADER_LEN + 14, *udp = ip + 20, *dhcp = udp + 8;
        static const uint8_t tail[] = { 0x63, 0x82, 0x53, 0x63, 53, 1, 1, 255 };
        uint16_t sum;

        memset(at, 0, NET_HEADER_LEN + 14 + 20 + 8 + 300);
        memset(at + NET_HEADER_LEN, 0xff, 6);
        memcpy(at + NET_HEADER_LEN + 6, our_mac, 6);
        at[NET_HEADER_LEN + 12] = 8;
        ip[0] = 0x45;
        ip[2] = (20 + 8 + 300) >> 8;
        ip[3] = (20 + 8 + 300) & 0xff;
        ip[8] = 64;
        ip[9] = 17;
        memset(ip + 16, 0xff, 4);
        sum = ip_checksum(ip);
        ip[10] = (uint8_t) (sum >> 8);
        ip[11] = (uint8_t) sum;
        udp[1] = 68;
        udp[3] = 67;
        udp[4] = 308 >> 8;
        udp[5] = 308 & 0xff;
        dhcp[0] = dhcp[1] = 1;
        dhcp[2] = 6;
        memcpy(dhcp + 4, "chvd", 4);
        dhcp[10] = 0x80;
        memcpy(dhcp + 28, our_mac, 6);
        memcpy(dhcp + 236, tail, sizeof(tail));
        return NET_HEADER_LEN + 14 + 20 + 8 + 300;
}

static bool is_offer(const uint8_t *frame, uint32_t len) {
        const uint8_t *ip = frame + NET_HEADER_LEN + 14, *dhcp = ip + 28;

        return len > NET_HEADER_LEN + 14 + 28 + 240 && frame[NET_HEADER_LEN + 12] == 8 &&
               ip[9] == 17 && dhcp[0] == 2 && memcmp(dhcp + 4, "chvd", 4) == 0 && dhcp[16] != 0;
}

static void test_passt(void) {
        struct net_stream_config config = { .id = "_net0", .changed = on_changed };
        const char *argv[] = { "passt", "--foreground", "--quiet", "--fd", "0", NULL };
        struct virtio_net_config net = {
                .id = "_net0",
                .n_pairs = 1,
                .queue_size = 64,
                .mac = { 2, 0, 0, 0, 0, 1 },
                .offload_tso = true,
                .offload_ufo = true,
                .offload_csum = true,
        };
        static uint8_t frame[VNET_FRAME_MAX];
        g_autoptr(GError) error = NULL;
        const char *skip = real_passt_skip();
        struct net_rig n = { 0 };
        unsigned buffers;
        int peer, port, status;
        net_stream *s;
        uint32_t len;
        GPid pid;

        if (skip) {
                g_test_skip(skip);
                return;
        }
        atomic_store(&lost, 0);
        config.socket = pair(&peer);
        (void) g_spawn_async_with_pipes_and_fds(
                        "/", argv, NULL, G_SPAWN_SEARCH_PATH | G_SPAWN_DO_NOT_REAP_CHILD, NULL,
                        NULL, peer, -1, -1, NULL, NULL, 0, &pid, NULL, NULL, NULL, &error);
        g_assert_no_error(error);
        (void) close(peer);
        s = net_stream_new(&config, &port, &error);
        g_assert_no_error(error);
        rig_init(&n.r);
        net.tap_fds = &port;
        rig_attach(&n.r, virtio_net_stream_new(n.r.mem, &net, &error), true, 64);
        g_assert_no_error(error);
        /* Nobody would finish the guest's checksums. */
        g_assert_cmpuint(
                        n.r.vd->device_features & (BIT(CSUM) | BIT(GUEST_CSUM) | BIT(HOST_TSO4)),
                        ==, 0);
        rig_start(&n.r, 1ull << 32 | 1ull << 29 | BIT(MRG_RXBUF));
        for (unsigned i = 0; i < 32; i++)
                nrig_add_buffer(&n, 0, BUFFERS + i * 4096, 4096);
        rig_publish(&n.r, 0);
        len = make_discover(rig_host(&n.r, FRAMES, 4096));
        nrig_add_frame(&n, 1, FRAMES, len);
        rig_publish(&n.r, 1);
        do
                len = nrig_take_frame(&n, 0, frame, &buffers);
        while (!is_offer(frame, len));
        g_assert_cmpint(atomic_load(&lost), ==, 0);
        rig_clear(&n.r);
        s = net_stream_free(s);
        /* Its one connection has ended, and so does it. */
        g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
}

int main(int argc, char **argv) {
        (void) signal(SIGPIPE, SIG_IGN);
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/net-stream/bad-length", test_bad_length);
        g_test_add_func("/net-stream/to-guest", test_to_guest);
        g_test_add_func("/net-stream/from-guest", test_from_guest);
        g_test_add_func("/net-stream/slow", test_slow);
        g_test_add_func("/net-stream/another", test_another);
        g_test_add_func("/net-stream/passt", test_passt);
        return g_test_run();
}
