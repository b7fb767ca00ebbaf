/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * One value of the schema: from a GVariant into a field of a struct, and back. Every codec ends here, so every type
 * and range check is here and nowhere else.
 *
 * Readers take any integer type that holds the number, and lists and dictionaries with or without variants around
 * their elements, because JSON and busctl know no better; writers give one canonical type for each row. What comes in
 * is untrusted: lists are bounded before they are stored, and messages quote no more than a few words of it.
 */

#include <errno.h>
#include <string.h>

#include "dbus/config.h"
#include "dbus/error.h"
#include "dbus/value.h"

#define MAX_STRINGS 64
#define MAX_PINS 8192      /* elements of an affinity list */
#define MAX_HOST_CPUS 1024 /* of one of them */

static const char *const console_modes[] = {
        [CHV_CONSOLE_OFF] = "off", [CHV_CONSOLE_NULL] = "null", [CHV_CONSOLE_PTY] = "pty",
        [CHV_CONSOLE_TTY] = "tty", [CHV_CONSOLE_FILE] = "file", [CHV_CONSOLE_SOCKET] = "socket",
};
G_STATIC_ASSERT(G_N_ELEMENTS(console_modes) == CHV_CONSOLE_MODE_MAX);

static const char *const topology_keys[] = {
        "threads_per_core",
        "cores_per_die",
        "dies_per_package",
        "packages",
};

#define FIELD(type, element, option) ((type *) (void *) ((char *) (element) + (option)->offset))
#define CONST_FIELD(type, element, option)                                                         \
        ((const type *) (const void *) ((const char *) (element) + (option)->offset))

bool chv_invalid(GError **error, const char *format, ...) {
        va_list args;

        va_start(args, format);
        if (error)
                *error = g_error_new_valist(CHV_ERROR, CHV_ERROR_INVALID_CONFIG, format, args);
        va_end(args);
        return false;
}

bool chv_word_in(const char *words, const char *word) {
        size_t length = strlen(word);

        if (!words || length == 0 || strchr(word, ' '))
                return false;
        for (const char *p = words; (p = strstr(p, word)); p += length)
                if ((p == words || p[-1] == ' ') && (p[length] == ' ' || p[length] == '\0'))
                        return true;
        return false;
}

GVariant *chv_variant_unbox(GVariant *value) {
        GVariant *inner = g_variant_ref_sink(value);

        while (g_variant_is_of_type(inner, G_VARIANT_TYPE_VARIANT)) {
                GVariant *outer = inner;

                inner = g_variant_get_variant(outer);
                g_variant_unref(outer);
        }
        return inner;
}

static bool wrong_type(const char *wanted, GError **error) {
        return chv_invalid(error, "must be %s", wanted);
}

/* Any integer type: sign and magnitude. */
static bool read_integer(GVariant *value, bool *ret_negative, uint64_t *ret, GError **error) {
        int64_t s;

        switch (g_variant_classify(value)) {
        case G_VARIANT_CLASS_BYTE:
                s = g_variant_get_byte(value);
                break;
        case G_VARIANT_CLASS_INT16:
                s = g_variant_get_int16(value);
                break;
        case G_VARIANT_CLASS_UINT16:
                s = g_variant_get_uint16(value);
                break;
        case G_VARIANT_CLASS_INT32:
                s = g_variant_get_int32(value);
                break;
        case G_VARIANT_CLASS_UINT32:
                s = g_variant_get_uint32(value);
                break;
        case G_VARIANT_CLASS_INT64:
                s = g_variant_get_int64(value);
                break;
        case G_VARIANT_CLASS_UINT64:
                *ret_negative = false;
                *ret = g_variant_get_uint64(value);
                return true;
        default:
                return wrong_type("a whole number", error);
        }
        *ret_negative = s < 0;
        *ret = s < 0 ? -(uint64_t) s : (uint64_t) s;
        return true;
}

static bool
read_number(GVariant *value, uint64_t min, uint64_t max, uint64_t *ret, GError **error) {
        bool negative = false;
        uint64_t number = 0;

        if (!read_integer(value, &negative, &number, error))
                return false;
        if (negative || number < min || number > max)
                return chv_invalid(
                                error,
                                "%s%" G_GUINT64_FORMAT " is out of range (%" G_GUINT64_FORMAT
                                " to %" G_GUINT64_FORMAT ")",
                                negative ? "-" : "", number, min, max);
        *ret = number;
        return true;
}

static bool set_number(const ChvOption *option, void *element, GVariant *value, GError **error) {
        uint64_t min, max, number = 0;

        chv_option_range(option, &min, &max);
        if (!read_number(value, min, max, &number, error))
                return false;
        if (option->power_of_2 && (number & (number - 1)) != 0)
                return chv_invalid(error, "%" G_GUINT64_FORMAT " is not a power of 2", number);
        switch (option->type) {
        case CHV_OPT_U8:
                *FIELD(uint8_t, element, option) = (uint8_t) number;
                break;
        case CHV_OPT_U16:
        case CHV_OPT_HEX:
                *FIELD(uint16_t, element, option) = (uint16_t) number;
                break;
        case CHV_OPT_S16:
                *FIELD(int16_t, element, option) = (int16_t) number;
                break;
        case CHV_OPT_U32:
                *FIELD(uint32_t, element, option) = (uint32_t) number;
                break;
        default:
                *FIELD(uint64_t, element, option) = number;
                break;
        }
        return true;
}

/* The string of a value, borrowed from it, after the checks that every string has to pass. */
static const char *read_string(const ChvOption *option, GVariant *value, GError **error) {
        uint64_t min, max;
        const char *s;
        gsize length;

        if (!g_variant_is_of_type(value, G_VARIANT_TYPE_STRING)) {
                wrong_type("text", error);
                return NULL;
        }
        s = g_variant_get_string(value, &length);
        chv_option_range(option, &min, &max);
        if (length < min) {
                chv_invalid(error, "must not be empty");
                return NULL;
        }
        if (length > max) {
                chv_invalid(error,
                            "is %" G_GSIZE_FORMAT " bytes long; at most %" G_GUINT64_FORMAT
                            " are allowed",
                            length, max);
                return NULL;
        }
        for (const char *p = s; *p; p++) {
                if (g_ascii_iscntrl(*p)) {
                        chv_invalid(error, "holds a control character");
                        return NULL;
                }
        }
        return s;
}

/* The choice that a word means: in JSON the reference writes "ByteRange" for what its options call byte-range. NULL: none. */
static char *find_choice(const char *choices, const char *word) {
        g_auto(GStrv) all = g_strsplit(choices, " ", -1);

        for (char **choice = all; *choice; choice++) {
                g_auto(GStrv) parts = g_strsplit(*choice, "-", -1);
                g_autofree char *joined = g_strjoinv("", parts);

                if (g_ascii_strcasecmp(*choice, word) == 0 || g_ascii_strcasecmp(joined, word) == 0)
                        return g_strdup(*choice);
        }
        return NULL;
}

static bool
set_string(const ChvOption *option,
           void *element,
           GVariant *value,
           ChvArena *arena,
           GError **error) {
        const char *s = read_string(option, value, error);
        g_autofree char *lower = NULL;

        if (!s)
                return false;
        if (option->choices) {
                lower = find_choice(option->choices, s);
                if (!lower) {
                        g_autofree char *plain = g_ascii_strdown(s, -1);
                        g_autofree char *quoted = chv_quote_text(plain);

                        return chv_invalid(error, "%s is not one of: %s", quoted, option->choices);
                }
                s = lower;
        }
        *FIELD(char *, element, option) = chv_arena_strdup(arena, s);
        return true;
}

static bool
set_mac(const ChvOption *option, void *element, GVariant *value, ChvArena *arena, GError **error) {
        const char *s = read_string(option, value, error);
        g_autofree char *lower = NULL;

        if (!s)
                return false;
        for (unsigned i = 0; i < 17; i++) {
                bool good = i % 3 == 2 ? s[i] == ':' : g_ascii_isxdigit(s[i]);

                if (!good || (i == 16 && s[17])) {
                        g_autofree char *quoted = chv_quote_text(s);

                        return chv_invalid(error, "%s is not a MAC address", quoted);
                }
        }
        lower = g_ascii_strdown(s, -1);
        *FIELD(char *, element, option) = chv_arena_strdup(arena, lower);
        return true;
}

static bool is_list(GVariant *value) {
        return g_variant_is_of_type(value, G_VARIANT_TYPE_ARRAY) &&
               !g_variant_is_of_type(value, G_VARIANT_TYPE_DICTIONARY);
}

static bool read_list(GVariant *value, size_t max, size_t *ret_n, GError **error) {
        if (!is_list(value))
                return wrong_type("a list", error);
        *ret_n = g_variant_n_children(value);
        if (*ret_n > max)
                return chv_invalid(
                                error,
                                "has %" G_GSIZE_FORMAT " elements; at most %" G_GSIZE_FORMAT
                                " are allowed",
                                *ret_n, max);
        return true;
}

static GVariant *list_element(GVariant *list, size_t i) {
        g_autoptr(GVariant) child = g_variant_get_child_value(list, i);

        return chv_variant_unbox(child);
}

static bool
set_strv(const ChvOption *option, void *element, GVariant *value, ChvArena *arena, GError **error) {
        size_t n = 0;
        char **strv;

        if (!read_list(value, MAX_STRINGS, &n, error))
                return false;
        strv = chv_arena_alloc(arena, (n + 1) * sizeof(char *));
        for (size_t i = 0; i < n; i++) {
                g_autoptr(GVariant) child = list_element(value, i);
                const char *s = read_string(option, child, error);

                if (!s) {
                        g_prefix_error(error, "element %" G_GSIZE_FORMAT ": ", i);
                        return false;
                }
                strv[i] = chv_arena_strdup(arena, s);
        }
        *FIELD(char **, element, option) = n > 0 ? strv : NULL;
        return true;
}

static bool
set_console_mode(const ChvOption *option, void *element, GVariant *value, GError **error) {
        g_autofree char *lower = NULL, *quoted = NULL;
        const char *s = read_string(option, value, error);

        if (!s)
                return false;
        lower = g_ascii_strdown(s, -1);
        if (chv_word_in(option->choices, lower))
                for (int mode = 0; mode < CHV_CONSOLE_MODE_MAX; mode++)
                        if (strcmp(lower, console_modes[mode]) == 0) {
                                *FIELD(ChvConsoleMode, element, option) = mode;
                                return true;
                        }
        quoted = chv_quote_text(s);
        return chv_invalid(error, "%s is not one of: %s", quoted, option->choices);
}

static bool set_console_path(
                const ChvOption *option,
                void *element,
                GVariant *value,
                ChvArena *arena,
                GError **error) {
        const ChvConsoleConfig *console = element;
        ChvConsoleMode mode = option->type == CHV_OPT_CONSOLE_FILE ? CHV_CONSOLE_FILE
                                                                   : CHV_CONSOLE_SOCKET;

        if (console->mode != mode)
                return chv_invalid(
                                error, "is given but mode is %s, not %s",
                                console_modes[console->mode], console_modes[mode]);
        return set_string(option, element, value, arena, error);
}

bool chv_variant_read_keys(
                GVariant *value,
                const char *const *keys,
                size_t n_keys,
                GVariant **found,
                GError **error) {
        if (!g_variant_is_of_type(value, G_VARIANT_TYPE("a{s*}")))
                return wrong_type("an object", error);
        for (size_t i = 0; i < g_variant_n_children(value); i++) {
                g_autoptr(GVariant) entry = g_variant_get_child_value(value, i);
                g_autoptr(GVariant) key = g_variant_get_child_value(entry, 0);
                g_autofree char *quoted = chv_quote_text(g_variant_get_string(key, NULL));
                size_t k = 0;

                while (k < n_keys && strcmp(keys[k], g_variant_get_string(key, NULL)) != 0)
                        k++;
                if (k == n_keys)
                        return chv_invalid(error, "unknown key %s", quoted);
                if (found[k])
                        return chv_invalid(error, "key %s is given twice", quoted);
                found[k] = list_element(entry, 1);
        }
        return true;
}

static void clear_found(GVariant **found, size_t n) {
        for (size_t i = 0; i < n; i++)
                g_clear_pointer(&found[i], g_variant_unref);
}

static bool set_topology(const ChvOption *option, void *element, GVariant *value, GError **error) {
        GVariant *found[G_N_ELEMENTS(topology_keys)] = { NULL };
        uint16_t *numbers = FIELD(uint16_t, element, option);
        bool good = chv_variant_read_keys(value, topology_keys, G_N_ELEMENTS(found), found, error);

        for (size_t i = 0; good && i < G_N_ELEMENTS(found); i++) {
                uint64_t number = 0;

                if (found[i])
                        good = read_number(found[i], 1, 8192, &number, error);
                else
                        good = chv_invalid(error, "is missing");
                if (good)
                        numbers[i] = (uint16_t) number;
                else
                        g_prefix_error(error, "%s: ", topology_keys[i]);
        }
        clear_found(found, G_N_ELEMENTS(found));
        return good;
}

static bool set_features(const ChvOption *option, void *element, GVariant *value, GError **error) {
        static const char *const keys[] = { "amx" };
        GVariant *found[G_N_ELEMENTS(keys)] = { NULL };
        bool good = chv_variant_read_keys(value, keys, G_N_ELEMENTS(keys), found, error);

        if (good && found[0]) {
                good = g_variant_is_of_type(found[0], G_VARIANT_TYPE_BOOLEAN);
                if (good)
                        *FIELD(bool, element, option) = g_variant_get_boolean(found[0]);
                else
                        chv_invalid(error, "amx: must be true or false");
        }
        clear_found(found, G_N_ELEMENTS(keys));
        return good;
}

static bool
read_host_cpus(GVariant *value,
               ChvArena *arena,
               uint16_t **ret_cpus,
               size_t *ret_n,
               GError **error) {
        size_t n = 0;
        uint16_t *cpus;

        if (!read_list(value, MAX_HOST_CPUS, &n, error))
                return false;
        if (n == 0)
                return chv_invalid(error, "is empty");
        cpus = chv_arena_alloc(arena, n * sizeof(uint16_t));
        for (size_t i = 0; i < n; i++) {
                g_autoptr(GVariant) child = list_element(value, i);
                uint64_t cpu;

                if (!read_number(child, 0, UINT16_MAX, &cpu, error))
                        return false;
                cpus[i] = (uint16_t) cpu;
        }
        *ret_cpus = cpus;
        *ret_n = n;
        return true;
}

/* One element of an affinity list: which vCPU or queue, and its host CPUs. */
static bool
read_pin(GVariant *value, const char *key, ChvArena *arena, ChvCpuAffinity *ret, GError **error) {
        const char *const keys[] = { key, "host_cpus" };
        GVariant *found[2] = { NULL };
        uint64_t index = 0;
        bool good = chv_variant_read_keys(value, keys, 2, found, error);

        for (int i = 0; good && i < 2; i++) {
                if (!found[i])
                        good = chv_invalid(error, "is missing");
                else if (i == 0)
                        good = read_number(found[i], 0, MAX_PINS - 1, &index, error);
                else
                        good = read_host_cpus(
                                        found[i], arena, &ret->host_cpus, &ret->n_host_cpus, error);
                if (!good)
                        g_prefix_error(error, "%s: ", keys[i]);
        }
        ret->vcpu = (uint32_t) index;
        clear_found(found, 2);
        return good;
}

static const char *pin_key(const ChvOption *option) {
        return option->type == CHV_OPT_CPU_AFFINITY ? "vcpu" : "queue_index";
}

static bool
set_affinity(const ChvOption *option,
             void *element,
             GVariant *value,
             ChvArena *arena,
             GError **error) {
        bool vcpus = option->type == CHV_OPT_CPU_AFFINITY;
        size_t n = 0;
        void *items;

        if (!read_list(value, MAX_PINS, &n, error))
                return false;
        items = chv_arena_alloc(
                        arena, n * (vcpus ? sizeof(ChvCpuAffinity) : sizeof(ChvQueueAffinity)));
        for (size_t i = 0; i < n; i++) {
                g_autoptr(GVariant) child = list_element(value, i);
                ChvCpuAffinity pin = { 0 };

                if (!read_pin(child, pin_key(option), arena, &pin, error)) {
                        g_prefix_error(error, "element %" G_GSIZE_FORMAT ": ", i);
                        return false;
                }
                if (vcpus)
                        ((ChvCpuAffinity *) items)[i] = pin;
                else
                        ((ChvQueueAffinity *) items)[i] = (ChvQueueAffinity){
                                .queue_index = (uint16_t) pin.vcpu,
                                .host_cpus = pin.host_cpus,
                                .n_host_cpus = pin.n_host_cpus,
                        };
        }
        *FIELD(ChvList, element, option) = (ChvList){ items, n };
        return true;
}

bool chv_value_set(
                const ChvOption *option,
                void *element,
                GVariant *value,
                ChvArena *arena,
                GError **error) {
        switch (option->type) {
        case CHV_OPT_BOOL:
                if (!g_variant_is_of_type(value, G_VARIANT_TYPE_BOOLEAN))
                        return wrong_type("true or false", error);
                *FIELD(bool, element, option) = g_variant_get_boolean(value);
                return true;
        case CHV_OPT_STRING:
        case CHV_OPT_PATH:
                return set_string(option, element, value, arena, error);
        case CHV_OPT_STRV:
                return set_strv(option, element, value, arena, error);
        case CHV_OPT_MAC:
                return set_mac(option, element, value, arena, error);
        case CHV_OPT_CONSOLE_MODE:
                return set_console_mode(option, element, value, error);
        case CHV_OPT_CONSOLE_FILE:
        case CHV_OPT_CONSOLE_SOCKET:
                return set_console_path(option, element, value, arena, error);
        case CHV_OPT_TOPOLOGY:
                return set_topology(option, element, value, error);
        case CHV_OPT_FEATURES:
                return set_features(option, element, value, error);
        case CHV_OPT_CPU_AFFINITY:
        case CHV_OPT_QUEUE_AFFINITY:
                return set_affinity(option, element, value, arena, error);
        default:
                return set_number(option, element, value, error);
        }
}

void chv_value_set_fallback(const ChvOption *option, void *element, ChvArena *arena) {
        g_autoptr(GError) error = NULL;
        g_autoptr(GVariant) value = NULL;

        if (!option->fallback)
                return;
        /* The one default outside its own range: no slot is asked for. */
        if (option->type == CHV_OPT_S16) {
                *FIELD(int16_t, element, option) =
                                (int16_t) g_ascii_strtoll(option->fallback, NULL, 10);
                return;
        }
        value = chv_text_parse(option, option->fallback, &error);
        g_assert_no_error(error);
        g_variant_ref_sink(value);
        chv_value_set(option, element, value, arena, &error);
        g_assert_no_error(error);
}

static GVariant *get_topology(const ChvOption *option, const void *element) {
        const uint16_t *numbers = CONST_FIELD(uint16_t, element, option);
        g_auto(GVariantDict) dict = G_VARIANT_DICT_INIT(NULL);

        if (numbers[0] == 0)
                return NULL;
        for (size_t i = 0; i < G_N_ELEMENTS(topology_keys); i++)
                g_variant_dict_insert(&dict, topology_keys[i], "q", numbers[i]);
        return g_variant_dict_end(&dict);
}

static GVariant *get_affinity(const ChvOption *option, const void *element) {
        const ChvList *list = CONST_FIELD(ChvList, element, option);
        GVariantBuilder builder;

        if (list->n == 0)
                return NULL;
        g_variant_builder_init(&builder, G_VARIANT_TYPE("aa{sv}"));
        for (size_t i = 0; i < list->n; i++) {
                const ChvCpuAffinity *vcpu = (const ChvCpuAffinity *) list->items + i;
                const ChvQueueAffinity *queue = (const ChvQueueAffinity *) list->items + i;
                bool vcpus = option->type == CHV_OPT_CPU_AFFINITY;
                GVariant *cpus = g_variant_new_fixed_array(
                                G_VARIANT_TYPE_UINT16, vcpus ? vcpu->host_cpus : queue->host_cpus,
                                vcpus ? vcpu->n_host_cpus : queue->n_host_cpus, sizeof(uint16_t));

                g_variant_builder_open(&builder, G_VARIANT_TYPE_VARDICT);
                g_variant_builder_add(
                                &builder, "{sv}", pin_key(option),
                                g_variant_new_uint32(vcpus ? vcpu->vcpu : queue->queue_index));
                g_variant_builder_add(&builder, "{sv}", "host_cpus", cpus);
                g_variant_builder_close(&builder);
        }
        return g_variant_builder_end(&builder);
}

static GVariant *new_string(const char *s) {
        return s ? g_variant_new_string(s) : NULL;
}

static GVariant *get_text(const ChvOption *option, const void *element) {
        const ChvConsoleConfig *console = element;
        char *const *strv = *CONST_FIELD(GStrv, element, option);

        switch (option->type) {
        case CHV_OPT_STRV:
                return strv && strv[0] ? g_variant_new_strv((const char *const *) strv, -1) : NULL;
        case CHV_OPT_CONSOLE_FILE:
                return console->mode == CHV_CONSOLE_FILE ? new_string(console->path) : NULL;
        case CHV_OPT_CONSOLE_SOCKET:
                return console->mode == CHV_CONSOLE_SOCKET ? new_string(console->path) : NULL;
        default:
                return new_string(*CONST_FIELD(char *const, element, option));
        }
}

/* Without a default, 0 is "not given". */
static GVariant *get_number(const ChvOption *option, const void *element) {
        uint64_t n;

        switch (option->type) {
        case CHV_OPT_U8:
                n = *CONST_FIELD(uint8_t, element, option);
                return n || option->fallback ? g_variant_new_byte((guchar) n) : NULL;
        case CHV_OPT_U16:
        case CHV_OPT_HEX:
                n = *CONST_FIELD(uint16_t, element, option);
                return n || option->fallback ? g_variant_new_uint16((guint16) n) : NULL;
        case CHV_OPT_S16:
                return g_variant_new_int16(*CONST_FIELD(int16_t, element, option));
        case CHV_OPT_U32:
                n = *CONST_FIELD(uint32_t, element, option);
                return n || option->fallback ? g_variant_new_uint32((guint32) n) : NULL;
        default:
                n = *CONST_FIELD(uint64_t, element, option);
                return n || option->fallback ? g_variant_new_uint64(n) : NULL;
        }
}

static GVariant *get_any(const ChvOption *option, const void *element) {
        switch (option->type) {
        case CHV_OPT_BOOL:
                return g_variant_new_boolean(*CONST_FIELD(bool, element, option));
        case CHV_OPT_CONSOLE_MODE:
                return g_variant_new_string(
                                console_modes[*CONST_FIELD(ChvConsoleMode, element, option)]);
        case CHV_OPT_TOPOLOGY:
                return get_topology(option, element);
        case CHV_OPT_FEATURES:
                if (!*CONST_FIELD(bool, element, option))
                        return NULL;
                return g_variant_new_parsed("{'amx': <true>}");
        case CHV_OPT_CPU_AFFINITY:
        case CHV_OPT_QUEUE_AFFINITY:
                return get_affinity(option, element);
        case CHV_OPT_STRING:
        case CHV_OPT_PATH:
        case CHV_OPT_MAC:
        case CHV_OPT_STRV:
        case CHV_OPT_CONSOLE_FILE:
        case CHV_OPT_CONSOLE_SOCKET:
                return get_text(option, element);
        default:
                return get_number(option, element);
        }
}

GVariant *chv_value_get(const ChvOption *option, const void *element) {
        GVariant *value = get_any(option, element);
        g_autofree char *text = NULL, *fallback_text = NULL;
        g_autoptr(GVariant) fallback = NULL;

        if (!value || !option->fallback)
                return value;
        /* Texts are compared, because the types of a default's text and of the value need not be the same. */
        fallback = g_variant_ref_sink(chv_text_parse(option, option->fallback, NULL));
        fallback_text = chv_text_format(option, fallback);
        text = chv_text_format(option, value);
        if (strcmp(text, fallback_text) != 0)
                return value;
        g_variant_unref(g_variant_ref_sink(value));
        return NULL;
}
