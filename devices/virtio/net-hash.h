/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * The hash that a driver asks for of each frame to it: Toeplitz's, over addresses and ports (virtio 1.2, 5.1.6.4.3). A plain value: each pair
 * has a copy of its own. No allocation; any thread.
 */

#define VNET_HASH_KEY_MAX 40u
#define VNET_HASH_INPUT_MAX 36u /* two IPv6 addresses and two ports */

/* What is hashed, as it is reported; 0: nothing. The type's bit is 1 << (it - 1). */
enum vnet_hash_report {
        VNET_HASH_NONE,
        VNET_HASH_IPV4,
        VNET_HASH_TCPV4,
        VNET_HASH_UDPV4,
        VNET_HASH_IPV6,
        VNET_HASH_TCPV6,
        VNET_HASH_UDPV6,
        VNET_HASH_IPV6_EX,
        VNET_HASH_TCPV6_EX,
        VNET_HASH_UDPV6_EX,
};
#define VNET_HASH_TYPES 0x1ffu /* all bits */

/* The key's share in the hash for each value of each half byte of the input: 4.5 KiB, so that it stays in the first cache. */
struct vnet_hash_key {
        uint32_t share[2 * VNET_HASH_INPUT_MAX][16];
};

/* A key of len bytes, VNET_HASH_KEY_MAX at most; what is missing is zero. */
void vnet_hash_prepare(struct vnet_hash_key *k, const uint8_t *key, size_t len);

/* Of VNET_HASH_INPUT_MAX bytes at most. */
uint32_t vnet_hash_bytes(const struct vnet_hash_key *k, const uint8_t *data, size_t len);

/* Of an Ethernet frame, by the first of the enabled types that it has. Reads no byte beyond len; the frame must be the caller's alone. */
enum vnet_hash_report
vnet_hash_frame(const struct vnet_hash_key *k,
                uint32_t types,
                const uint8_t *frame,
                size_t len,
                uint32_t *ret_hash);
