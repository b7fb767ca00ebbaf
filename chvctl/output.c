/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What people and programs read: tables, JSON, sizes, ages. Nothing here knows the bus. Texts that come from elsewhere
 * are made safe for a terminal; JSON needs no such care, it escapes.
 */

#include "chvctl/output.h"

#include <json-glib/json-glib.h>
#include <pwd.h>
#include <stdio.h>

void output_json(const Options *options, GVariant *value) {
        g_autoptr(JsonNode) node = json_gvariant_serialize(value);
        g_autofree char *text = json_to_string(node, options->json == JSON_PRETTY);

        puts(text);
        (void) fflush(stdout);
}

struct Table {
        unsigned n_columns;
        guint64 right; /* columns aligned to the right, as bits */
        const char *const *heads;
        GPtrArray *cells; /* row after row */
};

Table *table_new(const char *const *heads) {
        Table *table = g_new0(Table, 1);

        table->heads = heads;
        table->n_columns = g_strv_length((char **) heads);
        table->cells = g_ptr_array_new_with_free_func(g_free);
        return table;
}

void table_free(Table *table) {
        if (!table)
                return;
        g_ptr_array_unref(table->cells);
        g_free(table);
}

void table_align_right(Table *table, unsigned column) {
        table->right |= 1ull << column;
}

void table_add_row(Table *table, char *const *cells) {
        for (unsigned i = 0; i < table->n_columns; i++) {
                g_ptr_array_add(table->cells, cells[i] ? format_safe(cells[i]) : g_strdup("-"));
                g_free(cells[i]);
        }
}

static void append_cell(GString *out, const char *cell, unsigned width, bool right, bool last) {
        unsigned used = (unsigned) g_utf8_strlen(cell, -1);
        unsigned fill = width > used ? width - used : 0;

        if (right)
                g_string_append_printf(out, "%*s", (int) fill, "");
        g_string_append(out, cell);
        if (!right && !last)
                g_string_append_printf(out, "%*s", (int) fill, "");
        g_string_append(out, last ? "\n" : "  ");
}

char *table_format(const Table *table, bool heads) {
        g_autofree unsigned *widths = g_new0(unsigned, table->n_columns);
        GString *out = g_string_new(NULL);

        for (unsigned i = 0; heads && i < table->n_columns; i++)
                widths[i] = (unsigned) g_utf8_strlen(table->heads[i], -1);
        for (guint i = 0; i < table->cells->len; i++) {
                unsigned used = (unsigned) g_utf8_strlen(g_ptr_array_index(table->cells, i), -1);

                widths[i % table->n_columns] = MAX(widths[i % table->n_columns], used);
        }
        for (unsigned i = 0; heads && i < table->n_columns; i++)
                append_cell(out, table->heads[i], widths[i], table->right >> i & 1,
                            i + 1 == table->n_columns);
        for (guint i = 0; i < table->cells->len; i++) {
                unsigned column = i % table->n_columns;

                append_cell(out, g_ptr_array_index(table->cells, i), widths[column],
                            table->right >> column & 1, column + 1 == table->n_columns);
        }
        return g_string_free(out, FALSE);
}

void table_print(const Table *table, const Options *options) {
        g_autofree char *text = table_format(table, !options->no_legend);

        (void) fputs(text, stdout);
        (void) fflush(stdout);
}

char *format_size(guint64 bytes) {
        static const char units[] = "BKMGTPE";
        unsigned unit = 0;
        double value = (double) bytes;

        while (value >= 1024 && unit + 2 < sizeof(units)) {
                value /= 1024;
                unit++;
        }
        if (value < 100 && value != (double) (guint64) value)
                return g_strdup_printf("%.1f%c", value, units[unit]);
        return g_strdup_printf("%.0f%c", value, units[unit]);
}

char *format_age(guint64 since_us, guint64 now_us) {
        guint64 s = now_us > since_us ? (now_us - since_us) / G_USEC_PER_SEC : 0;

        if (s < 60)
                return g_strdup_printf("%us", (unsigned) s);
        if (s < 3600)
                return g_strdup_printf("%umin %us", (unsigned) (s / 60), (unsigned) (s % 60));
        if (s < 86400)
                return g_strdup_printf(
                                "%uh %umin", (unsigned) (s / 3600), (unsigned) (s / 60 % 60));
        return g_strdup_printf("%ud %uh", (unsigned) (s / 86400), (unsigned) (s / 3600 % 24));
}

char *format_user(guint32 uid) {
        char buffer[4096];
        struct passwd entry, *found = NULL;

        if (getpwuid_r(uid, &entry, buffer, sizeof(buffer), &found) == 0 && found)
                return g_strdup(found->pw_name);
        return g_strdup_printf("%u", uid);
}

char *format_time(guint64 time_us) {
        g_autoptr(GDateTime) time =
                        g_date_time_new_from_unix_local((gint64) (time_us / G_USEC_PER_SEC));

        return time ? g_date_time_format(time, "%F %T") : g_strdup("?");
}

char *format_safe(const char *text) {
        g_autofree char *valid = g_utf8_make_valid(text, -1);
        GString *safe = g_string_new(NULL);

        for (const char *p = valid; *p; p = g_utf8_next_char(p)) {
                gunichar c = g_utf8_get_char(p);

                if (g_unichar_iscntrl(c) || g_unichar_type(c) == G_UNICODE_FORMAT)
                        g_string_append_c(safe, '?');
                else
                        g_string_append_unichar(safe, c);
        }
        return g_string_free(safe, FALSE);
}
