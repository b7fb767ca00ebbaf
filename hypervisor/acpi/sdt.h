/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <glib.h>
#include <stdint.h>

/*
 * One ACPI system description table under construction (ACPI 6.4, 5.2.6): a 36-byte header, then
 * whatever is appended, little-endian; sdt_end() fixes length and checksum. An array is the caller's
 * (g_byte_array_unref).
 */

#define ACPI_OEM_ID "CHVD  " /* 6 bytes */
#define ACPI_HEADER_SIZE 36u

/* signature: 4 characters; oem_table_id: up to 8, padded with blanks. */
GByteArray *sdt_new(const char *signature, uint8_t revision, const char *oem_table_id);
void sdt_end(GByteArray *t);

void sdt_put(GByteArray *t, uint64_t v, unsigned n_bytes);
void sdt_put_zeros(GByteArray *t, unsigned n_bytes);

/* Overwrites n bytes at offset, which must lie inside. */
void sdt_set(GByteArray *t, size_t offset, uint64_t v, unsigned n_bytes);

/* Generic Address Structure (5.2.3.2) of 12 bytes; access: 1 byte, 2 word, 3 dword, 4 qword. */
void sdt_put_gas(GByteArray *t, uint8_t space, uint8_t bits, uint8_t access, uint64_t address);

/* The byte that makes the sum of all bytes, with that byte taken as 0, zero. */
uint8_t acpi_checksum(const void *data, size_t len);
