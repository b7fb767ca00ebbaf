/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What a driver has said about the frames it wants. It is the driver's to say, so a wrong answer harms nobody else; what counts is
 * that no answer takes long. Until it says anything all frames pass, as a driver that does not know these commands expects.
 */

#include "devices/virtio/net-filter.h"

#include <string.h>

void vnet_filter_reset(struct vnet_filter *f, const uint8_t mac[6], bool vlans) {
        *f = (struct vnet_filter){ .modes[VNET_RX_PROMISC] = true };
        memcpy(f->mac, mac, sizeof(f->mac));
        memset(f->vlans, vlans ? 0 : 0xff, sizeof(f->vlans));
}

bool vnet_filter_set_vlan(struct vnet_filter *f, unsigned id, bool on) {
        uint8_t bit = (uint8_t) (1u << id % 8);

        if (id >= sizeof(f->vlans) * 8)
                return false;
        if (on)
                f->vlans[id / 8] |= bit;
        else
                f->vlans[id / 8] &= (uint8_t) ~bit;
        return true;
}

static bool is_in(const struct vnet_macs *macs, const uint8_t *mac) {
        if (macs->n > VNET_MACS_MAX)
                return true;
        for (uint32_t i = 0; i < macs->n; i++)
                if (memcmp(macs->mac[i], mac, 6) == 0)
                        return true;
        return false;
}

bool vnet_filter_wants(const struct vnet_filter *f, const uint8_t *frame, size_t len) {
        static const uint8_t everybody[6] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };

        if (f->modes[VNET_RX_PROMISC])
                return true;
        if (len >= 16 && frame[12] == 0x81 && frame[13] == 0) {
                unsigned id = (frame[14] & 0x0fu) << 8 | frame[15];

                if (!(f->vlans[id / 8] >> id % 8 & 1))
                        return false;
        }
        if (memcmp(frame, everybody, 6) == 0)
                return !f->modes[VNET_RX_NOBCAST];
        if (frame[0] & 1)
                return !f->modes[VNET_RX_NOMULTI] &&
                       (f->modes[VNET_RX_ALLMULTI] || is_in(&f->multi, frame));
        return !f->modes[VNET_RX_NOUNI] &&
               (f->modes[VNET_RX_ALLUNI] || memcmp(frame, f->mac, 6) == 0 || is_in(&f->uni, frame));
}

static GVariant *bytes(const void *data, size_t n) {
        return g_variant_new_fixed_array(G_VARIANT_TYPE_BYTE, data, n, 1);
}

static uint32_t n_kept(const struct vnet_macs *macs) {
        return MIN(macs->n, VNET_MACS_MAX);
}

GVariant *vnet_filter_save(const struct vnet_filter *f) {
        uint8_t modes[VNET_RX_MODES];

        for (int i = 0; i < VNET_RX_MODES; i++)
                modes[i] = f->modes[i];
        return g_variant_new(
                        "(@ay@ayu@ayu@ay@ay)", bytes(f->mac, sizeof(f->mac)),
                        bytes(modes, sizeof(modes)), f->uni.n,
                        bytes(f->uni.mac, 6 * n_kept(&f->uni)), f->multi.n,
                        bytes(f->multi.mac, 6 * n_kept(&f->multi)),
                        bytes(f->vlans, sizeof(f->vlans)));
}

/* False unless child i is n bytes. */
static bool take_bytes(GVariant *state, unsigned i, void *to, size_t n) {
        g_autoptr(GVariant) child = g_variant_get_child_value(state, i);
        const void *from;
        gsize found;

        from = g_variant_get_fixed_array(child, &found, 1);
        if (found != n)
                return false;
        if (n > 0)
                memcpy(to, from, n);
        return true;
}

bool vnet_filter_restore(struct vnet_filter *f, GVariant *state) {
        struct vnet_filter new = *f;
        uint8_t modes[VNET_RX_MODES];

        g_variant_get_child(state, 2, "u", &new.uni.n);
        g_variant_get_child(state, 4, "u", &new.multi.n);
        if (!take_bytes(state, 0, new.mac, sizeof(new.mac)) ||
            !take_bytes(state, 1, modes, sizeof(modes)) ||
            !take_bytes(state, 3, new.uni.mac, 6 * n_kept(&new.uni)) ||
            !take_bytes(state, 5, new.multi.mac, 6 * n_kept(&new.multi)) ||
            !take_bytes(state, 6, new.vlans, sizeof(new.vlans)))
                return false;
        for (int i = 0; i < VNET_RX_MODES; i++)
                new.modes[i] = modes[i] != 0;
        *f = new;
        return true;
}
