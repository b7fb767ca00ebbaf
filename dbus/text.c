/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Words of an option string (reference 0.2): "key=value" pairs between commas. Double quotes protect commas and
 * brackets (a doubled quote inside them stands for itself), brackets hold lists, "a-b" is a range of numbers, "x@y" and
 * "x@[a,b]" bind a list to a number, sizes end in K, M, G or T.
 *
 * Here is only syntax: a word becomes the GVariant that JSON or the bus would have carried, and the checks of the
 * schema are made once, in value.c.
 */

#include <string.h>

#include "dbus/value.h"

#define MAX_NESTING 4
#define MAX_RANGE 1024 /* numbers that ranges in one list may expand to */

char **chv_text_split(const char *text, char separator, GError **error) {
        g_autoptr(GStrvBuilder) pieces = g_strv_builder_new();
        const char *start = text;
        bool quoted = false;
        int depth = 0;

        for (const char *p = text;; p++) {
                if (*p == '\0' || (*p == separator && !quoted && depth == 0)) {
                        g_autofree char *piece = g_strndup(start, p - start);

                        g_strv_builder_add(pieces, piece);
                        start = p + 1;
                        if (*p == '\0')
                                break;
                } else if (*p == '"')
                        quoted = !quoted;
                else if (*p == '[' && !quoted)
                        depth++;
                else if (*p == ']' && !quoted)
                        depth--;
                if (depth < 0 || depth > MAX_NESTING)
                        break;
        }
        if (quoted) {
                chv_invalid(error, "a quote is not closed");
                return NULL;
        }
        if (depth != 0) {
                chv_invalid(error,
                            depth > MAX_NESTING ? "too many brackets" : "brackets don't match");
                return NULL;
        }
        return g_strv_builder_end(pieces);
}

static char *unquote(const char *text) {
        GString *plain = g_string_new(NULL);
        bool quoted = false;

        for (const char *p = text; *p; p++) {
                if (*p != '"')
                        g_string_append_c(plain, *p);
                else if (quoted && p[1] == '"') {
                        g_string_append_c(plain, '"');
                        p++;
                } else
                        quoted = !quoted;
        }
        return g_string_free(plain, FALSE);
}

static void append_quoted(GString *out, const char *s) {
        if (s[0] && !strpbrk(s, ",\"[]")) {
                g_string_append(out, s);
                return;
        }
        g_string_append_c(out, '"');
        for (const char *p = s; *p; p++) {
                if (*p == '"')
                        g_string_append_c(out, '"');
                g_string_append_c(out, *p);
        }
        g_string_append_c(out, '"');
}

static GVariant *bad_word(GError **error, const char *text, const char *wanted) {
        g_autofree char *quoted = chv_quote_text(text);

        chv_invalid(error, "%s is not %s", quoted, wanted);
        return NULL;
}

/* Digits only; what does not fit in 64 bits is out of every option's range and becomes the largest number. */
static bool parse_digits(const char *text, size_t length, unsigned base, uint64_t *ret) {
        uint64_t number = 0;
        bool overflow = false;

        if (length == 0)
                return false;
        for (size_t i = 0; i < length; i++) {
                int digit = g_ascii_xdigit_value(text[i]);

                if (digit < 0 || (unsigned) digit >= base)
                        return false;
                if (!g_uint64_checked_mul(&number, number, base) ||
                    !g_uint64_checked_add(&number, number, (unsigned) digit))
                        overflow = true;
        }
        *ret = overflow ? UINT64_MAX : number;
        return true;
}

static GVariant *parse_integer(const ChvOption *option, const char *text, GError **error) {
        uint64_t number;

        if (option->type == CHV_OPT_S16 && text[0] == '-' &&
            parse_digits(text + 1, strlen(text + 1), 10, &number) && number <= INT16_MAX)
                return g_variant_new_int64(-(int64_t) number);
        if (!parse_digits(text, strlen(text), 10, &number))
                return bad_word(error, text, "a whole number");
        return g_variant_new_uint64(number);
}

static GVariant *parse_hex(const char *text, GError **error) {
        const char *digits = g_str_has_prefix(text, "0x") ? text + 2 : text;
        uint64_t number;

        if (!parse_digits(digits, strlen(digits), 16, &number))
                return bad_word(error, text, "a hexadecimal number");
        return g_variant_new_uint64(number);
}

static GVariant *parse_size(const char *text, GError **error) {
        static const char suffixes[] = "KMGT";
        size_t length = strlen(text);
        const char *suffix = length > 0 ? strchr(suffixes, text[length - 1]) : NULL;
        uint64_t number, scaled;

        if (!parse_digits(text, suffix ? length - 1 : length, 10, &number))
                return bad_word(error, text, "a size: digits, then K, M, G, T or nothing");
        if (!g_uint64_checked_mul(
                            &scaled, number, suffix ? 1ull << (10 * (suffix - suffixes + 1)) : 1))
                scaled = UINT64_MAX;
        return g_variant_new_uint64(scaled);
}

static GVariant *parse_bool(const char *text, GError **error) {
        if (chv_word_in("on true", text))
                return g_variant_new_boolean(TRUE);
        if (chv_word_in("off false", text))
                return g_variant_new_boolean(FALSE);
        return bad_word(error, text, "on or off");
}

static GVariant *parse_string(const char *text, GError **error) {
        g_autofree char *plain = unquote(text);

        if (!g_utf8_validate(plain, -1, NULL)) {
                chv_invalid(error, "is not valid UTF-8");
                return NULL;
        }
        return g_variant_new_string(plain);
}

/* The elements of "[a,b]", or the one of "a". */
static char **parse_elements(const char *text, GError **error) {
        size_t length = strlen(text);
        g_autofree char *inner = NULL;

        if (text[0] != '[' || length < 2 || text[length - 1] != ']') {
                const char *one[] = { text, NULL };

                return g_strdupv((char **) one);
        }
        inner = g_strndup(text + 1, length - 2);
        return inner[0] ? chv_text_split(inner, ',', error) : g_new0(char *, 1);
}

static GVariant *parse_strv(const char *text, GError **error) {
        g_auto(GStrv) words = parse_elements(text, error);
        g_autoptr(GVariantBuilder) builder = g_variant_builder_new(G_VARIANT_TYPE_STRING_ARRAY);

        if (!words)
                return NULL;
        for (char **word = words; *word; word++) {
                GVariant *s = parse_string(*word, error);

                if (!s)
                        return NULL;
                g_variant_builder_add_value(builder, s);
        }
        return g_variant_builder_end(builder);
}

static GVariant *parse_topology(const char *text, GError **error) {
        static const char *const keys[] = { "threads_per_core", "cores_per_die", "dies_per_package",
                                            "packages" };
        g_auto(GStrv) words = g_strsplit(text, ":", G_N_ELEMENTS(keys) + 1);
        g_auto(GVariantDict) dict = G_VARIANT_DICT_INIT(NULL);

        if (g_strv_length(words) != G_N_ELEMENTS(keys))
                return bad_word(error, text, "threads:cores:dies:packages");
        for (size_t i = 0; i < G_N_ELEMENTS(keys); i++) {
                uint64_t number;

                if (!parse_digits(words[i], strlen(words[i]), 10, &number))
                        return bad_word(error, text, "threads:cores:dies:packages");
                g_variant_dict_insert(&dict, keys[i], "t", number);
        }
        return g_variant_dict_end(&dict);
}

static GVariant *parse_features(const ChvOption *option, const char *text, GError **error) {
        g_auto(GStrv) words = parse_elements(text, error);
        g_auto(GVariantDict) dict = G_VARIANT_DICT_INIT(NULL);

        if (!words)
                return NULL;
        for (char **word = words; *word; word++) {
                if (!chv_word_in(option->choices, *word)) {
                        g_autofree char *quoted = chv_quote_text(*word);

                        chv_invalid(error, "%s is not one of: %s", quoted, option->choices);
                        return NULL;
                }
                g_variant_dict_insert(&dict, *word, "b", TRUE);
        }
        return g_variant_dict_end(&dict);
}

/* "3", "[1,4-6]" to au. */
static GVariant *parse_numbers(const char *text, GError **error) {
        g_auto(GStrv) words = parse_elements(text, error);
        g_autoptr(GVariantBuilder) builder = g_variant_builder_new(G_VARIANT_TYPE("at"));
        uint64_t left = MAX_RANGE;

        if (!words)
                return NULL;
        for (char **word = words; *word; word++) {
                const char *dash = strchr(*word, '-');
                size_t length = dash ? (size_t) (dash - *word) : strlen(*word);
                uint64_t first, last;

                if (!parse_digits(*word, length, 10, &first))
                        return bad_word(error, *word, "a number or a range a-b");
                last = first;
                if (dash && (!parse_digits(dash + 1, strlen(dash + 1), 10, &last) || last < first))
                        return bad_word(error, *word, "a number or a range a-b");
                if (last - first >= left) {
                        chv_invalid(error, "names more than %d CPUs", MAX_RANGE);
                        return NULL;
                }
                left -= last - first + 1;
                /* Counted from first, as last may be the largest number there is. */
                for (uint64_t i = 0; i <= last - first; i++)
                        g_variant_builder_add(builder, "t", first + i);
        }
        return g_variant_builder_end(builder);
}

static GVariant *parse_affinity(const ChvOption *option, const char *text, GError **error) {
        g_auto(GStrv) words = parse_elements(text, error);
        g_autoptr(GVariantBuilder) builder = g_variant_builder_new(G_VARIANT_TYPE("aa{sv}"));
        const char *key = option->type == CHV_OPT_CPU_AFFINITY ? "vcpu" : "queue_index";

        if (!words)
                return NULL;
        for (char **word = words; *word; word++) {
                const char *at = strchr(*word, '@');
                uint64_t index;
                g_autoptr(GVariant) numbers = NULL;

                if (!at || !parse_digits(*word, at - *word, 10, &index))
                        return bad_word(error, *word, "number@[host CPUs]");
                numbers = parse_numbers(at + 1, error);
                if (!numbers)
                        return NULL;
                g_variant_ref_sink(numbers);
                g_variant_builder_open(builder, G_VARIANT_TYPE_VARDICT);
                g_variant_builder_add(builder, "{sv}", key, g_variant_new_uint64(index));
                g_variant_builder_add(builder, "{sv}", "host_cpus", numbers);
                g_variant_builder_close(builder);
        }
        return g_variant_builder_end(builder);
}

GVariant *chv_text_parse(const ChvOption *option, const char *text, GError **error) {
        switch (option->type) {
        case CHV_OPT_BOOL:
                return parse_bool(text, error);
        case CHV_OPT_SIZE:
                return parse_size(text, error);
        case CHV_OPT_STRING:
        case CHV_OPT_PATH:
        case CHV_OPT_MAC:
        case CHV_OPT_CONSOLE_MODE:
        case CHV_OPT_CONSOLE_FILE:
        case CHV_OPT_CONSOLE_SOCKET:
                return parse_string(text, error);
        case CHV_OPT_STRV:
                return parse_strv(text, error);
        case CHV_OPT_HEX:
                return parse_hex(text, error);
        case CHV_OPT_TOPOLOGY:
                return parse_topology(text, error);
        case CHV_OPT_FEATURES:
                return parse_features(option, text, error);
        case CHV_OPT_CPU_AFFINITY:
        case CHV_OPT_QUEUE_AFFINITY:
                return parse_affinity(option, text, error);
        default:
                return parse_integer(option, text, error);
        }
}

/* Any integer as digits; our own writers give unsigned ones, but for a slot. */
static void append_number(GString *out, GVariant *value, bool hex) {
        g_autofree char *digits = g_variant_print(value, FALSE);

        if (g_variant_is_of_type(value, G_VARIANT_TYPE_BYTE))
                g_string_append_printf(out, "%u", g_variant_get_byte(value));
        else if (hex)
                g_string_append_printf(
                                out, "0x%" G_GINT64_MODIFIER "x",
                                g_ascii_strtoull(digits, NULL, 10));
        else
                g_string_append(out, digits);
}

static void append_size(GString *out, uint64_t size) {
        static const char suffixes[] = "\0KMGT";
        int i = 0;

        while (size != 0 && (size & 1023) == 0 && i < 4) {
                size >>= 10;
                i++;
        }
        g_string_append_printf(out, "%" G_GUINT64_FORMAT, size);
        if (i > 0)
                g_string_append_c(out, suffixes[i]);
}

static void append_list(GString *out, GVariant *list, void (*append)(GString *, GVariant *)) {
        g_string_append_c(out, '[');
        for (size_t i = 0; i < g_variant_n_children(list); i++) {
                g_autoptr(GVariant) child = g_variant_get_child_value(list, i);

                if (i > 0)
                        g_string_append_c(out, ',');
                append(out, child);
        }
        g_string_append_c(out, ']');
}

static void append_string_element(GString *out, GVariant *element) {
        append_quoted(out, g_variant_get_string(element, NULL));
}

static void append_plain_number(GString *out, GVariant *element) {
        append_number(out, element, false);
}

static void append_pin(GString *out, GVariant *pin) {
        g_autoptr(GVariant) vcpu = g_variant_lookup_value(pin, "vcpu", NULL);
        g_autoptr(GVariant) queue = g_variant_lookup_value(pin, "queue_index", NULL);
        g_autoptr(GVariant) cpus = g_variant_lookup_value(pin, "host_cpus", NULL);

        append_number(out, vcpu ? vcpu : queue, false);
        g_string_append_c(out, '@');
        append_list(out, cpus, append_plain_number);
}

static void append_topology(GString *out, GVariant *topology) {
        guint16 threads = 0, cores = 0, dies = 0, packages = 0;

        g_variant_lookup(topology, "threads_per_core", "q", &threads);
        g_variant_lookup(topology, "cores_per_die", "q", &cores);
        g_variant_lookup(topology, "dies_per_package", "q", &dies);
        g_variant_lookup(topology, "packages", "q", &packages);
        g_string_append_printf(out, "%u:%u:%u:%u", threads, cores, dies, packages);
}

char *chv_text_format(const ChvOption *option, GVariant *value) {
        GString *out = g_string_new(NULL);

        switch (option->type) {
        case CHV_OPT_BOOL:
                g_string_append(out, g_variant_get_boolean(value) ? "on" : "off");
                break;
        case CHV_OPT_SIZE:
                append_size(out, g_variant_get_uint64(value));
                break;
        case CHV_OPT_STRING:
        case CHV_OPT_PATH:
        case CHV_OPT_MAC:
        case CHV_OPT_CONSOLE_MODE:
        case CHV_OPT_CONSOLE_FILE:
        case CHV_OPT_CONSOLE_SOCKET:
                append_quoted(out, g_variant_get_string(value, NULL));
                break;
        case CHV_OPT_STRV:
                append_list(out, value, append_string_element);
                break;
        case CHV_OPT_TOPOLOGY:
                append_topology(out, value);
                break;
        case CHV_OPT_FEATURES:
                g_string_append(out, "[amx]");
                break;
        case CHV_OPT_CPU_AFFINITY:
        case CHV_OPT_QUEUE_AFFINITY:
                append_list(out, value, append_pin);
                break;
        default:
                append_number(out, value, option->type == CHV_OPT_HEX);
                break;
        }
        return g_string_free(out, FALSE);
}
