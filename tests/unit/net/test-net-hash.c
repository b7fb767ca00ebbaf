/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves of hashes: they are those of Microsoft's verification suite and of the definition, bit by bit; the fields that count are
 * found behind tags, options and extension headers, and are the ones that the enabled types name; fragments and what is cut off are hashed
 * by their addresses; no byte beyond a frame is read, whatever is in it. And of a driver's tables that only whole and possible ones are taken.
 */

#include "devices/virtio/net-rss.h"

#include <arpa/inet.h>
#include <string.h>

#define TYPE(report) (1u << (VNET_HASH_##report - 1))

static const uint8_t suite_key[VNET_HASH_KEY_MAX] = {
        0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3,
        0x8f, 0xb0, 0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3,
        0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
};

static const struct vector {
        const char *to, *from;
        uint16_t to_port, from_port;
        uint32_t addresses, with_ports;
} suite[] = {
        { "161.142.100.80", "66.9.149.187", 1766, 2794, 0x323e8fc2, 0x51ccc178 },
        { "65.69.140.83", "199.92.111.2", 4739, 14230, 0xd718262a, 0xc626b0ea },
        { "12.22.207.184", "24.19.198.95", 38024, 12898, 0xd2d0a5de, 0x5c2b394a },
        { "209.142.163.6", "38.27.205.30", 2217, 48228, 0x82989176, 0xafc7327f },
        { "202.188.127.2", "153.39.163.191", 1303, 44251, 0x5d1809c5, 0x10e828a2 },
        { "3ffe:2501:200:3::1", "3ffe:2501:200:1fff::7", 1766, 2794, 0x2cc18cd5, 0x40207d3d },
        { "ff02::1", "3ffe:501:8::260:97ff:fe40:efab", 4739, 14230, 0x0f0c461c, 0xdde51bbf },
        { "fe80::200:f8ff:fe21:67cf", "3ffe:1900:4545:3:200:f8ff:fe21:67cf", 38024, 44251,
          0x4b61e985, 0x02d1feef },
};
#define N_IPV4 5u

static struct vnet_hash_key key;

/* As it is defined: each bit of the input that is set takes the 32 bits of the key from its own place on. */
static uint32_t by_definition(const uint8_t *k, const uint8_t *data, size_t len) {
        uint32_t hash = 0;

        for (size_t bit = 0; bit < 8 * len; bit++)
                for (size_t i = 0; data[bit / 8] >> (7 - bit % 8) & 1 && i < 32; i++)
                        if ((bit + i) / 8 < VNET_HASH_KEY_MAX &&
                            k[(bit + i) / 8] >> (7 - (bit + i) % 8) & 1)
                                hash ^= 1u << (31 - i);
        return hash;
}

static void test_definition(void) {
        for (unsigned round = 0; round < 200; round++) {
                uint8_t k[VNET_HASH_KEY_MAX] = { 0 }, data[VNET_HASH_INPUT_MAX];
                size_t key_len = (size_t) g_test_rand_int_range(0, VNET_HASH_KEY_MAX + 1);

                for (size_t i = 0; i < key_len; i++)
                        k[i] = (uint8_t) g_test_rand_int();
                for (size_t i = 0; i < sizeof(data); i++)
                        data[i] = (uint8_t) g_test_rand_int();
                vnet_hash_prepare(&key, k, key_len);
                for (size_t len = 0; len <= sizeof(data); len++)
                        g_assert_cmphex(vnet_hash_bytes(&key, data, len), ==,
                                        by_definition(k, data, len));
        }
}

/* A frame as it is put together. */
struct packet {
        uint8_t data[512];
        size_t len, ip; /* where the IP header begins */
        const struct vector *v;
};

static void put(struct packet *p, const void *data, size_t len) {
        memcpy(p->data + p->len, data, len);
        p->len += len;
}

static void put16(struct packet *p, unsigned value) {
        put(p, (uint8_t[]){ (uint8_t) (value >> 8), (uint8_t) value }, 2);
}

static bool is_ipv4(const struct vector *v) {
        return v - suite < N_IPV4;
}

static void begin(struct packet *p, const struct vector *v, unsigned tags) {
        static const uint8_t addresses[12] = { 2 };

        *p = (struct packet){ .v = v };
        put(p, addresses, sizeof(addresses));
        for (; tags > 0; tags--) {
                put16(p, tags == 2 ? 0x88a8 : 0x8100);
                put16(p, 0xe005);
        }
        put16(p, is_ipv4(v) ? 0x0800 : 0x86dd);
        p->ip = p->len;
}

/* The IP header, with what is first behind it; its length is filled in by end(). */
static void put_ip(struct packet *p, uint8_t protocol, unsigned option_words) {
        uint8_t from[16], to[16];

        if (is_ipv4(p->v)) {
                const uint8_t first[12] = {
                        (uint8_t) (0x45 + option_words),
                        [6] = 0x40,
                        [8] = 64,
                        [9] = protocol,
                };

                g_assert_cmpint(inet_pton(AF_INET, p->v->from, from), ==, 1);
                g_assert_cmpint(inet_pton(AF_INET, p->v->to, to), ==, 1);
                put(p, first, sizeof(first));
                put(p, from, 4);
                put(p, to, 4);
                for (; option_words > 0; option_words--)
                        put(p, "\1\1\1\1", 4);
                return;
        }
        g_assert_cmpint(inet_pton(AF_INET6, p->v->from, from), ==, 1);
        g_assert_cmpint(inet_pton(AF_INET6, p->v->to, to), ==, 1);
        put(p, (uint8_t[8]){ 0x60, [6] = protocol, [7] = 64 }, 8);
        put(p, from, 16);
        put(p, to, 16);
}

static void put_ports(struct packet *p) {
        put16(p, p->v->from_port);
        put16(p, p->v->to_port);
        put(p, "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 16);
}

static void end(struct packet *p) {
        size_t len = p->len - p->ip;
        uint8_t *at = p->data + p->ip + (is_ipv4(p->v) ? 2 : 4);

        len -= is_ipv4(p->v) ? 0 : 40;
        at[0] = (uint8_t) (len >> 8);
        at[1] = (uint8_t) len;
}

static void
expect(const struct packet *p, uint32_t types, enum vnet_hash_report report, uint32_t hash) {
        uint32_t got = 1;

        g_assert_cmpuint(vnet_hash_frame(&key, types, p->data, p->len, &got), ==, report);
        g_assert_cmphex(got, ==, report == VNET_HASH_NONE ? 0 : hash);
}

static void test_suite(void) {
        vnet_hash_prepare(&key, suite_key, sizeof(suite_key));
        for (unsigned i = 0; i < 4 * G_N_ELEMENTS(suite); i++) {
                const struct vector *v = &suite[i / 4];
                unsigned tags = i % 4 % 3;
                enum vnet_hash_report address = is_ipv4(v) ? VNET_HASH_IPV4 : VNET_HASH_IPV6;
                struct packet p;

                /* TCP, UDP, something else; IPv4 with options, too. */
                for (uint8_t k = 0; k < 3; k++) {
                        uint8_t protocol = (const uint8_t[]){ 6, 17, 132 }[k];
                        uint32_t ports = k < 2 ? v->with_ports : v->addresses;

                        begin(&p, v, tags);
                        put_ip(&p, protocol, i % 4 == 3 ? 10 : 0);
                        put_ports(&p);
                        end(&p);
                        expect(&p, VNET_HASH_TYPES, k < 2 ? address + 1u + k : address, ports);
                        expect(&p, 1u << (address - 1), address, v->addresses);
                        expect(&p, 1u << address | 1u << (address + 1),
                               k < 2 ? address + 1u + k : VNET_HASH_NONE, ports);
                        expect(&p, 1u << address | 1u << (address - 1),
                               k == 0 ? address + 1 : address,
                               k == 0 ? v->with_ports : v->addresses);
                        expect(&p, 0, VNET_HASH_NONE, 0);
                        expect(&p, VNET_HASH_TYPES & ~(7u << (address - 1)), VNET_HASH_NONE, 0);
                }
        }
}

static void test_ipv4(void) {
        struct packet p;

        vnet_hash_prepare(&key, suite_key, sizeof(suite_key));
        /* The first fragment, one in the middle, and the last. */
        for (unsigned i = 0; i < 3; i++) {
                begin(&p, &suite[0], 0);
                put_ip(&p, 6, 0);
                put_ports(&p);
                end(&p);
                memcpy(p.data + p.ip + 6, (const char *[]){ "\x20\0", "\x20\5", "\0\5" }[i], 2);
                expect(&p, VNET_HASH_TYPES, VNET_HASH_IPV4, suite[0].addresses);
                expect(&p, TYPE(TCPV4) | TYPE(UDPV4), VNET_HASH_NONE, 0);
        }
        begin(&p, &suite[0], 0);
        put_ip(&p, 6, 0);
        put_ports(&p);
        end(&p);
        /* What the packet does not reach is the padding of the frame. */
        p.data[p.ip + 3] = 23;
        expect(&p, VNET_HASH_TYPES, VNET_HASH_IPV4, suite[0].addresses);
        p.data[p.ip + 3] = 24;
        expect(&p, VNET_HASH_TYPES, VNET_HASH_TCPV4, suite[0].with_ports);
        p.data[p.ip + 3] = 0; /* too long for that field */
        expect(&p, VNET_HASH_TYPES, VNET_HASH_TCPV4, suite[0].with_ports);
        p.data[p.ip] = 0x44;
        expect(&p, VNET_HASH_TYPES, VNET_HASH_IPV4, suite[0].addresses);
        p.data[p.ip] = 0x55;
        expect(&p, VNET_HASH_TYPES, VNET_HASH_NONE, 0);
        /* Neither IPv4 nor IPv6. */
        p.data[p.ip] = 0x45;
        p.data[13] = 6;
        expect(&p, VNET_HASH_TYPES, VNET_HASH_NONE, 0);
}

static uint32_t hash_of(const char *from, const char *to, const struct vector *ports) {
        uint8_t data[VNET_HASH_INPUT_MAX];
        size_t len = 32;

        g_assert_cmpint(inet_pton(AF_INET6, from, data), ==, 1);
        g_assert_cmpint(inet_pton(AF_INET6, to, data + 16), ==, 1);
        if (ports) {
                const uint8_t last[] = {
                        (uint8_t) (ports->from_port >> 8),
                        (uint8_t) ports->from_port,
                        (uint8_t) (ports->to_port >> 8),
                        (uint8_t) ports->to_port,
                };

                memcpy(data + 32, last, 4);
                len += 4;
        }
        return by_definition(suite_key, data, len);
}

/* Extension headers: what they are, and what comes behind. */
static void put_hop_by_hop(struct packet *p, uint8_t next) {
        put(p, (uint8_t[8]){ next, 0, 1, 4 }, 8);
}

static void put_home_address(struct packet *p, uint8_t next, const char *address) {
        uint8_t home[16];

        g_assert_cmpint(inet_pton(AF_INET6, address, home), ==, 1);
        /* Two octets of padding in the one way, four in the other, so that the address is aligned. */
        put(p, (uint8_t[8]){ next, 2, 0, 1, 1, 0, 0xc9, 16 }, 8);
        put(p, home, 16);
}

static void put_routing(struct packet *p, uint8_t next, uint8_t type, const char *address) {
        uint8_t home[16];

        g_assert_cmpint(inet_pton(AF_INET6, address, home), ==, 1);
        put(p, (uint8_t[8]){ next, 2, type, 1 }, 8);
        put(p, home, 16);
}

static void put_fragment(struct packet *p, uint8_t next, unsigned offset) {
        put(p, (uint8_t[8]){ next, 0, (uint8_t) (offset >> 8), (uint8_t) offset }, 8);
}

#define HOME "2001:db8::1"
#define ROUTED "2001:db8:5::2"

static void test_extensions(void) {
        const struct vector *v = &suite[5];
        const uint32_t plain = TYPE(IPV6) | TYPE(TCPV6) | TYPE(UDPV6);
        struct packet p;

        vnet_hash_prepare(&key, suite_key, sizeof(suite_key));
        begin(&p, v, 1);
        put_ip(&p, 0, 0);
        put_hop_by_hop(&p, 60);
        put_home_address(&p, 43, HOME);
        put_routing(&p, 51, 2, ROUTED);
        put(&p, (uint8_t[16]){ 6, 2 }, 16); /* AH counts in words */
        put_ports(&p);
        end(&p);
        expect(&p, VNET_HASH_TYPES, VNET_HASH_TCPV6_EX, hash_of(HOME, ROUTED, v));
        expect(&p, TYPE(IPV6_EX), VNET_HASH_IPV6_EX, hash_of(HOME, ROUTED, NULL));
        expect(&p, TYPE(IPV6_EX) | TYPE(UDPV6_EX) | TYPE(TCPV6), VNET_HASH_IPV6_EX,
               hash_of(HOME, ROUTED, NULL));
        /* Without any of these types the headers are skipped. */
        expect(&p, plain, VNET_HASH_TCPV6, v->with_ports);
        expect(&p, TYPE(TCPV6) | TYPE(UDPV6_EX), VNET_HASH_TCPV6, v->with_ports);
        expect(&p, TYPE(IPV6), VNET_HASH_IPV6, v->addresses);
        expect(&p, TYPE(UDPV6) | TYPE(UDPV6_EX), VNET_HASH_NONE, 0);

        /* Another kind of routing says nothing of home; UDP. */
        begin(&p, v, 0);
        put_ip(&p, 43, 0);
        put_routing(&p, 17, 4, ROUTED);
        put_ports(&p);
        end(&p);
        expect(&p, VNET_HASH_TYPES, VNET_HASH_UDPV6_EX, v->with_ports);
        expect(&p, plain, VNET_HASH_UDPV6, v->with_ports);

        /* A fragment that is all of its packet has ports; others have none. */
        for (unsigned i = 0; i < 3; i++) {
                begin(&p, v, 0);
                put_ip(&p, 44, 0);
                put_fragment(&p, 6, (const unsigned[]){ 6, 1, 0x58 }[i]);
                put_ports(&p);
                end(&p);
                expect(&p, VNET_HASH_TYPES, i == 0 ? VNET_HASH_TCPV6_EX : VNET_HASH_IPV6_EX,
                       i == 0 ? v->with_ports : v->addresses);
                expect(&p, plain, i == 0 ? VNET_HASH_TCPV6 : VNET_HASH_IPV6,
                       i == 0 ? v->with_ports : v->addresses);
                expect(&p, TYPE(TCPV6) | TYPE(TCPV6_EX),
                       i > 0 ? VNET_HASH_NONE : VNET_HASH_TCPV6_EX, v->with_ports);
        }

        /* So many headers are none that anybody sends, and one that goes beyond the packet is none at all. */
        for (unsigned n = 8; n < 10; n++) {
                begin(&p, v, 0);
                put_ip(&p, 0, 0);
                for (unsigned i = 1; i <= n; i++)
                        put_hop_by_hop(&p, i < n ? 0 : 6);
                put_ports(&p);
                end(&p);
                expect(&p, VNET_HASH_TYPES, n == 8 ? VNET_HASH_TCPV6_EX : VNET_HASH_IPV6_EX,
                       n == 8 ? v->with_ports : v->addresses);
        }
        p.data[p.ip + 40 + 1] = 255;
        expect(&p, VNET_HASH_TYPES, VNET_HASH_IPV6_EX, v->addresses);
}

/* In memory that ends where the frame does, for the address sanitizer. */
static void hash_alone(const uint8_t *data, size_t len) {
        g_autofree uint8_t *copy = len > 0 ? g_memdup2(data, len) : g_malloc(1);
        uint32_t hash;

        (void) vnet_hash_frame(&key, VNET_HASH_TYPES, copy, len, &hash);
}

static void test_cut(void) {
        struct packet p;
        uint32_t hash;

        vnet_hash_prepare(&key, suite_key, sizeof(suite_key));
        begin(&p, &suite[0], 2);
        put_ip(&p, 17, 3);
        put_ports(&p);
        end(&p);
        for (size_t len = 0; len <= p.len; len++) {
                enum vnet_hash_report report =
                                vnet_hash_frame(&key, VNET_HASH_TYPES, p.data, len, &hash);

                g_assert_cmpuint(
                                report, ==,
                                len < p.ip + 20            ? VNET_HASH_NONE
                                : len < p.ip + 20 + 12 + 4 ? VNET_HASH_IPV4
                                                           : VNET_HASH_UDPV4);
                hash_alone(p.data, len);
        }
        begin(&p, &suite[6], 0);
        put_ip(&p, 60, 0);
        put_home_address(&p, 43, HOME);
        put_routing(&p, 6, 2, ROUTED);
        put_ports(&p);
        end(&p);
        for (size_t len = 0; len <= p.len; len++) {
                enum vnet_hash_report report =
                                vnet_hash_frame(&key, VNET_HASH_TYPES, p.data, len, &hash);

                g_assert_cmpuint(
                                report, ==,
                                len < p.ip + 40            ? VNET_HASH_NONE
                                : len < p.ip + 40 + 48 + 4 ? VNET_HASH_IPV6_EX
                                                           : VNET_HASH_TCPV6_EX);
                hash_alone(p.data, len);
        }
        for (unsigned round = 0; round < 100000; round++) {
                struct packet damaged = p;

                for (int n = g_test_rand_int_range(1, 5); n > 0; n--)
                        damaged.data[g_test_rand_int_range(12, (gint32) p.len)] =
                                        (uint8_t) g_test_rand_int();
                hash_alone(damaged.data, (size_t) g_test_rand_int_range(0, (gint32) p.len + 1));
        }
}

static GByteArray *
table(uint32_t types, uint16_t n, uint16_t unclassified, uint16_t pairs, uint8_t key_len) {
        GByteArray *a = g_byte_array_new();
        uint32_t types_le = GUINT32_TO_LE(types);
        uint16_t first[] = { GUINT16_TO_LE((uint16_t) (n - 1)), GUINT16_TO_LE(unclassified) };
        uint16_t pairs_le = GUINT16_TO_LE(pairs);

        g_byte_array_append(a, (uint8_t *) &types_le, 4);
        g_byte_array_append(a, (uint8_t *) first, 4);
        for (uint16_t i = 0; i < n; i++) {
                uint16_t entry = GUINT16_TO_LE(i % 3);

                g_byte_array_append(a, (uint8_t *) &entry, 2);
        }
        g_byte_array_append(a, (uint8_t *) &pairs_le, 2);
        g_byte_array_append(a, &key_len, 1);
        g_byte_array_append(a, suite_key, MIN(key_len, sizeof(suite_key)));
        return a;
}

static bool set(struct vnet_rss *r, GByteArray *data, unsigned n_pairs, unsigned *ret_pairs) {
        bool ok = vnet_rss_set(r, data->data, data->len, n_pairs, ret_pairs);

        g_byte_array_unref(data);
        return ok;
}

static void expect_same(const struct vnet_rss *a, const struct vnet_rss *b) {
        g_autoptr(GVariant) of_a = g_variant_ref_sink(vnet_rss_save(a));
        g_autoptr(GVariant) of_b = g_variant_ref_sink(vnet_rss_save(b));

        g_assert_cmpvariant(of_a, of_b);
        g_assert_cmpmem(&a->prepared, sizeof(a->prepared), &b->prepared, sizeof(b->prepared));
}

static void test_tables(void) {
        g_autoptr(GVariant) state = NULL;
        GByteArray *data;
        struct vnet_rss r, before, back;
        unsigned pairs = 0;

        vnet_rss_reset(&r);
        g_assert_true(set(&r, table(VNET_HASH_TYPES, 128, 2, 1, 40), 3, &pairs));
        g_assert_cmpuint(pairs, ==, 3);
        g_assert_cmpuint(vnet_rss_queue(&r, VNET_HASH_NONE, 0), ==, 2);
        g_assert_cmpuint(vnet_rss_queue(&r, VNET_HASH_IPV4, 0xffffff80), ==, 0);
        g_assert_cmpuint(vnet_rss_queue(&r, VNET_HASH_IPV4, 0xffffffff), ==, 127 % 3);
        before = r;

        g_assert_false(set(&r, table(VNET_HASH_TYPES + 1, 128, 2, 3, 40), 3, &pairs));
        g_assert_false(set(&r, table(1u << 31, 128, 2, 3, 40), 3, &pairs));
        for (uint16_t n = 3; n < 600; n++)
                if ((n & (n - 1)) != 0 || n > 128)
                        g_assert_false(set(&r, table(1, n, 0, 3, 40), 3, &pairs));
        g_assert_false(set(&r, table(1, 4, 3, 3, 40), 3, &pairs));
        g_assert_false(set(&r, table(1, 4, 0x8000, 3, 40), 3, &pairs));
        g_assert_false(set(&r, table(1, 4, 0, 1, 40), 2, &pairs)); /* an entry beyond the pairs */
        g_assert_false(set(&r, table(1, 4, 0, 0, 40), 3, &pairs));
        g_assert_false(set(&r, table(1, 4, 0, 4, 40), 3, &pairs));
        g_assert_false(set(&r, table(1, 4, 0, 0xffff, 40), 3, &pairs));
        g_assert_false(set(&r, table(1, 4, 0, 3, 0), 3, &pairs));
        g_assert_false(set(&r, table(1, 4, 0, 3, 41), 3, &pairs));
        g_assert_false(set(&r, table(1, 4, 0, 3, 255), 3, &pairs));
        data = table(1, 128, 0, 3, 40);
        g_assert_cmpuint(data->len, ==, VNET_RSS_BYTES);
        for (size_t len = 0; len < VNET_RSS_BYTES; len++)
                g_assert_false(vnet_rss_set(&r, data->data, len, 3, &pairs));
        g_byte_array_unref(data);
        expect_same(&r, &before);
        g_assert_cmpuint(pairs, ==, 3);

        /* Saved and restored; what no device has saved is refused. */
        state = g_variant_ref_sink(vnet_rss_save(&r));
        vnet_rss_reset(&back);
        g_assert_false(vnet_rss_restore(&back, state, 2));
        g_assert_true(vnet_rss_restore(&back, state, 3));
        expect_same(&r, &back);

        /* Nothing is hashed: no key is needed, and all goes to one queue. */
        g_assert_true(set(&r, table(0, 1, 1, 2, 0), 3, &pairs));
        g_assert_cmpuint(pairs, ==, 2);
        g_assert_cmpuint(vnet_rss_queue(&r, VNET_HASH_NONE, 0), ==, 1);
}

static void test_bad_states(void) {
        static const char *const bad[] = {
                "(true, uint32 512, uint16 0, [uint16 0], [byte 1])",
                "(true, 1, 1, [0], [1])",
                "(true, 1, 0, [1], [1])",
                "(true, 1, 0, [0, 0, 0], [1])",
                "(true, 1, 0, [], [1])",
        };
        g_autoptr(GVariant) long_key = NULL, long_table = NULL;
        uint8_t bytes[41] = { 0 };
        uint16_t entries[256] = { 0 };
        struct vnet_rss r;

        vnet_rss_reset(&r);
        for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
                g_autoptr(GVariant) state = g_variant_parse(
                                G_VARIANT_TYPE(VNET_RSS_TYPE), bad[i], NULL, NULL, NULL);

                g_assert_nonnull(state);
                g_assert_false(vnet_rss_restore(&r, state, 1));
        }
        long_key = g_variant_ref_sink(g_variant_new(
                        "(buq@aq@ay)", FALSE, 0u, 0,
                        g_variant_new_fixed_array(G_VARIANT_TYPE_UINT16, NULL, 0, 2),
                        g_variant_new_fixed_array(G_VARIANT_TYPE_BYTE, bytes, 41, 1)));
        g_assert_false(vnet_rss_restore(&r, long_key, 1));
        long_table = g_variant_ref_sink(g_variant_new(
                        "(buq@aq@ay)", TRUE, 0u, 0,
                        g_variant_new_fixed_array(G_VARIANT_TYPE_UINT16, entries, 256, 2),
                        g_variant_new_fixed_array(G_VARIANT_TYPE_BYTE, bytes, 40, 1)));
        g_assert_false(vnet_rss_restore(&r, long_table, 1));
}

static void test_hash_config(void) {
        uint8_t data[4 + 8 + 1 + VNET_HASH_KEY_MAX] = { 0x3f, 0, 0, 0, [10] = 9, [12] = 40 };
        struct vnet_rss r, before;

        memcpy(data + 13, suite_key, sizeof(suite_key));
        vnet_rss_reset(&r);
        for (size_t len = 0; len < sizeof(data); len++)
                g_assert_false(vnet_rss_set_hash(&r, data, len));
        g_assert_true(vnet_rss_set_hash(&r, data, sizeof(data)));
        g_assert_cmphex(r.types, ==, 0x3f);
        g_assert_false(r.steering);
        before = r;
        data[1] = 2;
        g_assert_false(vnet_rss_set_hash(&r, data, sizeof(data)));
        data[1] = 0;
        data[12] = 41;
        g_assert_false(vnet_rss_set_hash(&r, data, sizeof(data)));
        data[12] = 0;
        g_assert_false(vnet_rss_set_hash(&r, data, 13));
        expect_same(&r, &before);
        data[0] = 0;
        g_assert_true(vnet_rss_set_hash(&r, data, 13));
        g_assert_cmphex(r.types, ==, 0);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/net-hash/definition", test_definition);
        g_test_add_func("/net-hash/suite", test_suite);
        g_test_add_func("/net-hash/ipv4", test_ipv4);
        g_test_add_func("/net-hash/extensions", test_extensions);
        g_test_add_func("/net-hash/cut", test_cut);
        g_test_add_func("/net-rss/tables", test_tables);
        g_test_add_func("/net-rss/bad-states", test_bad_states);
        g_test_add_func("/net-rss/hash-config", test_hash_config);
        return g_test_run();
}
