/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What people and programs get to see: sizes, values, JSON, progress. Names and texts of images are hostile; nothing of them
 * reaches a terminal as a control character.
 */

#include "daemon/image/output.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "hypervisor/error.h"

char *printable(const char *text) {
        GString *out = g_string_new(NULL);
        g_autofree char *valid = g_utf8_make_valid(text, -1);

        for (const char *p = valid; *p; p = g_utf8_next_char(p)) {
                gunichar c = g_utf8_get_char(p);

                g_string_append_unichar(out, g_unichar_isprint(c) ? c : '?');
        }
        return g_string_free(out, FALSE);
}

void report(const char *format, ...) {
        g_autofree char *text = NULL, *clean = NULL;
        va_list args;

        va_start(args, format);
        text = g_strdup_vprintf(format, args);
        va_end(args);
        clean = printable(text);
        (void) fflush(stdout);
        (void) fprintf(stderr, "chvctl image: %s\n", clean);
}

int report_error(const GError *error, int status) {
        report("%s", error->message);
        return status;
}

char *format_size(uint64_t bytes) {
        static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
        double value = (double) bytes;
        unsigned unit = 0;

        while (value >= 1023.995 && unit + 1 < G_N_ELEMENTS(units)) {
                value /= 1024;
                unit++;
        }
        return g_strdup_printf("%.3g %s", value, units[unit]);
}

bool parse_size(const char *text, const char *what, uint64_t *ret, GError **error) {
        static const char suffixes[] = "KMGT";
        char *end = NULL;
        const char *suffix;
        guint64 number = g_ascii_strtoull(text, &end, 10);
        unsigned shift = 0;

        suffix = *end ? strchr(suffixes, g_ascii_toupper(*end)) : NULL;
        if (suffix) {
                shift = (unsigned) (suffix - suffixes + 1) * 10;
                end++;
        }
        /* 512 bytes less than what an offset can be, for the rounding. */
        if (!g_ascii_isdigit(text[0]) || *end || number > ((uint64_t) INT64_MAX - 511) >> shift) {
                g_set_error(error, HV_ERROR, HV_ERROR_INVALID,
                            "%s: '%s' is not a size; it is a number of bytes, or has K, M, G or T "
                            "behind it",
                            what, text);
                return false;
        }
        *ret = ((number << shift) + 511) & ~UINT64_C(511);
        return true;
}

static void append_string(GString *out, const char *text) {
        g_autofree char *valid = g_utf8_make_valid(text, -1);

        g_string_append_c(out, '"');
        for (const char *p = valid; *p; p++)
                if (*p == '"' || *p == '\\')
                        g_string_append_printf(out, "\\%c", *p);
                else if ((unsigned char) *p < 0x20 || *p == 0x7f)
                        g_string_append_printf(out, "\\u%04x", (unsigned) *p);
                else
                        g_string_append_c(out, *p);
        g_string_append_c(out, '"');
}

static void append_json(GString *out, GVariant *value, unsigned depth);

static void append_container(GString *out, GVariant *value, unsigned depth) {
        bool dict = g_variant_is_of_type(value, G_VARIANT_TYPE_VARDICT);
        gsize n = g_variant_n_children(value);

        g_string_append_c(out, dict ? '{' : '[');
        for (gsize i = 0; i < n; i++) {
                g_autoptr(GVariant) child = g_variant_get_child_value(value, i);

                g_string_append_printf(out, "%s\n%*s", i > 0 ? "," : "", (int) depth * 4 + 4, "");
                if (dict) {
                        g_autoptr(GVariant) content = NULL;
                        const char *key;

                        g_variant_get(child, "{&sv}", &key, &content);
                        append_string(out, key);
                        g_string_append(out, ": ");
                        append_json(out, content, depth + 1);
                } else
                        append_json(out, child, depth + 1);
        }
        if (n > 0)
                g_string_append_printf(out, "\n%*s", (int) depth * 4, "");
        g_string_append_c(out, dict ? '}' : ']');
}

char *format_value(GVariant *value) {
        switch (g_variant_classify(value)) {
        case G_VARIANT_CLASS_BOOLEAN:
                return g_strdup(g_variant_get_boolean(value) ? "true" : "false");
        case G_VARIANT_CLASS_STRING:
                return printable(g_variant_get_string(value, NULL));
        default:
                /* Numbers; without the type in front. */
                return g_variant_print(value, FALSE);
        }
}

static void append_json(GString *out, GVariant *value, unsigned depth) {
        g_autoptr(GVariant) content = NULL;
        g_autofree char *text = NULL;

        switch (g_variant_classify(value)) {
        case G_VARIANT_CLASS_VARIANT:
                content = g_variant_get_variant(value);
                append_json(out, content, depth);
                return;
        case G_VARIANT_CLASS_ARRAY:
                append_container(out, value, depth);
                return;
        case G_VARIANT_CLASS_STRING:
                append_string(out, g_variant_get_string(value, NULL));
                return;
        case G_VARIANT_CLASS_BYTE:
                g_string_append_printf(out, "%u", g_variant_get_byte(value));
                return;
        default:
                text = format_value(value);
                g_string_append(out, text);
        }
}

void print_json(GVariant *value) {
        g_autoptr(GVariant) owned = g_variant_ref_sink(value);
        GString *out = g_string_new(NULL);
        g_autofree char *text = NULL;

        append_json(out, owned, 0);
        text = g_string_free(out, FALSE);
        (void) puts(text);
}

void progress_begin(Progress *progress, bool wanted, bool quiet, uint64_t total) {
        bool terminal = isatty(STDOUT_FILENO);

        *progress = (Progress){
                .shown = !quiet && (wanted || terminal),
                .terminal = terminal,
                .total = total,
                .last = -1,
        };
}

void progress_show(Progress *progress, uint64_t done) {
        double part = progress->total > 0 ? (double) done / (double) progress->total : 1;
        int now = (int) (part * (progress->terminal ? 1000 : 10));

        if (!progress->shown || now == progress->last)
                return;
        progress->last = now;
        if (progress->terminal)
                printf("\r%5.1f %%", now / 10.0);
        else
                printf("%d %%\n", now * 10);
        (void) fflush(stdout);
}

void progress_end(Progress *progress) {
        if (progress->shown && progress->terminal)
                printf("\r         \r");
        (void) fflush(stdout);
}
