/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The command line: a verb, its options and its words, in any order. Two tables say everything: which verbs there are, and which
 * options each of them knows. A letter may mean different things to different verbs, as people know it from qemu-img. Help
 * and completion come from the same tables.
 */

#include "daemon/image/arguments.h"

#include <string.h>

#include "daemon/image/verbs.h"
#include "hypervisor/error.h"

static const Verb verb_table[] = {
        { "create", "FILE [SIZE]", "make an image", 1, 2, 1, 1, verb_create_use, verb_create },
        { "info", "FILE", "show what an image is", 1, 1, 1, 1, NULL, verb_info },
        { "check", "FILE", "look for faults, and repair them", 1, 1, 1, 1, verb_check_use,
          verb_check },
        { "convert", "SOURCE TARGET", "copy an image to another format", 2, 2, 2, 1,
          verb_convert_use, verb_convert },
        { "resize", "FILE [+|-]SIZE", "make an image larger or smaller", 2, 2, 1, 1,
          verb_resize_use, verb_resize },
        { "snapshot", "FILE", "list, make, go back to and delete snapshots in an image", 1, 1, 1, 1,
          verb_snapshot_use, verb_snapshot },
        { "map", "FILE", "show what lies where", 1, 1, 1, 1, NULL, verb_map },
        { "compare", "FILE FILE", "whether two images have the same content", 2, 2, 2, 2, NULL,
          verb_compare },
        { "formats", "", "list the formats there are", 0, 0, 0, 1, NULL, verb_formats },
};

#define READERS "info check convert resize snapshot map compare"

static const Option option_table[] = {
        { OPTION_FORMAT, "format", 'f', "FORMAT", "create", "format of the new image (raw)" },
        { OPTION_FORMAT, "format", 'f', "FORMAT", READERS,
          "format of the image; one that is only recognised gets at no other files" },
        { OPTION_SECOND_FORMAT, "second-format", 'F', "FORMAT", "compare",
          "the same of the second image" },
        { OPTION_TARGET_FORMAT, "target-format", 'O', "FORMAT", "convert",
          "format of the target (raw)" },
        { OPTION_BACKING, "backing", 'b', "FILE", "create",
          "image whose content shows through; relative to the new image's folder" },
        { OPTION_BACKING_FORMAT, "backing-format", 'F', "FORMAT", "create", "its format" },
        { OPTION_OPTIONS, "options", 'o', "KEY=VALUE,…", "create convert",
          "options of the format; help lists them" },
        { OPTION_JSON, "json", 0, NULL, "info check snapshot map compare formats", "print JSON" },
        { OPTION_FORCE_SHARE, "force-share", 'U', NULL, "info check convert snapshot map compare",
          "read an image even though it is being written; what is read may be wrong" },
        { OPTION_BACKING_CHAIN, "backing-chain", 0, NULL, "info",
          "also the images that show through" },
        { OPTION_REPAIR, "repair", 'r', "leaks|all", "check",
          "repair what is allocated and not used, or everything" },
        { OPTION_FORCE, "force", 0, NULL, "create convert", "overwrite a file that is not empty" },
        { OPTION_NO_CREATE, "no-create", 'n', NULL, "convert",
          "the target is there, and large enough; write into it" },
        { OPTION_COMPRESS, "compress", 'c', NULL, "convert",
          "compress what is written; of formats that can, qcow2" },
        { OPTION_PROGRESS, "progress", 'p', NULL, "convert compare",
          "show progress, also when that does not go to a terminal" },
        { OPTION_QUIET, "quiet", 'q', NULL, "create check convert resize compare",
          "say nothing but errors" },
        { OPTION_SHRINK, "shrink", 0, NULL, "resize", "let the end of the image be cut off" },
        { OPTION_LIST, "list", 'l', NULL, "snapshot", "list them" },
        { OPTION_CREATE, "create", 'c', "NAME", "snapshot", "make one" },
        { OPTION_APPLY, "apply", 'a', "NAME", "snapshot", "go back to one" },
        { OPTION_DELETE, "delete", 'd', "NAME", "snapshot", "delete one" },
        { OPTION_STRICT, "strict", 's', NULL, "compare", "images of different sizes differ" },
        { OPTION_HELP, "help", 'h', NULL, "create " READERS " formats", "show help and exit" },
};

const Verb *verbs(size_t *ret_n) {
        *ret_n = G_N_ELEMENTS(verb_table);
        return verb_table;
}

const Verb *verb_find(const char *name) {
        for (size_t i = 0; i < G_N_ELEMENTS(verb_table); i++)
                if (strcmp(verb_table[i].name, name) == 0)
                        return &verb_table[i];
        return NULL;
}

const Option *options(size_t *ret_n) {
        *ret_n = G_N_ELEMENTS(option_table);
        return option_table;
}

bool option_is_of(const Option *option, const Verb *verb) {
        g_auto(GStrv) names = g_strsplit(option->verbs, " ", -1);

        return g_strv_contains((const char *const *) names, verb->name);
}

static bool wrong(GError **error, const char *format, ...) G_GNUC_PRINTF(2, 3);

static bool wrong(GError **error, const char *format, ...) {
        va_list args;

        va_start(args, format);
        if (error)
                *error = g_error_new_valist(HV_ERROR, HV_ERROR_INVALID, format, args);
        va_end(args);
        return false;
}

static const Option *find(const Verb *verb, const char *name, char letter) {
        for (size_t i = 0; i < G_N_ELEMENTS(option_table); i++) {
                const Option *option = &option_table[i];

                if ((name ? strcmp(option->name, name) == 0 : option->letter == letter) &&
                    option_is_of(option, verb))
                        return option;
        }
        return NULL;
}

/* value: what stood in the same word, or NULL. */
static bool
take(Arguments *arguments, const Option *option, const char *value, char ***next, GError **error) {
        char **place = &arguments->values[option->id];

        if (!option->parameter && value)
                return wrong(error, "--%s takes no value", option->name);
        if (option->parameter && !value) {
                value = **next;
                if (!value)
                        return wrong(error, "--%s needs a value: %s", option->name,
                                     option->parameter);
                (*next)++;
        }
        if (*place && option->parameter && option->id != OPTION_OPTIONS)
                return wrong(error, "--%s is given twice", option->name);
        if (*place && option->parameter) {
                g_autofree char *before = *place;

                *place = g_strconcat(before, ",", value, NULL);
        } else if (!*place)
                *place = g_strdup(value ?: "");
        return true;
}

static bool take_long(Arguments *arguments, const char *text, char ***next, GError **error) {
        const char *equals = strchr(text, '=');
        g_autofree char *name = g_strndup(text, equals ? (size_t) (equals - text) : strlen(text));
        const Option *option = find(arguments->verb, name, 0);

        if (!option)
                return wrong(error, "'%s' does not know --%s", arguments->verb->name, name);
        return take(arguments, option, equals ? equals + 1 : NULL, next, error);
}

static bool take_letters(Arguments *arguments, const char *letters, char ***next, GError **error) {
        for (const char *p = letters; *p; p++) {
                const Option *option = find(arguments->verb, NULL, *p);

                if (!option)
                        return wrong(error, "'%s' does not know -%c", arguments->verb->name, *p);
                if (option->parameter)
                        return take(arguments, option, p[1] ? p + 1 : NULL, next, error);
                if (!take(arguments, option, NULL, next, error))
                        return false;
        }
        return true;
}

static bool check_count(const Arguments *arguments, GError **error) {
        const Verb *verb = arguments->verb;

        if (has(arguments, OPTION_HELP) ||
            g_strcmp0(arguments->values[OPTION_OPTIONS], "help") == 0)
                return true;
        if (arguments->words->len > verb->max)
                return wrong(error, "'%s' is one argument too many; usage: chvctl image %s %s",
                             word(arguments, verb->max), verb->name, verb->arguments);
        if (arguments->words->len < verb->min)
                return wrong(error, "usage: chvctl image %s %s", verb->name, verb->arguments);
        for (unsigned i = 0; i < verb->n_files; i++)
                if (!*word(arguments, i))
                        return wrong(error, "the name of a file is empty");
        return true;
}

bool arguments_parse(char **words, Arguments *ret, GError **error) {
        bool only_words = false;

        ret->words = g_ptr_array_new_with_free_func(g_free);
        if (!*words)
                return wrong(error, "which verb? See chvctl image --help");
        ret->verb = verb_find(*words);
        if (!ret->verb)
                return wrong(error, "unknown verb '%s'; see chvctl image --help", *words);
        for (words++; *words;) {
                const char *text = *words++;

                /* "-1G" is a size. */
                if (only_words || text[0] != '-' || !text[1] || g_ascii_isdigit(text[1]))
                        g_ptr_array_add(ret->words, g_strdup(text));
                else if (strcmp(text, "--") == 0)
                        only_words = true;
                else if (text[1] == '-' ? !take_long(ret, text + 2, &words, error)
                                        : !take_letters(ret, text + 1, &words, error))
                        return false;
        }
        return check_count(ret, error);
}

void arguments_clear(Arguments *arguments) {
        for (unsigned i = 0; i < OPTION_MAX; i++)
                g_free(arguments->values[i]);
        if (arguments->words)
                g_ptr_array_unref(arguments->words);
}
