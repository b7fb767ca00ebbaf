/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Which frames a driver wants (virtio 1.2, 5.1.6.5.1 to 5.1.6.5.3). A plain value: each pair has a copy of its own. */

#define VNET_MACS_MAX 64u /* of each kind; with more, all of the kind are let through */

/* Modes, numbered as their commands. */
enum {
        VNET_RX_PROMISC,
        VNET_RX_ALLMULTI,
        VNET_RX_ALLUNI,
        VNET_RX_NOMULTI,
        VNET_RX_NOUNI,
        VNET_RX_NOBCAST,
        VNET_RX_MODES
};

struct vnet_macs {
        uint32_t n; /* more than VNET_MACS_MAX: too many to be kept */
        uint8_t mac[VNET_MACS_MAX][6];
};

struct vnet_filter {
        bool modes[VNET_RX_MODES];
        uint8_t mac[6]; /* the device's own */
        struct vnet_macs uni, multi;
        uint8_t vlans[4096 / 8];
};

/* As after a reset: everything is let through. vlans: the driver will say which VLANs it wants. */
void vnet_filter_reset(struct vnet_filter *f, const uint8_t mac[6], bool vlans);

/* False: there is no such VLAN. */
bool vnet_filter_set_vlan(struct vnet_filter *f, unsigned id, bool on);

/* An Ethernet frame's first len bytes, of which 14 are there. */
bool vnet_filter_wants(const struct vnet_filter *f, const uint8_t *frame, size_t len);

/* For a saved state: floating, and false for what no device has saved. */
GVariant *vnet_filter_save(const struct vnet_filter *f);
bool vnet_filter_restore(struct vnet_filter *f, GVariant *state);
#define VNET_FILTER_TYPE "(ayayuayuayay)"
