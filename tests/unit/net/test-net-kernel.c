/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves that rings go to the kernel's back end and come back with no frame lost or sent twice, whatever the reason: limits, captures, a
 * link that is down, filters, pauses, resets, queue pairs that come and go; that its frames are counted; and that what goes wrong leaves
 * a device that user space serves, or one that is broken, never one that hangs. The kernel is a stand-in (fake-vhost.h), because
 * few hosts of tests have the real one; system case vhost has.
 */

#include "fake-vhost.h"
#include "net-rig.h"

#include <fcntl.h>
#include <linux/vhost.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define PLAIN (BIT(CTRL_VQ) | BIT(CTRL_RX) | BIT(MRG_RXBUF) | 1ull << 28 | 1ull << 32)

static unsigned failures;

static void on_failed(void *opaque, const char *id, int errnum) {
        g_assert_cmpstr(id, ==, "_net1");
        g_assert_cmpint(errnum, >, 0);
        failures++;
}

struct kernel_rig {
        struct net_rig n;
        int vhosts[MAX_PAIRS];
        int statistics[VIRTIO_NET_STATISTICS], files[VIRTIO_NET_STATISTICS];
};

static void prepare(struct kernel_rig *k, unsigned pairs, struct virtio_net_config *ret_config) {
        failures = 0;
        nrig_port.program_error = 0;
        nrig_port.program_len = 0;
        *ret_config = nrig_ports(&k->n, pairs);
        rig_init(&k->n.r);
        for (unsigned i = 0; i < VIRTIO_NET_STATISTICS; i++) {
                k->files[i] = memfd_create("statistic", MFD_CLOEXEC);
                g_assert_cmpint(pwrite(k->files[i], "1000\n", 5, 0), ==, 5);
                k->statistics[i] = fcntl(k->files[i], F_DUPFD_CLOEXEC, 0);
        }
        for (unsigned i = 0; i < pairs; i++)
                k->vhosts[i] = fake_vhost_open(k->n.r.mem, k->files);
        ret_config->vhost_fds = k->vhosts;
        ret_config->statistics_fds = k->statistics;
        ret_config->kernel_failed = on_failed;
}

static void start(struct kernel_rig *k, const struct virtio_net_config *config, uint64_t features) {
        g_autoptr(GError) error = NULL;
        struct virtio_dev *vd = nrig_new(k->n.r.mem, config, &error);

        g_assert_no_error(error);
        rig_attach(&k->n.r, vd, features >> 29 & 1, 64);
        rig_start(&k->n.r, features);
}

static void begin(struct kernel_rig *k, unsigned pairs, uint64_t features) {
        struct virtio_net_config config;

        prepare(k, pairs, &config);
        start(k, &config, features);
}

static void end(struct kernel_rig *k) {
        nrig_stop(&k->n);
        for (unsigned i = 0; i < VIRTIO_NET_STATISTICS; i++)
                (void) close(k->files[i]);
        for (unsigned i = 0; i < k->n.n_pairs; i++)
                g_assert_false(fake_vhost_of(k->vhosts[i])->owned);
        fake_vhost_forget();
}

static uint64_t counter(struct kernel_rig *k, const char *name) {
        return rig_counter(&k->n.r, name);
}

static void expect_pairs(struct kernel_rig *k, unsigned n) {
        g_assert_cmpuint(counter(k, "vhost_pairs"), ==, n);
}

static void test_moves_and_counts(void) {
        struct kernel_rig k = { 0 };

        begin(&k, 1, PLAIN | 1ull << 29);
        expect_pairs(&k, 1);
        for (unsigned i = 0; i < 50; i++)
                nrig_round_trip(&k.n, 0);
        g_assert_cmpuint(counter(&k, "rx_frames"), ==, 50);
        g_assert_cmpuint(counter(&k, "tx_frames"), ==, 50);
        g_assert_cmpuint(counter(&k, "vhost_frames"), ==, 100);
        g_assert_cmpuint(counter(&k, "rx_bytes"), ==, 50 * 500);
        g_assert_cmpuint(counter(&k, "tx_bytes"), ==, 50 * 500);
        /* What it has moved is kept, and user space's comes on top. */
        virtio_net_set_link(k.n.r.vd, false);
        virtio_net_set_link(k.n.r.vd, true);
        g_assert_cmpuint(counter(&k, "vhost_switches"), ==, 3);
        nrig_round_trip(&k.n, 0);
        g_assert_cmpuint(counter(&k, "rx_frames"), ==, 51);
        end(&k);
}

/* Things that the kernel cannot do; each is there at times. */
struct wishes {
        bool limits, capture, filter, down;
        int reader;
};

static void change(struct kernel_rig *k, struct wishes *w) {
        static const uint8_t on = 1, off = 0;
        struct virtio_dev *vd = k->n.r.vd;
        g_autoptr(GError) error = NULL;
        int ends[2];

        switch (g_test_rand_int_range(0, 4)) {
        case 0: {
                struct throttle_config none = { 0 }, wide = { .ops = { 1000000, 0, 10 } };

                w->limits = !w->limits;
                g_assert_cmpint(vd->ops->set_throttle(vd, w->limits ? &wide : &none), ==, 0);
                break;
        }
        case 1:
                w->capture = !w->capture;
                if (w->capture) {
                        struct capture_config config = { .name = "capture" };

                        g_assert_cmpint(pipe2(ends, O_CLOEXEC | O_NONBLOCK), ==, 0);
                        w->reader = ends[0];
                        config.fd = ends[1];
                        g_assert_true(virtio_net_capture(vd, &config, &error));
                } else {
                        g_assert_true(virtio_net_capture(vd, NULL, &error));
                        (void) close(w->reader);
                }
                break;
        case 2:
                w->filter = !w->filter;
                nrig_port.program_error = w->filter ? -EINVAL : 0;
                g_assert_cmpuint(
                                nrig_command(&k->n, 2, VNET_CLASS_RX, VNET_RX_PROMISC,
                                             w->filter ? &off : &on, 1),
                                ==, VNET_OK);
                break;
        default:
                g_assert_true(vd->ops->pause(vd, &error));
                expect_pairs(k, 0);
                vd->ops->resume(vd);
        }
}

/* Frames of the round trip are for nobody in particular: promiscuous, or to the device. */
static void trip(struct kernel_rig *k, const struct wishes *w) {
        if (!w->filter)
                nrig_round_trip(&k->n, 0);
}

static void test_to_and_fro(gconstpointer event_idx) {
        uint64_t features = PLAIN | (event_idx ? 1ull << 29 : 0);
        struct kernel_rig k = { 0 };
        struct wishes w = { 0 };

        begin(&k, 1, features);
        for (unsigned i = 0; i < 150; i++) {
                change(&k, &w);
                expect_pairs(&k, !w.limits && !w.capture && !w.filter);
                trip(&k, &w);
        }
        g_assert_cmpuint(counter(&k, "vhost_switches"), >, 10);
        g_assert_cmpuint(k.n.r.breaks, ==, 0);
        g_assert_cmpuint(failures, ==, 0);
        if (w.capture)
                (void) close(w.reader);
        end(&k);
}

/* Buffers and frames that lie in the rings, and an interrupt's index in the middle of them, when the hands change. */
static void test_full_rings(void) {
        static uint8_t frame[200], got[VNET_FRAME_MAX];
        struct kernel_rig k = { 0 };
        unsigned count;

        begin(&k, 1, PLAIN | 1ull << 29);
        for (unsigned round = 0; round < 60; round++) {
                unsigned n = (unsigned) g_test_rand_int_range(1, 20);
                uint8_t sent[20][200];

                for (unsigned i = 0; i < n; i++)
                        nrig_add_buffer(&k.n, 0, BUFFERS + i * 4096, 1600);
                rig_publish(&k.n.r, 0);
                for (unsigned i = 0; i < n; i++) {
                        nrig_fill(sent[i], sizeof(sent[i]));
                        nrig_host_send(k.n.host[0], sent[i], sizeof(sent[i]));
                        if (g_test_rand_int_range(0, 8) == 0)
                                vnet_kernel_avoid(
                                                (struct vnet *) k.n.r.vd, VNET_REASON_LIMITS,
                                                g_test_rand_bit());
                }
                for (unsigned i = 0; i < n; i++) {
                        g_assert_cmpuint(nrig_take_frame(&k.n, 0, got, &count), ==, sizeof(frame));
                        nrig_check_frame(got, sent[i], sizeof(frame));
                }
        }
        g_assert_cmpuint(counter(&k, "vhost_switches"), >, 4);
        end(&k);
}

static void test_pairs_come_and_go(void) {
        static const uint16_t steps[] = { 3, 1, 2, 3, 2, 1 };
        struct kernel_rig k = { 0 };
        static const uint8_t off = 0;

        begin(&k, 3, PLAIN | BIT(MQ));
        expect_pairs(&k, 1);
        /* With a program: none is there while queues are attached. */
        g_assert_cmpuint(
                        nrig_command(&k.n, 6, VNET_CLASS_RX, VNET_RX_PROMISC, &off, 1), ==,
                        VNET_OK);
        g_assert_cmpuint(nrig_port.program_len, >, 0);
        expect_pairs(&k, 1);
        for (unsigned i = 0; i < G_N_ELEMENTS(steps); i++) {
                nrig_set_pairs(&k.n, steps[i], VNET_OK);
                expect_pairs(&k, steps[i]);
                nrig_expect_attached(&k.n, steps[i]);
                g_assert_cmpuint(nrig_port.program_len, >, 0);
                for (unsigned pair = 0; pair < steps[i]; pair++)
                        nrig_round_trip(&k.n, pair);
        }
        g_assert_cmpuint(counter(&k, "rx_frames"), ==, 12);
        rig_stop(&k.n.r);
        g_assert_cmpuint(nrig_port.program_len, ==, 0);
        expect_pairs(&k, 0);
        end(&k);
}

static void test_capture_that_ends(void) {
        struct kernel_rig k = { 0 };
        struct capture_config config = { .name = "capture", .count = 3 };
        int ends[2];
        char bytes[4096];
        g_autoptr(GError) error = NULL;

        begin(&k, 1, PLAIN);
        /* Nobody reads it at all. */
        g_assert_cmpint(pipe2(ends, O_CLOEXEC), ==, 0);
        (void) close(ends[0]);
        config.fd = ends[1];
        g_assert_true(virtio_net_capture(k.n.r.vd, &config, &error));
        expect_pairs(&k, 1);
        nrig_round_trip(&k.n, 0);

        g_assert_cmpint(pipe2(ends, O_CLOEXEC), ==, 0);
        config.fd = ends[1];
        g_assert_true(virtio_net_capture(k.n.r.vd, &config, &error));
        expect_pairs(&k, 0);
        nrig_round_trip(&k.n, 0);
        nrig_round_trip(&k.n, 0);
        while (read(ends[0], bytes, sizeof(bytes)) > 0)
                continue;
        /* The reader hears of it first. */
        while (counter(&k, "vhost_pairs") == 0)
                (void) usleep(1000);
        g_assert_cmpuint(counter(&k, "captured_frames"), ==, 3);
        nrig_round_trip(&k.n, 0);
        (void) close(ends[0]);
        end(&k);
}

static void test_reset_and_again(void) {
        struct kernel_rig k = { 0 };

        begin(&k, 1, PLAIN);
        for (unsigned i = 0; i < 5; i++) {
                nrig_round_trip(&k.n, 0);
                rig_stop(&k.n.r);
                expect_pairs(&k, 0);
                g_assert_true(fake_vhost_is_clean(k.vhosts[0]));
                rig_start(&k.n.r, i % 2 ? PLAIN : PLAIN | BIT(CTRL_VLAN));
                expect_pairs(&k, 1);
        }
        nrig_round_trip(&k.n, 0);
        g_assert_cmpuint(fake_vhost_of(k.vhosts[0])->owners, ==, 1);
        end(&k);
}

/* What an earlier device of the process has left. */
static void test_owned_before(void) {
        struct kernel_rig k = { 0 };
        struct virtio_net_config config;

        prepare(&k, 1, &config);
        fake_vhost_of(k.vhosts[0])->owned = true;
        start(&k, &config, PLAIN);
        expect_pairs(&k, 1);
        nrig_round_trip(&k.n, 0);
        end(&k);
}

static void test_interrupt_moves(void) {
        struct kernel_rig k = { 0 };
        struct virtio_dev *vd;

        begin(&k, 1, PLAIN);
        vd = k.n.r.vd;
        vd->ops->vector_changed(vd, &vd->queues[0]);
        vd->ops->vector_changed(vd, &vd->queues[2]);
        g_assert_cmpuint(fake_vhost_of(k.vhosts[0])->starts, ==, 4);
        expect_pairs(&k, 1);
        nrig_round_trip(&k.n, 0);
        end(&k);
}

/* Whatever request fails when rings go to the kernel, user space has them. */
static void test_failing(void) {
        static const unsigned long requests[] = {
                VHOST_SET_OWNER,       VHOST_SET_FEATURES,   VHOST_SET_MEM_TABLE,
                VHOST_SET_VRING_NUM,   VHOST_SET_VRING_BASE, VHOST_SET_VRING_ADDR,
                VHOST_SET_VRING_KICK,  VHOST_SET_VRING_CALL, VHOST_SET_VRING_ERR,
                VHOST_NET_SET_BACKEND,
        };

        for (unsigned i = 0; i < G_N_ELEMENTS(requests); i++) {
                struct kernel_rig k = { 0 };
                struct virtio_net_config config;

                prepare(&k, 1, &config);
                fake_vhost_of(k.vhosts[0])->failing = requests[i];
                start(&k, &config, PLAIN);
                g_assert_cmpuint(failures, ==, 1);
                expect_pairs(&k, 0);
                nrig_round_trip(&k.n, 0);
                /* Not before the driver starts anew is it tried again. */
                fake_vhost_of(k.vhosts[0])->failing = 0;
                virtio_net_set_link(k.n.r.vd, false);
                virtio_net_set_link(k.n.r.vd, true);
                expect_pairs(&k, 0);
                rig_stop(&k.n.r);
                rig_start(&k.n.r, PLAIN);
                expect_pairs(&k, 1);
                nrig_round_trip(&k.n, 0);
                g_assert_cmpuint(k.n.r.breaks, ==, 0);
                end(&k);
        }
}

static void test_others(void) {
        struct kernel_rig k = { 0 };
        struct virtio_net_config config;

        prepare(&k, 1, &config);
        fake_vhost_of(k.vhosts[0])->others = true;
        start(&k, &config, PLAIN);
        g_assert_cmpuint(failures, ==, 1);
        nrig_round_trip(&k.n, 0);
        end(&k);
}

static void test_unknown_features(void) {
        struct kernel_rig k = { 0 };
        struct virtio_net_config config;

        prepare(&k, 1, &config);
        fake_vhost_of(k.vhosts[0])->features &= ~(1ull << 29);
        start(&k, &config, PLAIN | 1ull << 29);
        /* Which a driver accepts only that does not look at what is offered. */
        g_assert_cmphex(k.n.r.vd->withheld, ==, 1ull << 29 | 1ull << 34 | 1ull << 35);
        expect_pairs(&k, 0);
        g_assert_cmpuint(failures, ==, 0);
        nrig_round_trip(&k.n, 0);
        rig_stop(&k.n.r);
        k.n.r.event_idx = false;
        rig_start(&k.n.r, PLAIN);
        expect_pairs(&k, 1);
        nrig_round_trip(&k.n, 0);
        end(&k);
}

static void test_never(void) {
        struct kernel_rig k = { 0 };
        struct virtio_net_config config;

        prepare(&k, 1, &config);
        config.mac_filter = true;
        start(&k, &config, PLAIN);
        expect_pairs(&k, 0);
        virtio_net_set_link(k.n.r.vd, false);
        virtio_net_set_link(k.n.r.vd, true);
        expect_pairs(&k, 0);
        g_assert_cmpuint(fake_vhost_of(k.vhosts[0])->owners, ==, 0);
        end(&k);
}

static void test_no_back_end(void) {
        g_autoptr(GError) error = NULL;
        struct net_rig n = { 0 };
        struct virtio_net_config config = nrig_ports(&n, 1);
        int fd = eventfd(0, EFD_CLOEXEC);

        rig_init(&n.r);
        config.vhost_fds = &fd;
        g_assert_null(nrig_new(n.r.mem, &config, &error));
        g_assert_nonnull(strstr(error->message, "_net1"));
        g_assert_nonnull(strstr(error->message, "kernel"));
        g_assert_cmpint(fcntl(fd, F_GETFD), ==, -1);
        g_assert_cmpint(fcntl(n.device[0], F_GETFD), ==, -1);
        (void) close(n.host[0]);
        gmem_free(n.r.mem);
}

static void test_fault(void) {
        for (unsigned ring = 0; ring < 2; ring++) {
                struct kernel_rig k = { 0 };

                begin(&k, 1, PLAIN);
                fake_vhost_fault(k.vhosts[0], ring);
                g_assert_true(rig_wait_broken(&k.n.r, TIMEOUT_MS));
                while (counter(&k, "vhost_pairs") > 0)
                        (void) usleep(1000);
                /* And nobody touches its rings. */
                g_assert_true(k.n.r.vd->queues[0].broken);
                g_assert_true(k.n.r.vd->queues[1].broken);
                rig_stop(&k.n.r);
                rig_start(&k.n.r, PLAIN);
                expect_pairs(&k, 1);
                nrig_round_trip(&k.n, 0);
                end(&k);
        }
}

static void test_not_given_back(void) {
        struct kernel_rig k = { 0 };

        begin(&k, 1, PLAIN);
        fake_vhost_of(k.vhosts[0])->failing = VHOST_GET_VRING_BASE;
        virtio_net_set_link(k.n.r.vd, false);
        g_assert_true(rig_wait_broken(&k.n.r, TIMEOUT_MS));
        fake_vhost_of(k.vhosts[0])->failing = 0;
        end(&k);
}

static void test_port_gone(void) {
        struct kernel_rig k = { 0 };

        begin(&k, 1, PLAIN | BIT(STATUS));
        nrig_add_buffer(&k.n, 0, BUFFERS, 1600);
        rig_publish(&k.n.r, 0);
        (void) shutdown(k.n.host[0], SHUT_RDWR);
        (void) close(k.n.host[0]);
        /* The kernel says nothing; user space finds out, and keeps the rings. */
        vnet_kernel_avoid((struct vnet *) k.n.r.vd, VNET_REASON_LIMITS, true);
        g_assert_true(rig_wait_config_change(&k.n.r, 0, TIMEOUT_MS));
        vnet_kernel_avoid((struct vnet *) k.n.r.vd, VNET_REASON_LIMITS, false);
        expect_pairs(&k, 0);
        k.n.host[0] = fcntl(k.files[0], F_DUPFD_CLOEXEC, 0);
        end(&k);
}

int main(int argc, char *argv[]) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/net-kernel/no-back-end", test_no_back_end);
        g_test_add_func("/net-kernel/failing", test_failing);
        g_test_add_func("/net-kernel/others", test_others);
        g_test_add_func("/net-kernel/unknown-features", test_unknown_features);
        g_test_add_func("/net-kernel/never", test_never);
        g_test_add_func("/net-kernel/fault", test_fault);
        g_test_add_func("/net-kernel/not-given-back", test_not_given_back);
        g_test_add_func("/net-kernel/port-gone", test_port_gone);
        g_test_add_func("/net-kernel/moves-and-counts", test_moves_and_counts);
        g_test_add_data_func("/net-kernel/to-and-fro", NULL, test_to_and_fro);
        g_test_add_data_func("/net-kernel/to-and-fro/event-idx", &failures, test_to_and_fro);
        g_test_add_func("/net-kernel/full-rings", test_full_rings);
        g_test_add_func("/net-kernel/pairs", test_pairs_come_and_go);
        g_test_add_func("/net-kernel/capture-ends", test_capture_that_ends);
        g_test_add_func("/net-kernel/reset", test_reset_and_again);
        g_test_add_func("/net-kernel/owned-before", test_owned_before);
        g_test_add_func("/net-kernel/interrupt-moves", test_interrupt_moves);
        return g_test_run();
}
