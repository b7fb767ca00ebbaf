/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Changes of a device that is there: which options may change while a machine runs is in the schema, and everything else about them is as
 * when the configuration was read. An option that is not named keeps its value; 0, off or an empty text take it back.
 */

#include <string.h>

#include "dbus/codec.h"

/* What has no place on PCI is no device. */
static bool is_device(const ChvSection *section) {
        return chv_section_option(section, "pci_segment", /* cli= */ false) != NULL;
}

/* The section and element of the device, or group, which have their own names; NULL: there is none. */
static const ChvSection *
find_element(ChvConfig *config, const char *id, bool device, void **ret_element) {
        size_t n;
        const ChvSection *sections = chv_schema(&n);

        for (size_t i = 0; i < n; i++) {
                const ChvOption *row = chv_section_option(&sections[i], "id", /* cli= */ false);

                if (!row || is_device(&sections[i]) != device)
                        continue;
                for (size_t k = 0; k < chv_section_count(&sections[i], config); k++) {
                        char *element = chv_section_element(&sections[i], config, k);

                        if (g_strcmp0(*(char **) (void *) (element + row->offset), id) != 0)
                                continue;
                        *ret_element = element;
                        return &sections[i];
                }
        }
        return NULL;
}

static bool all_live(const ChvSection *section, GVariant *const *values, GError **error) {
        for (size_t i = 0; i < section->n_options; i++)
                if (values[i] && !section->options[i].live) {
                        chv_invalid(error, "%s: cannot be changed while the machine runs",
                                    section->options[i].key);
                        return false;
                }
        return true;
}

static bool
update(ChvConfig *config,
       const ChvSection *section,
       void *element,
       GVariant *changes,
       GError **error) {
        g_autofree GVariant **values = NULL;
        bool good;

        values = g_new0(GVariant *, section->n_options);
        good = chv_section_collect(section, changes, values, error) &&
               all_live(section, values, error);
        if (!good)
                g_prefix_error(error, "%s: ", section->key);
        else
                good = chv_section_apply(
                                section, element, values, config->arena, section->key,
                                /* cli= */ false, error);
        for (size_t i = 0; i < section->n_options; i++)
                g_clear_pointer(&values[i], g_variant_unref);
        return good;
}

bool chv_config_update(ChvConfig *config, const char *id, GVariant *changes, GError **error) {
        g_autofree char *quoted = chv_quote_text(id);
        void *element = NULL;
        const ChvSection *section = find_element(config, id, /* device= */ true, &element);

        if (!section)
                return chv_invalid(error, "device %s: has no options that can be changed", quoted);
        return update(config, section, element, changes, error);
}

bool chv_config_update_group(ChvConfig *config, const char *id, GVariant *changes, GError **error) {
        g_autofree char *quoted = chv_quote_text(id);
        void *element = NULL;
        const ChvSection *section = find_element(config, id, /* device= */ false, &element);

        if (!section)
                return chv_invalid(error, "rate_limit_groups: there is no group %s", quoted);
        return update(config, section, element, changes, error);
}

/* The first of the name: they have one type wherever they are, and whether the device has them the service knows. */
static const ChvOption *find_live(const char *key) {
        size_t n;
        const ChvSection *sections = chv_schema(&n);

        for (size_t i = 0; i < n; i++) {
                const ChvOption *option = chv_section_option(&sections[i], key, /* cli= */ true);

                if (option && option->live)
                        return option;
        }
        return NULL;
}

bool chv_config_add_change(GVariantDict *changes, const char *word, GError **error) {
        const char *equals = strchr(word, '=');
        g_autofree char *key = g_strndup(word, strcspn(word, "="));
        g_autofree char *quoted = chv_quote_text(word);
        const ChvOption *option = find_live(key);
        GVariant *value;

        if (!equals)
                return chv_invalid(error, "%s is not KEY=VALUE", quoted);
        if (!option)
                return chv_invalid(error, "%s: cannot be changed while the machine runs", key);
        if (g_variant_dict_contains(changes, option->key))
                return chv_invalid(error, "'%s' is given twice", key);
        value = chv_text_parse(option, equals + 1, error);
        if (!value) {
                g_prefix_error(error, "%s: ", key);
                return false;
        }
        g_variant_dict_insert_value(changes, option->key, value);
        return true;
}

ChvConfig *chv_config_copy(const ChvConfig *config) {
        g_autoptr(GVariant) dict = g_variant_ref_sink(chv_config_to_variant(config));
        ChvConfig *copy = chv_config_from_variant(dict, /* error= */ NULL);

        chv_config_complete(copy);
        if (config->name)
                chv_config_set_name(copy, config->name);
        return copy;
}
