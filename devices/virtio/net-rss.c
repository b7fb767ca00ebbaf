/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Commands are read from a copy, and what they say is checked before anything changes. The one kind of steering takes the place of the
 * other with the driver's last command (5.1.6.5.5); what is hashed for reports stays.
 */

#include "devices/virtio/net-rss.h"

#include <string.h>

void vnet_rss_reset(struct vnet_rss *r) {
        *r = (struct vnet_rss){ 0 };
}

struct reader {
        const uint8_t *data;
        size_t left;
        bool short_of; /* there was less than was asked for */
};

/* n bytes, least significant first. */
static uint32_t take(struct reader *d, unsigned n) {
        uint32_t value = 0;

        if (d->left < n) {
                d->short_of = true;
                return 0;
        }
        for (unsigned i = 0; i < n; i++)
                value |= (uint32_t) d->data[i] << 8 * i;
        d->data += n;
        d->left -= n;
        return value;
}

/* The end of either command. No key hashes nothing. */
static bool take_key(struct reader *d, struct vnet_rss *r) {
        uint32_t len = take(d, 1);

        if (d->short_of || len > VNET_HASH_KEY_MAX || d->left < len || (len == 0 && r->types != 0))
                return false;
        r->key_len = (uint8_t) len;
        memset(r->key, 0, sizeof(r->key));
        memcpy(r->key, d->data, len);
        return true;
}

static bool is_sound(const struct vnet_rss *r, unsigned n_pairs) {
        if ((r->types & ~VNET_HASH_TYPES) != 0 || r->key_len > VNET_HASH_KEY_MAX)
                return false;
        if (!r->steering)
                return true;
        if (r->n_table == 0 || r->n_table > VNET_RSS_TABLE_MAX ||
            (r->n_table & (r->n_table - 1)) != 0 || r->unclassified >= n_pairs)
                return false;
        for (unsigned i = 0; i < r->n_table; i++)
                if (r->table[i] >= n_pairs)
                        return false;
        return true;
}

static void prepare(struct vnet_rss *r) {
        vnet_hash_prepare(&r->prepared, r->key, r->key_len);
}

bool vnet_rss_set(
                struct vnet_rss *r,
                const uint8_t *data,
                size_t len,
                unsigned n_pairs,
                unsigned *ret_pairs) {
        struct reader d = { data, len, false };
        struct vnet_rss new = { .steering = true };
        unsigned pairs;
        uint32_t mask;

        new.types = take(&d, 4);
        mask = take(&d, 2);
        if (mask >= VNET_RSS_TABLE_MAX)
                return false;
        new.n_table = (uint16_t) (mask + 1);
        new.unclassified = (uint16_t) take(&d, 2);
        for (unsigned i = 0; i < new.n_table; i++)
                new.table[i] = (uint16_t) take(&d, 2);
        pairs = take(&d, 2);
        if (pairs == 0 || pairs > n_pairs || !take_key(&d, &new) || !is_sound(&new, n_pairs))
                return false;
        /* A driver may send with fewer queues than it receives. */
        pairs = MAX(pairs, new.unclassified + 1u);
        for (unsigned i = 0; i < new.n_table; i++)
                pairs = MAX(pairs, new.table[i] + 1u);
        prepare(&new);
        *r = new;
        *ret_pairs = pairs;
        return true;
}

bool vnet_rss_set_hash(struct vnet_rss *r, const uint8_t *data, size_t len) {
        struct reader d = { data, len, false };
        struct vnet_rss new = { .types = take(&d, 4) };

        /* Reserved; Linux before 6.9 has the number of its queues there. */
        (void) take(&d, 4);
        (void) take(&d, 4);
        if (!take_key(&d, &new) || !is_sound(&new, 0))
                return false;
        prepare(&new);
        *r = new;
        return true;
}

static GVariant *numbers(const uint16_t *from, size_t n) {
        return g_variant_new_fixed_array(G_VARIANT_TYPE_UINT16, from, n, sizeof(*from));
}

GVariant *vnet_rss_save(const struct vnet_rss *r) {
        return g_variant_new(
                        "(buq@aq@ay)", (gboolean) r->steering, r->types, r->unclassified,
                        numbers(r->table, r->n_table),
                        g_variant_new_fixed_array(G_VARIANT_TYPE_BYTE, r->key, r->key_len, 1));
}

bool vnet_rss_restore(struct vnet_rss *r, GVariant *state, unsigned n_pairs) {
        g_autoptr(GVariant) table = g_variant_get_child_value(state, 3);
        g_autoptr(GVariant) key = g_variant_get_child_value(state, 4);
        struct vnet_rss new = { 0 };
        gsize n_table, key_len;
        const uint16_t *from = g_variant_get_fixed_array(table, &n_table, sizeof(*from));
        const uint8_t *bytes = g_variant_get_fixed_array(key, &key_len, 1);
        gboolean steering;

        g_variant_get_child(state, 0, "b", &steering);
        g_variant_get_child(state, 1, "u", &new.types);
        g_variant_get_child(state, 2, "q", &new.unclassified);
        if (n_table > VNET_RSS_TABLE_MAX || key_len > VNET_HASH_KEY_MAX)
                return false;
        new.steering = steering;
        new.n_table = (uint16_t) n_table;
        if (n_table > 0)
                memcpy(new.table, from, n_table * sizeof(*from));
        new.key_len = (uint8_t) key_len;
        if (key_len > 0)
                memcpy(new.key, bytes, key_len);
        if (!is_sound(&new, n_pairs))
                return false;
        prepare(&new);
        *r = new;
        return true;
}
