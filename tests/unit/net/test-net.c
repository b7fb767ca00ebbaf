/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves of the life of a network device: wrong configurations and feature sets are refused; pause, reset, restore, the death of the
 * port and a driver that does whatever it likes leave nothing behind.
 */

#include "hypervisor/error.h"
#include "net-rig.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void test_bad_config(void) {
        struct rig r;
        int fds[2];

        rig_init(&r);
        for (int i = 0; i < 8; i++) {
                g_autoptr(GError) error = NULL;
                struct virtio_net_config config = nrig_config(fds, 2);

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
                BIT(GUEST_TSO4),
                BIT(GUEST_TSO6),
                BIT(GUEST_UFO),
                BIT(GUEST_ECN) | BIT(GUEST_CSUM),
                BIT(HOST_TSO4),
                BIT(HOST_TSO6),
                BIT(HOST_UFO),
                BIT(HOST_ECN) | BIT(CSUM),
                BIT(MQ),
                BIT(CTRL_RX),
                BIT(CTRL_VLAN),
                BIT(CTRL_RX_EXTRA),
                BIT(CTRL_MAC_ADDR),
                BIT(HASH_REPORT),
                BIT(RSS),
        };
        struct virtio_dev *vd;

        nrig_start(&n, 2, false, 0);
        vd = n.r.vd;
        g_assert_cmpuint(vd->type, ==, 1);
        g_assert_cmpuint(vd->n_queues, ==, 5);
        g_assert_cmphex(vd->device_features, ==,
                        BIT(CSUM) | BIT(GUEST_CSUM) | BIT(CTRL_GUEST_OFFLOADS) | BIT(MTU) |
                                        BIT(MAC) | BIT(GUEST_TSO4) | BIT(GUEST_TSO6) |
                                        BIT(GUEST_ECN) | BIT(GUEST_UFO) | BIT(HOST_TSO4) |
                                        BIT(HOST_TSO6) | BIT(HOST_ECN) | BIT(HOST_UFO) |
                                        BIT(MRG_RXBUF) | BIT(STATUS) | BIT(CTRL_VQ) | BIT(CTRL_RX) |
                                        BIT(CTRL_VLAN) | BIT(CTRL_RX_EXTRA) | BIT(GUEST_ANNOUNCE) |
                                        BIT(CTRL_MAC_ADDR) | BIT(MQ) | 1ull << VIRTIO_F_IN_ORDER);
        for (size_t i = 0; i < G_N_ELEMENTS(wrong); i++)
                g_assert_false(vd->ops->negotiated(vd, wrong[i]));
        g_assert_true(vd->ops->negotiated(vd, vd->device_features));
        vd->ops->config_read(vd, 0, &space, sizeof(space));
        g_assert_cmpint(memcmp(space.mac, (uint8_t[]){ 0x52, 0x54, 0, 1, 2, 3 }, 6), ==, 0);
        g_assert_cmpuint(space.status, ==, VNET_S_LINK_UP);
        g_assert_cmpuint(space.max_pairs, ==, 2);
        g_assert_cmpuint(space.mtu, ==, 1400);
        nrig_stop(&n);
}

/* A state of zeros with these sizes, and these numbers of addresses that are not there. */
#define FILTER_OF(mac, modes, uni, multi, vlans)                                                   \
        (unsigned[]) {                                                                             \
                mac, modes, uni, multi, vlans                                                      \
        }

static GVariant *state_of(unsigned version, unsigned pairs, unsigned offloads, const unsigned *f) {
        static const uint8_t zeros[512];
        GVariant *bytes[3];
        const unsigned sizes[3] = { f[0], f[1], f[4] };

        for (int i = 0; i < 3; i++)
                bytes[i] = g_variant_new_fixed_array(G_VARIANT_TYPE_BYTE, zeros, sizes[i], 1);
        return g_variant_new(
                        "(uuub(@ay@ayu@ayu@ay@ay)(buq@aq@ay))", version, pairs, offloads, TRUE,
                        bytes[0], bytes[1], f[2],
                        g_variant_new_fixed_array(G_VARIANT_TYPE_BYTE, zeros, 0, 1), f[3],
                        g_variant_new_fixed_array(G_VARIANT_TYPE_BYTE, zeros, 0, 1), bytes[2],
                        FALSE, 0u, 0, g_variant_new_fixed_array(G_VARIANT_TYPE_UINT16, zeros, 0, 2),
                        g_variant_new_fixed_array(G_VARIANT_TYPE_BYTE, zeros, 0, 1));
}

static void test_save_restore(void) {
        g_autoptr(GError) error = NULL;
        g_autoptr(GVariant) state = NULL;
        const uint64_t features = BIT(CTRL_VQ) | BIT(MQ) | BIT(GUEST_CSUM);
        GVariant *wrong[] = {
                g_variant_new("(us)", 1, "x"),
                state_of(2, 1, 0, FILTER_OF(6, 6, 0, 0, 512)),
                state_of(3, 0, 0, FILTER_OF(6, 6, 0, 0, 512)),
                state_of(3, 4, 0, FILTER_OF(6, 6, 0, 0, 512)),
                state_of(3, 1, 0x1000, FILTER_OF(6, 6, 0, 0, 512)),
                state_of(3, 1, 0, FILTER_OF(5, 6, 0, 0, 512)),
                state_of(3, 1, 0, FILTER_OF(6, 7, 0, 0, 512)),
                state_of(3, 1, 0, FILTER_OF(6, 6, 1, 0, 512)),
                state_of(3, 1, 0, FILTER_OF(6, 6, 0, 65536, 512)),
                state_of(3, 1, 0, FILTER_OF(6, 6, 0, 0, 511)),
        };
        struct net_rig n;

        nrig_start(&n, 3, true, features);
        nrig_set_pairs(&n, 2, VNET_OK);
        g_assert_true(n.r.vd->ops->pause(n.r.vd, &error));
        state = g_variant_ref_sink(n.r.vd->ops->save(n.r.vd));
        nrig_stop(&n);

        nrig_start(&n, 3, true, features);
        rig_stop(&n.r);
        for (size_t i = 0; i < G_N_ELEMENTS(wrong); i++) {
                g_autoptr(GVariant) v = g_variant_ref_sink(wrong[i]);

                g_assert_false(n.r.vd->ops->restore(n.r.vd, v, &error));
                g_assert_error(error, HV_ERROR, HV_ERROR_STATE);
                g_clear_error(&error);
        }
        {
                g_autoptr(GVariant) zeros =
                                g_variant_ref_sink(state_of(3, 1, 0, FILTER_OF(6, 6, 0, 0, 512)));

                g_assert_true(n.r.vd->ops->restore(n.r.vd, zeros, &error));
        }
        rig_prepare(&n.r, features);
        g_assert_true(n.r.vd->ops->restore(n.r.vd, state, &error));
        nrig_port.offloads = 0;
        rig_activate(&n.r);
        g_assert_cmphex(nrig_port.offloads, ==, NET_OFFLOAD_CSUM);
        nrig_expect_attached(&n, 2);
        nrig_round_trip(&n, 0);
        nrig_round_trip(&n, 1);

        /* A driver without MQ has one pair, whatever the state says; the next driver starts with one, too. */
        rig_stop(&n.r);
        rig_prepare(&n.r, BIT(CTRL_VQ));
        g_assert_true(n.r.vd->ops->restore(n.r.vd, state, &error));
        rig_activate(&n.r);
        nrig_expect_attached(&n, 1);
        rig_stop(&n.r);
        g_assert_true(n.r.vd->ops->restore(n.r.vd, state, &error));
        rig_start(&n.r, features);
        nrig_expect_attached(&n, 1);
        nrig_stop(&n);
}

static void test_reset_with_work(void) {
        static uint8_t frame[1000];
        struct net_rig n;

        nrig_start_sized(&n, 1, false, BIT(MRG_RXBUF), 256);
        for (int round = 0; round < 50; round++) {
                for (unsigned i = 0; i < 100; i++) {
                        nrig_add_buffer(&n, 0, BUFFERS + i * 4096, 1600);
                        nrig_add_frame(&n, 1, FRAMES, 1000);
                }
                rig_publish(&n.r, 0);
                rig_publish(&n.r, 1);
                for (int i = 0; i < 10; i++)
                        (void) send(n.host[0], frame, sizeof(frame), 0);
                rig_stop(&n.r);
                memset(rig_host(&n.r, BUFFERS, 1u << 20), 0x33, 1u << 20);
                while (nrig_host_receive(n.host[0], frame, sizeof(frame)) > 0)
                        ;
                (void) send(n.host[0], frame, sizeof(frame), 0);
                for (unsigned i = 0; i < 1u << 20; i += 4096)
                        g_assert_cmpuint(
                                        ((uint8_t *) rig_host(&n.r, BUFFERS, 1u << 20))[i], ==,
                                        0x33);
                rig_start(&n.r, BIT(MRG_RXBUF));
        }
        nrig_stop(&n);
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

        nrig_start(&n, 1, false, BIT(STATUS));
        virtio_net_set_link(n.r.vd, true);
        g_assert_cmpuint(n.r.config_changes, ==, 0);
        virtio_net_set_link(n.r.vd, false);
        g_assert_cmpuint(n.r.config_changes, ==, 1);
        g_assert_cmpuint(status_of(&n), ==, 0);
        nrig_add_buffer(&n, 0, BUFFERS, 1600);
        rig_publish(&n.r, 0);
        nrig_host_send(n.host[0], frame, sizeof(frame));
        nrig_add_frame(&n, 1, FRAMES, 100);
        rig_publish(&n.r, 1);
        nrig_take(&n, 1, &len);
        g_assert_cmpint(nrig_host_receive(n.host[0], got, sizeof(got)), ==, -1);
        while (rig_counter(&n.r, "rx_drops") == 0)
                g_thread_yield();
        virtio_net_set_link(n.r.vd, true);
        g_assert_cmpuint(status_of(&n), ==, VNET_S_LINK_UP);
        nrig_host_send(n.host[0], frame, sizeof(frame));
        g_assert_cmpuint(nrig_take_frame(&n, 0, got, &count), ==, sizeof(frame));
        nrig_stop(&n);
}

/* The other end goes: the link is down, frames are dropped, and no thread spins. */
static void test_port_dies(void) {
        struct net_rig n;
        struct timespec before, after;
        uint32_t len;

        nrig_start(&n, 1, false, BIT(STATUS));
        nrig_add_buffer(&n, 0, BUFFERS, 1600);
        rig_publish(&n.r, 0);
        g_assert_cmpint(shutdown(n.host[0], SHUT_RDWR), ==, 0);
        g_assert_true(rig_wait_config_change(&n.r, 0, TIMEOUT_MS));
        g_assert_cmpuint(status_of(&n), ==, 0);
        nrig_add_frame(&n, 1, FRAMES, 100);
        rig_publish(&n.r, 1);
        nrig_take(&n, 1, &len);
        g_assert_cmpuint(rig_counter(&n.r, "tx_drops"), ==, 1);
        (void) clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before);
        g_usleep(100000);
        (void) clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after);
        g_assert_cmpint((after.tv_sec - before.tv_sec) * 1000000000l + after.tv_nsec -
                                        before.tv_nsec,
                        <, 50000000);
        nrig_stop(&n);
}

static void test_vandal(void) {
        g_autoptr(GRand) rand = g_rand_new_with_seed((guint32) g_test_rand_int());
        const uint64_t features = BIT(CTRL_VQ) | BIT(MQ) | BIT(MRG_RXBUF) | BIT(GUEST_CSUM) |
                                  BIT(GUEST_TSO4) | BIT(CTRL_GUEST_OFFLOADS);
        static uint8_t frame[3000];
        struct net_rig n;

        nrig_start(&n, 3, true, features);
        for (int round = 0; round < 150; round++) {
                nrig_fill(rig_host(&n.r, COMMAND, 64), 64);
                for (int i = 0; i < 40; i++) {
                        unsigned q = (unsigned) g_test_rand_int_range(0, 7);

                        drv_vandalise(&n.r.rings[q], rand, RIG_MEMORY);
                        rig_kick(&n.r, q);
                        (void) send(n.host[i % 3], frame, (size_t) g_test_rand_int_range(1, 3000),
                                    0);
                }
                rig_stop(&n.r);
                for (unsigned i = 0; i < 3; i++)
                        while (nrig_host_receive(n.host[i], frame, sizeof(frame)) > 0)
                                ;
                rig_start(&n.r, round % 2 ? features : features & ~BIT(MRG_RXBUF));
        }
        nrig_stop(&n);
}

int main(int argc, char **argv) {
        (void) signal(SIGPIPE, SIG_IGN);
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/net/bad-config", test_bad_config);
        g_test_add_func("/net/features", test_features);
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
