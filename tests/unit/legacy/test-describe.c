/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves that what ACPI is told of COM1, the RTC, the event device and the power button is AML that a compiler
 * takes without a warning, with ports and interrupts of the machine's in it.
 */

#include <string.h>

#include "../acpi/iasl.h"
#include "all.h"
#include "hypervisor/acpi/sdt.h"

static void test_devices(void) {
        static const char *const expected[] = {
                "PNP0501", "0x03F8",   "PNP0B00", "0x0070", "PNP0C0C",
                "PWRB",    "ACPI0013", "_EVT",    "ESCN",   "0x0000003FFFF00000",
                "Notify",  "0x80",
        };
        g_auto(all) a = { 0 };
        g_autoptr(aml) code = aml_new();
        g_autoptr(GBytes) body = NULL;
        g_autoptr(GByteArray) table = sdt_new("DSDT", 6, "TEST");
        g_autofree char *text = NULL;

        all_init(&a);
        aml_scope(code, "\\_SB");
        for (unsigned i = 0; i < ALL_N; i++)
                if (a.devices[i]->ops->describe)
                        a.devices[i]->ops->describe(a.devices[i], code);
        aml_close(code);
        body = aml_end(code);
        g_byte_array_append(table, g_bytes_get_data(body, NULL), (guint) g_bytes_get_size(body));
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
        g_test_add_func("/legacy-describe/devices", test_devices);
        return g_test_run();
}
