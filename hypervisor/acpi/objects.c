/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The DSDT's objects that depend on nothing but the machine's shape: PCI host bridges, processors,
 * sleep state (reference 3.5). What belongs to a device is written by that device.
 */

#include "hypervisor/acpi/tables.h"

enum {
        N_SLOTS = 32,
        DSM_KEEP_BOOT_CONFIG = 5, /* PCI Firmware 3.2, 4.6.5 */
        S5_TYPE = 5,
};

static uint64_t last(const struct arch_range *r) {
        return r->base + (r->size - 1);
}

/* Function 5 returns 0: the BARs that the machine has assigned stay as they are. */
static void put_dsm(aml *a) {
        static const uint8_t functions = 1 | 1 << DSM_KEEP_BOOT_CONFIG, none = 0;

        aml_method(a, "_DSM", 4, /* serialized= */ true);
        aml_if(a);
        aml_equal(a);
        aml_arg(a, 0);
        aml_uuid(a, "e5c937d0-3553-4d7a-9117-ea4d19c3434d");
        {
                aml_if(a);
                aml_equal(a);
                aml_arg(a, 2);
                aml_int(a, 0);
                aml_return(a);
                aml_buffer(a, &functions, sizeof(functions));
                aml_close(a);

                aml_if(a);
                aml_equal(a);
                aml_arg(a, 2);
                aml_int(a, DSM_KEEP_BOOT_CONFIG);
                aml_return(a);
                aml_int(a, 0);
                aml_close(a);
        }
        aml_close(a);
        aml_return(a);
        aml_buffer(a, &none, sizeof(none));
        aml_close(a);
}

static void put_bridge_crs(aml *a, const struct arch_pci_segment *s) {
        aml_name(a, "_CRS");
        aml_crs(a);
        aml_crs_bus_range(a, 0, 0);
        if (s->segment == 0) {
                aml_crs_io(a, 0xcf8, 8); /* the bridge's own: configuration address and data */
                aml_crs_dword_io(a, 0, 0xcf7);
                aml_crs_dword_io(a, 0xd00, 0xffff);
        }
        if (s->mmio32.size > 0)
                aml_crs_dword_memory(a, (uint32_t) s->mmio32.base, (uint32_t) last(&s->mmio32));
        if (s->mmio64.size > 0)
                aml_crs_qword_memory(a, s->mmio64.base, last(&s->mmio64));
        aml_crs_end(a);
}

/* Devices have one function, so only INTA is ever routed. */
static void put_prt(aml *a) {
        aml_name(a, "_PRT");
        aml_package(a, N_SLOTS);
        for (unsigned slot = 0; slot < N_SLOTS; slot++) {
                aml_package(a, 4);
                aml_int(a, slot << 16 | 0xffff);
                aml_int(a, 0); /* INTA */
                aml_int(a, 0); /* a GSI follows, no link device */
                aml_int(a, ARCH_IRQ_PCI_INTX + slot % ARCH_N_PCI_INTX);
                aml_close(a);
        }
        aml_close(a);
}

static void put_bridge(aml *a, const struct arch_pci_segment *s) {
        char name[5];

        g_assert(s->segment <= UINT8_MAX);
        g_snprintf(name, sizeof(name), "PC%02X", s->segment);
        aml_device(a, name);
        aml_name(a, "_HID");
        aml_eisaid(a, "PNP0A08");
        aml_name(a, "_CID");
        aml_eisaid(a, "PNP0A03");
        aml_name(a, "_SEG");
        aml_int(a, s->segment);
        aml_name(a, "_UID");
        aml_int(a, s->segment);
        aml_name(a, "_CCA");
        aml_int(a, 1);
        put_dsm(a);
        put_bridge_crs(a, s);
        put_prt(a);
        aml_close(a);
}

void acpi_pci_aml(aml *a, const struct arch_pci_segment *segments, size_t n) {
        aml_scope(a, "\\_SB");
        for (size_t i = 0; i < n; i++)
                put_bridge(a, &segments[i]);

        aml_device(a, "MBRD");
        aml_name(a, "_HID");
        aml_eisaid(a, "PNP0C02");
        aml_name(a, "_UID");
        aml_int(a, 0);
        aml_name(a, "_CRS");
        aml_crs(a);
        for (size_t i = 0; i < n; i++)
                aml_crs_memory32_fixed(
                                a, (uint32_t) segments[i].ecam.base,
                                (uint32_t) segments[i].ecam.size,
                                /* writable= */ true);
        aml_crs_end(a);
        aml_close(a);
        aml_close(a);
}

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
