/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * SMBIOS 3 (DSP0134 3.2): a 64-bit entry point, then structures, each a fixed part and the strings it
 * counts from 1. Product and vendor are those that guests already know this kind of machine by
 * (reference 3.6).
 */

#include <string.h>

#include "hypervisor/acpi/sdt.h"
#include "hypervisor/arch/x86_64/tables.h"
#include "hypervisor/error.h"

enum {
        ENTRY_SIZE = 24,
        ENTRY_CHECKSUM = 5,
        ENTRY_MAX_SIZE = 12,
        STRUCTURES = 32, /* from the entry point */

        TYPE_BIOS = 0,
        TYPE_SYSTEM = 1,
        TYPE_CHASSIS = 3,
        TYPE_OEM_STRINGS = 11,
        TYPE_END = 127,

        BIOS_PCI = 1 << 7,
        BIOS_EXT2_VIRTUAL_MACHINE = 1 << 4,
        WAKE_UP_POWER_SWITCH = 6,
        CHASSIS_OTHER = 1,
        CHASSIS_SAFE = 3,
        CHASSIS_SECURITY_NONE = 3,
};

/* The structure being written: its strings follow its fixed part. */
struct writer {
        GByteArray *out;
        size_t start;
        uint16_t next_handle;
        uint8_t n_strings;
        GByteArray *strings;
};

static void writer_clear(struct writer *w) {
        g_clear_pointer(&w->strings, g_byte_array_unref);
}

#define auto_writer __attribute__((cleanup(writer_clear))) struct writer

static void begin(struct writer *w, uint8_t type) {
        w->start = w->out->len;
        w->n_strings = 0;
        g_byte_array_set_size(w->strings, 0);
        sdt_put(w->out, type, 1);
        sdt_put(w->out, 0 /* length, set at the end */, 1);
        sdt_put(w->out, w->next_handle++, 2);
}

/* Writes the number of the string; none for NULL and for the empty one, which would end the set. */
static void put_string(struct writer *w, const char *s) {
        if (!s || !*s) {
                sdt_put(w->out, 0, 1);
                return;
        }
        g_byte_array_append(w->strings, (const uint8_t *) s, (guint) strlen(s) + 1);
        sdt_put(w->out, ++w->n_strings, 1);
}

static void end(struct writer *w) {
        sdt_set(w->out, w->start + 1, w->out->len - w->start, 1);
        if (w->n_strings == 0)
                sdt_put(w->out, 0, 1);
        else
                g_byte_array_append(w->out, w->strings->data, w->strings->len);
        sdt_put(w->out, 0, 1);
}

static bool parse_uuid(const char *s, uint8_t ret[static 16], GError **error) {
        /* The first three groups are little-endian (7.2.1). */
        static const uint8_t order[16] = { 3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15 };
        const char *p = s;

        memset(ret, 0, 16);
        if (!s)
                return true;
        if (!g_uuid_string_is_valid(s)) {
                g_set_error(error, HV_ERROR, HV_ERROR_INVALID,
                            "platform.system_uuid: \"%s\" is not a UUID", s);
                return false;
        }
        for (unsigned i = 0; i < 16; i++, p += 2) {
                p += *p == '-';
                ret[order[i]] =
                                (uint8_t) (g_ascii_xdigit_value(p[0]) << 4 |
                                           g_ascii_xdigit_value(p[1]));
        }
        return true;
}

static void put_bios(struct writer *w) {
        begin(w, TYPE_BIOS);
        put_string(w, "cloud-hypervisor");
        put_string(w, "0");
        sdt_put(w->out, 0, 2); /* starting segment */
        sdt_put(w->out, 0, 1); /* release date */
        sdt_put(w->out, 0, 1); /* ROM size */
        sdt_put(w->out, BIOS_PCI, 8);
        sdt_put(w->out, 0, 1);
        sdt_put(w->out, BIOS_EXT2_VIRTUAL_MACHINE, 1);
        sdt_put(w->out, UINT32_MAX, 4); /* releases: not given */
        sdt_put(w->out, 0, 2);          /* extended ROM size */
        end(w);
}

static void
put_system(struct writer *w, const struct arch_smbios *s, const uint8_t uuid[static 16]) {
        begin(w, TYPE_SYSTEM);
        put_string(w, s->manufacturer ? s->manufacturer : "Cloud Hypervisor");
        put_string(w, s->product_name ? s->product_name : "cloud-hypervisor");
        put_string(w, s->version);
        put_string(w, s->serial_number);
        g_byte_array_append(w->out, uuid, 16);
        sdt_put(w->out, WAKE_UP_POWER_SWITCH, 1);
        put_string(w, s->sku_number);
        put_string(w, s->family);
        end(w);
}

static void put_chassis(struct writer *w, const struct arch_smbios *s) {
        begin(w, TYPE_CHASSIS);
        put_string(w, s->manufacturer ? s->manufacturer : "Cloud Hypervisor");
        sdt_put(w->out, CHASSIS_OTHER, 1);
        sdt_put(w->out, 0, 1); /* version */
        sdt_put(w->out, 0, 1); /* serial number */
        put_string(w, s->chassis_asset_tag);
        sdt_put(w->out, CHASSIS_SAFE, 1); /* boot-up, power supply, thermal */
        sdt_put(w->out, CHASSIS_SAFE, 1);
        sdt_put(w->out, CHASSIS_SAFE, 1);
        sdt_put(w->out, CHASSIS_SECURITY_NONE, 1);
        sdt_put(w->out, 0, 4);
        sdt_put(w->out, 0, 1); /* height, power cords, contained elements and their size */
        sdt_put(w->out, 0, 1);
        sdt_put(w->out, 0, 1);
        sdt_put(w->out, 0, 1);
        sdt_put(w->out, 0, 1); /* SKU */
        end(w);
}

static bool put_oem_strings(struct writer *w, const char *const *strings, GError **error) {
        size_t n = g_strv_length((char **) strings);

        for (size_t i = 0; i < n; i++)
                if (!*strings[i]) {
                        g_set_error(error, HV_ERROR, HV_ERROR_INVALID,
                                    "platform.oem_strings: string %zu is empty", i);
                        return false;
                }
        if (n > UINT8_MAX) {
                g_set_error(error, HV_ERROR, HV_ERROR_INVALID,
                            "platform.oem_strings: %zu are too many; the limit is %u", n,
                            UINT8_MAX);
                return false;
        }

        begin(w, TYPE_OEM_STRINGS);
        sdt_put(w->out, n, 1);
        for (size_t i = 0; i < n; i++) {
                g_byte_array_append(
                                w->strings, (const uint8_t *) strings[i],
                                (guint) strlen(strings[i]) + 1);
                w->n_strings++;
        }
        end(w);
        return true;
}

static void put_entry_point(GByteArray *out, uint64_t addr) {
        g_byte_array_append(out, (const uint8_t *) "_SM3_", 5);
        sdt_put(out, 0, 1);
        sdt_put(out, ENTRY_SIZE, 1);
        sdt_put(out, 3, 1); /* version 3.2.0 */
        sdt_put(out, 2, 1);
        sdt_put(out, 0, 1);
        sdt_put(out, 1, 1); /* revision of the entry point */
        sdt_put(out, 0, 1);
        sdt_put(out, 0, 4);
        sdt_put(out, addr + STRUCTURES, 8);
        sdt_put_zeros(out, STRUCTURES - ENTRY_SIZE);
}

GByteArray *x86_smbios(const struct arch_smbios *s, uint64_t addr, GError **error) {
        g_autoptr(GByteArray) out = g_byte_array_new();
        auto_writer w = { .out = out, .strings = g_byte_array_new() };
        uint8_t uuid[16];

        if (!parse_uuid(s->uuid, uuid, error))
                return NULL;

        put_entry_point(out, addr);
        put_bios(&w);
        put_system(&w, s, uuid);
        if (s->chassis_asset_tag && *s->chassis_asset_tag)
                put_chassis(&w, s);
        if (s->oem_strings && s->oem_strings[0] && !put_oem_strings(&w, s->oem_strings, error))
                return NULL;
        begin(&w, TYPE_END);
        end(&w);

        sdt_set(out, ENTRY_MAX_SIZE, out->len - STRUCTURES, 4);
        sdt_set(out, ENTRY_CHECKSUM, acpi_checksum(out->data, ENTRY_SIZE), 1);
        return g_steal_pointer(&out);
}
