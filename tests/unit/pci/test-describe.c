/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves that what ACPI is told of segments is AML that a compiler takes without a warning, with the
 * windows, the configuration space and the interrupt lines of the layout in it.
 */

#include <string.h>

#include "../acpi/iasl.h"
#include "hypervisor/acpi/sdt.h"
#include "rig.h"

static void test_segments(void) {
        g_auto(rig) r = { 0 };
        g_autoptr(pci_segment) second = NULL;
        g_autoptr(aml) a = aml_new();
        g_autoptr(GBytes) code = NULL;
        g_autoptr(GByteArray) table = sdt_new("DSDT", 6, "TEST");
        g_autofree char *text = NULL;
        struct pci_segment_config config = {
                .layout = {
                        .segment = 1,
                        .ecam = { RIG_ECAM + 0x100000, 0x100000 },
                        .mmio32 = { 0xd0000000, 0x100000 },
                        .mmio64 = { 0x200000000, 0x1000000 },
                },
        };
        static const char *const expected[] = {
                "Device (PC00)",
                "Device (PC01)",
                "Device (MB01)",
                "PNP0A08",
                "PNP0C02",
                "_PRT",
                "_DSM",
                "0xE8000000",
                "0xE8100000",
                "0x0000000200000000",
                "0x0000000200FFFFFF",
                "0xC0FFFFFF",
                "0x17",
        };

        rig_init(&r);
        config.mmio = r.mmio;
        config.intc = &r.intc->intc;
        second = pci_segment_new(&config, NULL);
        g_assert_nonnull(second);

        aml_scope(a, "\\_SB");
        pci_segment_describe(r.segment, a);
        pci_segment_describe(second, a);
        aml_close(a);
        code = aml_end(a);
        g_byte_array_append(table, g_bytes_get_data(code, NULL), (guint) g_bytes_get_size(code));
        sdt_end(table);

        text = iasl_round_trip(table->data, table->len);
        if (!text) {
                g_test_skip("iasl is not installed");
                return;
        }
        for (size_t i = 0; i < G_N_ELEMENTS(expected); i++)
                if (!strstr(text, expected[i]))
                        g_error("'%s' is missing in:\n%s", expected[i], text);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/pci-describe/segments", test_segments);
        return g_test_run();
}
