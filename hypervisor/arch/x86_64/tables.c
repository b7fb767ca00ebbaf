/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The firmware tables of the x86-64 machine: ACPI from 640 KiB on, SMBIOS at 0xf0000 where guests
 * search for it, and behind it the MP table, which a guest with ACPI has no need of and which is left
 * out when there is no room.
 */

#include <inttypes.h>

#include "hypervisor/arch/x86_64/boot.h"
#include "hypervisor/arch/x86_64/layout.h"
#include "hypervisor/arch/x86_64/tables.h"
#include "hypervisor/error.h"

#define ALIGNMENT 16u /* both are found at multiples of it */

bool arch_write_tables(
                struct gmem *mem,
                const struct arch_layout *layout,
                const struct arch_tables *tables,
                uint64_t *ret_rsdp,
                GError **error) {
        g_autoptr(GByteArray) smbios = NULL, mptable = NULL;
        uint64_t at;

        g_assert(tables->boot_vcpus >= 1 && tables->boot_vcpus <= tables->max_vcpus);

        if (!x86_write_acpi(mem, layout, tables, error))
                return false;

        smbios = x86_smbios(&tables->smbios, X86_SMBIOS, error);
        if (!smbios)
                return false;
        if (smbios->len > X86_HIGH_RAM - X86_SMBIOS) {
                g_set_error(error, HV_ERROR, HV_ERROR_INVALID,
                            "platform: SMBIOS strings take %u bytes; the limit is %u", smbios->len,
                            X86_HIGH_RAM - X86_SMBIOS);
                return false;
        }
        if (!x86_put(mem, X86_SMBIOS, smbios->data, smbios->len, error))
                return false;

        at = (X86_SMBIOS + smbios->len + ALIGNMENT - 1) & ~(uint64_t) (ALIGNMENT - 1);
        mptable = x86_mptable(layout, tables, at);
        if (mptable && at + mptable->len <= X86_HIGH_RAM &&
            !x86_put(mem, at, mptable->data, mptable->len, error))
                return false;

        *ret_rsdp = X86_RSDP;
        return true;
}
