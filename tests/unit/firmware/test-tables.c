/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves that the firmware tables are in guest memory where a guest looks for them, whole and with
 * right checksums; that each says about the machine what the builder was told, read back field by
 * field at the offsets of the specifications; that iasl and dmidecode agree; and that what does not
 * fit is refused with its option's name.
 */

#include "hypervisor/acpi/sdt.h"
#include "hypervisor/arch.h"
#include "hypervisor/error.h"
#include "iasl.h"

#include <glib/gstdio.h>
#include <string.h>

#define MIB (1ull << 20)
#define LOW (2 * MIB)

typedef struct machine {
        struct gmem *mem;
        struct arch_layout layout;
        struct arch_tables tables;
        uint32_t *apic_ids;
        struct arch_pci_segment *segments;
        uint8_t low[LOW]; /* copy of the memory below 2 MiB */
} machine;

static struct machine *machine_new(uint32_t n_boot, uint32_t n_max, size_t n_segments) {
        struct machine *m = g_new0(struct machine, 1);
        const struct gmem_backing backing = {};
        g_autoptr(GError) error = NULL;

        arch_layout_for(LOW, 40, &m->layout, &error);
        g_assert_no_error(error);
        m->mem = gmem_new();
        gmem_add(m->mem, GADDR(0), LOW, &backing, &error);
        g_assert_no_error(error);

        m->apic_ids = g_new(uint32_t, n_max);
        for (uint32_t i = 0; i < n_max; i++)
                m->apic_ids[i] = i;
        m->segments = g_new0(struct arch_pci_segment, n_segments);
        for (size_t i = 0; i < n_segments; i++)
                m->segments[i] = (struct arch_pci_segment){
                        .segment = (uint16_t) i,
                        .ecam = { m->layout.ecam.base + i * MIB, MIB },
                        .mmio32 = { m->layout.mmio32.base + i * MIB, MIB },
                        .mmio64 = { m->layout.mmio64.base + i * 1024 * MIB, 1024 * MIB },
                };
        m->tables = (struct arch_tables){
                .boot_vcpus = n_boot,
                .max_vcpus = n_max,
                .apic_ids = m->apic_ids,
                .segments = m->segments,
                .n_segments = n_segments,
        };
        return m;
}

static void machine_free(struct machine *m) {
        gmem_free(m->mem);
        g_free(m->apic_ids);
        g_free(m->segments);
        g_free(m);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(machine, machine_free)

static void write_ok(struct machine *m) {
        g_autoptr(GError) error = NULL;
        uint64_t rsdp = 0;

        arch_write_tables(m->mem, &m->layout, &m->tables, &rsdp, &error);
        g_assert_no_error(error);
        g_assert_cmphex(rsdp, ==, 0xa0000);
        g_assert_cmpint(gmem_read(m->mem, GADDR(0), m->low, LOW), ==, 0);
}

static void write_fails(struct machine *m, const char *message) {
        g_autoptr(GError) error = NULL;
        uint64_t rsdp = 0;

        g_assert_false(arch_write_tables(m->mem, &m->layout, &m->tables, &rsdp, &error));
        g_assert_error(error, HV_ERROR, HV_ERROR_INVALID);
        if (!strstr(error->message, message))
                g_error("message \"%s\" does not tell \"%s\"", error->message, message);
        g_assert_cmphex(rsdp, ==, 0);
}

static uint64_t get(const uint8_t *p, unsigned n) {
        uint64_t v = 0;

        memcpy(&v, p, n);
        return GUINT64_FROM_LE(v);
}

static const uint8_t *check_table(const struct machine *m, uint64_t addr, const char *signature) {
        const uint8_t *t = m->low + addr;

        g_assert_cmphex(addr, >=, 0xa0024);
        g_assert_cmphex(addr, <, 0xf0000 - 36);
        g_assert_cmpmem(t, 4, signature, 4);
        g_assert_cmphex(addr + get(t + 4, 4), <=, 0xf0000);
        g_assert_cmpuint(acpi_checksum(t, get(t + 4, 4)), ==, 0);
        g_assert_cmpmem(t + 10, 6, "CHVD  ", 6);
        return t;
}

/* The table of that signature, found as a guest finds it. */
static const uint8_t *find_table(const struct machine *m, const char *signature) {
        const uint8_t *ebda = m->low + (get(m->low + 0x40e, 2) << 4), *xsdt;

        g_assert_cmpmem(ebda, 8, "RSD PTR ", 8);
        g_assert_cmpuint(acpi_checksum(ebda, 20), ==, 0);
        g_assert_cmpuint(acpi_checksum(ebda, 36), ==, 0);
        g_assert_cmpuint(ebda[15], ==, 2);
        g_assert_cmphex(get(ebda + 16, 4), ==, 0);
        g_assert_cmpuint(get(ebda + 20, 4), ==, 36);
        xsdt = check_table(m, get(ebda + 24, 8), "XSDT");
        g_assert_cmpuint(get(xsdt + 4, 4), ==, 36 + 3 * 8);
        for (unsigned i = 0; i < 3; i++) {
                const uint8_t *t = m->low + get(xsdt + 36 + i * 8, 8);

                if (memcmp(t, signature, 4) == 0)
                        return check_table(m, get(xsdt + 36 + i * 8, 8), signature);
        }
        if (strcmp(signature, "DSDT") == 0)
                return check_table(m, get(find_table(m, "FACP") + 140, 8), "DSDT");
        g_assert_not_reached();
}

static unsigned count(const char *text, const char *what) {
        unsigned n = 0;

        for (const char *p = text; (p = strstr(p, what)); p++)
                n++;
        return n;
}

static void check_gas(const uint8_t *p, uint8_t bits, uint8_t access, uint64_t port) {
        g_assert_cmpuint(p[0], ==, 1);
        g_assert_cmpuint(p[1], ==, bits);
        g_assert_cmpuint(p[2], ==, 0);
        g_assert_cmpuint(p[3], ==, access);
        g_assert_cmphex(get(p + 4, 8), ==, port);
}

static void test_fadt(void) {
        g_autoptr(machine) m = machine_new(1, 1, 1);
        g_autofree char *text = NULL;
        const uint8_t *t;

        write_ok(m);
        t = find_table(m, "FACP");
        g_assert_cmpuint(get(t + 4, 4), ==, 276);
        g_assert_cmpuint(t[8], ==, 6);
        g_assert_cmpuint(t[131], ==, 3);
        g_assert_cmphex(get(t + 36, 8), ==, 0);
        g_assert_cmphex(get(t + 76, 4), ==, 0x608);
        g_assert_cmpuint(t[91], ==, 4);
        g_assert_cmphex(get(t + 109, 2), ==, 4);
        g_assert_cmphex(get(t + 112, 4), ==, 1u << 20 | 1u << 10 | 1u << 8);
        check_gas(t + 116, 8, 1, 0x600);
        g_assert_cmpuint(t[128], ==, 1);
        check_gas(t + 208, 32, 3, 0x608);
        check_gas(t + 244, 8, 1, 0x600);
        check_gas(t + 256, 8, 1, 0x600);
        for (unsigned i = 148; i < 208; i++)
                g_assert_cmpuint(t[i], ==, 0);

        text = iasl_round_trip(t, 276);
        if (!text)
                return;
        g_assert_nonnull(strstr(text, "Hardware Reduced (V5) : 1"));
        g_assert_nonnull(strstr(text, "Reset Register Supported (V2) : 1"));
        g_assert_nonnull(strstr(text, "VGA Not Present (V4) : 1"));
}

static void test_madt(void) {
        g_autoptr(machine) m = machine_new(2, 5, 1);
        g_autofree char *text = NULL;
        const uint8_t *t, *p;

        m->apic_ids[4] = 0x12345;
        write_ok(m);
        t = find_table(m, "APIC");
        g_assert_cmpuint(get(t + 4, 4), ==, 44 + 5 * 16 + 12 + 10);
        g_assert_cmphex(get(t + 36, 4), ==, 0xfee00000);
        g_assert_cmphex(get(t + 40, 4), ==, 0);
        p = t + 44;
        for (unsigned i = 0; i < 5; i++, p += 16) {
                g_assert_cmpuint(p[0], ==, 9);
                g_assert_cmpuint(p[1], ==, 16);
                g_assert_cmphex(get(p + 4, 4), ==, i == 4 ? 0x12345 : i);
                g_assert_cmpuint(get(p + 8, 4), ==, i < 2 ? 1 : 2);
                g_assert_cmpuint(get(p + 12, 4), ==, i);
        }
        g_assert_cmpmem(p, 12, "\x01\x0c\0\0\0\0\xc0\xfe\0\0\0\0", 12);
        g_assert_cmpmem(p + 12, 10, "\x02\x0a\0\x04\x04\0\0\0\0\0", 10);

        /* iasl of 2020 does not know the flag of those that are absent: all present for it */
        m->tables.boot_vcpus = 5;
        write_ok(m);
        t = find_table(m, "APIC");
        text = iasl_round_trip(t, get(t + 4, 4));
        if (text)
                g_assert_cmpuint(count(text, "[Processor Local x2APIC]"), ==, 5);
}

static void test_mcfg(void) {
        g_autoptr(machine) m = machine_new(1, 1, 3);
        g_autofree char *text = NULL;
        const uint8_t *t;

        write_ok(m);
        t = find_table(m, "MCFG");
        g_assert_cmpuint(get(t + 4, 4), ==, 44 + 3 * 16);
        for (unsigned i = 0; i < 3; i++) {
                g_assert_cmphex(get(t + 44 + i * 16, 8), ==, 0xe8000000 + i * MIB);
                g_assert_cmpuint(get(t + 52 + i * 16, 2), ==, i);
                g_assert_cmpuint(get(t + 54 + i * 16, 2), ==, 0); /* buses 0 to 0 */
        }
        text = iasl_round_trip(t, get(t + 4, 4));
        if (text)
                g_assert_nonnull(strstr(text, "Segment Group Number : 0002"));
}

/* What devices add: COM1, as an example. */
static GBytes *device_body(void) {
        g_autoptr(aml) a = aml_new();

        aml_scope(a, "\\_SB");
        aml_device(a, "COM1");
        aml_name(a, "_HID");
        aml_eisaid(a, "PNP0501");
        aml_name(a, "_UID");
        aml_int(a, 0);
        aml_name(a, "_CRS");
        aml_crs(a);
        aml_crs_interrupt(a, ARCH_IRQ_SERIAL, false, false, false);
        aml_crs_io(a, 0x3f8, 8);
        aml_crs_end(a);
        aml_close(a);
        aml_close(a);
        return aml_end(a);
}

static void test_dsdt(void) {
        g_autoptr(machine) m = machine_new(3, 5, 1);
        g_autoptr(GBytes) body = device_body();
        g_autofree char *text = NULL;
        const uint8_t *t;

        m->tables.dsdt_body = body;
        write_ok(m);
        t = find_table(m, "DSDT");
        g_assert_cmpuint(t[8], ==, 6);
        text = iasl_round_trip(t, get(t + 4, 4));
        if (!text) {
                g_test_skip("iasl is not installed");
                return;
        }

        g_assert_nonnull(strstr(text, "Device (\\_SB.CPUS)"));
        g_assert_cmpuint(count(text, "\"ACPI0007\""), ==, 5);
        g_assert_cmpuint(count(text, "Name (_STA, Zero)"), ==, 2);
        g_assert_nonnull(strstr(text, "Device (C004)"));
        g_assert_nonnull(strstr(text, "Name (\\_S5, Package (0x04)"));
        g_assert_nonnull(strstr(text, "Device (COM1)"));
}

/* The largest machine: 4096 processors, 96 segments. */
static void test_largest(void) {
        g_autoptr(machine) m = machine_new(4096, 4096, 96);
        const uint8_t *t;

        write_ok(m);
        t = find_table(m, "DSDT");
        g_assert_cmpuint(get(t + 4, 4), >, 100000);
        g_assert_cmpuint(get(find_table(m, "APIC") + 4, 4), ==, 44 + 4096 * 16 + 22);
}

static void test_no_room(void) {
        g_autoptr(machine) m = machine_new(1, 1, 1);
        g_autofree uint8_t *fill = g_malloc0(320 << 10);
        g_autoptr(GBytes) big = g_bytes_new_static(fill, 320 << 10), small = NULL;
        size_t room;

        write_ok(m);
        room = 0xf0000 - 0xa0030 - get(find_table(m, "DSDT") + 4, 4);
        m->tables.dsdt_body = big;
        write_fails(m, "acpi: the DSDT table of");
        small = g_bytes_new_static(fill, room - 200); /* leaves no room for the one behind it */
        m->tables.dsdt_body = small;
        write_fails(m, "acpi: the FACP table of 276 bytes does not fit below 0xf0000");
}

/* Every size round the end: either all is well or the error comes, and SMBIOS stays whole. */
static void test_brink(void) {
        g_autofree uint8_t *fill = g_malloc0(320 << 10);
        g_autoptr(machine) m = machine_new(1, 1, 1);
        unsigned ok = 0;

        for (size_t n = (320 << 10) - 3000; n < 320 << 10; n += 1) {
                g_autoptr(GBytes) body = g_bytes_new_static(fill, n);
                g_autoptr(GError) error = NULL;
                uint64_t rsdp;

                m->tables.dsdt_body = body;
                if (!arch_write_tables(m->mem, &m->layout, &m->tables, &rsdp, &error))
                        continue;
                ok++;
                if (n % 100 == 0) {
                        write_ok(m);
                        find_table(m, "MCFG");
                        g_assert_cmpmem(m->low + 0xf0000, 5, "_SM3_", 5);
                }
        }
        g_assert_cmpuint(ok, >, 500);
        g_assert_cmpuint(ok, <, 2500);
}

/* The structure of that type; *ret_strings: where its strings start. */
static const uint8_t *find_smbios(const struct machine *m, uint8_t type, const char **ret_strings) {
        const uint8_t *e = m->low + 0xf0000, *p, *end;

        g_assert_cmpmem(e, 5, "_SM3_", 5);
        g_assert_cmpuint(acpi_checksum(e, 24), ==, 0);
        g_assert_cmpuint(e[6], ==, 24);
        g_assert_cmpuint(e[7], ==, 3);
        p = m->low + get(e + 16, 8);
        end = p + get(e + 12, 4);
        while (p < end) {
                const uint8_t *next = p + p[1];

                while (next[0] || next[1])
                        next++;
                if (p[0] == type) {
                        *ret_strings = (const char *) p + p[1];
                        return p;
                }
                g_assert_cmpuint(p[0], !=, 127);
                p = next + 2;
        }
        return NULL;
}

static void check_string(const char *strings, uint8_t index, const char *want) {
        g_assert_cmpuint(index, !=, 0);
        while (--index)
                strings += strlen(strings) + 1;
        g_assert_cmpstr(strings, ==, want);
}

static void test_smbios_default(void) {
        g_autoptr(machine) m = machine_new(1, 1, 1);
        static const uint8_t zeros[16];
        const char *strings;
        const uint8_t *p;

        write_ok(m);
        p = find_smbios(m, 0, &strings);
        g_assert_cmpuint(p[1], ==, 26);
        check_string(strings, p[4], "cloud-hypervisor");
        check_string(strings, p[5], "0");
        g_assert_cmphex(get(p + 10, 8), ==, 0x80);
        g_assert_cmphex(p[19], ==, 0x10);
        p = find_smbios(m, 1, &strings);
        g_assert_cmpuint(p[1], ==, 27);
        check_string(strings, p[4], "Cloud Hypervisor");
        check_string(strings, p[5], "cloud-hypervisor");
        g_assert_cmpuint(p[6], ==, 0);
        g_assert_cmpuint(p[7], ==, 0);
        g_assert_cmpmem(p + 8, 16, zeros, 16);
        p = find_smbios(m, 127, &strings);
        g_assert_cmpmem(p, 6, "\x7f\x04\x02\0\0\0", 6);
}

static const char *const oem[] = { "key=value", "io.systemd.credential:x=y", NULL };

static const struct arch_smbios full = {
        .serial_number = "serial",
        .uuid = "00112233-4455-6677-8899-aabbccddeeff",
        .manufacturer = "maker",
        .product_name = "product",
        .version = "v1",
        .family = "family",
        .sku_number = "sku",
        .chassis_asset_tag = "tag",
        .oem_strings = oem,
};

static void test_smbios_full(void) {
        g_autoptr(machine) m = machine_new(1, 1, 1);
        const char *strings;
        const uint8_t *p;

        m->tables.smbios = full;
        write_ok(m);
        p = find_smbios(m, 1, &strings);
        check_string(strings, p[4], "maker");
        check_string(strings, p[5], "product");
        check_string(strings, p[6], "v1");
        check_string(strings, p[7], "serial");
        g_assert_cmpmem(p + 8, 16,
                        "\x33\x22\x11\x00\x55\x44\x77\x66\x88\x99\xaa\xbb\xcc\xdd\xee\xff", 16);
        check_string(strings, p[25], "sku");
        check_string(strings, p[26], "family");
        p = find_smbios(m, 3, &strings);
        g_assert_cmpuint(p[1], ==, 22);
        check_string(strings, p[4], "maker");
        check_string(strings, p[8], "tag");
        p = find_smbios(m, 11, &strings);
        g_assert_cmpuint(p[4], ==, 2);
        check_string(strings, 1, oem[0]);
        check_string(strings, 2, oem[1]);
}

static void test_smbios_wrong(void) {
        g_autoptr(machine) m = machine_new(1, 1, 1);
        static const char *const wrong[] = {
                "",
                "x",
                "00112233-4455-6677-8899-aabbccddeef",
                "00112233-4455-6677-8899-aabbccddeefg",
                "00112233445566778899aabbccddeeff",
                "00112233-4455-6677-8899-aabbccddeeff0",
        };
        static const char *const empty[] = { "a", "", NULL };
        const char *many[257] = {};
        g_autofree char *text = g_strnfill(0x10000, 'x');

        for (unsigned i = 0; i < G_N_ELEMENTS(wrong); i++) {
                m->tables.smbios = (struct arch_smbios){ .uuid = wrong[i] };
                write_fails(m, "platform.system_uuid: ");
        }
        m->tables.smbios = (struct arch_smbios){ .oem_strings = empty };
        write_fails(m, "platform.oem_strings: string 1 is empty");
        for (unsigned i = 0; i < 256; i++)
                many[i] = "o";
        m->tables.smbios = (struct arch_smbios){ .oem_strings = many };
        write_fails(m, "platform.oem_strings: 256 are too many");
        many[255] = NULL;
        write_ok(m);
        m->tables.smbios = (struct arch_smbios){ .version = text };
        write_fails(m, "platform: SMBIOS strings take ");
}

/* Runs dmidecode, when it is there, over a dump of what the guest would see. */
static void test_dmidecode(void) {
        g_autofree char *program = g_find_program_in_path("dmidecode");
        g_autoptr(machine) m = machine_new(1, 1, 1);
        g_autofree char *file = NULL, *out = NULL, *err = NULL, *dump = NULL;
        const char *argv[] = { program, "--from-dump", NULL, NULL };
        g_autoptr(GError) error = NULL;
        size_t size;
        int status;

        m->tables.smbios = full;
        write_ok(m);
        if (!program) {
                g_test_skip("dmidecode is not installed");
                return;
        }
        /* its dumps have the structures at the offset that the entry point names */
        size = 32 + get(m->low + 0xf000c, 4);
        dump = g_memdup2(m->low + 0xf0000, size);
        memcpy(dump + 16, "\x20\0\0\0\0\0\0\0", 8);
        dump[5] = 0;
        dump[5] = (char) acpi_checksum(dump, 24);
        file = g_build_filename(g_get_tmp_dir(), "chv-smbios.XXXXXX", NULL);
        g_close(g_mkstemp(file), NULL);
        g_file_set_contents(file, dump, (gssize) size, &error);
        g_assert_no_error(error);
        argv[2] = file;
        g_spawn_sync(NULL, (char **) argv, NULL, G_SPAWN_DEFAULT, NULL, NULL, &out, &err, &status,
                     &error);
        g_unlink(file);
        g_assert_no_error(error);
        g_assert_cmpint(status, ==, 0);
        g_assert_cmpstr(err, ==, "");
        g_assert_nonnull(strstr(out, "SMBIOS 3.2.0 present."));
        g_assert_nonnull(strstr(out, "System is a virtual machine"));
        g_assert_nonnull(strstr(out, "UUID: 00112233-4455-6677-8899-aabbccddeeff"));
        g_assert_nonnull(strstr(out, "Asset Tag: tag"));
        g_assert_nonnull(strstr(out, "String 2: io.systemd.credential:x=y"));
        g_assert_nonnull(strstr(out, "End Of Table"));
        g_assert_null(strstr(out, "BAD"));
        g_assert_null(strstr(out, "<OUT OF SPEC>"));
}

static const uint8_t *find_mptable(const struct machine *m) {
        for (uint64_t at = 0xf0000; at < 0x100000; at += 16)
                if (memcmp(m->low + at, "_MP_", 4) == 0)
                        return m->low + at;
        return NULL;
}

static void test_mptable(void) {
        g_autoptr(machine) m = machine_new(3, 8, 1);
        unsigned n[5] = {}, total = 0;
        const uint8_t *f, *t, *p;

        m->apic_ids[2] = 253;
        write_ok(m);
        f = find_mptable(m);
        g_assert_nonnull(f);
        g_assert_cmpuint(acpi_checksum(f, 16), ==, 0);
        g_assert_cmpuint(f[8], ==, 1);
        t = m->low + get(f + 4, 4);
        g_assert_cmpmem(t, 4, "PCMP", 4);
        g_assert_cmpuint(acpi_checksum(t, get(t + 4, 2)), ==, 0);
        g_assert_cmphex(get(t + 36, 4), ==, 0xfee00000);
        for (p = t + 44; p < t + get(t + 4, 2); p += p[0] == 0 ? 20 : 8, total++) {
                g_assert_cmpuint(p[0], <=, 4);
                if (p[0] == 0) {
                        g_assert_cmpuint(p[1], ==, n[0] == 2 ? 253 : n[0]);
                        g_assert_cmpuint(p[3], ==, n[0] == 0 ? 3 : 1);
                } else if (p[0] == 2)
                        g_assert_cmphex(get(p + 4, 4), ==, 0xfec00000);
                else if (p[0] == 3) {
                        g_assert_cmpuint(p[5], ==, n[3]);
                        g_assert_cmpuint(p[7], ==, n[3]);
                }
                n[p[0]]++;
        }
        g_assert_true(p == t + get(t + 4, 2));
        g_assert_cmpuint(get(t + 34, 2), ==, total);
        g_assert_cmpuint(n[0], ==, 3);
        g_assert_cmpuint(n[1], ==, 1);
        g_assert_cmpuint(n[2], ==, 1);
        g_assert_cmpuint(n[3], ==, 16);
        g_assert_cmpuint(n[4], ==, 2);
}

static void test_mptable_left_out(void) {
        g_autoptr(machine) wide = machine_new(2, 3, 1), full_area = machine_new(1, 1, 1);
        g_autofree char *text = g_strnfill(0xff00, 'x');

        wide->apic_ids[2] = 254;
        write_ok(wide);
        g_assert_null(find_mptable(wide));

        full_area->tables.smbios.version = text;
        write_ok(full_area);
        g_assert_null(find_mptable(full_area));
}

int main(int argc, char *argv[]) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/tables/no-room", test_no_room);
        g_test_add_func("/tables/brink", test_brink);
        g_test_add_func("/tables/largest", test_largest);
        g_test_add_func("/tables/fadt", test_fadt);
        g_test_add_func("/tables/madt", test_madt);
        g_test_add_func("/tables/mcfg", test_mcfg);
        g_test_add_func("/tables/dsdt", test_dsdt);
        g_test_add_func("/tables/smbios/wrong", test_smbios_wrong);
        g_test_add_func("/tables/smbios/default", test_smbios_default);
        g_test_add_func("/tables/smbios/full", test_smbios_full);
        g_test_add_func("/tables/smbios/dmidecode", test_dmidecode);
        g_test_add_func("/tables/mptable", test_mptable);
        g_test_add_func("/tables/mptable/left-out", test_mptable_left_out);
        return g_test_run();
}
