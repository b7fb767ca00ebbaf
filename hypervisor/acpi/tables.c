/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * FADT, MCFG, XSDT and RSDP (ACPI 6.4, 5.2; PCI Firmware 3.2, 4.1.2). The machine is hardware-reduced:
 * no fixed ACPI hardware, so most of the FADT is zero and events come through the GED.
 */

#include "hypervisor/acpi/tables.h"

#include "hypervisor/acpi/sdt.h"

enum {
        SPACE_IO = 1,
        ACCESS_BYTE = 1,
        ACCESS_DWORD = 3,

        FADT_REVISION = 6,
        FADT_MINOR_REVISION = 3,
        FADT_SIZE = 276,
        BOOT_NO_VGA = 1 << 2,
        FLAG_TIMER_32 = 1 << 8,
        FLAG_RESET_REGISTER = 1 << 10,
        FLAG_HW_REDUCED = 1 << 20,
        RESET_VALUE = 1,

        RSDP_CHECKSUM = 8,      /* of the first 20 bytes */
        RSDP_CHECKSUM_ALL = 32, /* of all */
        RSDP_SIZE_1 = 20,
};

GByteArray *acpi_fadt(uint64_t dsdt) {
        GByteArray *t = sdt_new("FACP", FADT_REVISION, "CHVDFACP");

        sdt_put(t, 0, 4); /* no FACS */
        sdt_put(t, 0, 4); /* the DSDT's address is in the 64-bit field */
        sdt_put_zeros(t, 76 - 44);
        sdt_put(t, ARCH_PORT_PM_TIMER, 4);
        sdt_put_zeros(t, 91 - 80);
        sdt_put(t, 4, 1); /* PM_TMR_LEN */
        sdt_put_zeros(t, 109 - 92);
        sdt_put(t, BOOT_NO_VGA, 2); /* nor a keyboard controller, nor ISA slots */
        sdt_put(t, 0, 1);
        sdt_put(t, FLAG_HW_REDUCED | FLAG_RESET_REGISTER | FLAG_TIMER_32, 4);
        sdt_put_gas(t, SPACE_IO, 8, ACCESS_BYTE, ARCH_PORT_ACPI_SHUTDOWN);
        sdt_put(t, RESET_VALUE, 1);
        sdt_put(t, 0, 2); /* ARM_BOOT_ARCH */
        sdt_put(t, FADT_MINOR_REVISION, 1);
        sdt_put(t, 0, 8); /* X_FIRMWARE_CTRL */
        sdt_put(t, dsdt, 8);
        sdt_put_zeros(t, 208 - 148);
        sdt_put_gas(t, SPACE_IO, 32, ACCESS_DWORD, ARCH_PORT_PM_TIMER);
        sdt_put_zeros(t, 244 - 220);
        sdt_put_gas(t, SPACE_IO, 8, ACCESS_BYTE, ARCH_PORT_ACPI_SHUTDOWN); /* sleep control */
        sdt_put_gas(t, SPACE_IO, 8, ACCESS_BYTE, ARCH_PORT_ACPI_SHUTDOWN); /* sleep status */
        g_byte_array_append(t, (const uint8_t *) "CHVD\0\0\0\0", 8);       /* hypervisor vendor */
        g_assert(t->len == FADT_SIZE);
        sdt_end(t);
        return t;
}

GByteArray *acpi_mcfg(const struct arch_pci_segment *segments, size_t n) {
        GByteArray *t = sdt_new("MCFG", 1, "CHVDMCFG");

        sdt_put_zeros(t, 8);
        for (size_t i = 0; i < n; i++) {
                sdt_put(t, segments[i].ecam.base, 8);
                sdt_put(t, segments[i].segment, 2);
                sdt_put(t, 0, 1); /* first bus */
                sdt_put(t, 0, 1); /* last bus */
                sdt_put(t, 0, 4);
        }
        sdt_end(t);
        return t;
}

GByteArray *acpi_xsdt(const uint64_t *tables, size_t n) {
        GByteArray *t = sdt_new("XSDT", 1, "CHVDXSDT");

        for (size_t i = 0; i < n; i++)
                sdt_put(t, tables[i], 8);
        sdt_end(t);
        return t;
}

GByteArray *acpi_rsdp(uint64_t xsdt) {
        GByteArray *t = g_byte_array_new();

        g_byte_array_append(t, (const uint8_t *) "RSD PTR ", 8);
        sdt_put(t, 0, 1);
        g_byte_array_append(t, (const uint8_t *) ACPI_OEM_ID, 6);
        sdt_put(t, 2 /* revision */, 1);
        sdt_put(t, 0 /* no RSDT */, 4);
        sdt_put(t, ACPI_RSDP_SIZE, 4);
        sdt_put(t, xsdt, 8);
        sdt_put_zeros(t, 4);
        g_assert(t->len == ACPI_RSDP_SIZE);
        sdt_set(t, RSDP_CHECKSUM, acpi_checksum(t->data, RSDP_SIZE_1), 1);
        sdt_set(t, RSDP_CHECKSUM_ALL, acpi_checksum(t->data, t->len), 1);
        return t;
}
