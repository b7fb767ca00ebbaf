/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The table of options as reStructuredText, for the manual: a definition list for each section. Run by the build; what
 * it prints is part of chvctl(1), in option-string names, and of org.cloudhypervisor.Manager(5), in keys ("--keys").
 */

#include <stdio.h>
#include <string.h>

#include "dbus/schema.h"

static const char *const types[] = {
        [CHV_OPT_BOOL] = "b",
        [CHV_OPT_U8] = "y",
        [CHV_OPT_U16] = "q",
        [CHV_OPT_S16] = "n",
        [CHV_OPT_U32] = "u",
        [CHV_OPT_U64] = "t",
        [CHV_OPT_SIZE] = "t",
        [CHV_OPT_STRING] = "s",
        [CHV_OPT_PATH] = "s",
        [CHV_OPT_STRV] = "as",
        [CHV_OPT_MAC] = "s",
        [CHV_OPT_HEX] = "q",
        [CHV_OPT_CONSOLE_MODE] = "s",
        [CHV_OPT_CONSOLE_FILE] = "s",
        [CHV_OPT_CONSOLE_SOCKET] = "s",
        [CHV_OPT_TOPOLOGY] =
                        "a{sv}: threads_per_core, cores_per_die, dies_per_package, packages (q)",
        [CHV_OPT_FEATURES] = "a{sv}: amx (b)",
        [CHV_OPT_CPU_AFFINITY] = "aa{sv}: vcpu (u), host_cpus (aq)",
        [CHV_OPT_QUEUE_AFFINITY] = "aa{sv}: queue_index (u), host_cpus (aq)",
};
G_STATIC_ASSERT(G_N_ELEMENTS(types) == CHV_OPT_TYPE_MAX);

static bool is_text(const ChvOption *option) {
        return option->type == CHV_OPT_STRING || option->type == CHV_OPT_PATH ||
               option->type == CHV_OPT_STRV || option->type == CHV_OPT_CONSOLE_FILE ||
               option->type == CHV_OPT_CONSOLE_SOCKET;
}

/* The first letter of a sentence; "vCPU" keeps its own. */
static int capital(const char *text) {
        return g_ascii_isupper(text[1]) ? text[0] : g_ascii_toupper(text[0]);
}

static void print_limits(const ChvOption *option) {
        uint64_t min, max;

        chv_option_range(option, &min, &max);
        if (option->choices)
                printf(" One of: %s.", option->choices);
        else if (is_text(option))
                printf(" At most %" G_GUINT64_FORMAT " bytes.", max);
        else if (option->min != 0 || option->max != 0)
                printf(" From %" G_GUINT64_FORMAT " to %" G_GUINT64_FORMAT "%s%s.", min, max,
                       option->unit ? " " : "", option->unit ? option->unit : "");
        if (option->power_of_2)
                printf(" A power of 2.");
        if (option->fallback && strcmp(option->fallback, "-1") != 0)
                printf(" Default: ``%s``.", option->fallback);
        if (option->live)
                printf(" May be changed while the machine runs.");
}

static void print_option(const ChvSection *section, const ChvOption *option, bool keys) {
        const char *name = option->cli && !section->bare ? option->cli : option->key;

        if (keys)
                printf("``%s`` (%s)\n", option->key, types[option->type]);
        else if (section->bare)
                printf("``--%s`` *%s*\n", name, chv_option_placeholder(option));
        else if (option->type == CHV_OPT_CONSOLE_MODE)
                printf("*mode*\n");
        else
                printf("``%s=``\\ *%s*\n", name, chv_option_placeholder(option));
        printf("    %c%s.", capital(option->doc), option->doc + 1);
        print_limits(option);
        printf("\n\n");
}

static void print_section(const ChvSection *section, bool keys) {
        g_autofree char *title = keys            ? g_strdup_printf("%s (%s)", section->key,
                                                        section->list ? "aa{sv}" : "a{sv}")
                                 : section->bare ? g_strdup("What to boot")
                                                 : g_strdup_printf("--%s", section->cli);
        g_autofree char *line = g_strnfill(strlen(title), '-');

        printf("%s\n%s\n\n%c%s%s\n\n", title, line, capital(section->doc), section->doc + 1,
               section->list && !keys ? "; may be given several times, and with several values."
                                      : ".");
        for (size_t i = 0; i < section->n_options; i++)
                print_option(section, &section->options[i], keys);
}

int main(int argc, char **argv) {
        size_t n;
        const ChvSection *sections = chv_schema(&n);
        bool keys = argc > 1 && strcmp(argv[1], "--keys") == 0;

        for (size_t i = 0; i < n; i++)
                print_section(&sections[i], keys);
        return 0;
}
