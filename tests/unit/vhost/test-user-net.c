/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves of networks that a vhost-user back end serves: the driver is offered what both sides can do and the configuration wants, and
 * all of it fits together; the back end gets the rings of the pairs, enabled as the driver has its pairs, and never the control queue,
 * which answers whether there is a back end or not; without one the link is down, and with the next it is up, the pairs are as they were,
 * and the driver is asked to announce itself until it has; a back end that answers wrongly loses its connection and nothing more.
 */

#include "devices/vhost/devices.h"
#include "hypervisor/error.h"
#include "net-rig.h"
#include "peer.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#define F_VERSION_1 (1ull << 32)
#define F_EVENT_IDX (1ull << 29)
#define F_RING (1ull << 30 | F_EVENT_IDX | 1ull << 28 | F_VERSION_1)
#define OWN (BIT(MAC) | BIT(STATUS) | BIT(CTRL_VQ) | BIT(GUEST_ANNOUNCE))
#define GUEST_TSO (BIT(GUEST_TSO4) | BIT(GUEST_TSO6) | BIT(GUEST_ECN))
#define HOST_TSO (BIT(HOST_TSO4) | BIT(HOST_TSO6) | BIT(HOST_ECN))
#define UFO (BIT(GUEST_UFO) | BIT(HOST_UFO))
#define OF_BACK_END                                                                                \
        (BIT(CSUM) | BIT(GUEST_CSUM) | BIT(MTU) | GUEST_TSO | HOST_TSO | UFO | BIT(MRG_RXBUF) |    \
         BIT(MQ))
#define DRIVER (F_VERSION_1 | F_EVENT_IDX | OWN)

static atomic_int connected, lost;

static void on_changed(void *opaque, const char *id, bool is, const char *why) {
        g_assert_cmpstr(id, ==, "_net0");
        atomic_fetch_add(is ? &connected : &lost, 1);
}

static bool await(atomic_int *counter, int n) {
        gint64 end = g_get_monotonic_time() + 20 * G_USEC_PER_SEC;

        while (atomic_load(counter) < n && g_get_monotonic_time() < end)
                g_usleep(1000);
        return atomic_load(counter) >= n;
}

/* One that has everything, and more than there is to know. */
static struct peer *net_peer(void) {
        struct peer *p = peer_new();

        p->features = F_RING | OF_BACK_END | BIT(CTRL_VQ) | BIT(CTRL_RX) | BIT(CTRL_VLAN) |
                      BIT(CTRL_MAC_ADDR) | BIT(CTRL_GUEST_OFFLOADS);
        return p;
}

static struct vhost_user_net_config config_for(const struct peer *p, uint16_t n_pairs) {
        return (struct vhost_user_net_config){
                .device = {
                        .id = "_net0",
                        .socket = p->device,
                        .num_queues = n_pairs,
                        .queue_size = 64,
                        .changed = on_changed,
                },
                .mac = { 0x52, 0x54, 0, 1, 2, 3 },
                .mtu = 1400,
                .offload_tso = true,
                .offload_ufo = true,
                .offload_csum = true,
        };
}

static void start(struct net_rig *n, struct peer *p, uint16_t n_pairs, uint64_t features) {
        struct vhost_user_net_config config = config_for(p, n_pairs);
        g_autoptr(GError) error = NULL;

        atomic_store(&connected, 0);
        atomic_store(&lost, 0);
        peer_start(p);
        rig_init_shared(&n->r);
        rig_attach(&n->r, vhost_user_net_new(n->r.mem, &config, &error), true, 0);
        g_assert_no_error(error);
        rig_start(&n->r, features | DRIVER);
}

static void stop(struct net_rig *n, struct peer *p) {
        rig_clear(&n->r);
        (void) peer_free(p);
}

static struct vnet_space space_of(struct net_rig *n) {
        struct vnet_space s;

        n->r.vd->ops->config_read(n->r.vd, 0, &s, sizeof(s));
        return s;
}

static bool status_is(struct net_rig *n, unsigned status) {
        return GUINT16_FROM_LE(space_of(n).status) == status;
}

static uint8_t set_pairs(struct net_rig *n, unsigned q, uint16_t pairs) {
        uint8_t data[] = { (uint8_t) pairs, (uint8_t) (pairs >> 8) };

        return nrig_command(n, q, VNET_CLASS_MQ, VNET_MQ_PAIRS_SET, data, sizeof(data));
}

static void assert_enabled(const struct peer *p, unsigned n_pairs, unsigned active) {
        for (unsigned i = 0; i < 2 * n_pairs; i++)
                g_assert_cmpuint(p->enabled[i], ==, i < 2 * active);
}

/* What is offered. */

static uint64_t offered(uint64_t without, const struct vhost_user_net_config *wanted) {
        struct peer *p = net_peer();
        struct vhost_user_net_config config = *wanted;
        g_autoptr(GError) error = NULL;
        uint64_t features;
        struct net_rig n;

        p->features &= ~without;
        config.device.socket = p->device;
        peer_start(p);
        rig_init_shared(&n.r);
        n.r.vd = vhost_user_net_new(n.r.mem, &config, &error);
        g_assert_no_error(error);
        features = n.r.vd->device_features;
        g_assert_true(vnet_features_fit(features));
        n.r.vd->ops->free(n.r.vd);
        gmem_free(n.r.mem);
        (void) peer_free(p);
        return features;
}

static void test_offered(void) {
        struct peer none = { .device = -1 };
        struct vhost_user_net_config all = config_for(&none, 2), c = all;

        g_assert_cmphex(offered(0, &all), ==, OWN | OF_BACK_END);
        g_assert_cmphex(offered(BIT(MRG_RXBUF) | BIT(GUEST_UFO), &all), ==,
                        (OWN | OF_BACK_END) & ~BIT(MRG_RXBUF) & ~BIT(GUEST_UFO));
        g_assert_cmphex(offered(BIT(CSUM), &all), ==,
                        (OWN | OF_BACK_END) & ~BIT(CSUM) & ~HOST_TSO & ~BIT(HOST_UFO));
        g_assert_cmphex(offered(BIT(GUEST_CSUM), &all), ==,
                        (OWN | OF_BACK_END) & ~BIT(GUEST_CSUM) & ~GUEST_TSO & ~BIT(GUEST_UFO));
        c.offload_tso = c.offload_ufo = c.offload_csum = false;
        c.mtu = 0;
        c.device.num_queues = 1;
        g_assert_cmphex(offered(BIT(MTU) | BIT(MQ), &c), ==, OWN | BIT(MRG_RXBUF));
        c = all;
        c.offload_tso = false;
        g_assert_cmphex(offered(0, &c), ==, (OWN | OF_BACK_END) & ~HOST_TSO & ~GUEST_TSO);
        c = all;
        c.offload_ufo = false;
        g_assert_cmphex(offered(0, &c), ==, (OWN | OF_BACK_END) & ~UFO);
}

static void test_unfit(void) {
        static const struct {
                uint64_t no_feature, no_protocol, queues;
                const char *why;
        } cases[] = {
                { F_VERSION_1, 0, 2, "lacks a feature" },
                { 0, 1ull << VU_P_MQ, 2, "lacks a feature" },
                { 0, 0, 1, "lacks a feature" },
                { BIT(MQ), 0, 2, "one queue pair" },
                { BIT(MTU), 0, 2, "takes no MTU" },
                { 0, 1ull << VU_P_NET_MTU, 2, "takes no MTU" },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
                struct peer *p = net_peer();
                struct vhost_user_net_config config = config_for(p, 2);
                g_autoptr(GError) error = NULL;
                struct rig r;

                p->features &= ~cases[i].no_feature;
                p->protocol &= ~cases[i].no_protocol;
                p->queues = cases[i].queues;
                peer_start(p);
                rig_init_shared(&r);
                g_assert_null(vhost_user_net_new(r.mem, &config, &error));
                g_assert_nonnull(strstr(error->message, cases[i].why));
                rig_clear(&r);
                p = peer_free(p);
        }
}

/* What an honest back end is told. */

static void test_told(void) {
        struct peer *p = net_peer();
        const uint64_t features = BIT(MQ) | BIT(MTU) | BIT(CSUM) | BIT(MRG_RXBUF);
        struct vnet_space s;
        struct net_rig n;

        p->queues = 2;
        p->protocol &= ~(1ull << VU_P_CONFIG);
        start(&n, p, 2, features);
        g_assert_true(peer_wait(p, VU_SET_VRING_ENABLE, 4));
        s = space_of(&n);
        g_assert_cmpmem(s.mac, 6, "\x52\x54\x00\x01\x02\x03", 6);
        g_assert_true(status_is(&n, VNET_S_LINK_UP));
        g_assert_cmpuint(GUINT16_FROM_LE(s.max_pairs), ==, 2);
        g_assert_cmpuint(GUINT16_FROM_LE(s.mtu), ==, 1400);

        g_assert_cmphex(p->features_set, ==, features | F_VERSION_1 | F_EVENT_IDX | 1ull << 30);
        g_assert_cmpuint(p->mtu, ==, 1400);
        g_assert_cmpuint(p->seen[VU_SET_VRING_ADDR], ==, 4);
        assert_enabled(p, 2, 1);
        for (unsigned i = 0; i < 4; i++)
                g_assert_cmphex(p->addr[i].desc - p->memory.regions[0].user_addr, ==,
                                n.r.rings[i].desc.v);
        /* What the driver writes is nothing to anybody. */
        n.r.vd->ops->config_write(n.r.vd, 0, &(uint8_t){ 1 }, 1);
        g_assert_cmpuint(space_of(&n).mac[0], ==, 0x52);
        rig_stop(&n.r);
        g_assert_cmpuint(p->seen[VU_GET_VRING_BASE], ==, 4);
        g_assert_cmpuint(p->seen[VU_GET_CONFIG] + p->seen[VU_SET_CONFIG], ==, 0);
        g_assert_cmpuint(p->seen[VU_GET_INFLIGHT_FD], ==, 0);
        stop(&n, p);
}

/* A device that takes another's place, with other memory, has other addresses for it, on the same connection too. */
static void test_addresses(void) {
        struct peer *p = net_peer();
        struct vhost_user_net_config config = config_for(p, 1);
        g_autoptr(GError) error = NULL;
        uint64_t old;
        struct net_rig n, m;

        config.device.socket = dup(p->device);
        start(&n, p, 1, 0);
        g_assert_true(peer_wait(p, VU_SET_VRING_ENABLE, 2));
        old = p->memory.regions[0].user_addr;
        rig_stop(&n.r);
        rig_start(&n.r, DRIVER);
        g_assert_true(peer_wait(p, VU_SET_VRING_ENABLE, 4));
        g_assert_cmphex(p->memory.regions[0].user_addr, ==, old);
        rig_clear(&n.r);

        rig_init_shared(&m.r);
        rig_attach(&m.r, vhost_user_net_new(m.r.mem, &config, &error), true, 0);
        g_assert_no_error(error);
        rig_start(&m.r, DRIVER);
        g_assert_true(peer_wait(p, VU_SET_VRING_ENABLE, 6));
        g_assert_cmphex(p->memory.regions[0].user_addr, !=, old);
        stop(&m, p);
}

/* Without MQ the control queue comes after the first pair, and without an MTU none is told. */
static void test_one_pair(void) {
        struct peer *p = net_peer();
        struct net_rig n;

        start(&n, p, 2, 0);
        g_assert_true(peer_wait(p, VU_SET_VRING_ENABLE, 2));
        g_assert_cmpuint(set_pairs(&n, 2, 1), ==, VNET_ERR);
        g_assert_cmpuint(p->seen[VU_SET_VRING_ADDR], ==, 2);
        g_assert_cmpuint(p->seen[VU_NET_SET_MTU], ==, 0);
        stop(&n, p);
}

static void test_pairs(void) {
        struct peer *p = net_peer();
        const uint8_t data[8] = { 0 };
        g_autoptr(GVariant) state = NULL;
        g_autoptr(GError) error = NULL;
        struct net_rig n;

        start(&n, p, 3, BIT(MQ));
        g_assert_true(peer_wait(p, VU_SET_VRING_ENABLE, 6));
        g_assert_cmpuint(set_pairs(&n, 6, 3), ==, VNET_OK);
        assert_enabled(p, 3, 3);
        g_assert_cmpuint(set_pairs(&n, 6, 2), ==, VNET_OK);
        assert_enabled(p, 3, 2);
        g_assert_cmpuint(set_pairs(&n, 6, 0), ==, VNET_ERR);
        g_assert_cmpuint(set_pairs(&n, 6, 4), ==, VNET_ERR);
        for (uint8_t class = 0; class < 8; class ++)
                g_assert_cmpuint(nrig_command(&n, 6, class, 1, data, sizeof(data)), ==, VNET_ERR);
        g_assert_cmpuint(
                        nrig_command(&n, 6, VNET_CLASS_MQ, VNET_MQ_PAIRS_SET, data, 1), ==,
                        VNET_ERR);
        assert_enabled(p, 3, 2);
        g_assert_cmpuint(p->seen[VU_SET_VRING_ENABLE], ==, 6 + 4 + 2);

        /* A pause keeps them; a reset does not. */
        g_assert_true(n.r.vd->ops->pause(n.r.vd, &error));
        state = g_variant_ref_sink(n.r.vd->ops->save(n.r.vd));
        g_assert_cmpuint(p->seen[VU_GET_VRING_BASE], ==, 6);
        n.r.vd->ops->resume(n.r.vd);
        g_assert_true(peer_wait(p, VU_SET_VRING_ENABLE, 18));
        assert_enabled(p, 3, 2);
        rig_stop(&n.r);
        rig_start(&n.r, BIT(MQ) | DRIVER);
        g_assert_true(peer_wait(p, VU_SET_VRING_ENABLE, 24));
        assert_enabled(p, 3, 1);
        stop(&n, p);
}

static void test_state(void) {
        struct peer *p = net_peer(), *small = net_peer();
        g_autoptr(GVariant) state = NULL;
        g_autoptr(GError) error = NULL;
        struct net_rig n, m;

        start(&n, p, 3, BIT(MQ));
        g_assert_true(peer_wait(p, VU_SET_VRING_ENABLE, 6));
        g_assert_cmpuint(set_pairs(&n, 6, 3), ==, VNET_OK);
        g_assert_true(n.r.vd->ops->pause(n.r.vd, &error));
        state = g_variant_ref_sink(n.r.vd->ops->save(n.r.vd));
        rig_stop(&n.r);
        g_assert_true(n.r.vd->ops->restore(n.r.vd, state, &error));
        rig_start(&n.r, BIT(MQ) | DRIVER);
        stop(&n, p);

        start(&m, small, 2, BIT(MQ));
        g_assert_false(m.r.vd->ops->restore(m.r.vd, state, &error));
        g_assert_error(error, HV_ERROR, HV_ERROR_STATE);
        stop(&m, small);
}

/* Another back end. */

static void test_another(void) {
        struct peer *first = net_peer(), *less = net_peer(), *second = net_peer();
        g_autoptr(GError) error = NULL;
        uint16_t used = GUINT16_TO_LE(7);
        unsigned changes;
        struct net_rig n;

        start(&n, first, 2, BIT(MQ) | BIT(CSUM));
        g_assert_true(peer_wait(first, VU_SET_VRING_ENABLE, 4));
        __atomic_store_n((uint16_t *) (n.r.rings[1].used_host + 2), used, __ATOMIC_RELEASE);
        peer_kill(first);
        g_assert_true(rig_wait_config_change(&n.r, 0, TIMEOUT_MS));
        g_assert_true(status_is(&n, 0));
        g_assert_true(await(&lost, 1));
        first = peer_free(first);
        /* The driver is answered meanwhile. */
        g_assert_cmpuint(set_pairs(&n, 4, 2), ==, VNET_OK);

        less->features &= ~BIT(CSUM);
        peer_start(less);
        g_assert_false(vhost_user_device_connect(n.r.vd, less->device, &error));
        less = peer_free(less);
        g_clear_error(&error);
        g_assert_true(status_is(&n, 0));

        changes = n.r.config_changes;
        peer_start(second);
        g_assert_true(vhost_user_device_connect(n.r.vd, second->device, &error));
        g_assert_true(rig_wait_config_change(&n.r, changes, TIMEOUT_MS));
        g_assert_true(status_is(&n, VNET_S_LINK_UP | VNET_S_ANNOUNCE));
        g_assert_true(peer_wait(second, VU_SET_VRING_ENABLE, 4));
        assert_enabled(second, 2, 2);
        g_assert_cmpuint(second->base[1], ==, 7);
        g_assert_cmpuint(
                        nrig_command(&n, 4, VNET_CLASS_ANNOUNCE, VNET_ANNOUNCE_ACK, NULL, 0), ==,
                        VNET_OK);
        g_assert_true(status_is(&n, VNET_S_LINK_UP));
        g_assert_cmpuint(n.r.breaks, ==, 0);
        stop(&n, second);
}

static void test_announce(void) {
        struct peer *p = net_peer();
        g_autoptr(GError) error = NULL;
        struct net_rig n;

        start(&n, p, 1, 0);
        g_assert_true(peer_wait(p, VU_SET_VRING_ENABLE, 2));
        g_assert_true(n.r.vd->ops->pause(n.r.vd, &error));
        n.r.vd->ops->resume(n.r.vd);
        g_assert_true(rig_wait_config_change(&n.r, 0, TIMEOUT_MS));
        g_assert_true(status_is(&n, VNET_S_LINK_UP | VNET_S_ANNOUNCE));
        /* A driver that is new has nothing to announce. */
        rig_stop(&n.r);
        g_assert_true(status_is(&n, VNET_S_LINK_UP));
        stop(&n, p);
}

/* Wrong answers, to what only networks say. */
static void test_bad(void) {
        static const enum vu_request requests[] = { VU_NET_SET_MTU, VU_SET_VRING_ENABLE };

        for (size_t i = 0; i < G_N_ELEMENTS(requests); i++)
                for (unsigned fault = PEER_CLOSES; fault < PEER_FAULTS; fault++) {
                        struct peer *p = net_peer();
                        struct net_rig n;

                        if (requests[i] == VU_NET_SET_MTU) {
                                p->at = requests[i];
                                p->fault = fault;
                        }
                        start(&n, p, 2, BIT(MQ) | BIT(MTU));
                        if (requests[i] == VU_SET_VRING_ENABLE) {
                                g_assert_true(peer_wait(p, VU_SET_VRING_ENABLE, 4));
                                pthread_mutex_lock(&p->lock);
                                p->at = requests[i];
                                p->fault = fault;
                                pthread_mutex_unlock(&p->lock);
                                g_assert_cmpuint(set_pairs(&n, 4, 2), ==, VNET_OK);
                        }
                        g_assert_true(await(&lost, 1));
                        g_assert_true(status_is(&n, 0));
                        g_assert_cmpuint(set_pairs(&n, 4, 1), ==, VNET_OK);
                        stop(&n, p);
                }
}

/* A command that has no room for an answer, or a chain without end, breaks the device, and it alone. */
static void test_bad_driver(void) {
        struct drv_buf bad = { GADDR(RIG_MEMORY + 4096), 2, false };
        struct peer *p = net_peer();
        struct net_rig n;

        start(&n, p, 1, 0);
        g_assert_true(peer_wait(p, VU_SET_VRING_ENABLE, 2));
        g_assert_cmpint(drv_add(&n.r.rings[2], &bad, 1, false, NULL), >=, 0);
        rig_publish(&n.r, 2);
        g_assert_true(rig_wait_broken(&n.r, TIMEOUT_MS));
        rig_stop(&n.r);
        rig_start(&n.r, DRIVER);
        g_assert_true(peer_wait(p, VU_SET_VRING_ENABLE, 4));
        g_assert_cmpuint(
                        nrig_command(&n, 2, VNET_CLASS_ANNOUNCE, VNET_ANNOUNCE_ACK, NULL, 0), ==,
                        VNET_OK);
        stop(&n, p);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/vhost-user-net/offered", test_offered);
        g_test_add_func("/vhost-user-net/unfit", test_unfit);
        g_test_add_func("/vhost-user-net/told", test_told);
        g_test_add_func("/vhost-user-net/addresses", test_addresses);
        g_test_add_func("/vhost-user-net/one-pair", test_one_pair);
        g_test_add_func("/vhost-user-net/pairs", test_pairs);
        g_test_add_func("/vhost-user-net/state", test_state);
        g_test_add_func("/vhost-user-net/another", test_another);
        g_test_add_func("/vhost-user-net/announce", test_announce);
        g_test_add_func("/vhost-user-net/bad", test_bad);
        g_test_add_func("/vhost-user-net/bad-driver", test_bad_driver);
        return g_test_run();
}
