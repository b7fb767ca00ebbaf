/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What CPUID tells the guest about the machine, the same on every vCPU. The start is what the
 * hypervisor says it supports on this host; from that we take away what the configuration turns off
 * and add what only we know: the width of addresses, the brand, our own hypervisor leaves. Bit
 * numbers are from the Intel SDM 2A (CPUID), the AMD APM 3 appendix E, and Linux' kvm/cpuid.rst.
 */

#include "hypervisor/arch/x86_64/cpuid.h"

#include <cpuid.h>
#include <string.h>

#define BIT(n) (1u << (n))

#define LEAF1_ECX_VMX BIT(5)
#define LEAF1_ECX_TSC_DEADLINE BIT(24)
#define LEAF1_ECX_HYPERVISOR BIT(31)
#define LEAF1_EDX_MTRR BIT(12)
#define LEAF7_EDX_AMX (BIT(22) | BIT(24) | BIT(25)) /* BF16, TILE, INT8 */
#define LEAF7_1_EAX_AMX BIT(21)                     /* FP16 */
#define LEAF7_1_EDX_AMX BIT(8)                      /* COMPLEX */
#define XCR0_AMX (BIT(17) | BIT(18))
#define EXT1_ECX_SVM BIT(2)
#define EXT7_EDX_INVARIANT_TSC BIT(8)
#define KVM_EAX_MSI_EXT_DEST_ID BIT(15)

#define HYPERVISOR_FIRST 0x40000000u
#define HYPERVISOR_FEATURES 0x40000001u
#define HYPERVISOR_TIMING 0x40000010u
#define APIC_BUS_KHZ 1000000u

struct x86_cpuid_leaf *x86_cpuid_find(struct x86_cpuid *c, uint32_t function, uint32_t index) {
        for (size_t i = 0; i < c->n; i++) {
                struct x86_cpuid_leaf *l = &c->leaf[i];

                if (l->function == function && (!l->indexed || l->index == index))
                        return l;
        }
        return NULL;
}

void x86_cpuid_set(struct x86_cpuid *c, const struct x86_cpuid_leaf *leaf) {
        struct x86_cpuid_leaf *l = x86_cpuid_find(c, leaf->function, leaf->index);

        if (!l && c->n < X86_CPUID_MAX)
                l = &c->leaf[c->n++];
        if (l)
                *l = *leaf;
}

void x86_cpuid_remove(struct x86_cpuid *c, uint32_t first, uint32_t last) {
        size_t kept = 0;

        for (size_t i = 0; i < c->n; i++)
                if (c->leaf[i].function < first || c->leaf[i].function > last)
                        c->leaf[kept++] = c->leaf[i];
        c->n = kept;
}

void x86_cpuid_host(uint32_t function, uint32_t regs[4]) {
        memset(regs, 0, 4 * sizeof(*regs));
        (void) __get_cpuid_count(function, 0, &regs[0], &regs[1], &regs[2], &regs[3]);
}

static void hide_amx(struct x86_cpuid *c) {
        size_t kept = 0;
        struct x86_cpuid_leaf *l;

        l = x86_cpuid_find(c, 7, 0);
        if (l)
                l->edx &= ~LEAF7_EDX_AMX;
        l = x86_cpuid_find(c, 7, 1);
        if (l) {
                l->eax &= ~LEAF7_1_EAX_AMX;
                l->edx &= ~LEAF7_1_EDX_AMX;
        }
        l = x86_cpuid_find(c, 0xd, 0);
        if (l)
                l->eax &= ~XCR0_AMX;
        x86_cpuid_remove(c, 0x1d, 0x1e);

        /* the tiles' own save areas */
        for (size_t i = 0; i < c->n; i++)
                if (c->leaf[i].function != 0xd ||
                    (c->leaf[i].index != 17 && c->leaf[i].index != 18))
                        c->leaf[kept++] = c->leaf[i];
        c->n = kept;
}

static void hide_nested(struct x86_cpuid *c) {
        struct x86_cpuid_leaf *l;

        l = x86_cpuid_find(c, 1, 0);
        if (l)
                l->ecx &= ~LEAF1_ECX_VMX;
        l = x86_cpuid_find(c, 0x80000001, 0);
        if (l)
                l->ecx &= ~EXT1_ECX_SVM;
        x86_cpuid_remove(c, 0x8000000a, 0x8000000a);
}

/* A leaf of pure description comes from the host; with keep, only where the hypervisor gave nothing. */
static void
copy_host(struct x86_cpuid *c,
          const struct x86_cpuid_config *config,
          uint32_t function,
          bool keep) {
        struct x86_cpuid_leaf *old = x86_cpuid_find(c, function, 0);
        struct x86_cpuid_leaf leaf = { .function = function };
        uint32_t r[4];

        if (keep && old && (old->eax | old->ebx | old->ecx | old->edx) != 0)
                return;
        config->host(function, r);
        leaf.eax = r[0];
        leaf.ebx = r[1];
        leaf.ecx = r[2];
        leaf.edx = r[3];
        x86_cpuid_set(c, &leaf);
}

static void set_timing(struct x86_cpuid *c, const struct x86_cpuid_config *config) {
        struct x86_cpuid_leaf *l;

        l = x86_cpuid_find(c, 0x80000007, 0);
        if (config->tsc_khz == 0 || !l || !(l->edx & EXT7_EDX_INVARIANT_TSC))
                return;
        x86_cpuid_set(c, &(struct x86_cpuid_leaf){ .function = HYPERVISOR_TIMING,
                                                   .eax = config->tsc_khz,
                                                   .ebx = APIC_BUS_KHZ });
        l = x86_cpuid_find(c, HYPERVISOR_FIRST, 0);
        if (l && l->eax < HYPERVISOR_TIMING)
                l->eax = HYPERVISOR_TIMING;
}

void x86_cpuid_set_machine(struct x86_cpuid *c, const struct x86_cpuid_config *config) {
        struct x86_cpuid_leaf *l;

        l = x86_cpuid_find(c, 1, 0);
        if (l) {
                l->ecx |= LEAF1_ECX_HYPERVISOR | LEAF1_ECX_TSC_DEADLINE;
                l->edx |= LEAF1_EDX_MTRR;
        }
        if (!config->nested)
                hide_nested(c);
        if (!config->amx)
                hide_amx(c);

        for (uint32_t f = 0x80000002; f <= 0x80000004; f++)
                copy_host(c, config, f, /* keep= */ false);
        for (uint32_t f = 0x80000005; f <= 0x80000006; f++)
                copy_host(c, config, f, /* keep= */ true);

        l = x86_cpuid_find(c, 0x80000008, 0);
        if (l)
                l->eax = (l->eax & 0xff00ff00) | config->phys_bits |
                         (uint32_t) config->phys_bits << 16;

        l = x86_cpuid_find(c, HYPERVISOR_FEATURES, 0);
        if (l)
                l->eax |= KVM_EAX_MSI_EXT_DEST_ID;
        if (config->hyperv)
                x86_cpuid_set_hyperv(c);
        else
                set_timing(c, config);
}
