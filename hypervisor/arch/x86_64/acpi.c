/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Puts the ACPI tables together and into guest memory: the RSDP at its fixed place, where both the
 * boot protocols and a search through the EBDA find it, the others behind it, up to the SMBIOS area.
 */

#include <inttypes.h>

#include "hypervisor/acpi/sdt.h"
#include "hypervisor/acpi/tables.h"
#include "hypervisor/arch/x86_64/boot.h"
#include "hypervisor/arch/x86_64/layout.h"
#include "hypervisor/arch/x86_64/tables.h"
#include "hypervisor/error.h"

#define DSDT_REVISION 6
#define BDA_EBDA_SEGMENT 0x40eu
#define ALIGNMENT 16u

static GByteArray *new_dsdt(const struct arch_tables *tables) {
        GByteArray *t = sdt_new("DSDT", DSDT_REVISION, "CHVDDSDT");
        g_autoptr(aml) a = aml_new();
        g_autoptr(GBytes) code = NULL;
        const void *data;
        size_t size;

        acpi_sleep_aml(a);
        acpi_cpus_aml(a, tables->boot_vcpus, tables->max_vcpus);
        if (tables->dsdt_body && (data = g_bytes_get_data(tables->dsdt_body, &size)))
                aml_append(a, data, size);

        code = aml_end(a);
        data = g_bytes_get_data(code, &size);
        g_byte_array_append(t, data, (guint) size);
        sdt_end(t);
        return t;
}

/* Writes t at *at and moves *at behind it. Returns where it is, 0 on error. */
static uint64_t put_table(struct gmem *mem, uint64_t *at, const GByteArray *t, GError **error) {
        uint64_t addr = *at;

        if (t->len > X86_SMBIOS - addr) {
                g_set_error(error, HV_ERROR, HV_ERROR_INVALID,
                            "acpi: the %.4s table of %u bytes does not fit below 0x%x; the"
                            " machine has too many processors or devices",
                            (const char *) t->data, t->len, X86_SMBIOS);
                return 0;
        }
        if (!x86_put(mem, addr, t->data, t->len, error))
                return 0;
        *at = MIN((addr + t->len + ALIGNMENT - 1) & ~(uint64_t) (ALIGNMENT - 1), X86_SMBIOS);
        return addr;
}

bool x86_write_acpi(
                struct gmem *mem,
                const struct arch_layout *layout,
                const struct arch_tables *tables,
                GError **error) {
        uint64_t at = X86_RSDP + ((ACPI_RSDP_SIZE + ALIGNMENT - 1) & ~(ALIGNMENT - 1));
        g_autoptr(GByteArray) dsdt = new_dsdt(tables), madt = x86_madt(layout, tables);
        g_autoptr(GByteArray) mcfg = acpi_mcfg(tables->segments, tables->n_segments);
        g_autoptr(GByteArray) fadt = NULL, xsdt = NULL, rsdp = NULL;
        uint16_t ebda = X86_RSDP >> 4;
        uint64_t addr, listed[3];
        const GByteArray *list[3];

        addr = put_table(mem, &at, dsdt, error);
        if (!addr)
                return false;
        fadt = acpi_fadt(addr);
        list[0] = fadt;
        list[1] = madt;
        list[2] = mcfg;
        for (unsigned i = 0; i < G_N_ELEMENTS(list); i++) {
                listed[i] = put_table(mem, &at, list[i], error);
                if (!listed[i])
                        return false;
        }
        xsdt = acpi_xsdt(listed, G_N_ELEMENTS(listed));
        addr = put_table(mem, &at, xsdt, error);
        if (!addr)
                return false;

        rsdp = acpi_rsdp(addr);
        return x86_put(mem, X86_RSDP, rsdp->data, rsdp->len, error) &&
               x86_put(mem, BDA_EBDA_SEGMENT, &ebda, sizeof(ebda), error);
}
