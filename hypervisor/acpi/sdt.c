/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * ACPI tables as byte arrays. Fields are appended in the order of the specification, so a builder
 * reads like its table and no packed structure has to be kept in step with it.
 */

#include "hypervisor/acpi/sdt.h"

#include <string.h>

enum {
        HEADER_LENGTH = 4,
        HEADER_CHECKSUM = 9,
};

GByteArray *sdt_new(const char *signature, uint8_t revision, const char *oem_table_id) {
        GByteArray *t = g_byte_array_new();
        char table_id[9];

        g_assert(strlen(signature) == 4);
        g_assert(strlen(oem_table_id) <= 8);

        g_snprintf(table_id, sizeof(table_id), "%-8s", oem_table_id);
        g_byte_array_append(t, (const uint8_t *) signature, 4);
        sdt_put(t, 0 /* length */, 4);
        sdt_put(t, revision, 1);
        sdt_put(t, 0 /* checksum */, 1);
        g_byte_array_append(t, (const uint8_t *) ACPI_OEM_ID, 6);
        g_byte_array_append(t, (const uint8_t *) table_id, 8);
        sdt_put(t, 1 /* OEM revision */, 4);
        g_byte_array_append(t, (const uint8_t *) "CHVD", 4); /* creator and its revision */
        sdt_put(t, 1, 4);
        g_assert(t->len == ACPI_HEADER_SIZE);
        return t;
}

void sdt_end(GByteArray *t) {
        sdt_set(t, HEADER_LENGTH, t->len, 4);
        t->data[HEADER_CHECKSUM] = 0;
        t->data[HEADER_CHECKSUM] = acpi_checksum(t->data, t->len);
}

void sdt_put(GByteArray *t, uint64_t v, unsigned n_bytes) {
        uint64_t le = GUINT64_TO_LE(v);

        g_assert(n_bytes <= sizeof(le));
        g_byte_array_append(t, (const uint8_t *) &le, n_bytes);
}

void sdt_put_zeros(GByteArray *t, unsigned n_bytes) {
        for (unsigned i = 0; i < n_bytes; i++)
                sdt_put(t, 0, 1);
}

void sdt_set(GByteArray *t, size_t offset, uint64_t v, unsigned n_bytes) {
        uint64_t le = GUINT64_TO_LE(v);

        g_assert(n_bytes <= sizeof(le));
        g_assert(offset + n_bytes <= t->len);
        memcpy(t->data + offset, &le, n_bytes);
}

void sdt_put_gas(GByteArray *t, uint8_t space, uint8_t bits, uint8_t access, uint64_t address) {
        sdt_put(t, space, 1);
        sdt_put(t, bits, 1);
        sdt_put(t, 0 /* bit offset */, 1);
        sdt_put(t, access, 1);
        sdt_put(t, address, 8);
}

uint8_t acpi_checksum(const void *data, size_t len) {
        const uint8_t *p = data;
        uint8_t sum = 0;

        for (size_t i = 0; i < len; i++)
                sum = (uint8_t) (sum + p[i]);
        return (uint8_t) -sum;
}
