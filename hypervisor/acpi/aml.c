/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The core of the AML encoder: the buffer, names and package lengths (ACPI 6.4, 20.2).
 *
 * Code is written forwards. A package's length stands before its content and has one to four bytes,
 * depending on the content; so opening one only remembers where it starts, and closing it moves the
 * content up and puts the length in the gap. Inner packages are closed first, and a start lies before
 * everything inside, so the remembered places stay true.
 *
 * Whoever calls is our own code: a wrong name or an unbalanced close is a bug and asserts.
 */

#include "hypervisor/acpi/aml-private.h"

#include <string.h>

struct aml_open {
        enum aml_open_kind kind;
        uint32_t start;
};

aml *aml_new(void) {
        struct aml *a = g_new(struct aml, 1);

        a->code = g_byte_array_new();
        a->open = g_array_new(
                        /* zero_terminated= */ false, /* clear_= */ false, sizeof(struct aml_open));
        return a;
}

aml *aml_free(aml *a) {
        if (!a)
                return NULL;

        g_byte_array_unref(a->code);
        g_array_unref(a->open);
        g_free(a);
        return NULL;
}

GBytes *aml_end(aml *a) {
        GByteArray *code = a->code;

        g_assert(a->open->len == 0);

        a->code = g_byte_array_new();
        return g_byte_array_free_to_bytes(code);
}

void aml_append(aml *a, const void *data, size_t len) {
        if (len > 0)
                g_byte_array_append(a->code, data, (guint) len);
}

void aml_put(struct aml *a, uint64_t v, unsigned n) {
        uint64_t le = GUINT64_TO_LE(v);

        g_assert(n <= sizeof(le));
        aml_append(a, &le, n);
}

void aml_insert(struct aml *a, uint32_t at, const void *data, size_t len) {
        uint32_t old = a->code->len;

        g_assert(at <= old);

        g_byte_array_set_size(a->code, (guint) (old + len));
        memmove(a->code->data + at + len, a->code->data + at, old - at);
        memcpy(a->code->data + at, data, len);
}

static void put_segment(struct aml *a, const char *s, size_t len) {
        char seg[4] = { '_', '_', '_', '_' };

        g_assert(len >= 1 && len <= sizeof(seg));
        for (size_t i = 0; i < len; i++)
                g_assert(g_ascii_isupper(s[i]) || s[i] == '_' || (i > 0 && g_ascii_isdigit(s[i])));

        memcpy(seg, s, len);
        aml_append(a, seg, sizeof(seg));
}

void aml_put_name(struct aml *a, const char *name) {
        size_t n = 1;

        if (*name == '\\')
                aml_put(a, (uint8_t) *name++, 1);
        else
                for (; *name == '^'; name++)
                        aml_put(a, '^', 1);
        if (!*name) { /* a bare root or parent */
                aml_put(a, 0, 1);
                return;
        }

        for (const char *p = name; *p; p++)
                n += *p == '.';
        g_assert(n <= UINT8_MAX);
        if (n == 2)
                aml_put(a, 0x2e /* DualNamePrefix */, 1);
        else if (n > 2) {
                aml_put(a, 0x2f /* MultiNamePrefix */, 1);
                aml_put(a, n, 1);
        }
        for (size_t len; n > 0; n--, name += len + 1) {
                len = strcspn(name, ".");
                put_segment(a, name, len);
        }
}

static unsigned encode_pkg_length(uint32_t n, bool self, uint8_t buf[static 4]) {
        unsigned len;

        for (len = 1; len < 4; len++)
                if (n + (self ? len : 0) < (len == 1 ? 1u << 6 : 1u << (8 * len - 4)))
                        break;
        n += self ? len : 0;
        g_assert(n < 1u << 28);

        if (len == 1) {
                buf[0] = (uint8_t) n;
                return 1;
        }
        buf[0] = (uint8_t) ((len - 1) << 6 | (n & 0xf));
        for (unsigned i = 1; i < len; i++)
                buf[i] = (uint8_t) (n >> (8 * i - 4));
        return len;
}

void aml_put_pkg_length(struct aml *a, uint32_t n, bool self) {
        uint8_t buf[4];

        aml_append(a, buf, encode_pkg_length(n, self, buf));
}

void aml_insert_pkg_length(struct aml *a, uint32_t start) {
        uint8_t buf[4];
        unsigned len = encode_pkg_length(a->code->len - start, /* self= */ true, buf);

        aml_insert(a, start, buf, len);
}

void aml_open(struct aml *a, enum aml_open_kind kind) {
        struct aml_open o = { .kind = kind, .start = a->code->len };

        g_array_append_val(a->open, o);
}

uint32_t aml_pop(struct aml *a, enum aml_open_kind kind) {
        struct aml_open o;

        g_assert(a->open->len > 0);
        o = g_array_index(a->open, struct aml_open, a->open->len - 1);
        g_assert(o.kind == kind);
        g_array_set_size(a->open, a->open->len - 1);
        return o.start;
}

void aml_close(aml *a) {
        aml_insert_pkg_length(a, aml_pop(a, AML_OPEN_PACKAGE));
}
