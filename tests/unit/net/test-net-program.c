/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves that the kernel's program lets the same frames through as vnet_filter_wants(): random filters with random frames, through a
 * socket to which the kernel has attached the program. Filters that do not fit are refused, and all is let through without one.
 */

#include "devices/virtio/net-program.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define FRAME 64

static struct sock_filter program[VNET_PROGRAM_MAX];

static int attach(int fd, int n) {
        struct sock_fprog p = { .len = (unsigned short) n, .filter = program };

        return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &p, sizeof(p));
}

static void random_mac(uint8_t mac[6], bool group) {
        for (unsigned i = 0; i < 6; i++)
                mac[i] = (uint8_t) g_test_rand_int_range(0, 3);
        mac[0] = (uint8_t) (mac[0] << 1 | group);
}

static void random_macs(struct vnet_macs *macs, bool group) {
        macs->n =
                        (uint32_t) (g_test_rand_bit()
                                                    ? g_test_rand_int_range(0, 4)
                                                    : g_test_rand_int_range(0, VNET_MACS_MAX + 4));
        for (unsigned i = 0; i < VNET_MACS_MAX; i++)
                random_mac(macs->mac[i], group);
}

static void random_filter(struct vnet_filter *f) {
        uint8_t mac[6];

        random_mac(mac, false);
        vnet_filter_reset(f, mac, g_test_rand_bit());
        f->modes[VNET_RX_PROMISC] = false;
        for (unsigned i = VNET_RX_ALLMULTI; i < VNET_RX_MODES; i++)
                f->modes[i] = g_test_rand_int_range(0, 4) == 0;
        random_macs(&f->uni, false);
        random_macs(&f->multi, true);
        for (int i = g_test_rand_int_range(0, 8); i > 0; i--) {
                unsigned from = (unsigned) g_test_rand_int_range(0, 4096);
                unsigned to = from + (unsigned) g_test_rand_int_range(0, 5);
                bool on = g_test_rand_bit();

                for (unsigned id = from; id <= to && id < 4096; id++)
                        g_assert_true(vnet_filter_set_vlan(f, id, on));
        }
}

/* An address of the filter's, or one that is not. */
static void random_frame(const struct vnet_filter *f, uint8_t frame[FRAME]) {
        unsigned vlan = (unsigned) g_test_rand_int_range(0, 4096);

        memset(frame, 0, FRAME);
        switch (g_test_rand_int_range(0, 6)) {
        case 0:
                memset(frame, 0xff, 6);
                break;
        case 1:
                memcpy(frame, f->mac, 6);
                break;
        case 2:
                memcpy(frame, f->uni.mac[g_test_rand_int_range(0, VNET_MACS_MAX)], 6);
                break;
        case 3:
                memcpy(frame, f->multi.mac[g_test_rand_int_range(0, VNET_MACS_MAX)], 6);
                break;
        default:
                random_mac(frame, g_test_rand_bit());
        }
        frame[12] = 8;
        if (g_test_rand_bit())
                return;
        /* Half of them at the edge of a range. */
        for (unsigned i = 0; g_test_rand_bit() && i < 4095; i++)
                if ((f->vlans[i / 8] >> i % 8 & 1) != (f->vlans[(i + 1) / 8] >> (i + 1) % 8 & 1))
                        vlan = i + (unsigned) g_test_rand_int_range(0, 2);
        frame[12] = 0x81;
        frame[14] = (uint8_t) (g_test_rand_int_range(0, 16) << 4 | vlan >> 8);
        frame[15] = (uint8_t) vlan;
}

static void test_same(void) {
        unsigned wanted = 0, refused = 0;
        int ends[2];

        g_assert_cmpint(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends), ==,
                        0);
        for (unsigned i = 0; i < 400; i++) {
                struct vnet_filter f;
                int n;

                random_filter(&f);
                n = vnet_program_make(&f, program);
                g_assert_cmpint(n, >, 0);
                g_assert_cmpint(attach(ends[1], n), ==, 0);
                for (unsigned k = 0; k < 60; k++) {
                        uint8_t frame[FRAME], got[FRAME];
                        bool want;

                        random_frame(&f, frame);
                        want = vnet_filter_wants(&f, frame, sizeof(frame));
                        /* What a filter refuses is lost without a word, or with EPERM. */
                        (void) send(ends[0], frame, sizeof(frame), 0);
                        g_assert_cmpint(recv(ends[1], got, sizeof(got), 0), ==, want ? FRAME : -1);
                        want ? wanted++ : refused++;
                }
        }
        g_assert_cmpuint(wanted, >, 1000);
        g_assert_cmpuint(refused, >, 1000);
        (void) close(ends[0]);
        (void) close(ends[1]);
}

static void test_none_and_too_many(void) {
        const uint8_t mac[6] = { 2, 0, 0, 0, 0, 1 };
        struct vnet_filter f;

        vnet_filter_reset(&f, mac, /* vlans = */ true);
        g_assert_cmpint(vnet_program_make(&f, program), ==, 0);
        f.modes[VNET_RX_PROMISC] = false;
        for (unsigned id = 0; id < 4096; id += 2)
                g_assert_true(vnet_filter_set_vlan(&f, id, true));
        g_assert_cmpint(vnet_program_make(&f, program), ==, -E2BIG);
}

/* With as much as there can be in one: the kernel takes it, and there is room. */
static void test_largest(void) {
        const uint8_t mac[6] = { 2, 0, 0, 0, 0, 1 };
        struct vnet_filter f;
        int ends[2], n;

        vnet_filter_reset(&f, mac, /* vlans = */ true);
        f.modes[VNET_RX_PROMISC] = false;
        f.uni.n = f.multi.n = VNET_MACS_MAX;
        for (unsigned i = 0; i < 200; i++)
                g_assert_true(vnet_filter_set_vlan(&f, 4095 - 3 * i, true));
        n = vnet_program_make(&f, program);
        g_assert_cmpint(n, >, 1200);
        g_assert_cmpint(n, <=, VNET_PROGRAM_MAX);
        g_assert_cmpint(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, ends), ==, 0);
        g_assert_cmpint(attach(ends[1], n), ==, 0);
        (void) close(ends[0]);
        (void) close(ends[1]);
}

int main(int argc, char *argv[]) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/net-program/same", test_same);
        g_test_add_func("/net-program/none-and-too-many", test_none_and_too_many);
        g_test_add_func("/net-program/largest", test_largest);
        return g_test_run();
}
