/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The configuration of the service, read as systemd's programs read theirs: the file chvd.conf of the first folder that
 * has one, then the files chvd.conf.d/X.conf of all folders in the order of their names, of each name only that of the
 * first folder, so that an empty file or a link to /dev/null in /etc masks one of the distribution. What comes later
 * overrides.
 *
 * A service that administrators rely on does not stay down for a typing error: each fault costs its own line and a
 * warning that says where it is. So lines are read here, one by one, and not by GKeyFile, which gives a whole file up
 * and knows no line numbers.
 */

#include "daemon/chvd/conf.h"
#include "dbus/error.h"

#include <string.h>

#define MAX_FILE_BYTES (1024 * 1024)

typedef bool (*Parser)(const char *text, uint64_t *ret);

typedef struct {
        const char *section;
        char *key;
        Parser parse;
        uint64_t *place;
        const char *expected;
} Key;

/* Digits, and one of the suffixes, each of which has its factor. */
static bool
parse_scaled(const char *text,
             const char *const *suffixes,
             const uint64_t *factors,
             uint64_t *ret) {
        uint64_t value = 0;
        const char *end = text;

        if (g_str_equal(text, "infinity")) {
                *ret = CHVD_NO_LIMIT;
                return true;
        }
        for (; g_ascii_isdigit(*end); end++)
                if (!g_uint64_checked_mul(&value, value, 10) ||
                    !g_uint64_checked_add(&value, value, (uint64_t) g_ascii_digit_value(*end)))
                        return false;
        for (unsigned i = 0; end > text && suffixes[i]; i++)
                if (g_str_equal(end, suffixes[i]))
                        return g_uint64_checked_mul(ret, value, factors[i]);
        return false;
}

static bool parse_count(const char *text, uint64_t *ret) {
        static const char *const suffixes[] = { "", NULL };
        static const uint64_t factors[] = { 1 };

        return parse_scaled(text, suffixes, factors, ret);
}

static bool parse_size(const char *text, uint64_t *ret) {
        static const char *const suffixes[] = { "", "B", "K", "M", "G", "T", NULL };
        static const uint64_t factors[] = { 1, 1, 1ull << 10, 1ull << 20, 1ull << 30, 1ull << 40 };

        return parse_scaled(text, suffixes, factors, ret);
}

static bool parse_auto(const char *text, uint64_t *ret) {
        *ret = g_str_equal(text, "auto");
        return *ret || g_str_equal(text, "no");
}

bool chvd_conf_parse_time(const char *text, uint64_t *ret_ms) {
        static const char *const suffixes[] = { "", "ms", "s", "min", "h", NULL };
        static const uint64_t factors[] = { 1000, 1, 1000, 60 * 1000, 3600 * 1000 };

        /* What is longer than anything lasts is no fault, but there is a value that means something else. */
        return parse_scaled(text, suffixes, factors, ret_ms) && *ret_ms != CHVD_CONF_UNSET;
}

static void key_clear(gpointer data) {
        Key *key = data;

        g_free(key->key);
}

static GArray *all_keys(ChvdConf *conf) {
        GArray *keys = g_array_new(false, false, sizeof(Key));
        Key service[] = {
                { "Service", g_strdup("Machined"), parse_auto, &conf->machined, "auto or no" },
                { "Service", g_strdup("IdleExit"), chvd_conf_parse_time, &conf->idle_exit_ms,
                  "a time like 120 or 5min, or infinity" },
        };

        g_array_set_clear_func(keys, key_clear);
        (void) g_array_append_vals(keys, service, G_N_ELEMENTS(service));
        for (unsigned i = 0; i < CHVD_CHARGE_MAX; i++)
                for (unsigned total = 0; total < 2 && chvd_quota_key(i); total++) {
                        bool size = chvd_quota_is_size(i);
                        Key key = {
                                "Limits",
                                g_strconcat(chvd_quota_key(i), total ? "Total" : NULL, NULL),
                                size ? parse_size : parse_count,
                                total ? &conf->limits[i].total : &conf->limits[i].owner,
                                size ? "a size like 512M or 64G, or infinity"
                                     : "a number, or infinity",
                        };

                        (void) g_array_append_val(keys, key);
                }
        return keys;
}

typedef struct {
        GArray *keys; /* Key */
        GPtrArray *warnings;
        const char *path;
        unsigned line;
        char *section; /* NULL: none yet */
} Reader;

static void warn(Reader *reader, const char *format, ...) G_GNUC_PRINTF(2, 3);

static void warn(Reader *reader, const char *format, ...) {
        g_autofree char *text = NULL;
        va_list args;

        va_start(args, format);
        text = g_strdup_vprintf(format, args);
        va_end(args);
        g_ptr_array_add(reader->warnings,
                        reader->line ? g_strdup_printf("%s:%u: %s", reader->path, reader->line,
                                                       text)
                                     : g_strdup_printf("%s: %s", reader->path, text));
}

static bool knows_section(const Reader *reader, const char *section) {
        for (unsigned i = 0; i < reader->keys->len; i++)
                if (g_str_equal(g_array_index(reader->keys, Key, i).section, section))
                        return true;
        return false;
}

static void read_key(Reader *reader, const char *name, const char *value) {
        g_autofree char *quoted = NULL;

        for (unsigned i = 0; i < reader->keys->len; i++) {
                const Key *key = &g_array_index(reader->keys, Key, i);
                uint64_t parsed;

                if (!g_str_equal(key->section, reader->section) || !g_str_equal(key->key, name))
                        continue;
                if (key->parse(value, &parsed))
                        *key->place = parsed;
                else {
                        quoted = chv_quote_text(value);
                        warn(reader, "%s=%s is not %s; ignored", name, quoted, key->expected);
                }
                return;
        }
        quoted = chv_quote_text(name);
        warn(reader, "unknown key %s in section [%s]; ignored", quoted, reader->section);
}

/* The line is changed. */
static void read_line(Reader *reader, char *line) {
        g_autofree char *quoted = NULL;
        size_t length;
        char *equals;

        g_strstrip(line);
        length = strlen(line);
        if (length == 0 || line[0] == '#' || line[0] == ';')
                return;
        quoted = chv_quote_text(line);
        if (line[0] == '[' && line[length - 1] == ']') {
                g_free(reader->section);
                reader->section = g_strndup(line + 1, length - 2);
                if (!knows_section(reader, reader->section))
                        warn(reader, "unknown section %s; ignored", quoted);
                return;
        }
        equals = strchr(line, '=');
        if (!equals || equals == line)
                return warn(reader, "%s is neither [SECTION] nor KEY=VALUE; ignored", quoted);
        if (!reader->section)
                return warn(reader, "%s stands before any [SECTION]; ignored", quoted);
        /* What its heading was warned of is not repeated for every line below it. */
        if (!knows_section(reader, reader->section))
                return;
        *equals = '\0';
        read_key(reader, g_strchomp(line), g_strchug(equals + 1));
}

/* False: there is no such file. */
static bool read_file(Reader *reader, const char *path) {
        g_autofree char *text = NULL;
        g_auto(GStrv) lines = NULL;
        g_autoptr(GError) error = NULL;
        gsize length;

        reader->path = path;
        reader->line = 0;
        if (!g_file_get_contents(path, &text, &length, &error)) {
                if (g_error_matches(error, G_FILE_ERROR, G_FILE_ERROR_NOENT))
                        return false;
                warn(reader, "can't be read: %s", error->message);
                return true;
        }
        if (length > MAX_FILE_BYTES || strlen(text) != length ||
            !g_utf8_validate(text, (gssize) length, /* end= */ NULL)) {
                warn(reader, "is no text of up to 1 MiB; ignored");
                return true;
        }
        lines = g_strsplit(text, "\n", -1);
        for (unsigned i = 0; lines[i]; i++) {
                reader->line = i + 1;
                read_line(reader, lines[i]);
        }
        g_clear_pointer(&reader->section, g_free);
        return true;
}

static int compare(gconstpointer a, gconstpointer b) {
        return strcmp(*(char *const *) a, *(char *const *) b);
}

static void find_dropins(GHashTable *dropins, const char *folder) {
        g_autofree char *path = g_build_filename(folder, "chvd.conf.d", NULL);
        g_autoptr(GDir) dir = g_dir_open(path, /* flags= */ 0, /* error= */ NULL);
        const char *name;

        while (dir && (name = g_dir_read_name(dir)))
                if (g_str_has_suffix(name, ".conf") && name[0] != '.' &&
                    !g_hash_table_contains(dropins, name))
                        (void) g_hash_table_insert(
                                        dropins, g_strdup(name),
                                        g_build_filename(path, name, NULL));
}

void chvd_conf_read(ChvdConf *conf, const char *folders, GPtrArray *warnings) {
        g_auto(GStrv) split = g_strsplit(folders, ":", -1);
        g_autoptr(GHashTable) dropins =
                        g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
        g_autoptr(GArray) keys = all_keys(conf);
        g_autoptr(GPtrArray) names = g_ptr_array_new();
        Reader reader = { .keys = keys, .warnings = warnings };
        GHashTableIter iter;
        gpointer name;
        bool found = false;

        chvd_quota_default_limits(conf->limits);
        conf->machined = true;
        conf->idle_exit_ms = CHVD_CONF_UNSET;
        for (unsigned i = 0; split[i]; i++) {
                g_autofree char *path = g_build_filename(split[i], "chvd.conf", NULL);

                if (!found)
                        found = read_file(&reader, path);
                find_dropins(dropins, split[i]);
        }
        g_hash_table_iter_init(&iter, dropins);
        while (g_hash_table_iter_next(&iter, &name, NULL))
                g_ptr_array_add(names, name);
        g_ptr_array_sort(names, compare);
        for (unsigned i = 0; i < names->len; i++)
                (void) read_file(
                                &reader, g_hash_table_lookup(dropins, g_ptr_array_index(names, i)));
}
