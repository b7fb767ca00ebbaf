/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What the completions of shells ask: everything they offer comes from the tables of commands and options, the schema
 * and the service. Nothing said here is an error; who presses Tab wants no message.
 *
 * Each line of the answer is a whole word, a tab, and what it means. Two lines are something else: ":nospace" says that
 * the words offered may go on, ":files PREFIX" that what follows PREFIX in the word is the name of a file.
 *
 * What an argument may be is read from the row of its command: NAME is a virtual machine unless the command makes a
 * new one, NEW a name that is made up, FILE a file, USER a user of this host, COMMAND and SECTION what they say,
 * DEVICE a device of the machine before it, DISK a disk of it, GROUP a group of limits of it, SIZE what nobody can guess, KEY=VALUE a limit, OPTION=VALUE what may change while a machine runs, words in small
 * letters themselves.
 */

#include "chvctl/complete.h"

#include <pwd.h>
#include <stdio.h>
#include <string.h>

#include "chvctl/arguments.h"
#include "chvctl/bus.h"
#include "chvctl/image.h"
#include "dbus/limit.h"
#include "dbus/schema.h"

/* A service that does not answer is not waited for: milliseconds. */
#define PATIENCE 2000

typedef struct {
        const char *word;
        const Command *command; /* NULL: not named yet */
        bool lost;              /* an unknown command is named */
        GPtrArray *arguments;   /* before the word, borrowed */
        const char *option;     /* whose value the word is; NULL: none */
        const ChvSection *list; /* an option before it that takes several values; NULL: none */
        char **passed_on;       /* words behind a command that explains itself; NULL: none */
        Options options;        /* as far as they say which service to ask */
} Line;

static void offer(const Line *line, const char *candidate, const char *doc) {
        if (g_str_has_prefix(candidate, line->word))
                printf("%s\t%s\n", candidate, doc ?: "");
}

static void offer_behind(const Line *line, const char *prefix, const char *rest, const char *doc) {
        g_autofree char *candidate = g_strconcat(prefix, rest, NULL);

        offer(line, candidate, doc);
}

/* "--name" or "-n". */
static const OptionInfo *find_info(const char *word) {
        size_t n;
        const OptionInfo *infos = option_infos(&n);

        for (size_t i = 0; i < n; i++)
                if (word[1] == '-' ? strcmp(word + 2, infos[i].name) == 0
                                   : word[1] && word[1] == infos[i].letter && !word[2])
                        return &infos[i];
        return NULL;
}

/* A section's option on the command line, or an option of a bare section: *ret_option. */
static const ChvSection *find_section(const char *name, const ChvOption **ret_option) {
        size_t n;
        const ChvSection *sections = chv_schema(&n);

        *ret_option = NULL;
        for (size_t i = 0; i < n; i++) {
                if (g_strcmp0(sections[i].cli, name) == 0 && !sections[i].bare)
                        return &sections[i];
                for (size_t j = 0; sections[i].bare && j < sections[i].n_options; j++)
                        if (strcmp(sections[i].options[j].key, name) == 0) {
                                *ret_option = &sections[i].options[j];
                                return &sections[i];
                        }
        }
        return NULL;
}

static bool is_path(const ChvOption *option) {
        return option->type == CHV_OPT_PATH || option->type == CHV_OPT_CONSOLE_FILE ||
               option->type == CHV_OPT_CONSOLE_SOCKET;
}

static const char *cli_key(const ChvOption *option) {
        return option->cli ?: option->key;
}

static void offer_values(const Line *line, const char *prefix, const ChvOption *option) {
        g_auto(GStrv) choices =
                        g_strsplit(option->choices                ? option->choices
                                   : option->type == CHV_OPT_BOOL ? "on off"
                                                                  : "",
                                   " ", -1);
        bool many = option->type == CHV_OPT_FEATURES;

        if (is_path(option))
                printf(":files %s\n", prefix);
        for (char **choice = choices; *choice && **choice; choice++) {
                g_autofree char *text = many ? g_strdup_printf("[%s]", *choice) : NULL;

                /* Modes that need a path are said by giving the path: "file=PATH". */
                if (option->type == CHV_OPT_CONSOLE_MODE &&
                    (strcmp(*choice, "file") == 0 || strcmp(*choice, "socket") == 0))
                        continue;

                offer_behind(line, prefix, text ?: *choice, NULL);
        }
}

/* given: the pairs before, each with a comma behind it. */
static bool is_given(const char *given, const ChvOption *option) {
        g_auto(GStrv) pairs = g_strsplit(given, ",", -1);
        size_t length = strlen(cli_key(option));

        for (char **pair = pairs; *pair; pair++)
                if (strncmp(*pair, cli_key(option), length) == 0 && (*pair)[length] == '=')
                        return true;
        return false;
}

/* An option string: the keys after a comma, the values after a key. prefix stands before it in the word. */
static void complete_string(const Line *line, const char *prefix, const ChvSection *section) {
        const char *string = line->word + strlen(prefix), *comma = strrchr(string, ',');
        const char *pair = comma ? comma + 1 : string, *equals = strchr(pair, '=');
        g_autofree char *given = g_strndup(string, (size_t) (pair - string));
        g_autofree char *before = g_strconcat(prefix, given, NULL);

        /* In a list or a quoted text. */
        if (strchr(string, '"') || (strrchr(string, '[') && !strchr(strrchr(string, '['), ']')))
                return;
        puts(":nospace");
        for (size_t i = 0; i < section->n_options; i++) {
                const ChvOption *option = &section->options[i];
                g_autofree char *key = g_strconcat(cli_key(option), "=", NULL);
                g_autofree char *whole = g_strconcat(before, key, NULL);

                if (equals && g_str_has_prefix(pair, key))
                        offer_values(line, whole, option);
                else if (!equals && option->type == CHV_OPT_CONSOLE_MODE)
                        offer_values(line, before, option);
                else if (!equals && cli_key(option)[0] != '_' && !is_given(given, option))
                        offer(line, whole, option->doc);
        }
}

static void complete_value(const Line *line, const char *name, const char *prefix) {
        const OptionInfo *info = find_info(name);
        const ChvOption *option = NULL;
        const ChvSection *section =
                        g_str_has_prefix(name, "--") ? find_section(name + 2, &option) : NULL;

        if (option)
                offer_values(line, prefix, option);
        else if (section)
                complete_string(line, prefix, section);
        else if (info && g_strcmp0(info->parameter, "FILE") == 0)
                printf(":files %s\n", prefix);
        else if (info && info->parameter && strchr(info->parameter, '|')) {
                g_auto(GStrv) words = g_strsplit(info->parameter, "|", -1);

                for (char **word = words; *word; word++)
                        offer_behind(line, prefix, *word, NULL);
        }
}

static void complete_option(const Line *line) {
        const char *equals = strchr(line->word, '=');
        g_auto(GStrv) known = g_strsplit(
                        line->command && line->command->options ? line->command->options : "", " ",
                        -1);
        size_t n;
        const OptionInfo *infos = option_infos(&n);
        const ChvSection *sections;

        if (equals) {
                g_autofree char *name = g_strndup(line->word, (size_t) (equals - line->word));
                g_autofree char *prefix = g_strconcat(name, "=", NULL);

                complete_value(line, name, prefix);
                return;
        }
        for (size_t i = 0; i < n; i++)
                if (infos[i].common || g_strv_contains((const char *const *) known, infos[i].name))
                        offer_behind(line, "--", infos[i].name, infos[i].doc);
        if (!line->command || !line->command->configures)
                return;
        sections = chv_schema(&n);
        for (size_t i = 0; i < n; i++) {
                if (!sections[i].bare)
                        offer_behind(line, "--", sections[i].cli, sections[i].doc);
                for (size_t j = 0; sections[i].bare && j < sections[i].n_options; j++)
                        offer_behind(line, "--", sections[i].options[j].key,
                                     sections[i].options[j].doc);
        }
}

/* Every object of the service: a{oa{sa{sv}}}; NULL: it does not tell. */
static GVariant *objects_of(const Line *line) {
        g_auto(Bus) bus = { .options = &line->options };
        GDBusConnection *connection =
                        line->options.host ? NULL : bus_connect(&bus, /* error= */ NULL);
        g_autoptr(GVariant) reply = NULL;

        if (connection)
                reply = g_dbus_connection_call_sync(
                                connection, bus_name(connection), ROOT_PATH,
                                "org.freedesktop.DBus.ObjectManager", "GetManagedObjects",
                                /* parameters= */ NULL, G_VARIANT_TYPE("(a{oa{sa{sv}}})"),
                                G_DBUS_CALL_FLAGS_NONE, PATIENCE, /* cancellable= */ NULL,
                                /* error= */ NULL);
        return reply ? g_variant_get_child_value(reply, 0) : NULL;
}

/* Calls fn with the properties of each object that has the interface. */
static void
for_each(const Line *line,
         const char *interface,
         void (*fn)(const Line *line, const char *path, GVariant *properties, gpointer data),
         gpointer data) {
        g_autoptr(GVariant) objects = objects_of(line);
        GVariant *interfaces;
        const char *path;
        GVariantIter iter;

        if (!objects)
                return;
        g_variant_iter_init(&iter, objects);
        while (g_variant_iter_next(&iter, "{&o@a{sa{sv}}}", &path, &interfaces)) {
                g_autoptr(GVariant) owned = interfaces;
                g_autoptr(GVariant) properties =
                                g_variant_lookup_value(owned, interface, G_VARIANT_TYPE_VARDICT);

                if (properties)
                        fn(line, path, properties, data);
        }
}

static void offer_name(const Line *line, const char *path, GVariant *vm, gpointer data) {
        const char *name, *state;

        if (g_variant_lookup(vm, "Name", "&s", &name) &&
            g_variant_lookup(vm, "State", "&s", &state))
                offer(line, name, state);
}

static void offer_names(const Line *line) {
        for_each(line, VM_INTERFACE, offer_name, /* data= */ NULL);
}

static void find_name(const Line *line, const char *path, GVariant *vm, gpointer data) {
        char **ret_path = data;
        const char *name;

        if (g_variant_lookup(vm, "Name", "&s", &name) &&
            g_str_equal(name, g_ptr_array_index(line->arguments, 0)) && !*ret_path)
                *ret_path = g_strdup(path);
}

static void offer_device(const Line *line, const char *path, GVariant *device, gpointer data) {
        const char *vm, *id, *kind;

        if (g_variant_lookup(device, "VM", "&o", &vm) && g_str_equal(vm, data) &&
            g_variant_lookup(device, "ID", "&s", &id) &&
            g_variant_lookup(device, "Kind", "&s", &kind))
                offer(line, id, kind);
}

static void offer_disk(const Line *line, const char *path, GVariant *device, gpointer data) {
        guint64 size;

        if (g_variant_lookup(device, "Size", "t", &size) && size > 0)
                offer_device(line, path, device, data);
}

/* Those of the machine that the first argument names. */
static void
offer_devices(const Line *line,
              void (*fn)(const Line *line, const char *path, GVariant *device, gpointer data)) {
        g_autofree char *vm = NULL;

        for_each(line, VM_INTERFACE, find_name, &vm);
        if (vm)
                for_each(line, DEVICE_INTERFACE, fn, vm);
}

static void offer_groups_of(const Line *line, GVariant *config) {
        g_autoptr(GVariant) groups = g_variant_lookup_value(
                        config, "rate_limit_groups", G_VARIANT_TYPE("aa{sv}"));
        GVariant *group;
        GVariantIter iter;
        const char *id;

        if (!groups)
                return;
        g_variant_iter_init(&iter, groups);
        while (g_variant_iter_next(&iter, "@a{sv}", &group)) {
                g_autoptr(GVariant) owned = group;

                if (g_variant_lookup(owned, "id", "&s", &id))
                        offer(line, id, NULL);
        }
}

/* Groups of limits of the machine that the first argument names; its configuration is not everybody's. */
static void offer_groups(const Line *line) {
        g_auto(Bus) bus = { .options = &line->options };
        g_autoptr(GVariant) reply = NULL, config = NULL;
        g_autofree char *vm = NULL;
        GDBusConnection *connection;

        for_each(line, VM_INTERFACE, find_name, &vm);
        connection = vm ? bus_connect(&bus, /* error= */ NULL) : NULL;
        if (connection)
                reply = g_dbus_connection_call_sync(
                                connection, bus_name(connection), vm, VM_INTERFACE, "GetConfig",
                                g_variant_new("(a{sv})", NULL), G_VARIANT_TYPE("(a{sv})"),
                                G_DBUS_CALL_FLAGS_NONE, PATIENCE, /* cancellable= */ NULL,
                                /* error= */ NULL);
        if (!reply)
                return;
        config = g_variant_get_child_value(reply, 0);
        offer_groups_of(line, config);
}

static void offer_commands(const Line *line) {
        size_t n;
        const Command *all = commands(&n);

        for (size_t i = 0; i < n; i++)
                offer(line, all[i].name, all[i].summary);
}

static void offer_sections(const Line *line) {
        size_t n;
        const ChvSection *sections = chv_schema(&n);

        for (size_t i = 0; i < n; i++)
                if (!sections[i].bare)
                        offer(line, sections[i].cli, sections[i].doc);
}

static void offer_users(const Line *line) {
        const struct passwd *user;

        setpwent();
        while ((user = getpwent()))
                offer(line, user->pw_name, NULL);
        endpwent();
}

static bool is_set(const Line *line, const char *setting) {
        for (guint i = 0; i < line->arguments->len; i++)
                if (g_str_has_prefix(g_ptr_array_index(line->arguments, i), setting))
                        return true;
        return false;
}

/* The keys, or behind one the words that it takes. */
static void offer_settings(const Line *line) {
        bool keys = !strchr(line->word, '=');

        if (keys)
                puts(":nospace");
        for (unsigned i = 0; i < CHV_LIMIT_MAX; i++) {
                const ChvLimit *limit = chv_limit((ChvLimitId) i);
                g_autofree char *key = g_strconcat(limit->key, "=", NULL);
                g_auto(GStrv) words = g_strsplit(limit->words, " ", -1);

                if (is_set(line, key))
                        continue;
                if (keys)
                        offer(line, key, limit->doc);
                for (char **word = words; !keys && *word; word++)
                        offer_behind(line, key, *word, NULL);
                if (!keys)
                        offer_behind(line, key, "default", NULL);
        }
}

/* Options that may change while a machine runs; several sections may have one of the name. */
static void offer_changes(const Line *line) {
        g_autoptr(GHashTable) offered =
                        g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
        size_t n;
        const ChvSection *sections = chv_schema(&n);

        if (strchr(line->word, '='))
                return;
        puts(":nospace");
        for (size_t i = 0; i < n; i++)
                for (size_t j = 0; j < sections[i].n_options; j++) {
                        const ChvOption *option = &sections[i].options[j];
                        g_autofree char *key = g_strconcat(option->cli ?: option->key, "=", NULL);

                        if (option->live && !is_set(line, key) &&
                            g_hash_table_add(offered, g_strdup(key)))
                                offer(line, key, option->doc);
                }
}

/* One of the words that the command's row joins with bars. */
static void complete_kind(const Line *line, const char *kind) {
        if (strcmp(kind, "COMMAND") == 0)
                offer_commands(line);
        else if (strcmp(kind, "SECTION") == 0)
                offer_sections(line);
        else if (strcmp(kind, "FILE") == 0)
                puts(":files ");
        else if (strcmp(kind, "USER") == 0)
                offer_users(line);
        else if (strcmp(kind, "NAME") == 0) {
                if (!line->command->configures)
                        offer_names(line);
        } else if (strcmp(kind, "DEVICE") == 0)
                offer_devices(line, offer_device);
        else if (strcmp(kind, "DISK") == 0)
                offer_devices(line, offer_disk);
        else if (strcmp(kind, "GROUP") == 0)
                offer_groups(line);
        else if (strcmp(kind, "OPTION=VALUE") == 0)
                offer_changes(line);
        else if (strcmp(kind, "KEY=VALUE") == 0)
                offer_settings(line);
        else if (g_ascii_islower(kind[0]))
                offer(line, kind, NULL);
}

static void complete_argument(const Line *line) {
        g_auto(GStrv) places = g_strsplit(line->command->arguments, " ", -1);
        guint n = g_strv_length(places), place = line->arguments->len;
        g_auto(GStrv) kinds = NULL;

        if (line->command->max >= 0 && place >= (guint) line->command->max)
                return;
        if (n > 0 && place >= n && g_str_has_suffix(places[n - 1], "..."))
                place = n - 1;
        if (place >= n)
                return;
        kinds = g_strsplit_set(places[place], "[]|.", -1);
        for (char **kind = kinds; *kind; kind++)
                complete_kind(line, *kind);
}

/* ret_list: the section, if the option goes on taking words with a '=' in them. */
static bool takes_value(const char *word, const ChvSection **ret_list) {
        bool is_long = g_str_has_prefix(word, "--");
        const OptionInfo *info = find_info(word);
        g_autofree char *name = is_long ? g_strndup(word + 2, strcspn(word + 2, "=")) : NULL;
        const ChvOption *option = NULL;
        const ChvSection *section = name ? find_section(name, &option) : NULL;

        *ret_list = section && section->list ? section : NULL;
        if (strchr(word, '='))
                return false;
        return section || (info && info->parameter && !info->optional);
}

static void read_argument(Line *line, const char *word) {
        if (!line->command) {
                line->command = command_find(word);
                line->lost = line->lost || !line->command;
        } else if (line->list && strchr(word, '='))
                return;
        else
                g_ptr_array_add(line->arguments, (char *) word);
        line->list = NULL;
}

/* Which service to ask. */
static void read_service(Line *line, const char *name, const char *value) {
        if (strcmp(name, "--user") == 0)
                line->options.user = true;
        else if (strcmp(name, "--address") == 0)
                line->options.address = (char *) value;
        else if (strcmp(name, "--host") == 0 || strcmp(name, "-H") == 0)
                line->options.host = (char *) value;
}

/* Words of which the line consists before the last one. */
static void read_line(Line *line, char **words) {
        for (; words[1]; words++) {
                const char *word = *words, *equals = strchr(word, '=');
                g_autofree char *name =
                                g_strndup(word, equals ? (size_t) (equals - word) : strlen(word));

                if (word[0] != '-' || !word[1]) {
                        read_argument(line, word);
                        if (line->command && line->command->passes_on) {
                                line->passed_on = words + 1;
                                return;
                        }
                } else if (!takes_value(word, &line->list))
                        read_service(line, name, equals ? equals + 1 : NULL);
                else if (words[2]) {
                        words++;
                        read_service(line, name, *words);
                } else {
                        line->option = word;
                        line->list = NULL;
                }
        }
        line->word = *words;
}

int complete(char **words) {
        g_autoptr(GPtrArray) arguments = g_ptr_array_new();
        Line line = { .arguments = arguments };

        if (!*words)
                return EXIT_OK;
        read_line(&line, words);
        if (line.passed_on)
                (void) image_exec((const char *const[]){ "__complete", NULL }, line.passed_on);
        if (line.lost || line.passed_on)
                return EXIT_OK;
        if (line.option)
                complete_value(&line, line.option, "");
        else if (line.word[0] == '-')
                complete_option(&line);
        else if (!line.command)
                offer_commands(&line);
        else
                complete_argument(&line);
        if (line.list && line.word[0] != '-')
                complete_string(&line, "", line.list);
        return EXIT_OK;
}
