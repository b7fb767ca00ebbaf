/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The MP table (Intel MultiProcessor Specification 1.4, chapter 4), for guests without ACPI: the
 * processors present at boot, one ISA bus, the IOAPIC and where its lines go. The IOAPIC's id is 255,
 * "all", so that the routes hold whatever id the guest gives it.
 */

#include "hypervisor/acpi/sdt.h"
#include "hypervisor/arch/x86_64/layout.h"
#include "hypervisor/arch/x86_64/tables.h"

enum {
        POINTER_SIZE = 16,
        POINTER_CHECKSUM = 10,
        TABLE_LENGTH = 4, /* from the start of the table */
        TABLE_CHECKSUM = 7,
        SPEC_1_4 = 4,

        ENTRY_CPU = 0,
        ENTRY_BUS = 1,
        ENTRY_IOAPIC = 2,
        ENTRY_IRQ = 3,
        ENTRY_LINT = 4,

        CPU_ENABLED = 1 << 0,
        CPU_BOOT = 1 << 1,
        CPU_SIGNATURE = 0x600,
        CPU_FEATURES = 0x201, /* FPU, APIC */
        LAPIC_VERSION = 0x14,
        IOAPIC_VERSION = 0x11,
        INT_VECTORED = 0,
        INT_NMI = 1,
        INT_EXT = 3,
        ID_ALL = 255,
        N_ISA_IRQS = 16,
        APIC_ID_END = 254, /* ids from here on are special or need x2APIC */
};

static void put_pointer(GByteArray *t, uint64_t addr) {
        g_byte_array_append(t, (const uint8_t *) "_MP_", 4);
        sdt_put(t, addr + POINTER_SIZE, 4);
        sdt_put(t, POINTER_SIZE / 16, 1);
        sdt_put(t, SPEC_1_4, 1);
        sdt_put(t, 0, 1);
        sdt_put_zeros(t, 5); /* a table follows; no PIC mode */
        sdt_set(t, POINTER_CHECKSUM, acpi_checksum(t->data, t->len), 1);
}

static void put_cpu(GByteArray *t, uint32_t apic_id, bool boot) {
        sdt_put(t, ENTRY_CPU, 1);
        sdt_put(t, apic_id, 1);
        sdt_put(t, LAPIC_VERSION, 1);
        sdt_put(t, CPU_ENABLED | (boot ? CPU_BOOT : 0), 1);
        sdt_put(t, CPU_SIGNATURE, 4);
        sdt_put(t, CPU_FEATURES, 4);
        sdt_put_zeros(t, 8);
}

static void
put_interrupt(GByteArray *t, uint8_t entry, uint8_t type, uint8_t irq, uint8_t apic, uint8_t pin) {
        sdt_put(t, entry, 1);
        sdt_put(t, type, 1);
        sdt_put(t, 0, 2); /* polarity and trigger of the bus */
        sdt_put(t, 0, 1); /* bus */
        sdt_put(t, irq, 1);
        sdt_put(t, apic, 1);
        sdt_put(t, pin, 1);
}

GByteArray *
x86_mptable(const struct arch_layout *layout, const struct arch_tables *tables, uint64_t addr) {
        g_autoptr(GByteArray) out = g_byte_array_new();
        uint32_t n = tables->boot_vcpus + 2 + N_ISA_IRQS + 2;

        for (uint32_t i = 0; i < tables->max_vcpus; i++)
                if (tables->apic_ids[i] >= APIC_ID_END)
                        return NULL;

        put_pointer(out, addr);
        g_byte_array_append(out, (const uint8_t *) "PCMP", 4);
        sdt_put(out, 0, 2); /* length and checksum at the end */
        sdt_put(out, SPEC_1_4, 1);
        sdt_put(out, 0, 1);
        g_byte_array_append(out, (const uint8_t *) "CHVD    chvd        ", 20);
        sdt_put_zeros(out, 6);
        sdt_put(out, n, 2);
        sdt_put(out, X86_LAPIC, 4);
        sdt_put_zeros(out, 4);

        for (uint32_t i = 0; i < tables->boot_vcpus; i++)
                put_cpu(out, tables->apic_ids[i], i == 0);
        sdt_put(out, ENTRY_BUS, 1);
        sdt_put(out, 0, 1);
        g_byte_array_append(out, (const uint8_t *) "ISA   ", 6);
        sdt_put(out, ENTRY_IOAPIC, 1);
        sdt_put(out, ID_ALL, 1);
        sdt_put(out, IOAPIC_VERSION, 1);
        sdt_put(out, 1 /* enabled */, 1);
        sdt_put(out, layout->ioapic, 4);
        for (unsigned i = 0; i < N_ISA_IRQS; i++)
                put_interrupt(out, ENTRY_IRQ, INT_VECTORED, (uint8_t) i, ID_ALL, (uint8_t) i);
        put_interrupt(out, ENTRY_LINT, INT_EXT, 0, 0, 0);
        put_interrupt(out, ENTRY_LINT, INT_NMI, 0, ID_ALL, 1);

        sdt_set(out, POINTER_SIZE + TABLE_LENGTH, out->len - POINTER_SIZE, 2);
        sdt_set(out, POINTER_SIZE + TABLE_CHECKSUM,
                acpi_checksum(out->data + POINTER_SIZE, out->len - POINTER_SIZE), 1);
        return g_steal_pointer(&out);
}
