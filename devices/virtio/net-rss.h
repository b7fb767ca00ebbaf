/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "devices/virtio/net-hash.h"

#include <glib.h>

/* How a driver wants frames hashed and spread over its receive queues (virtio 1.2, 5.1.6.5.6 and 5.1.6.5.7). A plain value: each pair has
 * a copy of its own. */

#define VNET_RSS_TABLE_MAX 128u
/* A whole command, as long as it can be: types, mask, queue, table, queues, key. */
#define VNET_RSS_BYTES (4 + 2 + 2 + 2 * VNET_RSS_TABLE_MAX + 2 + 1 + VNET_HASH_KEY_MAX)

struct vnet_rss {
        bool steering;  /* by the table; else each frame goes to the pair that got it */
        uint32_t types; /* bits of enum vnet_hash_report; 0: nothing is hashed */
        uint16_t n_table, unclassified;
        uint16_t table[VNET_RSS_TABLE_MAX];
        uint8_t key_len;
        uint8_t key[VNET_HASH_KEY_MAX];
        struct vnet_hash_key prepared;
};

/* As after a reset: nothing is hashed. */
void vnet_rss_reset(struct vnet_rss *r);

/* The data of VNET_MQ_RSS_CONFIG, of a device with n_pairs; *ret_pairs are to be served from now on / of VNET_MQ_HASH_CONFIG. False, and
 * nothing is changed: it is not whole, or names what is not there. */
bool vnet_rss_set(
                struct vnet_rss *r,
                const uint8_t *data,
                size_t len,
                unsigned n_pairs,
                unsigned *ret_pairs);
bool vnet_rss_set_hash(struct vnet_rss *r, const uint8_t *data, size_t len);

/* Where a frame goes that was hashed so. */
static inline unsigned
vnet_rss_queue(const struct vnet_rss *r, enum vnet_hash_report report, uint32_t hash) {
        return report == VNET_HASH_NONE ? r->unclassified : r->table[hash & (r->n_table - 1u)];
}

/* For a saved state: floating, and false for what no device with n_pairs has saved. */
GVariant *vnet_rss_save(const struct vnet_rss *r);
bool vnet_rss_restore(struct vnet_rss *r, GVariant *state, unsigned n_pairs);
#define VNET_RSS_TYPE "(buqaqay)"
