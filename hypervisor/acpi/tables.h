/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "hypervisor/arch.h"

/*
 * The ACPI tables and objects that every machine of ours has, whatever its architecture (reference 3.5).
 * Arrays are the caller's.
 */

/* Hardware-reduced, with the sleep, reset and PM-timer registers of arch.h. dsdt: its guest address. */
GByteArray *acpi_fadt(uint64_t dsdt);

GByteArray *acpi_mcfg(const struct arch_pci_segment *segments, size_t n);
GByteArray *acpi_xsdt(const uint64_t *tables, size_t n);

#define ACPI_RSDP_SIZE 36u

/* The root pointer, revision 2. xsdt: its guest address. */
GByteArray *acpi_rsdp(uint64_t xsdt);

/* Objects for the DSDT: the processors, of which those from n_boot on are absent, and what to write for power-off. */
void acpi_cpus_aml(aml *a, uint32_t n_boot, uint32_t n);
void acpi_sleep_aml(aml *a);
