/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The registers with which the first vCPU enters a payload, for each boot protocol. Segments are
 * those of the table the loader leaves at X86_BOOT_GDT. PVH and the 32-bit
 * Linux entry run in flat protected mode without paging; the 64-bit entries in long mode on the
 * loader's identity map. Sources: Xen's docs/misc/pvh.pandoc, Linux' Documentation/arch/x86/boot.rst.
 */

#include "hypervisor/arch/x86_64/regs.h"

#include "hypervisor/arch/x86_64/layout.h"

#define CR0_PE 0x1u
#define CR0_ET 0x10u
#define CR0_PG 0x80000000u
#define CR4_PAE 0x20u
#define EFER_LME_LMA 0x500u
#define RFLAGS_FIXED 0x2u

#define TYPE_CODE 0xb /* execute, read, accessed */
#define TYPE_DATA 0x3 /* read, write, accessed */
#define TYPE_TSS 0xb  /* busy */

static void enter_long_mode(const struct boot_entry *entry, struct x86_boot_regs *r) {
        r->cr0 |= CR0_PG;
        r->cr3 = entry->page_table;
        r->cr4 = CR4_PAE;
        r->efer = EFER_LME_LMA;
        r->code.long_mode = true;
        r->code.size32 = false;
        r->rsi = entry->boot_info;
}

void x86_boot_regs_for(const struct boot_entry *entry, struct x86_boot_regs *ret) {
        *ret = (struct x86_boot_regs){
                .rip = entry->pc,
                .rsp = entry->stack,
                .rbp = entry->stack,
                .rflags = RFLAGS_FIXED,
                .cr0 = CR0_PE | CR0_ET,
                .gdt_base = X86_BOOT_GDT,
                .gdt_limit = 4 * 8 - 1,
                .idt_base = X86_BOOT_IDT,
                .idt_limit = 8 - 1,
                .code = { .limit = UINT32_MAX,
                          .selector = X86_BOOT_CS,
                          .type = TYPE_CODE,
                          .size32 = true,
                          .granular = true },
                .data = { .limit = UINT32_MAX,
                          .selector = X86_BOOT_DS,
                          .type = TYPE_DATA,
                          .size32 = true,
                          .granular = true },
                .tss = { .limit = 0x67,
                         .selector = X86_BOOT_TSS,
                         .type = TYPE_TSS,
                         .system = true },
        };

        switch (entry->protocol) {
        case BOOT_PVH:
                ret->rbx = entry->boot_info;
                break;
        case BOOT_LINUX32:
                ret->rsi = entry->boot_info;
                ret->rbp = 0; /* the protocol asks for EBP, EDI and EBX to be zero */
                break;
        case BOOT_LINUX64:
                enter_long_mode(entry, ret);
                break;
        case BOOT_FREESTANDING:
                enter_long_mode(entry, ret);
                ret->rdi = entry->boot_info;
                break;
        default:
                g_assert_not_reached();
        }
}
