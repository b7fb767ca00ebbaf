/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The DSDT's objects that depend on nothing but the machine's shape: processors and the sleep state
 * (reference 3.5). What belongs to a device or a PCI segment is written by that device.
 */

#include "hypervisor/acpi/tables.h"

enum {
        S5_TYPE = 5,
};

void acpi_cpus_aml(aml *a, uint32_t n_boot, uint32_t n) {
        g_assert(n <= 0x1000); /* three digits */

        aml_device(a, "\\_SB.CPUS");
        aml_name(a, "_HID");
        aml_string(a, "ACPI0010");
        aml_name(a, "_CID");
        aml_eisaid(a, "PNP0A05");
        for (uint32_t i = 0; i < n; i++) {
                char name[5];

                g_snprintf(name, sizeof(name), "C%03X", i);
                aml_device(a, name);
                aml_name(a, "_HID");
                aml_string(a, "ACPI0007");
                aml_name(a, "_UID"); /* that of the processor in the MADT */
                aml_int(a, i);
                if (i >= n_boot) {
                        aml_name(a, "_STA");
                        aml_int(a, 0);
                }
                aml_close(a);
        }
        aml_close(a);
}

void acpi_sleep_aml(aml *a) {
        aml_name(a, "\\_S5");
        aml_package(a, 4);
        aml_int(a, S5_TYPE);
        aml_int(a, S5_TYPE);
        aml_int(a, 0);
        aml_int(a, 0);
        aml_close(a);
}
