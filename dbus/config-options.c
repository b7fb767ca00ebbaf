/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A configuration as the reference's option strings: "--cpus boot=2,max=4 --disk path=/d.img,readonly=on". Each string
 * adds one element to a list, or changes what it names in a section that there is once. The four strings of the payload
 * have no keys and no quoting: the whole value is taken as it is.
 */

#include <string.h>

#include "dbus/codec.h"

static bool
take_bare(const ChvSection *section,
          ChvConfig *config,
          const ChvOption *option,
          const char *value,
          GError **error) {
        g_autoptr(GVariant) text = NULL;

        if (!g_utf8_validate(value, -1, NULL))
                return chv_invalid(error, "--%s: is not valid UTF-8", option->key);
        text = g_variant_ref_sink(g_variant_new_string(value));
        if (chv_value_set(option, chv_section_element(section, config, 0), text, config->arena,
                          error))
                return true;
        g_prefix_error(error, "--%s: ", option->key);
        return false;
}

/* "off" alone is "mode=off", and a path brings its mode along. */
static bool
implied_mode(const ChvSection *section,
             const ChvOption *option,
             GVariant **values,
             GError **error) {
        const ChvOption *mode = &section->options[0];
        const char *word;

        if (option->type == CHV_OPT_CONSOLE_FILE)
                word = "file";
        else if (option->type == CHV_OPT_CONSOLE_SOCKET)
                word = "socket";
        else
                return true;
        if (values[0])
                return chv_invalid(
                                error, "'%s' and another %s are both given", option->key,
                                mode->key);
        values[0] = g_variant_ref_sink(g_variant_new_string(word));
        return true;
}

static bool
take_word(const ChvSection *section, const char *word, GVariant **values, GError **error) {
        const char *equals = strchr(word, '=');
        g_autofree char *key = g_strndup(word, equals ? (size_t) (equals - word) : strlen(word));
        g_autofree char *quoted = chv_quote_text(word);
        const ChvOption *option = chv_section_option(section, key, /* cli= */ true);
        GVariant *value;
        size_t row;

        if (!equals && section->options[0].type == CHV_OPT_CONSOLE_MODE) {
                option = &section->options[0];
                equals = word - 1;
                if (strcmp(word, "file") == 0 || strcmp(word, "socket") == 0)
                        return chv_invalid(error, "%s needs a path: %s=PATH", quoted, word);
        }
        if (!equals)
                return chv_invalid(
                                error, option ? "%s needs a value" : "%s is not key=value", quoted);
        if (!option)
                return chv_refuse_key(key, section->later, error);
        row = (size_t) (option - section->options);
        if (values[row])
                return chv_invalid(
                                error, "'%s' is given twice",
                                option->cli ? option->cli : option->key);
        value = chv_text_parse(option, equals + 1, error);
        if (!value) {
                g_prefix_error(error, "%s: ", option->cli ? option->cli : option->key);
                return false;
        }
        values[row] = g_variant_ref_sink(value);
        return implied_mode(section, option, values, error);
}

static bool
take_words(const ChvSection *section, const char *value, GVariant **values, GError **error) {
        g_auto(GStrv) words = NULL;

        if (!value[0])
                return true;
        words = chv_text_split(value, ',', error);
        if (!words)
                return false;
        for (char **word = words; *word; word++)
                if (!take_word(section, *word, values, error))
                        return false;
        return true;
}

static bool
take_section(const ChvSection *section, ChvConfig *config, const char *value, GError **error) {
        g_autofree GVariant **values = g_new0(GVariant *, section->n_options);
        bool good = take_words(section, value, values, error);
        void *element = NULL;

        if (good) {
                element = section->list ? chv_section_add(section, config, error)
                                        : chv_section_element(section, config, 0);
                good = element != NULL;
        }
        if (!good)
                g_prefix_error(error, "--%s ", section->cli);
        else
                good = chv_section_apply(
                                section, element, values, config->arena, section->cli,
                                /* cli= */ true, error);
        if (!good && section->list && element)
                ((ChvList *) (void *) ((char *) config + section->offset))->n--;
        for (size_t i = 0; i < section->n_options; i++)
                g_clear_pointer(&values[i], g_variant_unref);
        return good;
}

bool chv_config_add_option(
                ChvConfig *config, const char *section, const char *value, GError **error) {
        size_t n;
        const ChvSection *sections = chv_schema(&n);
        g_autofree char *quoted = NULL;

        for (size_t i = 0; i < n; i++) {
                const ChvOption *option;

                if (!sections[i].bare) {
                        if (strcmp(sections[i].cli, section) == 0)
                                return take_section(&sections[i], config, value, error);
                        continue;
                }
                option = chv_section_option(&sections[i], section, /* cli= */ true);
                if (option)
                        return take_bare(&sections[i], config, option, value, error);
        }
        quoted = chv_quote_text(section);
        return chv_invalid(error, "unknown section %s", quoted);
}

/* "key=value,…" of what is not at its default. */
static char *format_element(const ChvSection *section, const void *element) {
        GString *out = g_string_new(NULL);
        const ChvConsoleConfig *console =
                        section->options[0].type == CHV_OPT_CONSOLE_MODE ? element : NULL;

        for (size_t i = 0; i < section->n_options; i++) {
                const ChvOption *option = &section->options[i];
                g_autoptr(GVariant) value = chv_value_get(option, element);
                g_autofree char *text = NULL;

                if (!value)
                        continue;
                g_variant_ref_sink(value);
                if (console && option->type == CHV_OPT_CONSOLE_MODE && console->path &&
                    (console->mode == CHV_CONSOLE_FILE || console->mode == CHV_CONSOLE_SOCKET))
                        continue;
                text = chv_text_format(option, value);
                if (out->len > 0)
                        g_string_append_c(out, ',');
                if (option->type != CHV_OPT_CONSOLE_MODE)
                        g_string_append_printf(out, "%s=", option->cli ? option->cli : option->key);
                g_string_append(out, text);
        }
        return g_string_free(out, FALSE);
}

static void add_bare(const ChvSection *section, const void *element, GStrvBuilder *argv) {
        for (size_t i = 0; i < section->n_options; i++) {
                g_autoptr(GVariant) value = chv_value_get(&section->options[i], element);
                g_autofree char *name = g_strconcat("--", section->options[i].key, NULL);

                if (!value)
                        continue;
                g_variant_ref_sink(value);
                g_strv_builder_add(argv, name);
                g_strv_builder_add(argv, g_variant_get_string(value, NULL));
        }
}

char **chv_config_to_options(const ChvConfig *config) {
        g_autoptr(GStrvBuilder) argv = g_strv_builder_new();
        size_t n;
        const ChvSection *sections = chv_schema(&n);

        for (size_t i = 0; i < n; i++) {
                const ChvSection *section = &sections[i];

                if (section->bare) {
                        add_bare(section, chv_section_element(section, config, 0), argv);
                        continue;
                }
                for (size_t j = 0; j < chv_section_count(section, config); j++) {
                        g_autofree char *text = format_element(
                                        section, chv_section_element(section, config, j));
                        g_autofree char *name = g_strconcat("--", section->cli, NULL);

                        if (!text[0] && !section->list)
                                continue;
                        g_strv_builder_add(argv, name);
                        g_strv_builder_add(argv, text);
                }
        }
        return g_strv_builder_end(argv);
}
