/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves of captures: what cannot be written to is refused and closed; a reader gets a file of whole records in the order of time,
 * with as much of each frame as was asked for; one that is slow costs frames, which are counted, and nothing else; it hears of the end after
 * the last frame, and ends the capture by going. And that a device's capture has its frames of both directions.
 */

#include "devices/net/capture.h"
#include "hypervisor/error.h"
#include "net-rig.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct record {
        uint32_t s, ns, kept, len;
};

static capture *capture_to(int fd, uint32_t snaplen, uint64_t count) {
        struct capture_config config = {
                .name = "capture",
                .fd = fd,
                .snaplen = snaplen,
                .count = count,
        };
        g_autoptr(GError) error = NULL;
        capture *c = capture_new(&config, &error);

        g_assert_no_error(error);
        return c;
}

/* Waits for all of it; false at the end of the file. */
static bool read_all(int fd, void *buf, size_t len) {
        size_t done = 0;

        while (done < len) {
                ssize_t n = read(fd, (char *) buf + done, len - done);

                if (n < 0 && errno == EINTR)
                        continue;
                g_assert_cmpint(n, >=, 0);
                if (n == 0) {
                        g_assert_cmpuint(done, ==, 0);
                        return false;
                }
                done += (size_t) n;
        }
        return true;
}

static void read_header(int fd, uint32_t snaplen) {
        uint32_t h[6];

        g_assert_true(read_all(fd, h, sizeof(h)));
        g_assert_cmphex(h[0], ==, 0xa1b23c4d);
        g_assert_cmphex(h[1], ==, 2 | 4 << 16);
        g_assert_cmpuint(h[2], ==, 0);
        g_assert_cmpuint(h[3], ==, 0);
        g_assert_cmpuint(h[4], ==, snaplen);
        g_assert_cmpuint(h[5], ==, 1);
}

static bool read_record(int fd, struct record *r, uint8_t *data) {
        if (!read_all(fd, r, sizeof(*r)))
                return false;
        g_assert_cmpuint(r->kept, <=, r->len);
        g_assert_cmpuint(r->kept, <=, CAPTURE_SNAPLEN_MAX);
        g_assert_cmpuint(r->ns, <, 1000000000);
        return r->kept == 0 || read_all(fd, data, r->kept);
}

static void add(capture *c, const uint8_t *frame, size_t len) {
        struct iovec iov[2] = { { (void *) frame, len / 2 },
                                { (void *) (frame + len / 2), len - len / 2 } };

        capture_frame(c, iov, 2, 0, len);
}

static void test_refused(void) {
        struct capture_config config = { .name = "capture" };
        int ends[2];

        for (int i = 0; i < 3; i++) {
                g_autoptr(GError) error = NULL;

                if (i == 0) {
                        g_assert_cmpint(pipe(ends), ==, 0);
                        (void) close(ends[1]);
                        config.fd = ends[0];
                } else
                        config.fd = i == 1 ? open("/dev/null", O_RDWR)
                                           : open("/proc/self/exe", O_RDONLY);
                g_assert_null(capture_new(&config, &error));
                g_assert_error(error, HV_ERROR, HV_ERROR_INVALID);
                g_assert_cmpint(fcntl(config.fd, F_GETFD), ==, -1);
        }
}

static void test_records(void) {
        static uint8_t frame[4000], got[CAPTURE_SNAPLEN_MAX];
        struct record r, before = { 0 };
        int ends[2];
        capture *c;

        g_assert_cmpint(pipe(ends), ==, 0);
        c = capture_to(ends[1], 1500, 2000);
        read_header(ends[0], 1500);
        for (uint32_t i = 0; i < 2000; i++) {
                uint32_t len = 14 + i * 2;

                len = MIN(len, sizeof(frame));
                nrig_fill(frame, 100);
                memcpy(frame, &i, 4);
                add(c, frame, len);
                g_assert_true(read_record(ends[0], &r, got));
                g_assert_cmpuint(r.len, ==, len);
                g_assert_cmpuint(r.kept, ==, MIN(len, 1500));
                g_assert_cmpint(memcmp(got, frame, r.kept), ==, 0);
                g_assert_true(r.s > before.s || (r.s == before.s && r.ns >= before.ns));
                before = r;
        }
        /* That was the last. */
        add(c, frame, 100);
        g_assert_false(read_record(ends[0], &r, got));
        g_assert_null(capture_free(c));
        (void) close(ends[0]);
}

struct adder {
        capture *c;
        uint8_t id;
};

static gpointer add_many(gpointer data) {
        struct adder *a = data;
        uint8_t frame[1500];

        memset(frame, a->id, sizeof(frame));
        for (unsigned i = 0; i < 5000; i++)
                add(a->c, frame, 100 + i % 1400);
        return NULL;
}

/* More than fits from several threads, with a reader that begins when they are done: whole records, and all are accounted for. */
static void test_slow(void) {
        static uint8_t got[CAPTURE_SNAPLEN_MAX];
        struct adder adders[3];
        GThread *threads[3];
        uint64_t frames, drops, n = 0;
        struct record r;
        int ends[2];
        capture *c;

        g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), ==, 0);
        c = capture_to(ends[1], 0, 15001);
        for (uint8_t i = 0; i < 3; i++) {
                adders[i] = (struct adder){ c, i };
                threads[i] = g_thread_new("add", add_many, &adders[i]);
        }
        for (int i = 0; i < 3; i++)
                g_thread_join(threads[i]);
        capture_counters(c, &frames, &drops);
        g_assert_cmpuint(frames + drops, ==, 15000);
        g_assert_cmpuint(drops, >, 0);
        read_header(ends[0], CAPTURE_SNAPLEN_MAX);
        for (; n < frames; n++) {
                g_assert_true(read_record(ends[0], &r, got));
                for (uint32_t i = 1; i < r.kept; i++)
                        g_assert_cmpuint(got[i], ==, got[0]);
        }
        g_assert_null(capture_free(c));
        g_assert_false(read_record(ends[0], &r, got));
        (void) close(ends[0]);
}

static void test_reader_goes(void) {
        uint8_t frame[100] = { 0 };
        uint64_t frames = 0, drops, before = 1;
        int ends[2];
        capture *c;

        g_assert_cmpint(pipe(ends), ==, 0);
        c = capture_to(ends[1], 0, 0);
        (void) close(ends[0]);
        /* The writer sees it at some frame; from there on none counts. */
        while (frames != before) {
                before = frames;
                add(c, frame, sizeof(frame));
                g_usleep(1000);
                capture_counters(c, &frames, &drops);
        }
        g_assert_cmpint(fcntl(ends[1], F_GETFD), ==, -1);
        g_assert_null(capture_free(c));
}

/* A driver's frames and the host's. */
static void test_device(void) {
        static uint8_t frame[700], got[VNET_FRAME_MAX], captured[CAPTURE_SNAPLEN_MAX];
        struct capture_config config = { .name = "capture", .count = 40 };
        g_autoptr(GError) error = NULL;
        struct net_rig n;
        struct record r;
        unsigned count;
        uint32_t len;
        int ends[2];

        nrig_start(&n, 1, true, BIT(MRG_RXBUF));
        g_assert_cmpint(pipe(ends), ==, 0);
        config.fd = ends[1];
        g_assert_true(virtio_net_capture(n.r.vd, &config, &error));
        read_header(ends[0], CAPTURE_SNAPLEN_MAX);
        for (int i = 0; i < 20; i++) {
                nrig_fill(frame, sizeof(frame));
                memcpy(rig_host(&n.r, FRAMES, sizeof(frame)), frame, sizeof(frame));
                nrig_add_frame(&n, 1, FRAMES, sizeof(frame));
                rig_publish(&n.r, 1);
                nrig_take(&n, 1, &len);
                g_assert_cmpint(nrig_host_receive(n.host[0], got, sizeof(got)), ==, sizeof(frame));
                g_assert_true(read_record(ends[0], &r, captured));
                g_assert_cmpuint(r.len, ==, sizeof(frame) - NET_HEADER_LEN);
                g_assert_cmpint(memcmp(captured, frame + NET_HEADER_LEN, r.len), ==, 0);

                nrig_add_buffer(&n, 0, BUFFERS, 500);
                nrig_add_buffer(&n, 0, BUFFERS + 4096, 500);
                rig_publish(&n.r, 0);
                nrig_fill(frame, sizeof(frame));
                nrig_host_send(n.host[0], frame, sizeof(frame));
                g_assert_cmpuint(nrig_take_frame(&n, 0, got, &count), ==, sizeof(frame));
                g_assert_true(read_record(ends[0], &r, captured));
                g_assert_cmpuint(r.len, ==, sizeof(frame) - NET_HEADER_LEN);
                g_assert_cmpint(memcmp(captured, frame + NET_HEADER_LEN, r.len), ==, 0);
        }
        g_assert_false(read_record(ends[0], &r, captured));
        (void) close(ends[0]);
        g_assert_cmpuint(rig_counter(&n.r, "captured_frames"), ==, 40);

        /* Another takes its place, and the device's end is its end. */
        for (int i = 0; i < 2; i++) {
                g_assert_cmpint(pipe(ends), ==, 0);
                config.fd = ends[1];
                g_assert_true(virtio_net_capture(n.r.vd, &config, &error));
                if (i == 0)
                        (void) close(ends[0]);
        }
        g_assert_cmpuint(rig_counter(&n.r, "captured_frames"), ==, 40);
        nrig_stop(&n);
        read_header(ends[0], CAPTURE_SNAPLEN_MAX);
        g_assert_false(read_record(ends[0], &r, captured));
        (void) close(ends[0]);
}

int main(int argc, char **argv) {
        (void) signal(SIGPIPE, SIG_IGN);
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/capture/refused", test_refused);
        g_test_add_func("/capture/records", test_records);
        g_test_add_func("/capture/slow", test_slow);
        g_test_add_func("/capture/reader-goes", test_reader_goes);
        g_test_add_func("/capture/device", test_device);
        return g_test_run();
}
