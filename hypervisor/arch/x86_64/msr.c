/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/* Model-specific registers: their values at power-on (reference 3.4), and the MTRRs, which are part
 * of a vCPU's state but in no list of KVM's. Numbers: Intel SDM 4, 2.1. */

#include <glib.h>

#include "hypervisor/arch/x86_64/regs.h"

const struct x86_msr x86_boot_msrs[] = {
        { 0x174, 0 },                     /* SYSENTER_CS */
        { 0x175, 0 },                     /* SYSENTER_ESP */
        { 0x176, 0 },                     /* SYSENTER_EIP */
        { 0xc0000081, 0 },                /* STAR */
        { 0xc0000083, 0 },                /* CSTAR */
        { 0xc0000102, 0 },                /* KERNEL_GS_BASE */
        { 0xc0000084, 0 },                /* SYSCALL_MASK */
        { 0xc0000082, 0 },                /* LSTAR */
        { X86_MSR_TSC, 0 }, { 0x1a0, 1 }, /* MISC_ENABLE: fast strings */
        { 0x2ff, 0x806 },                 /* MTRRdefType: enabled, write-back */
};
const size_t x86_n_boot_msrs = G_N_ELEMENTS(x86_boot_msrs);

const uint32_t x86_mtrr_msrs[] = {
        /* eight variable ranges: base and mask */
        0x200, 0x201, 0x202, 0x203, 0x204, 0x205, 0x206, 0x207, 0x208, 0x209, 0x20a, 0x20b, 0x20c,
        0x20d, 0x20e, 0x20f,
        /* fixed ranges */
        0x250, 0x258, 0x259, 0x268, 0x269, 0x26a, 0x26b, 0x26c, 0x26d, 0x26e, 0x26f,
        /* MTRRdefType */
        0x2ff
};
const size_t x86_n_mtrr_msrs = G_N_ELEMENTS(x86_mtrr_msrs);
