/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "hypervisor/arch.h"

/* The parts of arch_write_tables(), shared by its own files only. Arrays are the caller's. */

/* DSDT, FADT, MADT, MCFG, XSDT from X86_RSDP on, RSDP first. */
bool x86_write_acpi(
                struct gmem *mem,
                const struct arch_layout *layout,
                const struct arch_tables *tables,
                GError **error);

GByteArray *x86_madt(const struct arch_layout *layout, const struct arch_tables *tables);

/* Entry point and structures as they lie at addr; NULL when a value cannot be told. */
GByteArray *x86_smbios(const struct arch_smbios *s, uint64_t addr, GError **error);

/* Floating pointer and table as they lie at addr; NULL when the machine's APIC ids do not fit into one. */
GByteArray *
x86_mptable(const struct arch_layout *layout, const struct arch_tables *tables, uint64_t addr);
