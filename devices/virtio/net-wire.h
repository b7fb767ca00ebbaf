/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/*
 * What a network device and its driver say to each other (virtio 1.2, 5.1). All fields are little-endian.
 */

/* Feature bits. */
enum {
        VNET_F_CSUM = 0,
        VNET_F_GUEST_CSUM = 1,
        VNET_F_CTRL_GUEST_OFFLOADS = 2,
        VNET_F_MTU = 3,
        VNET_F_MAC = 5,
        VNET_F_GUEST_TSO4 = 7,
        VNET_F_GUEST_TSO6 = 8,
        VNET_F_GUEST_ECN = 9,
        VNET_F_GUEST_UFO = 10,
        VNET_F_HOST_TSO4 = 11,
        VNET_F_HOST_TSO6 = 12,
        VNET_F_HOST_ECN = 13,
        VNET_F_HOST_UFO = 14,
        VNET_F_MRG_RXBUF = 15,
        VNET_F_STATUS = 16,
        VNET_F_CTRL_VQ = 17,
        VNET_F_CTRL_RX = 18,
        VNET_F_CTRL_VLAN = 19,
        VNET_F_CTRL_RX_EXTRA = 20,
        VNET_F_GUEST_ANNOUNCE = 21,
        VNET_F_MQ = 22,
        VNET_F_CTRL_MAC_ADDR = 23,
        VNET_F_HASH_REPORT = 57,
        VNET_F_RSS = 60,
};

/* Whether each of the features has those that it needs (5.1.3.1). net.c */
bool vnet_features_fit(uint64_t features);

#define VNET_S_LINK_UP 1u
#define VNET_S_ANNOUNCE 2u

struct vnet_space {
        uint8_t mac[6];
        uint16_t status;
        uint16_t max_pairs;
        uint16_t mtu;
        /* Not there for a device without rss. */
        uint32_t speed;
        uint8_t duplex;
        uint8_t rss_max_key;
        uint16_t rss_max_table;
        uint32_t hash_types;
};

#define VNET_SPACE_PLAIN 12u

struct vnet_header {
        uint8_t flags, gso_type;
        uint16_t hdr_len, gso_size, csum_start, csum_offset;
        uint16_t num_buffers;
};

/* Behind that one, with HASH_REPORT. */
struct vnet_header_hash {
        uint32_t value;
        uint16_t report;
        uint16_t padding;
};

/* Control queue: class, command, data of the command; answered with one byte. */
enum vnet_class {
        VNET_CLASS_RX = 0,
        VNET_CLASS_MAC = 1,
        VNET_CLASS_VLAN = 2,
        VNET_CLASS_ANNOUNCE = 3,
        VNET_CLASS_MQ = 4,
        VNET_CLASS_OFFLOADS = 5,
};

enum {
        VNET_MAC_TABLE_SET = 0,
        VNET_MAC_ADDR_SET = 1,
        VNET_VLAN_ADD = 0,
        VNET_VLAN_DEL = 1,
        VNET_ANNOUNCE_ACK = 0,
        VNET_MQ_PAIRS_SET = 0,
        VNET_MQ_RSS_CONFIG = 1,
        VNET_MQ_HASH_CONFIG = 2,
        VNET_OFFLOADS_SET = 0,
};

enum vnet_ack {
        VNET_OK = 0,
        VNET_ERR = 1,
};

_Static_assert(sizeof(struct vnet_space) == 24, "layout of virtio 1.2, 5.1.4");
_Static_assert(sizeof(struct vnet_header) == 12, "header of virtio 1.2, 5.1.6");
_Static_assert(sizeof(struct vnet_header_hash) == 8, "header of virtio 1.2, 5.1.6");
