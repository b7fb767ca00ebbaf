/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hypervisor/vcpu.h"

/* The CPUID leaves a vCPU shows, free of any hypervisor's own types. */
struct x86_cpuid_leaf {
        uint32_t function, index;
        bool indexed; /* index matters */
        uint32_t eax, ebx, ecx, edx;
};

#define X86_CPUID_MAX 256

struct x86_cpuid {
        size_t n;
        struct x86_cpuid_leaf leaf[X86_CPUID_MAX];
};

struct x86_cpuid_config {
        uint8_t phys_bits;
        bool nested;
        bool hyperv;
        bool amx;
        uint32_t tsc_khz; /* 0: unknown */

        /* A leaf of the host's own CPUID: EAX, EBX, ECX, EDX. */
        void (*host)(uint32_t function, uint32_t regs[4]);
};

/* NULL when there is none. */
struct x86_cpuid_leaf *x86_cpuid_find(struct x86_cpuid *c, uint32_t function, uint32_t index);

/* Replaces or adds a leaf. Without room for it (256, a limit of KVM's) nothing happens. */
void x86_cpuid_set(struct x86_cpuid *c, const struct x86_cpuid_leaf *leaf);
void x86_cpuid_remove(struct x86_cpuid *c, uint32_t first, uint32_t last);

/* Turns what the hypervisor supports into what this machine shows (reference 3.4). */
void x86_cpuid_set_machine(struct x86_cpuid *c, const struct x86_cpuid_config *config);

/* The leaves that differ between vCPUs or speak of the topology; c is the vCPU's own copy. */
void x86_cpuid_set_vcpu(
                struct x86_cpuid *c, const struct vcpu_topology *topology, uint32_t apic_id);

/* The Hyper-V leaves, in place of the hypervisor's own, which move up by 0x100. */
void x86_cpuid_set_hyperv(struct x86_cpuid *c);

/* The host's CPUID instruction, for x86_cpuid_config.host. */
void x86_cpuid_host(uint32_t function, uint32_t regs[4]);
