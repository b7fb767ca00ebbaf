/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Fixed guest-physical addresses of the x86-64 machine, in bytes. */
#define X86_BOOT_GDT 0x500u
#define X86_BOOT_IDT 0x520u
/* Selectors in the boot GDT, where the Linux boot protocol wants them (__BOOT_CS, __BOOT_DS): flat segments,
 * code as wide as the entry (0xc09b or 0xa09b), data 0xc093, TSS 0x8b of 0x67 bytes at 0. */
#define X86_BOOT_TSS 0x08u
#define X86_BOOT_CS 0x10u
#define X86_BOOT_DS 0x18u
#define X86_PVH_INFO 0x6000u
#define X86_PVH_MODULES 0x6040u
#define X86_PVH_MEMMAP 0x7000u
#define X86_ZERO_PAGE 0x7000u
#define X86_BOOT_STACK 0x8ff0u
#define X86_PML4 0xa000u
#define X86_PDPTE 0xb000u
#define X86_PDE 0xc000u /* four pages: the first 4 GiB in 2 MiB pages */
#define X86_CMDLINE 0x20000u
#define X86_CMDLINE_MAX 0x10000u /* with the final NUL */
#define X86_LOW_RAM_END 0xa0000u
#define X86_RSDP 0xa0000u /* ACPI tables follow */
#define X86_SMBIOS 0xf0000u
#define X86_HIGH_RAM 0x100000u
#define X86_HOLE 0xc0000000u /* 32-bit PCI windows, then ECAM, KVM's own pages, IOAPIC, LAPIC */
#define X86_MMIO32_SIZE 0x28000000u
#define X86_ECAM 0xe8000000u
#define X86_ECAM_SIZE 0x10000000u
#define X86_KVM_TSS 0xf8000000u
#define X86_KVM_IDENTITY 0xf8003000u
#define X86_IOAPIC 0xfec00000u
#define X86_LAPIC 0xfee00000u
#define X86_HIGH_MEM 0x100000000ull
