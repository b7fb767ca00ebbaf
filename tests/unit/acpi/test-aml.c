/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves that the AML encoder writes what ACPI 6.4, chapter 20 says: each term byte by byte, package
 * lengths at every boundary of their encoding, wrong calls refused; and that iasl reads a table with
 * every term in it and compiles it back to the same bytes.
 */

#include "hypervisor/acpi/aml.h"
#include "hypervisor/acpi/sdt.h"
#include "iasl.h"

#include <string.h>

#define ASSERT_CODE(a, bytes)                                                                      \
        do {                                                                                       \
                g_autoptr(GBytes) got_ = aml_end(a);                                               \
                                                                                                   \
                g_assert_cmpmem(g_bytes_get_data(got_, NULL), g_bytes_get_size(got_), bytes,       \
                                sizeof(bytes) - 1);                                                \
        } while (false)

static void test_names(void) {
        g_autoptr(aml) a = aml_new();

        aml_path(a, "FOO");
        ASSERT_CODE(a, "FOO_");
        aml_path(a, "\\");
        ASSERT_CODE(a, "\\"
                       "\x00");
        aml_path(a, "^^AB01");
        ASSERT_CODE(a, "^^AB01");
        aml_path(a, "\\_SB.A");
        ASSERT_CODE(a, "\\"
                       "\x2e"
                       "_SB_A___");
        aml_path(a, "A.B.C");
        ASSERT_CODE(a, "\x2f\x03"
                       "A___B___C___");
}

static void test_integers(void) {
        g_autoptr(aml) a = aml_new();

        aml_int(a, 0);
        aml_int(a, 1);
        aml_int(a, UINT64_MAX);
        ASSERT_CODE(a, "\x00\x01\xff");
        aml_int(a, 2);
        aml_int(a, 0xff);
        ASSERT_CODE(a, "\x0a\x02\x0a\xff");
        aml_int(a, 0x100);
        aml_int(a, 0xffff);
        ASSERT_CODE(a, "\x0b\x00\x01\x0b\xff\xff");
        aml_int(a, 0x10000);
        aml_int(a, 0xffffffff);
        ASSERT_CODE(a, "\x0c\x00\x00\x01\x00\x0c\xff\xff\xff\xff");
        aml_int(a, 0x100000000);
        ASSERT_CODE(a, "\x0e\x00\x00\x00\x00\x01\x00\x00\x00");
        aml_int(a, UINT64_MAX - 1);
        ASSERT_CODE(a, "\x0e\xfe\xff\xff\xff\xff\xff\xff\xff");
}

static void test_data(void) {
        g_autoptr(aml) a = aml_new();

        aml_string(a, "ACPI0013");
        ASSERT_CODE(a, "\x0d"
                       "ACPI0013"
                       "\x00");
        aml_eisaid(a, "PNP0A08");
        ASSERT_CODE(a, "\x0c\x41\xd0\x0a\x08");
        aml_buffer(a, "\x12\x34", 2);
        ASSERT_CODE(a, "\x11\x05\x0a\x02\x12\x34");
        aml_buffer(a, NULL, 0);
        ASSERT_CODE(a, "\x11\x02\x00");
        aml_uuid(a, "00112233-4455-6677-8899-aabbccddeeff");
        ASSERT_CODE(a, "\x11\x13\x0a\x10\x33\x22\x11\x00\x55\x44\x77\x66\x88\x99\xaa\xbb\xcc\xdd"
                       "\xee\xff");
        aml_arg(a, 6);
        aml_local(a, 7);
        aml_null(a);
        ASSERT_CODE(a, "\x6e\x67\x00");
        aml_append(a, "\xab", 1);
        aml_append(a, NULL, 0);
        ASSERT_CODE(a, "\xab");
}

static void test_objects(void) {
        g_autoptr(aml) a = aml_new();
        const struct aml_field fields[] = { { "AAAA", 8 }, { NULL, 72 }, { "BBBB", 1 } };

        aml_scope(a, "\\_SB");
        aml_device(a, "DEV0");
        aml_close(a);
        aml_close(a);
        ASSERT_CODE(a, "\x10\x0d"
                       "\\_SB_"
                       "\x5b\x82\x05"
                       "DEV0");
        aml_method(a, "M", 7, true);
        aml_return(a);
        aml_arg(a, 0);
        aml_close(a);
        ASSERT_CODE(a, "\x14\x08"
                       "M___"
                       "\x0f\xa4\x68");
        aml_name(a, "_S5_");
        aml_package(a, 2);
        aml_int(a, 5);
        aml_int(a, 0);
        aml_close(a);
        ASSERT_CODE(a, "\x08"
                       "_S5_"
                       "\x12\x05\x02\x0a\x05\x00");
        aml_op_region(a, "R", 1, 0x600, 8);
        ASSERT_CODE(a, "\x5b\x80"
                       "R___"
                       "\x01\x0b\x00\x06\x0a\x08");
        aml_field(a, "R", 4, true, true, fields, G_N_ELEMENTS(fields));
        ASSERT_CODE(a, "\x5b\x81\x13"
                       "R___"
                       "\x54"
                       "AAAA"
                       "\x08\x00\x48\x04"
                       "BBBB"
                       "\x01");
        aml_mutex(a, "MTX", 3);
        ASSERT_CODE(a, "\x5b\x01"
                       "MTX_"
                       "\x03");
        aml_acquire(a, "MTX", 0xfffe);
        aml_release(a, "MTX");
        ASSERT_CODE(a, "\x5b\x23"
                       "MTX_"
                       "\xfe\xff\x5b\x27"
                       "MTX_");
}

static void test_statements(void) {
        g_autoptr(aml) a = aml_new();

        aml_store(a);
        aml_return(a);
        aml_notify(a);
        aml_equal(a);
        aml_less(a);
        aml_and(a);
        aml_or(a);
        aml_add(a);
        aml_subtract(a);
        aml_shift_left(a);
        aml_increment(a);
        ASSERT_CODE(a, "\x70\xa4\x86\x93\x95\x7b\x7d\x72\x74\x79\x75");
        aml_if(a);
        aml_int(a, 1);
        aml_close(a);
        aml_else(a);
        aml_close(a);
        aml_while(a);
        aml_int(a, 0);
        aml_close(a);
        ASSERT_CODE(a, "\xa0\x02\x01\xa1\x01\xa2\x02\x00");
}

static void test_resources(void) {
        g_autoptr(aml) a = aml_new();

        aml_crs(a);
        aml_crs_end(a);
        ASSERT_CODE(a, "\x11\x05\x0a\x02\x79\x00");
        aml_crs(a);
        aml_crs_io(a, 0x3f8, 8);
        aml_crs_end(a);
        ASSERT_CODE(a, "\x11\x0d\x0a\x0a\x47\x01\xf8\x03\xf8\x03\x01\x08\x79\x00");
        aml_crs(a);
        aml_crs_interrupt(
                        a, 0x11223344, /* level= */ true, /* active_low= */ true,
                        /* shared= */ false);
        aml_crs_interrupt(a, 4, /* level= */ false, /* active_low= */ false, /* shared= */ true);
        aml_crs_end(a);
        ASSERT_CODE(a, "\x11\x17\x0a\x14\x89\x06\x00\x05\x01\x44\x33\x22\x11\x89\x06\x00\x0b\x01"
                       "\x04\x00\x00\x00\x79\x00");
}

/* A scope with n bytes after its name must have this many bytes of length. */
static void check_length(size_t content, size_t length_bytes) {
        g_autoptr(aml) a = aml_new();
        g_autoptr(GBytes) code = NULL;
        g_autofree uint8_t *fill = g_malloc0(content);
        const uint8_t *p;
        size_t size;
        uint32_t v;

        aml_scope(a, "SCOP");
        aml_append(a, fill, content - 4);
        aml_close(a);
        code = aml_end(a);
        p = g_bytes_get_data(code, &size);
        g_assert_cmpuint(size, ==, 1 + length_bytes + content);
        g_assert_cmpuint(p[1] >> 6, ==, length_bytes - 1);
        v = length_bytes == 1 ? p[1] : p[1] & 0xf;
        g_assert_cmpuint(length_bytes == 1 ? 0 : p[1] & 0x30, ==, 0);
        for (size_t i = 1; i < length_bytes; i++)
                v |= (uint32_t) p[1 + i] << (8 * i - 4);
        g_assert_cmpuint(v, ==, length_bytes + content);
        g_assert_cmpmem(p + 1 + length_bytes, 4, "SCOP", 4);
}

static void test_package_lengths(void) {
        check_length(4, 1);
        check_length(62, 1);
        check_length(63, 2);
        check_length(64, 2);
        check_length(4093, 2);
        check_length(4094, 3);
        check_length(4096, 3);
        check_length((1 << 20) - 4, 3);
        check_length((1 << 20) - 3, 4);
        check_length(1 << 20, 4);
        check_length((1 << 24) + 5, 4);
}

/* Packages inside packages, each long enough that every close moves its content. */
static void test_nested(void) {
        g_autoptr(aml) a = aml_new();
        g_autoptr(GBytes) code = NULL;
        g_autofree uint8_t *fill = g_malloc0(100);
        const uint8_t *p;
        size_t size, at = 0;

        for (unsigned i = 0; i < 60; i++) {
                aml_scope(a, "ABCD");
                aml_append(a, fill, 100);
        }
        for (unsigned i = 0; i < 60; i++)
                aml_close(a);
        code = aml_end(a);
        p = g_bytes_get_data(code, &size);
        for (unsigned i = 0; i < 60; i++) {
                unsigned n = p[at + 1] >> 6;
                size_t v = p[at + 1] & 0xf;

                g_assert_cmpuint(p[at], ==, 0x10);
                for (unsigned j = 1; j <= n; j++)
                        v |= (size_t) p[at + 1 + j] << (8 * j - 4);
                g_assert_cmpuint(at + 1 + v, ==, size); /* each one reaches to the end */
                g_assert_cmpmem(p + at + 2 + n, 4, "ABCD", 4);
                at += 2 + n + 4 + 100;
        }
        g_assert_cmpuint(at, ==, size);
}

static void wrong_lower_case(void) {
        g_autoptr(aml) a = aml_new();

        aml_path(a, "foo");
}

static void wrong_five(void) {
        g_autoptr(aml) a = aml_new();

        aml_path(a, "FIVES");
}

static void wrong_empty_segment(void) {
        g_autoptr(aml) a = aml_new();

        aml_path(a, "A..B");
}

static void wrong_digit_first(void) {
        g_autoptr(aml) a = aml_new();

        aml_path(a, "0ABC");
}

static void wrong_left_open(void) {
        g_autoptr(aml) a = aml_new();
        g_autoptr(GBytes) code = NULL;

        aml_scope(a, "A");
        code = aml_end(a);
}

static void wrong_close(void) {
        g_autoptr(aml) a = aml_new();

        aml_close(a);
}

static void wrong_close_of_crs(void) {
        g_autoptr(aml) a = aml_new();

        aml_crs(a);
        aml_close(a);
}

static void wrong_eisaid(void) {
        g_autoptr(aml) a = aml_new();

        aml_eisaid(a, "pnp0a08");
}

static void wrong_io_length(void) {
        g_autoptr(aml) a = aml_new();

        aml_crs(a);
        aml_crs_io(a, 0, 256);
}

static void wrong_range(void) {
        g_autoptr(aml) a = aml_new();

        aml_crs(a);
        aml_crs_qword_memory(a, 0x2000, 0x1fff);
}

static void wrong_whole_range(void) {
        g_autoptr(aml) a = aml_new();

        aml_crs(a);
        aml_crs_dword_memory(a, 0, UINT32_MAX);
}

static void wrong_string(void) {
        g_autoptr(aml) a = aml_new();

        aml_string(a, "\xc3\xa9");
}

/* Runs itself as a child, which must abort on the assertion. */
static void test_wrong(const void *data) {
        void (*const *f)(void) = data;

        if (g_test_subprocess()) {
                (*f)();
                return;
        }
        g_test_trap_subprocess(NULL, 0, 0);
        g_test_trap_assert_failed();
        g_test_trap_assert_stderr("*assertion*");
}

static void put_everything(aml *a) {
        static const struct aml_field fields[] = {
                { "FLDA", 32 }, { NULL, 4096 }, { "FLDB", 1 }, { NULL, 7 }, { "FLDC", 8 },
        };

        aml_op_region(a, "\\_SB.DEV0.REGN", 0, 0xfedcba9876543210, 0x1000);
        aml_field(a, "\\_SB.DEV0.REGN", 3, true, true, fields, G_N_ELEMENTS(fields));
        aml_mutex(a, "\\_SB.DEV0.MTX0", 0);
}

static void put_method(aml *a) {
        aml_method(a, "TEST", 2, true);
        aml_acquire(a, "MTX0", 0xffff);
        aml_store(a);
        aml_arg(a, 0);
        aml_local(a, 0);
        aml_while(a);
        aml_less(a);
        aml_local(a, 0);
        aml_int(a, 0x12345);
        aml_increment(a);
        aml_local(a, 0);
        aml_if(a);
        aml_equal(a);
        aml_local(a, 0);
        aml_int(a, 7);
        aml_notify(a);
        aml_path(a, "\\_SB.DEV0");
        aml_int(a, 0x80);
        aml_close(a);
        aml_else(a);
        aml_and(a);
        aml_local(a, 0);
        aml_int(a, 0xffff);
        aml_local(a, 1);
        aml_or(a);
        aml_local(a, 1);
        aml_int(a, 0x10);
        aml_local(a, 2);
        aml_add(a);
        aml_local(a, 2);
        aml_arg(a, 1);
        aml_local(a, 3);
        aml_subtract(a);
        aml_local(a, 3);
        aml_int(a, 1);
        aml_local(a, 4);
        aml_store(a);
        aml_shift_left(a);
        aml_int(a, 1);
        aml_local(a, 4);
        aml_null(a);
        aml_local(a, 5);
        aml_close(a);
        aml_close(a);
        aml_release(a, "MTX0");
        aml_return(a);
        aml_local(a, 5);
        aml_close(a);
}

static void put_resources(aml *a) {
        aml_name(a, "_CRS");
        aml_crs(a);
        aml_crs_bus_range(a, 0, 0);
        aml_crs_io(a, 0xcf8, 8);
        aml_crs_dword_io(a, 0, 0xcf7);
        aml_crs_dword_io(a, 0xd00, 0xffff);
        aml_crs_dword_memory(a, 0xc0000000, 0xe7ffffff);
        aml_crs_qword_memory(a, 0x140000000, 0xfffeffffff);
        aml_crs_memory32_fixed(a, 0xe8000000, 0x100000, true);
        aml_crs_memory32_fixed(a, 0xfed40000, 0x1000, false);
        for (unsigned i = 0; i < 8; i++)
                aml_crs_interrupt(a, 16 + i, i & 1, i & 2, i & 4);
        aml_crs_end(a);
}

static void test_iasl(void) {
        g_autoptr(aml) a = aml_new();
        g_autoptr(GByteArray) table = sdt_new("DSDT", 6, "CHVTEST");
        g_autoptr(GBytes) code = NULL;
        g_autofree char *text = NULL;

        aml_scope(a, "\\_SB");
        aml_device(a, "DEV0");
        aml_name(a, "_HID");
        aml_eisaid(a, "PNP0A08");
        aml_name(a, "_UID");
        aml_int(a, 0x123456789);
        put_resources(a);
        put_everything(a);
        put_method(a);
        aml_name(a, "PACK");
        aml_package(a, 5);
        aml_int(a, 0);
        aml_int(a, UINT64_MAX);
        aml_string(a, "text");
        aml_uuid(a, "e5c937d0-3553-4d7a-9117-ea4d19c3434d");
        aml_path(a, "\\_SB.DEV0.FLDA");
        aml_close(a);
        aml_name(a, "BUFF");
        aml_buffer(a, "\x21", 1);
        aml_close(a);
        aml_close(a);
        code = aml_end(a);
        g_byte_array_append(table, g_bytes_get_data(code, NULL), (guint) g_bytes_get_size(code));
        sdt_end(table);
        g_assert_cmpuint(acpi_checksum(table->data, table->len), ==, 0);

        text = iasl_round_trip(table->data, table->len);
        if (!text) {
                g_test_skip("iasl is not installed");
                return;
        }
        g_assert_nonnull(strstr(text, "EisaId (\"PNP0A08\")"));
        g_assert_nonnull(strstr(text, "Method (TEST, 2, Serialized)"));
        g_assert_nonnull(strstr(text, "OperationRegion (\\_SB.DEV0.REGN, SystemMemory"));
        g_assert_nonnull(strstr(text, "Field (\\_SB.DEV0.REGN, DWordAcc, Lock, WriteAsZeros)"));
        g_assert_nonnull(strstr(
                        text, "WordBusNumber (ResourceProducer, MinFixed, MaxFixed, PosDecode"));
        g_assert_nonnull(strstr(text, "Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive"));
        g_assert_nonnull(strstr(text, "Interrupt (ResourceConsumer, Level, ActiveLow, Shared"));
        g_assert_nonnull(strstr(text, "e5c937d0-3553-4d7a-9117-ea4d19c3434d"));
}

static void test_sdt(void) {
        g_autoptr(GByteArray) t = sdt_new("TEST", 3, "ID");

        g_assert_cmpuint(t->len, ==, 36);
        sdt_put_gas(t, 1, 8, 1, 0x600);
        sdt_put_zeros(t, 3);
        sdt_put(t, 0x1122334455667788, 8);
        sdt_set(t, 48, 0xbeef, 2);
        sdt_end(t);
        g_assert_cmpmem(t->data, 4, "TEST", 4);
        g_assert_cmpuint(t->data[4], ==, 36 + 12 + 3 + 8);
        g_assert_cmpuint(t->data[8], ==, 3);
        g_assert_cmpmem(t->data + 10, 14, "CHVD  ID      ", 14);
        g_assert_cmpmem(t->data + 36, 12, "\x01\x08\x00\x01\x00\x06\0\0\0\0\0\0", 12);
        g_assert_cmpmem(t->data + 48, 3, "\xef\xbe\0", 3);
        g_assert_cmpmem(t->data + 51, 8, "\x88\x77\x66\x55\x44\x33\x22\x11", 8);
        g_assert_cmpuint(acpi_checksum(t->data, t->len), ==, 0);
        sdt_end(t); /* again: the checksum is not part of itself */
        g_assert_cmpuint(acpi_checksum(t->data, t->len), ==, 0);
        g_assert_null(aml_free(NULL));
}

int main(int argc, char *argv[]) {
        static const struct {
                const char *path;
                void (*f)(void);
        } wrong[] = {
                { "/aml/wrong/lower-case", wrong_lower_case },
                { "/aml/wrong/five-letters", wrong_five },
                { "/aml/wrong/empty-segment", wrong_empty_segment },
                { "/aml/wrong/digit-first", wrong_digit_first },
                { "/aml/wrong/left-open", wrong_left_open },
                { "/aml/wrong/close", wrong_close },
                { "/aml/wrong/close-of-crs", wrong_close_of_crs },
                { "/aml/wrong/eisaid", wrong_eisaid },
                { "/aml/wrong/io-length", wrong_io_length },
                { "/aml/wrong/range", wrong_range },
                { "/aml/wrong/whole-range", wrong_whole_range },
                { "/aml/wrong/string", wrong_string },
        };

        g_test_init(&argc, &argv, NULL);
        for (size_t i = 0; i < G_N_ELEMENTS(wrong); i++)
                g_test_add_data_func(wrong[i].path, &wrong[i].f, test_wrong);
        g_test_add_func("/aml/names", test_names);
        g_test_add_func("/aml/integers", test_integers);
        g_test_add_func("/aml/data", test_data);
        g_test_add_func("/aml/objects", test_objects);
        g_test_add_func("/aml/statements", test_statements);
        g_test_add_func("/aml/resources", test_resources);
        g_test_add_func("/aml/package-lengths", test_package_lengths);
        g_test_add_func("/aml/nested", test_nested);
        g_test_add_func("/aml/iasl", test_iasl);
        g_test_add_func("/acpi/sdt", test_sdt);
        return g_test_run();
}
