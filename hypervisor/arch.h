/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "hypervisor/acpi/aml.h"
#include "hypervisor/memory.h"

/*
 * What the machine builder asks of an architecture: where things are in guest-physical space, how a
 * payload gets into memory and where the first vCPU enters it, and which firmware tables describe
 * the result. One architecture is compiled in (hypervisor/arch/x86_64).
 */

struct arch_range {
        uint64_t base, size;
};

/* Guest-physical layout for a machine of this much RAM (reference 3.1). */
struct arch_layout {
        struct arch_range ram[2]; /* below and above the hole; size 0: absent */
        struct arch_range mmio32; /* PCI windows for BARs */
        struct arch_range mmio64;
        struct arch_range ecam; /* 1 MiB a segment */
        struct arch_range
                        platform; /* registers of hotplug controllers and the like, at the end of mmio64 */
        uint64_t ioapic;          /* 0: none */
        uint8_t phys_bits;
};

bool arch_layout_for(uint64_t ram_size, uint8_t phys_bits, struct arch_layout *ret, GError **error);

enum boot_protocol {
        BOOT_PVH,          /* Xen PVH: 32-bit, EBX = start info */
        BOOT_LINUX32,      /* 32-bit entry of the x86 boot protocol, ESI = zero page */
        BOOT_LINUX64,      /* 64-bit entry, RSI = zero page, identity-mapped page tables */
        BOOT_FREESTANDING, /* ELF64 without a note: 64-bit entry, RDI = RSI = zero page */
        BOOT_PROTOCOL_MAX,
        BOOT_PROTOCOL_INVALID = -22,
};

const char *boot_protocol_to_string(enum boot_protocol p);

struct boot_entry {
        enum boot_protocol protocol;
        uint64_t pc;
        uint64_t boot_info; /* guest address of start info or zero page */
        uint64_t stack;
        uint64_t page_table; /* guest address of the top-level table, 0 when entered without paging */
};

/* Images come as descriptors; nothing is opened here. Offsets are read with pread, so descriptors can be shared and reused for a
 * reboot. -1: absent. */
struct boot_payload {
        int kernel_fd;
        int firmware_fd;
        int initramfs_fd;
        const char *cmdline; /* NULL: empty */
        uint64_t rsdp;       /* guest address handed to the guest; 0: none */
};

/* Loads the payload, writes boot information (start info, zero page, memory map, page tables, GDT) and says where to enter. An error says what is
 * wrong with which image ("kernel: …"). Reads guest-independent host files only, but treats them as hostile. */
bool arch_load_payload(
                struct gmem *mem,
                const struct arch_layout *layout,
                const struct boot_payload *payload,
                struct boot_entry *ret,
                GError **error);

struct arch_pci_segment {
        uint16_t segment;
        struct arch_range ecam; /* 1 MiB */
        struct arch_range mmio32, mmio64;
};

struct arch_smbios {
        const char *serial_number, *uuid, *manufacturer, *product_name, *version, *family,
                        *sku_number;
        const char *chassis_asset_tag;
        const char *const *oem_strings; /* NULL-terminated, may be NULL */
};

/* Everything the tables tell the guest. */
struct arch_tables {
        uint32_t boot_vcpus, max_vcpus;
        const uint32_t *apic_ids;                /* max_vcpus of them */
        const struct arch_pci_segment *segments; /* for MCFG */
        size_t n_segments;
        GBytes *dsdt_body; /* AML of the devices and PCI segments, complete terms for the DSDT; may be NULL */
        struct arch_smbios smbios;
};

/* Writes ACPI, SMBIOS and MPTABLE into guest memory. *ret_rsdp: guest address of the RSDP. */
bool arch_write_tables(
                struct gmem *mem,
                const struct arch_layout *layout,
                const struct arch_tables *tables,
                uint64_t *ret_rsdp,
                GError **error);

/* Fixed resources of the platform that the DSDT body and the tables must agree on. */
enum {
        ARCH_IRQ_SERIAL = 4,
        ARCH_IRQ_GED = 5,
        ARCH_IRQ_PCI_INTX = 16, /* slot i of every segment uses 16 + i % 8 */
        ARCH_N_PCI_INTX = 8,
        ARCH_N_IOAPIC_PINS = 24,
};
#define ARCH_PORT_ACPI_SHUTDOWN 0x600 /* sleep control, sleep status, reset register */
#define ARCH_PORT_PM_TIMER 0x608
