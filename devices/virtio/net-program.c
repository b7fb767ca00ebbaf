/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A program is a row of questions, each of which answers for itself or falls through to the next: first the VLAN, then the kind of
 * address, then each address that is kept. Conditional jumps reach 255 instructions only, so nothing jumps further than over its own
 * question but for the one unconditional jump that the end of the VLANs is left by.
 */

#include "devices/virtio/net-program.h"

#include <errno.h>
#include <linux/if_ether.h>

#define RANGES_MAX                                                                                 \
        200u /* of wanted VLANs: a driver that wants them so scattered is served without a program */
#define ADDED(n) ((uint32_t) SKF_AD_OFF + (n))

struct program {
        struct sock_filter *to;
        unsigned n;
};

static void stmt(struct program *p, unsigned code, uint32_t k) {
        p->to[p->n++] = (struct sock_filter) BPF_STMT((uint16_t) code, k);
}

static void jump(struct program *p, unsigned code, uint32_t k, unsigned jt, unsigned jf) {
        p->to[p->n++] = (struct sock_filter) BPF_JUMP(
                        (uint16_t) (BPF_JMP | code | BPF_K), k, (uint8_t) jt, (uint8_t) jf);
}

static void answer(struct program *p, bool wanted) {
        stmt(p, BPF_RET | BPF_K, wanted ? UINT32_MAX : 0);
}

/* Answers if the destination is mac. */
static void ask_address(struct program *p, const uint8_t mac[6], bool wanted) {
        stmt(p, BPF_LD | BPF_W | BPF_ABS, 2);
        jump(p, BPF_JEQ,
             (uint32_t) mac[2] << 24 | (uint32_t) mac[3] << 16 | (uint32_t) mac[4] << 8 | mac[5], 0,
             3);
        stmt(p, BPF_LD | BPF_H | BPF_ABS, 0);
        jump(p, BPF_JEQ, (uint32_t) mac[0] << 8 | mac[1], 0, 1);
        answer(p, wanted);
}

static void ask_addresses(struct program *p, const struct vnet_macs *macs) {
        for (uint32_t i = 0; i < macs->n && i < VNET_MACS_MAX; i++)
                ask_address(p, macs->mac[i], true);
}

static bool has_vlan(const struct vnet_filter *f, unsigned id) {
        return f->vlans[id / 8] >> id % 8 & 1;
}

/* Wanted VLANs from *id on, up to the last of a row. False: there are no more. */
static bool next_range(const struct vnet_filter *f, unsigned *id, unsigned *ret_last) {
        while (*id < 4096 && !has_vlan(f, *id))
                ++*id;
        if (*id == 4096)
                return false;
        for (*ret_last = *id; *ret_last < 4095 && has_vlan(f, *ret_last + 1);)
                ++*ret_last;
        return true;
}

static unsigned count_ranges(const struct vnet_filter *f, bool *ret_all) {
        unsigned n = 0, last = 0, first = 0;

        *ret_all = false;
        for (unsigned id = 0; next_range(f, &id, &last); id = last + 1, n++)
                first = id;
        *ret_all = n == 1 && first == 0 && last == 4095;
        return n;
}

/* Answers "no" for a frame of a VLAN that is not wanted. */
static void ask_vlan(struct program *p, const struct vnet_filter *f, unsigned n_ranges) {
        unsigned last, left = 3 * n_ranges;

        stmt(p, BPF_LD | BPF_W | BPF_ABS, ADDED(SKF_AD_VLAN_TAG_PRESENT));
        jump(p, BPF_JEQ, 0, 4, 0);
        stmt(p, BPF_LD | BPF_W | BPF_ABS, ADDED(SKF_AD_VLAN_TPID));
        jump(p, BPF_JEQ, ETH_P_8021Q, 0, 4);
        stmt(p, BPF_LD | BPF_W | BPF_ABS, ADDED(SKF_AD_VLAN_TAG));
        stmt(p, BPF_JMP | BPF_JA, 4);
        stmt(p, BPF_LD | BPF_H | BPF_ABS, 12);
        jump(p, BPF_JEQ, ETH_P_8021Q, 1, 0);
        stmt(p, BPF_JMP | BPF_JA, 3 * n_ranges + 3); /* has none */
        stmt(p, BPF_LD | BPF_H | BPF_ABS, 14);
        stmt(p, BPF_ALU | BPF_AND | BPF_K, 0xfff);
        for (unsigned id = 0; next_range(f, &id, &last); id = last + 1) {
                left -= 3;
                jump(p, BPF_JGE, id, 0, 2);
                jump(p, BPF_JGT, last, 1, 0);
                stmt(p, BPF_JMP | BPF_JA, left + 1);
        }
        answer(p, false);
}

/* Answers for every group address. */
static void ask_group(struct program *p, const struct vnet_filter *f) {
        static const uint8_t everybody[6] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };

        ask_address(p, everybody, !f->modes[VNET_RX_NOBCAST]);
        if (f->modes[VNET_RX_NOMULTI]) {
                answer(p, false);
                return;
        }
        if (!f->modes[VNET_RX_ALLMULTI] && f->multi.n <= VNET_MACS_MAX) {
                ask_addresses(p, &f->multi);
                answer(p, false);
                return;
        }
        answer(p, true);
}

static void ask_single(struct program *p, const struct vnet_filter *f) {
        if (f->modes[VNET_RX_NOUNI]) {
                answer(p, false);
                return;
        }
        if (f->modes[VNET_RX_ALLUNI] || f->uni.n > VNET_MACS_MAX) {
                answer(p, true);
                return;
        }
        ask_address(p, f->mac, true);
        ask_addresses(p, &f->uni);
        answer(p, false);
}

int vnet_program_make(const struct vnet_filter *f, struct sock_filter ret[VNET_PROGRAM_MAX]) {
        struct program p = { ret, 0 };
        unsigned n_ranges, skip;
        bool all;

        G_STATIC_ASSERT(VNET_PROGRAM_MAX > 32 + 3 * RANGES_MAX + 5 * 2 * VNET_MACS_MAX);
        if (f->modes[VNET_RX_PROMISC])
                return 0;
        n_ranges = count_ranges(f, &all);
        if (n_ranges > RANGES_MAX)
                return -E2BIG;
        if (!all)
                ask_vlan(&p, f, n_ranges);
        stmt(&p, BPF_LD | BPF_B | BPF_ABS, 0);
        jump(&p, BPF_JSET, 1, 1, 0);
        skip = p.n;
        stmt(&p, BPF_JMP | BPF_JA, 0);
        ask_group(&p, f);
        ret[skip].k = p.n - skip - 1;
        ask_single(&p, f);
        return (int) p.n;
}
