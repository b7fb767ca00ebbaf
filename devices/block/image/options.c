/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Options for a new image. They wait in a table until the format takes them; what nobody took is a mistake of the user's and is told
 * so, rather than made an image that is not what was asked for.
 */

#include "devices/block/image/options.h"
#include "hypervisor/error.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

struct image_options {
        GHashTable *table;
};

struct image_options *image_options_new(void) {
        struct image_options *o = g_new0(struct image_options, 1);

        o->table = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
        return o;
}

struct image_options *image_options_free(struct image_options *o) {
        if (!o)
                return NULL;
        g_hash_table_destroy(o->table);
        g_free(o);
        return NULL;
}

bool image_options_set(
                struct image_options *o, const char *key, const char *value, GError **error) {
        assert(o && key && value);

        if (!*key) {
                g_set_error(error, HV_ERROR, HV_ERROR_INVALID, "an option without a name: '=%s'",
                            value);
                return false;
        }
        if (g_hash_table_contains(o->table, key)) {
                g_set_error(error, HV_ERROR, HV_ERROR_INVALID, "option '%s' is given twice", key);
                return false;
        }
        g_hash_table_insert(o->table, g_strdup(key), g_strdup(value));
        return true;
}

/* The text up to a single comma; *s is behind it then, or NULL at the end. */
static char *next_item(const char **s) {
        g_autoptr(GString) item = g_string_new(NULL);

        for (; **s; (*s)++) {
                if (**s == ',' && (*s)[1] != ',') {
                        (*s)++;
                        return g_string_free(g_steal_pointer(&item), FALSE);
                }
                if (**s == ',')
                        (*s)++;
                g_string_append_c(item, **s);
        }
        *s = NULL;
        return g_string_free(g_steal_pointer(&item), FALSE);
}

bool image_options_parse(struct image_options *o, const char *text, GError **error) {
        assert(o && text);

        while (text) {
                g_autofree char *item = next_item(&text);
                char *equals = strchr(item, '=');

                if (!equals) {
                        g_set_error(error, HV_ERROR, HV_ERROR_INVALID,
                                    "option '%s' has no value: it is written %s=VALUE", item, item);
                        return false;
                }
                *equals = '\0';
                if (!image_options_set(o, item, equals + 1, error))
                        return false;
        }
        return true;
}

/* NULL without it. */
static char *take(struct image_options *o, const char *key) {
        char *own_key = NULL, *value = NULL;

        if (!g_hash_table_steal_extended(o->table, key, (gpointer *) &own_key, (gpointer *) &value))
                return NULL;
        g_free(own_key);
        return value;
}

static bool refuse(GError **error, const char *key, const char *value, const char *wanted) {
        g_set_error(error, HV_ERROR, HV_ERROR_INVALID, "option %s: '%s' is not %s", key, value,
                    wanted);
        return false;
}

bool image_options_take_string(
                struct image_options *o, const char *key, char **ret, GError **error) {
        char *value;

        assert(o && key && ret);

        value = take(o, key);
        if (!value)
                return true;
        g_free(*ret);
        *ret = value;
        return true;
}

bool image_options_take_bool(struct image_options *o, const char *key, bool *ret, GError **error) {
        g_autofree char *value = NULL;

        assert(o && key && ret);

        value = take(o, key);
        if (!value)
                return true;
        if (strcmp(value, "on") != 0 && strcmp(value, "off") != 0)
                return refuse(error, key, value, "on or off");
        *ret = value[1] == 'n';
        return true;
}

static bool parse_size(const char *s, uint64_t *ret) {
        static const char units[] = "KMGT";
        char *end = NULL;
        uint64_t n;

        if (!g_ascii_isdigit(*s))
                return false;
        errno = 0;
        n = g_ascii_strtoull(s, &end, 10);
        if (errno != 0)
                return false;
        if (*end) {
                const char *unit = strchr(units, g_ascii_toupper(*end));
                unsigned shift;

                if (!unit || end[1])
                        return false;
                shift = 10 * ((unsigned) (unit - units) + 1);
                if (n > UINT64_MAX >> shift)
                        return false;
                n <<= shift;
        }
        *ret = n;
        return true;
}

bool image_options_take_size(
                struct image_options *o,
                const char *key,
                uint64_t min,
                uint64_t max,
                uint64_t *ret,
                GError **error) {
        g_autofree char *value = NULL;
        uint64_t n;

        assert(o && key && ret);

        value = take(o, key);
        if (!value)
                return true;
        if (!parse_size(value, &n))
                return refuse(error, key, value, "a size such as 65536 or 64K");
        if (n < min || n > max) {
                g_set_error(error, HV_ERROR, HV_ERROR_INVALID,
                            "option %s: %s is not from %" G_GUINT64_FORMAT " to %" G_GUINT64_FORMAT,
                            key, value, min, max);
                return false;
        }
        *ret = n;
        return true;
}

bool image_options_take_choice(
                struct image_options *o,
                const char *key,
                const char *const *choices,
                unsigned *ret,
                GError **error) {
        g_autofree char *value = NULL, *list = NULL, *wanted = NULL;

        assert(o && key && choices && ret);

        value = take(o, key);
        if (!value)
                return true;
        for (unsigned i = 0; choices[i]; i++)
                if (strcmp(value, choices[i]) == 0) {
                        *ret = i;
                        return true;
                }
        list = g_strjoinv(", ", (char **) choices);
        wanted = g_strdup_printf("one of %s", list);
        return refuse(error, key, value, wanted);
}

bool image_options_end(const struct image_options *o, const char *format, GError **error) {
        GHashTableIter iter;
        void *key;

        assert(o && format);

        g_hash_table_iter_init(&iter, o->table);
        if (!g_hash_table_iter_next(&iter, &key, NULL))
                return true;
        g_set_error(error, HV_ERROR, HV_ERROR_INVALID, "%s images have no option '%s'", format,
                    (const char *) key);
        return false;
}
