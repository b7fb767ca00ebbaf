/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A configuration's life, and its form on the bus: a{sv} with one key for each section, in it an a{sv} for each
 * element with one key for each option. Only what differs from the default is written, so a definition stays as
 * short as its author wrote it and follows a default that changes.
 *
 * Reading works on a fresh configuration; on an error nothing of it is left.
 */

#include "dbus/config.h"

#include <string.h>

#include "dbus/codec.h"
#include "dbus/value.h"

#define MAX_ELEMENTS 1024 /* of a list of devices */

ChvConfig *chv_config_new(void) {
        ChvConfig *config = g_new0(ChvConfig, 1);
        size_t n;
        const ChvSection *sections = chv_schema(&n);

        config->arena = chv_arena_new();
        for (size_t i = 0; i < n; i++)
                if (!sections[i].list)
                        chv_section_set_fallbacks(
                                        &sections[i], chv_section_element(&sections[i], config, 0),
                                        config->arena);
        return config;
}

void chv_config_free(ChvConfig *config) {
        if (!config)
                return;
        chv_arena_free(config->arena);
        g_free(config);
}

void chv_config_set_name(ChvConfig *config, const char *name) {
        config->name = chv_arena_strdup(config->arena, name);
}

void chv_section_set_fallbacks(const ChvSection *section, void *element, ChvArena *arena) {
        for (size_t i = 0; i < section->n_options; i++)
                chv_value_set_fallback(&section->options[i], element, arena);
}

void *chv_section_element(const ChvSection *section, const void *config, size_t index) {
        char *place = (char *) config + section->offset;

        if (!section->list)
                return place;
        return (char *) ((ChvList *) (void *) place)->items + index * section->size;
}

size_t chv_section_count(const ChvSection *section, const void *config) {
        const void *place = (const char *) config + section->offset;

        return section->list ? ((const ChvList *) place)->n : 1;
}

void *chv_section_add(const ChvSection *section, ChvConfig *config, GError **error) {
        ChvList *list = (void *) ((char *) config + section->offset);
        void *element;

        if (list->n >= MAX_ELEMENTS) {
                chv_invalid(error, "more than %d are not allowed", MAX_ELEMENTS);
                return NULL;
        }
        list->items =
                        chv_arena_grow(config->arena, list->items, list->n * section->size,
                                       (list->n + 1) * section->size);
        element = (char *) list->items + list->n++ * section->size;
        chv_section_set_fallbacks(section, element, config->arena);
        return element;
}

const ChvOption *chv_section_option(const ChvSection *section, const char *key, bool cli) {
        for (size_t i = 0; i < section->n_options; i++) {
                const ChvOption *option = &section->options[i];

                if (strcmp(cli && option->cli ? option->cli : option->key, key) == 0 ||
                    g_strcmp0(option->alias, key) == 0)
                        return option;
        }
        return NULL;
}

/* What a file of the reference's says of an option it does not use. */
static bool says_off(GVariant *value) {
        return g_variant_is_of_type(value, G_VARIANT_TYPE_UNIT) ||
               (g_variant_is_of_type(value, G_VARIANT_TYPE_BOOLEAN) &&
                !g_variant_get_boolean(value)) ||
               (g_variant_is_of_type(value, G_VARIANT_TYPE_ARRAY) &&
                g_variant_n_children(value) == 0);
}

bool chv_refuse_key(const char *key, const char *later, GError **error) {
        g_autofree char *quoted = chv_quote_text(key);

        if (chv_word_in(later, key))
                return chv_invalid(error, "%s is not supported yet", quoted);
        return chv_invalid(error, "unknown option %s", quoted);
}

bool chv_section_apply(
                const ChvSection *section,
                void *element,
                GVariant *const *values,
                ChvArena *arena,
                const char *where,
                bool cli,
                GError **error) {
        for (size_t i = 0; i < section->n_options; i++) {
                const ChvOption *option = &section->options[i];

                if (!values[i] || chv_value_set(option, element, values[i], arena, error))
                        continue;
                if (cli)
                        g_prefix_error(error, "--%s %s: ", where,
                                       option->cli ? option->cli : option->key);
                else
                        g_prefix_error(error, "%s.%s: ", where, option->key);
                return false;
        }
        return true;
}

bool chv_section_collect(
                const ChvSection *section, GVariant *dict, GVariant **values, GError **error) {
        if (!g_variant_is_of_type(dict, G_VARIANT_TYPE("a{s*}")))
                return chv_invalid(error, "must be an object");
        for (size_t i = 0; i < g_variant_n_children(dict); i++) {
                g_autoptr(GVariant) entry = g_variant_get_child_value(dict, i);
                g_autoptr(GVariant) key = g_variant_get_child_value(entry, 0);
                g_autoptr(GVariant) boxed = g_variant_get_child_value(entry, 1);
                g_autoptr(GVariant) value = chv_variant_unbox(boxed);
                g_autoptr(GError) limits = NULL;
                const char *name = g_variant_get_string(key, NULL);
                const ChvOption *option = chv_section_option(section, name, /* cli= */ false);
                size_t row = option ? (size_t) (option - section->options) : 0;

                if (!option && chv_word_in(section->later, name) && says_off(value))
                        continue;
                if (strcmp(name, CHV_LIMITER_KEY) == 0) {
                        if (chv_limiter_expand(section, value, values, &limits))
                                continue;
                        if (limits) {
                                g_propagate_error(error, g_steal_pointer(&limits));
                                return false;
                        }
                }
                if (!option)
                        return chv_refuse_key(name, section->later, error);
                if (values[row])
                        return chv_invalid(error, "'%s' is given twice", option->key);
                if (!g_variant_is_of_type(value, G_VARIANT_TYPE_UNIT))
                        values[row] = g_steal_pointer(&value);
        }
        return true;
}

static bool
read_element(const ChvSection *section,
             void *element,
             GVariant *dict,
             ChvArena *arena,
             const char *where,
             GError **error) {
        g_autofree GVariant **values = g_new0(GVariant *, section->n_options);
        bool good = chv_section_collect(section, dict, values, error);

        if (!good)
                g_prefix_error(error, "%s: ", where);
        else
                good = chv_section_apply(
                                section, element, values, arena, where, /* cli= */ false, error);
        for (size_t i = 0; i < section->n_options; i++)
                g_clear_pointer(&values[i], g_variant_unref);
        return good;
}

static bool
read_elements(const ChvSection *section, ChvConfig *config, GVariant *list, GError **error) {
        if (!g_variant_is_of_type(list, G_VARIANT_TYPE_ARRAY) ||
            g_variant_is_of_type(list, G_VARIANT_TYPE_DICTIONARY))
                return chv_invalid(error, "%s: must be a list", section->key);
        for (size_t i = 0; i < g_variant_n_children(list); i++) {
                g_autoptr(GVariant) boxed = g_variant_get_child_value(list, i);
                g_autoptr(GVariant) dict = chv_variant_unbox(boxed);
                g_autofree char *where =
                                g_strdup_printf("%s[%" G_GSIZE_FORMAT "]", section->key, i);
                void *element = chv_section_add(section, config, error);

                if (!element) {
                        g_prefix_error(error, "%s: ", section->key);
                        return false;
                }
                if (!read_element(section, element, dict, config->arena, where, error))
                        return false;
        }
        return true;
}

/* One entry of the outermost dictionary; seen has a bit for each section. */
static bool
read_section(ChvConfig *config, const char *key, GVariant *value, uint32_t *seen, GError **error) {
        size_t n;
        const ChvSection *sections = chv_schema(&n);
        size_t i = 0;

        while (i < n && strcmp(sections[i].key, key) != 0)
                i++;
        if (i == n)
                return (chv_word_in(chv_schema_later(), key) && says_off(value)) ||
                       chv_refuse_key(key, chv_schema_later(), error);
        if (*seen & (1u << i))
                return chv_invalid(error, "%s: is given twice", key);
        *seen |= 1u << i;
        if (g_variant_is_of_type(value, G_VARIANT_TYPE_UNIT))
                return true;
        if (sections[i].list)
                return read_elements(&sections[i], config, value, error);
        return read_element(
                        &sections[i], chv_section_element(&sections[i], config, 0), value,
                        config->arena, key, error);
}

ChvConfig *chv_config_from_variant(GVariant *dict, GError **error) {
        g_autoptr(ChvConfig) config = chv_config_new();
        uint32_t seen = 0;

        if (!g_variant_is_of_type(dict, G_VARIANT_TYPE_VARDICT)) {
                chv_invalid(error, "the configuration must be an object");
                return NULL;
        }
        for (size_t i = 0; i < g_variant_n_children(dict); i++) {
                g_autoptr(GVariant) entry = g_variant_get_child_value(dict, i);
                g_autoptr(GVariant) key = g_variant_get_child_value(entry, 0);
                g_autoptr(GVariant) boxed = g_variant_get_child_value(entry, 1);
                g_autoptr(GVariant) value = chv_variant_unbox(boxed);

                if (!read_section(config, g_variant_get_string(key, NULL), value, &seen, error))
                        return NULL;
        }
        return g_steal_pointer(&config);
}

static GVariant *write_element(const ChvSection *section, const void *element) {
        g_auto(GVariantBuilder) builder = G_VARIANT_BUILDER_INIT(G_VARIANT_TYPE_VARDICT);

        for (size_t i = 0; i < section->n_options; i++) {
                GVariant *value = chv_value_get(&section->options[i], element);

                if (value)
                        g_variant_builder_add(&builder, "{sv}", section->options[i].key, value);
        }
        return g_variant_builder_end(&builder);
}

GVariant *chv_config_to_variant(const ChvConfig *config) {
        g_auto(GVariantBuilder) builder = G_VARIANT_BUILDER_INIT(G_VARIANT_TYPE_VARDICT);
        size_t n;
        const ChvSection *sections = chv_schema(&n);

        for (size_t i = 0; i < n; i++) {
                const ChvSection *section = &sections[i];
                size_t count = chv_section_count(section, config);
                g_autoptr(GVariant) value = NULL;

                if (section->list) {
                        g_auto(GVariantBuilder) list =
                                        G_VARIANT_BUILDER_INIT(G_VARIANT_TYPE("aa{sv}"));

                        for (size_t j = 0; j < count; j++)
                                g_variant_builder_add_value(
                                                &list,
                                                write_element(section,
                                                              chv_section_element(
                                                                              section, config, j)));
                        value = g_variant_builder_end(&list);
                } else
                        value = write_element(section, chv_section_element(section, config, 0));
                g_variant_ref_sink(value);
                if (g_variant_n_children(value) > 0)
                        g_variant_builder_add(&builder, "{sv}", section->key, value);
        }
        return g_variant_builder_end(&builder);
}

bool chv_config_pins_memory(const ChvConfig *config) {
        for (size_t i = 0; i < config->n_disks; i++)
                if (config->disks[i].registered_buffers)
                        return true;
        return false;
}
