/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The terms of AML: objects, statements, operators (ACPI 6.4, 20.2.5) and data (20.2.3). Each function
 * writes one op code and what belongs to it; operands are whatever the caller writes next, so there
 * is no tree and nothing to own.
 */

#include "hypervisor/acpi/aml-private.h"

#include <string.h>

enum aml_op {
        OP_ZERO = 0x00,
        OP_ONE = 0x01,
        OP_NAME = 0x08,
        OP_BYTE = 0x0a,
        OP_WORD = 0x0b,
        OP_DWORD = 0x0c,
        OP_STRING = 0x0d,
        OP_QWORD = 0x0e,
        OP_SCOPE = 0x10,
        OP_BUFFER = 0x11,
        OP_PACKAGE = 0x12,
        OP_METHOD = 0x14,
        OP_EXT = 0x5b,
        OP_LOCAL0 = 0x60,
        OP_ARG0 = 0x68,
        OP_STORE = 0x70,
        OP_ADD = 0x72,
        OP_SUBTRACT = 0x74,
        OP_INCREMENT = 0x75,
        OP_SHIFT_LEFT = 0x79,
        OP_AND = 0x7b,
        OP_OR = 0x7d,
        OP_NOTIFY = 0x86,
        OP_EQUAL = 0x93,
        OP_LESS = 0x95,
        OP_IF = 0xa0,
        OP_ELSE = 0xa1,
        OP_WHILE = 0xa2,
        OP_RETURN = 0xa4,
        OP_ONES = 0xff,

        /* after OP_EXT */
        EXT_MUTEX = 0x01,
        EXT_ACQUIRE = 0x23,
        EXT_RELEASE = 0x27,
        EXT_OP_REGION = 0x80,
        EXT_FIELD = 0x81,
        EXT_DEVICE = 0x82,
};

static void put_op(struct aml *a, enum aml_op op) {
        aml_put(a, op, 1);
}

static void put_ext(struct aml *a, enum aml_op op) {
        put_op(a, OP_EXT);
        put_op(a, op);
}

static void open_op(struct aml *a, enum aml_op op) {
        put_op(a, op);
        aml_open(a, AML_OPEN_PACKAGE);
}

void aml_scope(aml *a, const char *name) {
        open_op(a, OP_SCOPE);
        aml_put_name(a, name);
}

void aml_device(aml *a, const char *name) {
        put_op(a, OP_EXT);
        open_op(a, EXT_DEVICE);
        aml_put_name(a, name);
}

void aml_method(aml *a, const char *name, unsigned n_args, bool serialized) {
        g_assert(n_args <= 7);

        open_op(a, OP_METHOD);
        aml_put_name(a, name);
        aml_put(a, n_args | (serialized ? 1u << 3 : 0), 1);
}

void aml_if(aml *a) {
        open_op(a, OP_IF);
}

void aml_else(aml *a) {
        open_op(a, OP_ELSE);
}

void aml_while(aml *a) {
        open_op(a, OP_WHILE);
}

void aml_package(aml *a, uint8_t n_elements) {
        open_op(a, OP_PACKAGE);
        aml_put(a, n_elements, 1);
}

void aml_name(aml *a, const char *name) {
        put_op(a, OP_NAME);
        aml_put_name(a, name);
}

void aml_op_region(aml *a, const char *name, uint8_t space, uint64_t offset, uint64_t len) {
        put_ext(a, EXT_OP_REGION);
        aml_put_name(a, name);
        aml_put(a, space, 1);
        aml_int(a, offset);
        aml_int(a, len);
}

void aml_field(aml *a,
               const char *region,
               uint8_t access,
               bool lock,
               bool wzeros,
               const struct aml_field *fields,
               size_t n) {
        g_assert(access <= 4);

        put_op(a, OP_EXT);
        open_op(a, EXT_FIELD);
        aml_put_name(a, region);
        aml_put(a, access | (lock ? 1u << 4 : 0) | (wzeros ? 2u << 5 : 0), 1);
        for (size_t i = 0; i < n; i++) {
                if (fields[i].name) {
                        g_assert(fields[i].name[0] != '\\' && !strpbrk(fields[i].name, ".^"));
                        aml_put_name(a, fields[i].name);
                } else
                        aml_put(a, 0 /* ReservedField */, 1);
                aml_put_pkg_length(a, fields[i].bits, /* self= */ false);
        }
        aml_close(a);
}

void aml_mutex(aml *a, const char *name, uint8_t sync_level) {
        g_assert(sync_level <= 15);

        put_ext(a, EXT_MUTEX);
        aml_put_name(a, name);
        aml_put(a, sync_level, 1);
}

unsigned aml_encode_int(uint64_t v, uint8_t buf[static 9]) {
        uint64_t le = GUINT64_TO_LE(v);
        unsigned n;

        if (v <= 1 || v == UINT64_MAX) {
                buf[0] = v == 0 ? OP_ZERO : v == 1 ? OP_ONE : OP_ONES;
                return 1;
        }
        if (v <= UINT8_MAX)
                buf[0] = OP_BYTE, n = 1;
        else if (v <= UINT16_MAX)
                buf[0] = OP_WORD, n = 2;
        else if (v <= UINT32_MAX)
                buf[0] = OP_DWORD, n = 4;
        else
                buf[0] = OP_QWORD, n = 8;
        memcpy(buf + 1, &le, n);
        return 1 + n;
}

void aml_int(aml *a, uint64_t v) {
        uint8_t buf[9];

        aml_append(a, buf, aml_encode_int(v, buf));
}

void aml_string(aml *a, const char *s) {
        for (const char *p = s; *p; p++)
                g_assert((signed char) *p > 0); /* AsciiChar, 20.2.3 */

        put_op(a, OP_STRING);
        aml_append(a, s, strlen(s) + 1);
}

void aml_eisaid(aml *a, const char *id) {
        uint32_t v = 0;

        g_assert(strlen(id) == 7);
        for (unsigned i = 0; i < 3; i++) {
                g_assert(id[i] >= 'A' && id[i] <= 'Z');
                v = v << 5 | (uint32_t) (id[i] - '@');
        }
        for (unsigned i = 3; i < 7; i++) {
                g_assert(g_ascii_isxdigit(id[i]));
                v = v << 4 | (uint32_t) g_ascii_xdigit_value(id[i]);
        }
        put_op(a, OP_DWORD);
        aml_put(a, GUINT32_SWAP_LE_BE(v), 4); /* the id is stored with its first letter first */
}

void aml_path(aml *a, const char *name) {
        aml_put_name(a, name);
}

void aml_buffer(aml *a, const void *data, size_t len) {
        open_op(a, OP_BUFFER);
        aml_int(a, len);
        aml_append(a, data, len);
        aml_close(a);
}

void aml_uuid(aml *a, const char *uuid) {
        /* The first three groups are little-endian (ACPI 6.4, 19.6.142). */
        static const uint8_t order[16] = { 3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15 };
        uint8_t bytes[16];
        const char *p = uuid;

        g_assert(strlen(uuid) == 36);
        for (unsigned i = 0; i < 16; i++) {
                p += *p == '-';
                g_assert(g_ascii_isxdigit(p[0]) && g_ascii_isxdigit(p[1]));
                bytes[order[i]] =
                                (uint8_t) (g_ascii_xdigit_value(p[0]) << 4 |
                                           g_ascii_xdigit_value(p[1]));
                p += 2;
        }
        aml_buffer(a, bytes, sizeof(bytes));
}

void aml_arg(aml *a, unsigned n) {
        g_assert(n <= 6);
        aml_put(a, OP_ARG0 + n, 1);
}

void aml_local(aml *a, unsigned n) {
        g_assert(n <= 7);
        aml_put(a, OP_LOCAL0 + n, 1);
}

void aml_store(aml *a) {
        put_op(a, OP_STORE);
}

void aml_return(aml *a) {
        put_op(a, OP_RETURN);
}

void aml_notify(aml *a) {
        put_op(a, OP_NOTIFY);
}

void aml_equal(aml *a) {
        put_op(a, OP_EQUAL);
}

void aml_less(aml *a) {
        put_op(a, OP_LESS);
}

void aml_and(aml *a) {
        put_op(a, OP_AND);
}

void aml_or(aml *a) {
        put_op(a, OP_OR);
}

void aml_add(aml *a) {
        put_op(a, OP_ADD);
}

void aml_subtract(aml *a) {
        put_op(a, OP_SUBTRACT);
}

void aml_shift_left(aml *a) {
        put_op(a, OP_SHIFT_LEFT);
}

void aml_increment(aml *a) {
        put_op(a, OP_INCREMENT);
}

void aml_null(aml *a) {
        put_op(a, OP_ZERO);
}

void aml_acquire(aml *a, const char *mutex, uint16_t timeout) {
        put_ext(a, EXT_ACQUIRE);
        aml_put_name(a, mutex);
        aml_put(a, timeout, 2);
}

void aml_release(aml *a, const char *mutex) {
        put_ext(a, EXT_RELEASE);
        aml_put_name(a, mutex);
}
