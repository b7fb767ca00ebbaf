/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What the tables of verbs and options say, as text for people and as words for shells. Nothing said to a shell is an error; who
 * presses Tab wants no message.
 */

#include <stdio.h>
#include <string.h>

#include "daemon/image/arguments.h"
#include "devices/block/image/image.h"

static void append_row(GString *out, const char *left, const char *right) {
        int width = (int) (strlen(left) - (size_t) g_utf8_strlen(left, -1)) + 34;

        g_string_append_printf(out, "  %-*s %s\n", width, left, right);
}

static void append_option(GString *out, const Option *option) {
        g_autofree char *left = NULL;
        char letter[5] = "    ";

        if (option->letter)
                (void) g_snprintf(letter, sizeof(letter), "-%c, ", option->letter);
        left =
                        g_strdup_printf("%s--%s%s%s", letter, option->name,
                                        option->parameter ? " " : "", option->parameter ?: "");
        append_row(out, left, option->doc);
}

char *help_text(const Verb *verb) {
        GString *out = g_string_new(NULL);
        size_t n;

        if (verb) {
                const Option *all = options(&n);

                g_string_append_printf(
                                out, "chvctl image %s [OPTION]... %s\n\n%c%s.\n\nOptions:\n",
                                verb->name, verb->arguments, g_ascii_toupper(verb->summary[0]),
                                verb->summary + 1);
                for (size_t i = 0; i < n; i++)
                        if (option_is_of(&all[i], verb))
                                append_option(out, &all[i]);
        } else {
                const Verb *all = verbs(&n);

                g_string_append(out, "chvctl image VERB [OPTION]... [FILE]...\n\nVerbs:\n");
                for (size_t i = 0; i < n; i++) {
                        g_autofree char *left =
                                        g_strdup_printf("%s %s", all[i].name, all[i].arguments);

                        append_row(out, left, all[i].summary);
                }
                g_string_append(out,
                                "\nchvctl image VERB --help explains a verb. Sizes are bytes, or "
                                "have K, M, G or T behind them.\n");
        }
        return g_string_free(out, FALSE);
}

static void offer(const char *word, const char *prefix, const char *candidate, const char *doc) {
        g_autofree char *whole = g_strconcat(prefix, candidate, NULL);

        if (g_str_has_prefix(whole, word))
                printf("%s\t%s\n", whole, doc ?: "");
}

static void offer_verbs(const char *word) {
        size_t n;
        const Verb *all = verbs(&n);

        for (size_t i = 0; i < n; i++)
                offer(word, "", all[i].name, all[i].summary);
}

static void offer_options(const char *word, const Verb *verb) {
        size_t n;
        const Option *all = options(&n);

        for (size_t i = 0; i < n; i++)
                if (option_is_of(&all[i], verb))
                        offer(word, "--", all[i].name, all[i].doc);
}

/* Keys of the format that is named on the line, words behind one. */
static void offer_format_options(const char *word, const char *prefix, const char *format) {
        const struct image_format *found = format ? image_format_by_name(format) : NULL;
        const char *text = word + strlen(prefix), *comma = strrchr(text, ',');
        g_autofree char *before = g_strndup(word, (size_t) ((comma ? comma + 1 : text) - word));

        for (const struct image_option_spec *o = found ? found->options : NULL; o && o->name; o++) {
                g_autofree char *key = g_strconcat(o->name, "=", NULL);
                g_autofree char *whole = g_strconcat(before, key, NULL);
                g_auto(GStrv) values = g_strsplit(o->values ?: "", "|", -1);

                if (!g_str_has_prefix(word, whole)) {
                        puts(":nospace");
                        offer(word, before, key, o->help);
                }
                for (char **value = values; g_str_has_prefix(word, whole) && *value; value++)
                        if (g_ascii_islower((*value)[0]))
                                offer(word, whole, *value, NULL);
        }
}

static void
offer_value(const char *word, const char *prefix, const Option *option, const char *format) {
        g_auto(GStrv) choices = g_strsplit(option->parameter, "|", -1);

        if (strcmp(option->parameter, "FORMAT") == 0)
                for (size_t i = 0; image_formats[i]; i++)
                        offer(word, prefix, image_formats[i]->name, image_formats[i]->description);
        else if (strcmp(option->parameter, "FILE") == 0)
                printf(":files %s\n", prefix);
        else if (option->id == OPTION_OPTIONS)
                offer_format_options(word, prefix, format);
        else
                for (char **choice = choices; *choice; choice++)
                        if (g_ascii_islower((*choice)[0]))
                                offer(word, prefix, *choice, NULL);
}

/* "--name", "--name=…" or "-n". */
static const Option *find_option(const char *word, const Verb *verb) {
        size_t n, length = strcspn(word, "=");
        const Option *all = options(&n);

        for (size_t i = 0; i < n; i++)
                if (option_is_of(&all[i], verb) &&
                    (word[1] == '-' ? strlen(all[i].name) == length - 2 &&
                                                      strncmp(word + 2, all[i].name, length - 2) ==
                                                                      0
                                    : word[1] && word[1] == all[i].letter && !word[2]))
                        return &all[i];
        return NULL;
}

int complete(char **words) {
        const Verb *verb = words[0] && words[1] ? verb_find(words[0]) : NULL;
        const Option *option = NULL;
        const char *format = NULL, *word;
        unsigned arguments = 0;

        if (!words[0] || !words[1]) {
                offer_verbs(words[0] ?: "");
                return 0;
        }
        for (words++; verb && words[1]; words++) {
                const Option *before = option;

                option = NULL;
                if (before) {
                        if (before->id == OPTION_TARGET_FORMAT ||
                            (before->id == OPTION_FORMAT && strcmp(verb->name, "create") == 0))
                                format = *words;
                } else if (words[0][0] != '-')
                        arguments++;
                else if (!strchr(*words, '=')) {
                        option = find_option(*words, verb);
                        if (option && !option->parameter)
                                option = NULL;
                }
        }
        word = *words;
        if (!verb)
                return 0;
        if (option)
                offer_value(word, "", option, format);
        else if (word[0] == '-' && strchr(word, '=')) {
                g_autofree char *prefix = g_strndup(word, strcspn(word, "=") + 1);

                option = find_option(word, verb);
                if (option && option->parameter)
                        offer_value(word, prefix, option, format);
        } else if (word[0] == '-')
                offer_options(word, verb);
        else if (arguments < verb->n_files)
                puts(":files ");
        return 0;
}
