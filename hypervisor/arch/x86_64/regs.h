/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hypervisor/arch.h"

/* A segment register with its hidden part, fields as in a descriptor (Intel SDM 3A, 3.4.5). */
struct x86_segment {
        uint64_t base;
        uint32_t limit;
        uint16_t selector;
        uint8_t type;
        bool system; /* a TSS rather than code or data */
        bool long_mode, size32, granular;
};

/* What the first vCPU's registers hold when it enters the payload; the rest is as after reset. */
struct x86_boot_regs {
        uint64_t rip, rsp, rbx, rbp, rsi, rdi, rflags;
        uint64_t cr0, cr3, cr4, efer;
        uint64_t gdt_base, idt_base;
        uint16_t gdt_limit, idt_limit;
        struct x86_segment code, data, tss;
};

void x86_boot_regs_for(const struct boot_entry *entry, struct x86_boot_regs *ret);

/* A model-specific register and its value. */
struct x86_msr {
        uint32_t index;
        uint64_t value;
};

/* Those that are set at power-on. */
extern const struct x86_msr x86_boot_msrs[];
extern const size_t x86_n_boot_msrs;

/* Registers of the CPU model that hypervisors leave out of their lists of state to save. */
extern const uint32_t x86_mtrr_msrs[];
extern const size_t x86_n_mtrr_msrs;

#define X86_MSR_TSC 0x10u
#define X86_MSR_TSC_DEADLINE 0x6e0u
#define X86_FPU_FCW 0x37f
#define X86_FPU_MXCSR 0x1f80
#define X86_APIC_LVT_LINT0 0x350 /* offsets in the register page */
#define X86_APIC_LVT_LINT1 0x360
#define X86_APIC_MODE_NMI (4u << 8)
#define X86_APIC_MODE_EXTINT (7u << 8)
#define X86_APIC_BASE_X2APIC (1u << 10)
#define X86_XAPIC_MAX_ID 254u
