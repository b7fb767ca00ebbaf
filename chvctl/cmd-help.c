/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Help and version. Everything said here about commands, options and the configuration comes from their tables.
 */

#include "config.h"

#include <stdio.h>
#include <string.h>

#include "chvctl/arguments.h"
#include "chvctl/bus.h"
#include "chvctl/fail.h"
#include "chvctl/help.h"
#include "chvctl/output.h"
#include "dbus/limit.h"
#include "dbus/schema.h"

/* The first letter of a sentence; "vCPU" keeps its own. */
static int capital(const char *text) {
        return g_ascii_isupper(text[1]) ? text[0] : g_ascii_toupper(text[0]);
}

static void add_option(Table *table, const OptionInfo *info) {
        char letter[5] = "   ";

        if (info->letter)
                (void) g_snprintf(letter, sizeof(letter), "-%c,", info->letter);
        table_add(table,
                  g_strdup_printf(info->parameter && info->optional ? "  %s --%s[=%s]"
                                  : info->parameter                 ? "  %s --%s %s"
                                                                    : "  %s --%s",
                                  letter, info->name, info->parameter),
                  g_strdup(info->doc));
}

static const char *const two_columns[] = { "", "", NULL };

static void append_table(GString *out, Table *table) {
        g_autofree char *text = table_format(table, /* heads= */ false);

        g_string_append(out, text);
}

static void append_common(GString *out) {
        g_autoptr(Table) table = table_new(two_columns);
        size_t n;
        const OptionInfo *infos = option_infos(&n);

        for (size_t i = 0; i < n; i++)
                if (infos[i].common)
                        add_option(table, &infos[i]);
        append_table(out, table);
}

static void append_sections(GString *out) {
        g_autoptr(Table) table = table_new(two_columns);
        size_t n;
        const ChvSection *sections = chv_schema(&n);

        for (size_t i = 0; i < n; i++) {
                for (size_t j = 0; sections[i].bare && j < sections[i].n_options; j++)
                        table_add(table,
                                  g_strdup_printf("  --%s %s", sections[i].options[j].key,
                                                  chv_option_placeholder(&sections[i].options[j])),
                                  g_strdup(sections[i].options[j].doc));
                if (!sections[i].bare)
                        table_add(table,
                                  g_strdup_printf("  --%s KEY=VALUE,…%s", sections[i].cli,
                                                  sections[i].list ? " …" : ""),
                                  g_strdup(sections[i].doc));
        }
        append_table(out, table);
}

static void append_limits(GString *out) {
        g_autoptr(Table) table = table_new(two_columns);

        for (unsigned i = 0; i < CHV_LIMIT_MAX; i++) {
                const ChvLimit *limit = chv_limit((ChvLimitId) i);
                g_autofree char *fallback = chv_limit_format(limit, limit->fallback);

                table_add(table, g_strdup_printf("  %s=%s", limit->key, limit->values),
                          g_strdup_printf("%s (%s)", limit->doc, fallback));
        }
        g_string_append(out,
                        "\nLimits; nothing behind the '=', or the word default, takes one back:\n");
        append_table(out, table);
}

char *help_overview(void) {
        GString *out = g_string_new("chvctl [OPTION]... COMMAND [NAME]...\n\nCommands:\n");
        g_autoptr(Table) table = table_new(two_columns);
        size_t n;
        const Command *all = commands(&n);

        for (size_t i = 0; i < n; i++)
                table_add(table, g_strdup_printf("  %s %s", all[i].name, all[i].arguments),
                          g_strdup(all[i].summary));
        append_table(out, table);
        g_string_append(out, "\nOptions of every command:\n");
        append_common(out);
        g_string_append(out, "\nchvctl help COMMAND explains a command, chvctl help SECTION a "
                             "section of the configuration"
                             "\n(cpus, memory, disk …).\n");
        return g_string_free(out, FALSE);
}

char *help_command(const Command *command) {
        GString *out = g_string_new(NULL);
        g_auto(GStrv) names = g_strsplit(command->options ? command->options : "", " ", -1);
        g_autoptr(Table) table = table_new(two_columns);
        size_t n;
        const OptionInfo *infos = option_infos(&n);

        g_string_append_printf(
                        out, "chvctl %s%s%s\n\n%c%s.\n", command->name,
                        command->arguments[0] ? " " : "", command->arguments,
                        capital(command->summary), command->summary + 1);
        for (size_t i = 0; i < n; i++)
                if (g_strv_contains((const char *const *) names, infos[i].name))
                        add_option(table, &infos[i]);
        if (command->passes_on) {
                g_string_append_printf(
                                out,
                                "\nchvctl %s --help explains its verbs, chvctl %s VERB --help "
                                "one of them.\n",
                                command->name, command->name);
                return g_string_free(out, FALSE);
        }
        if (command->options) {
                g_string_append(out, "\nOptions:\n");
                append_table(out, table);
        }
        if (strstr(command->arguments, "KEY=VALUE"))
                append_limits(out);
        if (command->configures) {
                g_string_append(out,
                                "\nConfiguration (chvctl help cpus explains --cpus, and so on):\n");
                append_sections(out);
        }
        g_string_append(out, "\nOptions of every command:\n");
        append_common(out);
        return g_string_free(out, FALSE);
}

static void add_key(Table *table, const ChvSection *section, const ChvOption *option) {
        const char *name = option->cli && !section->bare ? option->cli : option->key;
        g_autofree char *values =
                        option->choices ? g_strdelimit(g_strdup(option->choices), " ", '|')
                                        : g_strdup(chv_option_placeholder(option));
        bool shown = option->fallback && strcmp(option->fallback, "-1") != 0;

        table_add(table,
                  section->bare ? g_strdup_printf("  --%s %s", name, values)
                  : option->type == CHV_OPT_CONSOLE_MODE ? g_strdup_printf("  %s", values)
                                                         : g_strdup_printf("  %s=%s", name, values),
                  shown ? g_strdup_printf("%s (%s)", option->doc, option->fallback)
                        : g_strdup(option->doc));
}

char *help_section(const ChvSection *section) {
        GString *out = g_string_new(NULL);
        g_autoptr(Table) table = table_new(two_columns);

        if (section->bare)
                g_string_append_printf(out, "%c%s:\n\n", capital(section->doc), section->doc + 1);
        else
                g_string_append_printf(
                                out, "--%s KEY=VALUE,…\n\n%c%s%s\n\n", section->cli,
                                capital(section->doc), section->doc + 1,
                                section->list ? "; may be given several times." : ".");
        for (size_t i = 0; i < section->n_options; i++)
                add_key(table, section, &section->options[i]);
        append_table(out, table);
        return g_string_free(out, FALSE);
}

/* The payload's options are sections of their own on the command line. */
static const ChvSection *find_section(const char *name) {
        const ChvSection *section = chv_schema_section(name),
                         *payload = chv_schema_section("payload");

        for (size_t i = 0; !section && i < payload->n_options; i++)
                if (strcmp(payload->options[i].key, name) == 0)
                        section = payload;
        return section;
}

ExitStatus cmd_help(Options *options, Bus *bus) {
        const char *topic = argument(options, 0);
        const Command *command = topic ? command_find(topic) : NULL;
        const ChvSection *section;
        g_autofree char *text = NULL;

        if (topic && g_str_has_prefix(topic, "--"))
                topic += 2;
        /* "console" is both: the command, then the section. */
        section = topic ? find_section(topic) : NULL;
        if (topic && !command && !section) {
                g_printerr("chvctl: there is neither a command nor a section '%s'; see chvctl "
                           "help\n",
                           topic);
                return EXIT_USAGE;
        }
        text = command ? help_command(command) : section ? help_section(section) : help_overview();
        (void) fputs(text, stdout);
        if (command && section) {
                g_autofree char *more = help_section(section);

                printf("\n%s", more);
        }
        return EXIT_OK;
}

ExitStatus cmd_version(Options *options, Bus *bus) {
        g_autoptr(GError) error = NULL;
        g_autoptr(GVariant) service =
                        bus_property(bus, MANAGER_PATH, MANAGER_INTERFACE, "Version", &error);
        const char *version = service && g_variant_is_of_type(service, G_VARIANT_TYPE_STRING)
                                              ? g_variant_get_string(service, NULL)
                                              : NULL;

        if (options->json != JSON_OFF) {
                g_auto(GVariantBuilder) dict = G_VARIANT_BUILDER_INIT(G_VARIANT_TYPE_VARDICT);
                g_autoptr(GVariant) whole = NULL;

                g_variant_builder_add_parsed(&dict, "{'client', <%s>}", CHV_VERSION);
                if (version)
                        g_variant_builder_add_parsed(&dict, "{'service', <%s>}", version);
                whole = g_variant_ref_sink(g_variant_builder_end(&dict));
                output_json(options, whole);
                return EXIT_OK;
        }
        puts("chvctl " CHV_VERSION);
        if (version)
                printf("chvd %s\n", version);
        else
                g_printerr("chvd: %s\n", error ? error->message : "no answer");
        return EXIT_OK;
}
