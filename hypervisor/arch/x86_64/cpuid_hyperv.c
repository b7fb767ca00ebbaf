/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The Hyper-V leaves of CPUID for guests that know that interface (Windows). They take the place of
 * the hypervisor's own, which move up by 0x100, where other guests look for them. Contents are those
 * of the Hypervisor Top Level Functional Specification 2, values those of reference 3.4.
 */

#include "hypervisor/arch/x86_64/cpuid.h"

#define BIT(n) (1u << (n))

#define FIRST 0x40000000u
#define OFFSET 0x100u

static void move_up(struct x86_cpuid *c) {
        for (size_t i = 0; i < c->n; i++)
                if (c->leaf[i].function - FIRST < OFFSET) {
                        if (c->leaf[i].function == FIRST)
                                c->leaf[i].eax += OFFSET;
                        c->leaf[i].function += OFFSET;
                }
}

void x86_cpuid_set_hyperv(struct x86_cpuid *c) {
        static const struct x86_cpuid_leaf leaves[] = {
                /* highest leaf and vendor: "Linux KVM Hv" */
                { 0x40000000, 0, false, 0x4000000a, 0x756e694c, 0x564b2078, 0x7648204d },
                /* interface: "Hv#1" */
                { 0x40000001, 0, false, 0x31237648, 0, 0, 0 },
                /* build number and version 10.0, the Windows of that interface */
                { 0x40000002, 0, false, 0x3839, 0xa0000, 0, 0 },
                { 0x40000003, 0, false,
                  /* VP run time, reference counter, SynIC, its timers, APIC, hypercall and VP index
                   * registers; reference TSC; frequency registers */
                  BIT(0) | BIT(1) | BIT(2) | BIT(3) | BIT(4) | BIT(5) | BIT(6) | BIT(9) | BIT(11),
                  0, 0,
                  /* XMM hypercall input is bit 4; CPU dynamic partitioning 3; frequencies 8 */
                  BIT(3) | BIT(4) | BIT(8) },
                { 0x40000004, 0, false,
                  /* hypercalls for local and remote TLB flushes, APIC registers, relaxed timing, no automatic
                   * EOI, cluster IPIs */
                  BIT(1) | BIT(2) | BIT(3) | BIT(5) | BIT(9) | BIT(10),
                  0xfff, /* spins before a hypercall */
                  0, 0 },
                { 0x40000005, 0, false, 0xffffffff, 64, 0, 0 },
        };

        move_up(c);
        for (size_t i = 0; i < sizeof(leaves) / sizeof(leaves[0]); i++)
                x86_cpuid_set(c, &leaves[i]);
        for (uint32_t f = 0x40000006; f <= 0x4000000a; f++)
                x86_cpuid_set(c, &(struct x86_cpuid_leaf){ .function = f });
}
