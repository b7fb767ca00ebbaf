/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What ACPI says of a segment (PCI Firmware 3.0, 4.1; reference 3.5): a root bridge with its bus number, its
 * windows and the wiring of INTx, and a board resource for ECAM, without which Linux does not trust
 * MCFG.
 */

#include "devices/pci/private.h"

/* _DSM of PCI (PCI Firmware 3.0, 4.6): function 0 says which there are, function 5 that the addresses found at boot are to be
 * kept (0). */
#define PCI_DSM_UUID "e5c937d0-3553-4d7a-9117-ea4d19c3434d"
#define PCI_DSM_KEEP_ADDRESSES 5

static void describe_dsm(aml *a) {
        static const uint8_t functions[] = { 1u << 0 | 1u << PCI_DSM_KEEP_ADDRESSES };
        static const uint8_t none[] = { 0 };

        aml_method(a, "_DSM", 4 /* n_args */, true /* serialized */);
        aml_if(a);
        aml_equal(a);
        aml_arg(a, 0);
        aml_uuid(a, PCI_DSM_UUID);

        aml_if(a);
        aml_equal(a);
        aml_arg(a, 2);
        aml_int(a, 0);
        aml_return(a);
        aml_buffer(a, functions, sizeof(functions));
        aml_close(a);

        aml_if(a);
        aml_equal(a);
        aml_arg(a, 2);
        aml_int(a, PCI_DSM_KEEP_ADDRESSES);
        aml_return(a);
        aml_int(a, 0);
        aml_close(a);

        aml_close(a);
        aml_return(a);
        aml_buffer(a, none, sizeof(none));
        aml_close(a);
}

static void describe_windows(const pci_segment *s, aml *a) {
        const struct arch_range *w32 = &s->config.layout.mmio32, *w64 = &s->config.layout.mmio64;

        aml_name(a, "_CRS");
        aml_crs(a);
        aml_crs_bus_range(a, 0, 0);
        if (s->config.pio) {
                aml_crs_io(a, PORTS_BASE, PORTS_SIZE);
                aml_crs_dword_io(a, 0x0000, PORTS_BASE - 1);
                aml_crs_dword_io(a, PORTS_BASE + PORTS_SIZE, 0xffff);
        }
        if (w32->size)
                aml_crs_dword_memory(
                                a, (uint32_t) w32->base, (uint32_t) (w32->base + w32->size - 1));
        if (w64->size)
                aml_crs_qword_memory(a, w64->base, w64->base + w64->size - 1);
        aml_crs_end(a);
}

/* Slot i's pin A is a line of its own of a few that all slots share. */
static void describe_routing(aml *a) {
        aml_name(a, "_PRT");
        aml_package(a, PCI_SLOTS);
        for (unsigned slot = 0; slot < PCI_SLOTS; slot++) {
                aml_package(a, 4);
                aml_int(a, slot << 16 | 0xffff); /* every function of the slot */
                aml_int(a, 0);                   /* pin A */
                aml_int(a, 0);                   /* no link device: a GSI */
                aml_int(a, ARCH_IRQ_PCI_INTX + slot % ARCH_N_PCI_INTX);
                aml_close(a);
        }
        aml_close(a);
}

static void describe_ecam(const pci_segment *s, aml *a) {
        g_autofree char *name = g_strdup_printf("MB%02X", s->config.layout.segment);

        aml_device(a, name);
        aml_name(a, "_HID");
        aml_eisaid(a, "PNP0C02");
        aml_name(a, "_UID");
        aml_int(a, s->config.layout.segment);
        aml_name(a, "_CRS");
        aml_crs(a);
        aml_crs_memory32_fixed(
                        a, (uint32_t) s->config.layout.ecam.base,
                        (uint32_t) s->config.layout.ecam.size, true /* writable */);
        aml_crs_end(a);
        aml_close(a);
}

void pci_segment_describe(const pci_segment *s, aml *a) {
        g_autofree char *name = g_strdup_printf("PC%02X", s->config.layout.segment);

        aml_device(a, name);
        aml_name(a, "_HID");
        aml_eisaid(a, "PNP0A08");
        aml_name(a, "_CID");
        aml_eisaid(a, "PNP0A03");
        aml_name(a, "_SEG");
        aml_int(a, s->config.layout.segment);
        aml_name(a, "_UID");
        aml_int(a, s->config.layout.segment);
        aml_name(a, "_BBN");
        aml_int(a, 0);
        aml_name(a, "_CCA");
        aml_int(a, 1);
        describe_dsm(a);
        describe_windows(s, a);
        describe_routing(a);
        aml_close(a);

        describe_ecam(s, a);
}
