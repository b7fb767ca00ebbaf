/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves of the control queue: commands that are wrong, unknown or not negotiated are refused, the others have their effect, and pairs
 * are switched as the driver says.
 */

#include "net-rig.h"

#include <signal.h>

static void test_commands(void) {
        struct net_rig n;
        uint64_t offloads = BIT(GUEST_CSUM) | BIT(GUEST_TSO4);
        uint8_t data[16] = { 1 };
        const unsigned q = 2;

        nrig_start(&n, 1, false,
                   BIT(CTRL_VQ) | BIT(CTRL_GUEST_OFFLOADS) | BIT(GUEST_CSUM) | BIT(GUEST_TSO4) |
                                   BIT(GUEST_TSO6));
        g_assert_cmphex(nrig_port.offloads, ==,
                        NET_OFFLOAD_CSUM | NET_OFFLOAD_TSO4 | NET_OFFLOAD_TSO6);

        g_assert_cmpuint(nrig_command(&n, q, 0, 6, data, 1), ==, VNET_ERR);
        g_assert_cmpuint(nrig_command(&n, q, 0, 0, NULL, 0), ==, VNET_ERR);
        g_assert_cmpuint(nrig_command(&n, q, 1, 1, data, 6), ==, VNET_ERR);
        g_assert_cmpuint(nrig_command(&n, q, 2, 2, data, 2), ==, VNET_ERR);
        g_assert_cmpuint(nrig_command(&n, q, 3, 1, NULL, 0), ==, VNET_ERR);
        g_assert_cmpuint(nrig_command(&n, q, 4, 0, data, 2), ==, VNET_ERR);
        g_assert_cmpuint(nrig_command(&n, q, 5, 0, &offloads, 7), ==, VNET_ERR);
        g_assert_cmpuint(nrig_command(&n, q, 255, 255, data, 16), ==, VNET_ERR);
        /* Not negotiated. */
        for (uint8_t number = 0; number < VNET_RX_MODES; number++)
                g_assert_cmpuint(nrig_command(&n, q, 0, number, data, 1), ==, VNET_ERR);
        g_assert_cmpuint(nrig_command(&n, q, 1, 0, data, 8), ==, VNET_ERR);
        g_assert_cmpuint(nrig_command(&n, q, 1, 1, data, 6), ==, VNET_ERR);
        g_assert_cmpuint(nrig_command(&n, q, 2, 0, data, 2), ==, VNET_ERR);
        g_assert_cmpuint(nrig_command(&n, q, 2, 1, data, 2), ==, VNET_ERR);
        offloads |= BIT(GUEST_UFO);
        g_assert_cmpuint(nrig_command(&n, q, 5, 0, &offloads, 8), ==, VNET_ERR);

        g_assert_cmpuint(nrig_command(&n, q, 3, 0, NULL, 0), ==, VNET_ERR); /* not negotiated */
        offloads &= ~BIT(GUEST_UFO);
        g_assert_cmpuint(nrig_command(&n, q, 5, 0, &offloads, 8), ==, VNET_OK);
        g_assert_cmphex(nrig_port.offloads, ==, NET_OFFLOAD_CSUM | NET_OFFLOAD_TSO4);
        offloads = 0;
        g_assert_cmpuint(nrig_command(&n, q, 5, 0, &offloads, 8), ==, VNET_OK);
        g_assert_cmphex(nrig_port.offloads, ==, 0);
        nrig_stop(&n);
}

static void test_no_room_for_ack(void) {
        struct drv_buf buf = { GADDR(COMMAND), 16, false };
        struct net_rig n;

        nrig_start(&n, 1, false, BIT(CTRL_VQ));
        g_assert_cmpint(drv_add(&n.r.rings[2], &buf, 1, false, NULL), >=, 0);
        rig_publish(&n.r, 2);
        g_assert_true(rig_wait_broken(&n.r, TIMEOUT_MS));
        nrig_stop(&n);
}

/* The control queue's place depends on MQ (5.1.2). */
static void test_without_mq(void) {
        struct net_rig n;
        uint8_t data[2] = { 1 };

        nrig_start(&n, 3, false, BIT(CTRL_VQ) | BIT(CTRL_RX));
        g_assert_cmpuint(nrig_command(&n, 2, 0, 0, data, 1), ==, VNET_OK);
        g_assert_false(nrig_port.attached[n.device[1]]);
        nrig_stop(&n);
}

static void test_pairs(void) {
        struct net_rig n;
        GError *error = NULL;

        nrig_start(&n, 3, true, BIT(CTRL_VQ) | BIT(MQ));
        nrig_expect_attached(&n, 1);
        nrig_round_trip(&n, 0);
        nrig_set_pairs(&n, 0, VNET_ERR);
        nrig_set_pairs(&n, 4, VNET_ERR);
        nrig_set_pairs(&n, 0x8001, VNET_ERR);
        nrig_set_pairs(&n, 3, VNET_OK);
        nrig_expect_attached(&n, 3);
        for (unsigned i = 0; i < 3; i++)
                nrig_round_trip(&n, i);
        nrig_set_pairs(&n, 2, VNET_OK);
        nrig_expect_attached(&n, 2);
        g_assert_true(n.r.vd->ops->pause(n.r.vd, &error));
        nrig_expect_attached(&n, 2);
        n.r.vd->ops->resume(n.r.vd);
        nrig_round_trip(&n, 1);

        nrig_port.attach_error = -E2BIG;
        nrig_set_pairs(&n, 3, VNET_ERR);
        nrig_port.attach_error = 0;
        nrig_expect_attached(&n, 2);
        nrig_set_pairs(&n, 3, VNET_OK);
        nrig_round_trip(&n, 2);

        /* Reset goes back to one. */
        rig_stop(&n.r);
        nrig_expect_attached(&n, 1);
        rig_start(&n.r, BIT(CTRL_VQ) | BIT(MQ));
        nrig_expect_attached(&n, 1);
        nrig_round_trip(&n, 0);
        nrig_stop(&n);
}

int main(int argc, char **argv) {
        (void) signal(SIGPIPE, SIG_IGN);
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/net/commands", test_commands);
        g_test_add_func("/net/no-room-for-ack", test_no_room_for_ack);
        g_test_add_func("/net/without-mq", test_without_mq);
        g_test_add_func("/net/pairs", test_pairs);
        return g_test_run();
}
