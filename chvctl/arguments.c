/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The command line. Options of chvctl itself are in a table here, options of a configuration are the sections of the
 * schema; which of them a command knows, its own row says. Options may stand before and after the command's name.
 *
 * An option that may be given several times takes several values too ("--disk path=a path=b"): every following word
 * with a '=' in it, which no name of a VM has.
 */

#include "chvctl/arguments.h"

#include <string.h>

#include "dbus/error.h"
#include "dbus/schema.h"

static const OptionInfo infos[] = {
        { "user", 0, NULL, false, true, "talk to your own service, on the session bus" },
        { "system", 0, NULL, false, true, "talk to the system's service (the default)" },
        { "host", 'H', "[USER@]HOST", false, true, "talk to another host's service, over ssh" },
        { "address", 0, "ADDRESS", false, true, "talk to the service on this D-Bus address" },
        { "socket", 0, "PATH", false, true,
          "talk to the service on its own socket, without a bus" },
        { "json", 0, "pretty|short", true, true, "print JSON; pretty when nothing is named" },
        { "no-legend", 0, NULL, false, true, "print no column heads and no totals" },
        { "no-ask-password", 0, NULL, false, true, "don't ask for authorisation, fail" },
        { "help", 'h', NULL, false, true, "show help and exit" },
        { "no-block", 0, NULL, false, false, "don't wait until it is done" },
        { "wait", 'w', NULL, false, false, "wait until the virtual machine is off" },
        { "timeout", 't', "SECONDS", false, false, "wait no longer than that" },
        { "paused", 0, NULL, false, false, "build the machine but don't let it run yet" },
        { "force", 'f', NULL, false, false,
          "don't ask: delete what runs, reboot without the guest, take over typing" },
        { "rm", 0, NULL, false, false, "forget the virtual machine when it is off" },
        { "detach", 'd', NULL, false, false, "don't attach to the console" },
        { "name", 'n', "NAME", false, false, "name of the new virtual machine" },
        { "config", 'c', "FILE", false, false, "read a JSON configuration; - is standard input" },
        { "read-only", 'r', NULL, false, false, "only watch" },
        { "no-replay", 0, NULL, false, false, "leave out the earlier output" },
        { "offline", 0, NULL, false, false, "don't ask the service" },
        { "order", 0, "NUMBER", false, false, "start those with lower numbers first" },
        { "delay", 0, "SECONDS", false, false, "let the next one wait so long" },
        { "command-line", 0, NULL, false, false, "read Cloud Hypervisor's options behind --" },
        { "lines", 'l', "COUNT", false, false, "stop after so many events" },
        { "interval", 'i', "SECONDS", false, false, "show new figures so often" },
        { "count", 'C', "COUNT", false, false, "stop after so many samples or frames" },
        { "output", 'o', "FILE", false, false, "write to a file; - is standard output" },
        { "shrink", 0, NULL, false, false, "cut off the end of a disk, and lose what is there" },
        { "snaplen", 's', "BYTES", false, false, "keep no more than that of a frame" },
};

const OptionInfo *option_infos(size_t *ret_n) {
        *ret_n = G_N_ELEMENTS(infos);
        return infos;
}

static bool wrong(GError **error, const char *format, ...) G_GNUC_PRINTF(2, 3);

static bool wrong(GError **error, const char *format, ...) {
        va_list args;

        va_start(args, format);
        if (error)
                *error = g_error_new_valist(CHV_ERROR, CHV_ERROR_INVALID_CONFIG, format, args);
        va_end(args);
        return false;
}

static bool *find_switch(Options *options, const char *name) {
        const struct {
                const char *name;
                bool *place;
        } switches[] = {
                { "user", &options->user },
                { "no-legend", &options->no_legend },
                { "no-ask-password", &options->no_ask_password },
                { "help", &options->help },
                { "no-block", &options->no_block },
                { "wait", &options->wait },
                { "paused", &options->paused },
                { "force", &options->force },
                { "rm", &options->remove },
                { "detach", &options->detach },
                { "read-only", &options->read_only },
                { "no-replay", &options->no_replay },
                { "offline", &options->offline },
                { "command-line", &options->command_line },
                { "shrink", &options->shrink },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(switches); i++)
                if (strcmp(switches[i].name, name) == 0)
                        return switches[i].place;
        return NULL;
}

static bool take_count(const char *name, const char *value, int *ret, GError **error) {
        guint64 number;

        if (!g_ascii_string_to_unsigned(value, 10, 1, 1000000000, &number, NULL))
                return wrong(error, "--%s: '%s' is not a number above 0", name, value);
        *ret = (int) number;
        return true;
}

static bool
take_number(const char *name, const char *value, int *ret, bool *ret_given, GError **error) {
        guint64 number;

        if (!g_ascii_string_to_unsigned(value, 10, 0, G_MAXINT, &number, NULL))
                return wrong(error, "--%s: '%s' is not a number", name, value);
        *ret = (int) number;
        *ret_given = true;
        return true;
}

static bool take_option(Options *options, const char *name, const char *value, GError **error) {
        bool *place = find_switch(options, name);

        if (place)
                *place = true;
        else if (strcmp(name, "system") == 0)
                options->user = false;
        else if (strcmp(name, "json") == 0) {
                if (value && strcmp(value, "pretty") != 0 && strcmp(value, "short") != 0)
                        return wrong(error, "--json: '%s' is neither pretty nor short", value);
                options->json = g_strcmp0(value, "short") == 0 ? JSON_SHORT : JSON_PRETTY;
        } else if (strcmp(name, "timeout") == 0)
                return take_count(name, value, &options->timeout, error);
        else if (strcmp(name, "order") == 0)
                return take_number(name, value, &options->order, &options->has_order, error);
        else if (strcmp(name, "delay") == 0)
                return take_number(name, value, &options->delay, &options->has_delay, error);
        else if (strcmp(name, "lines") == 0)
                return take_count(name, value, &options->lines, error);
        else if (strcmp(name, "interval") == 0)
                return take_count(name, value, &options->interval, error);
        else if (strcmp(name, "count") == 0)
                return take_count(name, value, &options->count, error);
        else if (strcmp(name, "snaplen") == 0)
                return take_count(name, value, &options->snaplen, error);
        else {
                char **text = strcmp(name, "host") == 0      ? &options->host
                              : strcmp(name, "address") == 0 ? &options->address
                              : strcmp(name, "socket") == 0  ? &options->socket
                              : strcmp(name, "name") == 0    ? &options->name
                              : strcmp(name, "output") == 0  ? &options->output
                                                             : &options->config_file;

                if (*text)
                        return wrong(error, "--%s is given twice", name);
                *text = g_strdup(value);
        }
        return true;
}

static const OptionInfo *find_info(const char *name, char letter) {
        for (size_t i = 0; i < G_N_ELEMENTS(infos); i++)
                if (name ? strcmp(infos[i].name, name) == 0 : infos[i].letter == letter)
                        return &infos[i];
        return NULL;
}

/* Whether the name is an option of the configuration; *ret_list: it may have several values. */
static bool is_section(const char *name, bool *ret_list) {
        size_t n;
        const ChvSection *sections = chv_schema(&n);

        for (size_t i = 0; i < n; i++) {
                *ret_list = sections[i].list;
                if (g_strcmp0(sections[i].cli, name) == 0)
                        return true;
                for (size_t j = 0; sections[i].bare && j < sections[i].n_options; j++)
                        if (strcmp(sections[i].options[j].key, name) == 0)
                                return true;
        }
        return false;
}

typedef struct {
        char **next;     /* words to come */
        GPtrArray *used; /* names of options that are not common, for the check against the command */
        const char *first_cfg; /* an option of the configuration that was given */
} Cursor;

static bool
take_section(Options *options,
             Cursor *cursor,
             const char *name,
             const char *value,
             bool list,
             GError **error) {
        if (!value) {
                value = *cursor->next;
                if (!value)
                        return wrong(error, "--%s needs a value", name);
                cursor->next++;
        }
        cursor->first_cfg = name;
        for (;;) {
                g_ptr_array_add(options->config_options, g_strdup(name));
                g_ptr_array_add(options->config_options, g_strdup(value));
                value = *cursor->next;
                if (!list || !value || value[0] == '-' || !strchr(value, '='))
                        return true;
                cursor->next++;
        }
}

static bool
take_info(Options *options,
          Cursor *cursor,
          const OptionInfo *info,
          const char *value,
          GError **error) {
        if (!info->parameter && value)
                return wrong(error, "--%s takes no value", info->name);
        if (info->parameter && !info->optional && !value) {
                value = *cursor->next;
                if (!value)
                        return wrong(error, "--%s needs a value: %s", info->name, info->parameter);
                cursor->next++;
        }
        if (!info->common)
                g_ptr_array_add(cursor->used, (gpointer) info->name);
        return take_option(options, info->name, value, error);
}

static bool take_long(Options *options, Cursor *cursor, const char *word, GError **error) {
        const char *equals = strchr(word, '=');
        g_autofree char *name = g_strndup(word, equals ? (size_t) (equals - word) : strlen(word));
        const char *value = equals ? equals + 1 : NULL;
        const OptionInfo *info = find_info(name, 0);
        bool list;

        if (info)
                return take_info(options, cursor, info, value, error);
        if (is_section(name, &list))
                return take_section(options, cursor, g_intern_string(name), value, list, error);
        return wrong(error, "unknown option '--%s'", name);
}

/* "-w", "-ft5", "-t 5". */
static bool take_letters(Options *options, Cursor *cursor, const char *letters, GError **error) {
        for (const char *p = letters; *p; p++) {
                const OptionInfo *info = find_info(NULL, *p);

                if (!info)
                        return wrong(error, "unknown option '-%c'", *p);
                if (info->parameter)
                        return take_info(options, cursor, info, p[1] ? p + 1 : NULL, error);
                if (!take_info(options, cursor, info, NULL, error))
                        return false;
        }
        return true;
}

static bool knows(const Command *command, const char *name) {
        g_auto(GStrv) names = g_strsplit(command->options ? command->options : "", " ", -1);

        return g_strv_contains((const char *const *) names, name);
}

static bool
check_command(const Command *command,
              const Options *options,
              const Cursor *cursor,
              GError **error) {
        int n = (int) options->arguments->len;

        for (guint i = 0; i < cursor->used->len; i++)
                if (!knows(command, g_ptr_array_index(cursor->used, i)))
                        return wrong(error, "'%s' does not know --%s", command->name,
                                     (char *) g_ptr_array_index(cursor->used, i));
        if (cursor->first_cfg && !command->configures)
                return wrong(error, "'%s' does not know --%s", command->name, cursor->first_cfg);
        if (options->help)
                return true;
        if (n < command->min)
                return wrong(error, "usage: chvctl %s %s", command->name, command->arguments);
        if (command->max >= 0 && n > command->max)
                return wrong(error, "'%s' is one argument too many; usage: chvctl %s %s",
                             argument(options, (size_t) command->max), command->name,
                             command->arguments);
        return true;
}

bool arguments_parse(char **argv, Options *options, const Command **ret_command, GError **error) {
        g_autoptr(GPtrArray) used = g_ptr_array_new();
        Cursor cursor = { .next = argv + 1, .used = used };
        const Command *command = NULL;
        bool only_arguments = false;

        options->config_options = g_ptr_array_new_with_free_func(g_free);
        options->arguments = g_ptr_array_new_with_free_func(g_free);
        while (*cursor.next) {
                const char *word = *cursor.next++;

                if (only_arguments || word[0] != '-' || !word[1]) {
                        if (command) {
                                g_ptr_array_add(options->arguments, g_strdup(word));
                                continue;
                        }
                        command = command_find(word);
                        if (!command)
                                return wrong(error, "unknown command '%s'; see chvctl help", word);
                        only_arguments = command->passes_on;
                } else if (strcmp(word, "--") == 0)
                        only_arguments = true;
                else if (word[1] == '-') {
                        if (strcmp(word, "--version") == 0 && !command)
                                command = command_find("version");
                        else if (!take_long(options, &cursor, word + 2, error))
                                return false;
                } else if (!take_letters(options, &cursor, word + 1, error))
                        return false;
        }
        if (!command) {
                /* "chvctl" alone lists, as systemctl does; with --help it explains itself. */
                command = command_find(options->help ? "help" : "list");
                if (options->help)
                        options->help = false;
        }
        *ret_command = command;
        if (options->host && (options->user || options->address || options->socket))
                return wrong(error, "--host goes neither with --user nor with --address");
        return check_command(command, options, &cursor, error);
}

void options_clear(Options *options) {
        g_free(options->address);
        g_free(options->socket);
        g_free(options->host);
        g_free(options->name);
        g_free(options->config_file);
        g_free(options->output);
        g_clear_pointer(&options->config_options, g_ptr_array_unref);
        g_clear_pointer(&options->arguments, g_ptr_array_unref);
}
