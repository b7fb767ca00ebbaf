/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The MADT (ACPI 6.4, 5.2.12): every possible processor as an x2APIC, whatever its id, so that there
 * is one form only; the IOAPIC; and the serial port's line, which is the same on both sides. No
 * 8259s, so no flag for them.
 */

#include "hypervisor/acpi/sdt.h"
#include "hypervisor/arch/x86_64/layout.h"
#include "hypervisor/arch/x86_64/tables.h"

enum {
        MADT_IOAPIC = 1,
        MADT_OVERRIDE = 2,
        MADT_X2APIC = 9,

        CPU_ENABLED = 1 << 0,
        CPU_ONLINE_CAPABLE = 1 << 1,
};

GByteArray *x86_madt(const struct arch_layout *layout, const struct arch_tables *tables) {
        GByteArray *t = sdt_new("APIC", 5, "CHVDMADT");

        sdt_put(t, X86_LAPIC, 4);
        sdt_put(t, 0, 4);
        for (uint32_t i = 0; i < tables->max_vcpus; i++) {
                sdt_put(t, MADT_X2APIC, 1);
                sdt_put(t, 16, 1);
                sdt_put(t, 0, 2);
                sdt_put(t, tables->apic_ids[i], 4);
                sdt_put(t, i < tables->boot_vcpus ? CPU_ENABLED : CPU_ONLINE_CAPABLE, 4);
                sdt_put(t, i, 4); /* _UID */
        }
        if (layout->ioapic) {
                sdt_put(t, MADT_IOAPIC, 1);
                sdt_put(t, 12, 1);
                sdt_put(t, 0, 1); /* id */
                sdt_put(t, 0, 1);
                sdt_put(t, layout->ioapic, 4);
                sdt_put(t, 0, 4); /* first GSI */

                sdt_put(t, MADT_OVERRIDE, 1);
                sdt_put(t, 10, 1);
                sdt_put(t, 0, 1); /* ISA */
                sdt_put(t, ARCH_IRQ_SERIAL, 1);
                sdt_put(t, ARCH_IRQ_SERIAL, 4);
                sdt_put(t, 0, 2); /* polarity and trigger of the bus */
        }
        sdt_end(t);
        return t;
}
