/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Frames are whatever the network sends: lengths are checked against the frame and against what the headers say themselves, headers and
 * options are counted. What cannot be followed to its ports is hashed by its addresses, as fragments are, of which only the first has
 * ports: all of a packet is to have one hash.
 */

#include "devices/virtio/net-hash.h"

#include <assert.h>
#include <glib.h>
#include <string.h>

#define MAX_TAGS 2u
#define MAX_EXTENSIONS 8u
#define MAX_OPTIONS 16u

enum {
        ETHER_VLAN = 0x8100,
        ETHER_VLAN_AD = 0x88a8,
        ETHER_IPV4 = 0x0800,
        ETHER_IPV6 = 0x86dd,
};

enum {
        IP_HOP_BY_HOP = 0,
        IP_TCP = 6,
        IP_UDP = 17,
        IP_ROUTING = 43,
        IP_FRAGMENT = 44,
        IP_AUTHENTICATION = 51,
        IP_DESTINATION = 60,
        IP_MOBILITY = 135,
        IP_HIP = 139,
        IP_SHIM6 = 140,
};

/* RFC 6275, 6.3 and 6.4. */
#define OPTION_PAD1 0u
#define OPTION_HOME_ADDRESS 0xc9u
#define ROUTING_HOME 2u

/* Of a packet: what may be hashed. */
struct flow {
        unsigned address_len;
        const uint8_t *from, *to;
        const uint8_t *home_from, *home_to; /* said by extension headers; NULL: there are none */
        const uint8_t *ports;               /* NULL: not known */
        uint8_t protocol;
        bool extended; /* has extension headers */
};

void vnet_hash_prepare(struct vnet_hash_key *k, const uint8_t *key, size_t len) {
        uint8_t whole[VNET_HASH_KEY_MAX] = { 0 };

        assert(len <= sizeof(whole));

        if (len > 0)
                memcpy(whole, key, len);
        for (unsigned i = 0; i < 2 * VNET_HASH_INPUT_MAX; i++) {
                /* Bit b of the input, the most significant being 0, takes 32 bits of the key from its bit b on. */
                const uint8_t *at = whole + i / 2;
                uint64_t window = (uint64_t) at[0] << 32 | (uint64_t) at[1] << 24 |
                                  (uint64_t) at[2] << 16 | (uint64_t) at[3] << 8 | at[4];

                for (unsigned value = 0; value < 16; value++) {
                        uint32_t share = 0;

                        for (unsigned b = 0; b < 4; b++)
                                if (value >> (3 - b) & 1)
                                        share ^= (uint32_t) (window >> (8 - 4 * (i % 2) - b));
                        k->share[i][value] = share;
                }
        }
}

static inline uint32_t
add(const struct vnet_hash_key *k, unsigned *at, const uint8_t *data, size_t len) {
        uint32_t hash = 0;

        for (size_t i = 0; i < len; i++, *at += 2)
                hash ^= k->share[*at][data[i] >> 4] ^ k->share[*at + 1][data[i] & 15];
        return hash;
}

uint32_t vnet_hash_bytes(const struct vnet_hash_key *k, const uint8_t *data, size_t len) {
        unsigned at = 0;

        assert(len <= VNET_HASH_INPUT_MAX);

        return add(k, &at, data, len);
}

static unsigned get16(const uint8_t *p) {
        return (unsigned) p[0] << 8 | p[1];
}

/* RFC 791. */
static bool parse_ipv4(struct flow *f, const uint8_t *p, size_t len) {
        size_t header, total;
        bool fragment;

        if (len < 20 || p[0] >> 4 != 4)
                return false;
        header = (size_t) (p[0] & 15) * 4;
        total = get16(p + 2);
        /* Longer than that field can say: it has 0. */
        if (total > 0)
                len = MIN(len, total);
        fragment = get16(p + 6) & 0x3fff;
        f->address_len = 4;
        f->from = p + 12;
        f->to = p + 16;
        f->protocol = p[9];
        if (header >= 20 && header + 4 <= len && !fragment)
                f->ports = p + header;
        return true;
}

static void find_home(struct flow *f, const uint8_t *p, size_t len) {
        size_t at = 2;

        for (unsigned n = 0; n < MAX_OPTIONS && at + 2 <= len; n++) {
                if (p[at] == OPTION_PAD1) {
                        at++;
                        continue;
                }
                if (p[at] == OPTION_HOME_ADDRESS && p[at + 1] == 16 && at + 18 <= len) {
                        f->home_from = p + at + 2;
                        return;
                }
                at += 2u + p[at + 1];
        }
}

/* How long an extension header is, whose first 8 bytes are there; 0: it is none. */
static size_t extension_len(uint8_t type, const uint8_t *p) {
        switch (type) {
        case IP_HOP_BY_HOP:
        case IP_ROUTING:
        case IP_DESTINATION:
        case IP_MOBILITY:
        case IP_HIP:
        case IP_SHIM6:
                return 8 + 8 * (size_t) p[1];
        case IP_FRAGMENT:
                return 8;
        case IP_AUTHENTICATION:
                return 8 + 4 * (size_t) p[1];
        default:
                return 0;
        }
}

static bool is_extension(uint8_t type) {
        static const uint8_t none[8] = { 0 };

        return extension_len(type, none) > 0;
}

/* RFC 8200. */
static bool parse_ipv6(struct flow *f, const uint8_t *p, size_t len) {
        size_t at = 40, payload;
        unsigned n = 0;
        uint8_t type;

        if (len < 40 || p[0] >> 4 != 6)
                return false;
        payload = get16(p + 4);
        if (payload > 0)
                len = MIN(len, 40 + payload);
        f->address_len = 16;
        f->from = p + 8;
        f->to = p + 24;
        type = p[6];
        f->extended = is_extension(type);
        for (; is_extension(type); n++) {
                size_t part;

                if (n == MAX_EXTENSIONS || at + 8 > len)
                        return true;
                part = extension_len(type, p + at);
                if (part > len - at)
                        return true;
                if (type == IP_FRAGMENT && (get16(p + at + 2) & 0xfff9) != 0)
                        return true;
                if (type == IP_DESTINATION && !f->home_from)
                        find_home(f, p + at, part);
                if (type == IP_ROUTING && p[at + 2] == ROUTING_HOME && part == 24)
                        f->home_to = p + at + 8;
                type = p[at];
                at += part;
        }
        f->protocol = type;
        if (at + 4 <= len)
                f->ports = p + at;
        return true;
}

/* False: nothing that is hashed. */
static bool parse(struct flow *f, const uint8_t *p, size_t len) {
        size_t at = 12;
        unsigned type;

        for (unsigned tags = 0;; tags++) {
                if (at + 2 > len)
                        return false;
                type = get16(p + at);
                if ((type != ETHER_VLAN && type != ETHER_VLAN_AD) || tags == MAX_TAGS)
                        break;
                at += 4;
        }
        at += 2;
        if (type == ETHER_IPV4)
                return parse_ipv4(f, p + at, len - at);
        return type == ETHER_IPV6 && parse_ipv6(f, p + at, len - at);
}

/* Of three reports in a row, addresses alone, TCP, UDP: the first that is enabled and that the packet has. */
static enum vnet_hash_report
choose(const struct flow *f, uint32_t types, enum vnet_hash_report address) {
        enum vnet_hash_report tcp = address + 1, udp = address + 2;

        if (f->ports && f->protocol == IP_TCP && types >> (tcp - 1) & 1)
                return tcp;
        if (f->ports && f->protocol == IP_UDP && types >> (udp - 1) & 1)
                return udp;
        return types >> (address - 1) & 1 ? address : VNET_HASH_NONE;
}

enum vnet_hash_report
vnet_hash_frame(const struct vnet_hash_key *k,
                uint32_t types,
                const uint8_t *frame,
                size_t len,
                uint32_t *ret_hash) {
        enum vnet_hash_report report = VNET_HASH_NONE;
        struct flow f = { 0 };
        unsigned at = 0;

        *ret_hash = 0;
        if (types == 0 || !parse(&f, frame, len))
                return VNET_HASH_NONE;
        if (f.extended)
                report = choose(&f, types, VNET_HASH_IPV6_EX);
        if (report != VNET_HASH_NONE) {
                f.from = f.home_from ?: f.from;
                f.to = f.home_to ?: f.to;
        } else
                report = choose(&f, types, f.address_len == 4 ? VNET_HASH_IPV4 : VNET_HASH_IPV6);
        if (report == VNET_HASH_NONE)
                return report;
        *ret_hash = add(k, &at, f.from, f.address_len);
        *ret_hash ^= add(k, &at, f.to, f.address_len);
        if (report != VNET_HASH_IPV4 && report != VNET_HASH_IPV6 && report != VNET_HASH_IPV6_EX)
                *ret_hash ^= add(k, &at, f.ports, 4);
        return report;
}
