/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Commands about what is stored of a virtual machine: dump, import and edit its configuration as JSON of Cloud
 * Hypervisor's form, and rename it.
 *
 * edit never loses what somebody typed: where it can't be taken, the file stays and the message says where.
 */

#include <glib/gstdio.h>
#include <stdio.h>
#include <unistd.h>

#include "chvctl/arguments.h"
#include "chvctl/bus.h"
#include "chvctl/config-args.h"
#include "chvctl/fail.h"
#include "dbus/error.h"

/* As JSON. */
static char *get_config(Bus *bus, const char *path, GError **error) {
        g_autoptr(GVariant) reply =
                        bus_call(bus, path, VM_INTERFACE, "GetConfig",
                                 g_variant_new("(@a{sv})", no_options()), "(a{sv})", error);
        g_autoptr(GVariant) dict = reply ? g_variant_get_child_value(reply, 0) : NULL;
        g_autoptr(ChvConfig) config = dict ? chv_config_from_variant(dict, error) : NULL;

        return config ? chv_config_to_json(config) : NULL;
}

ExitStatus cmd_dump(Options *options, Bus *bus) {
        const char *name = argument(options, 0);
        g_autoptr(GError) error = NULL;
        g_autofree char *path = bus_find_vm(bus, name, &error);
        g_autofree char *json = path ? get_config(bus, path, &error) : NULL;

        if (!json)
                return fail(options, name, error);
        (void) puts(json);
        return EXIT_OK;
}

/* Of Cloud Hypervisor's own options those that are about its process mean nothing to a service. */
static char **without_process_options(char *const *words) {
        static const char *const with_value[] = { "--api-socket", "--log-file", "--seccomp",
                                                  "--event-monitor", NULL };
        g_autoptr(GPtrArray) kept = g_ptr_array_new();

        g_ptr_array_add(kept, "chvctl");
        g_ptr_array_add(kept, "create");
        /* Its own name may stand in front. */
        if (*words && **words != '-')
                words++;
        for (; *words; words++) {
                g_auto(GStrv) parts = g_strsplit(*words, "=", 2);

                if (g_strv_contains(with_value, parts[0])) {
                        g_printerr("chvctl: %s is left out\n", parts[0]);
                        if (!parts[1] && words[1])
                                words++;
                } else if (!g_str_equal(*words, "-v") && !g_str_equal(*words, "-vv"))
                        g_ptr_array_add(kept, *words);
        }
        g_ptr_array_add(kept, NULL);
        return (char **) g_ptr_array_free(g_steal_pointer(&kept), /* free_segment= */ FALSE);
}

static ChvConfig *config_from_command_line(Options *options, GError **error) {
        g_auto(Options) inner = { 0 };
        g_autofree char **argv = NULL;
        const Command *command;

        g_ptr_array_add(options->arguments, NULL);
        argv = without_process_options((char **) options->arguments->pdata + 1);
        g_ptr_array_remove_index(options->arguments, options->arguments->len - 1);
        if (!arguments_parse(argv, &inner, &command, error))
                return NULL;
        if (inner.arguments->len > 0) {
                g_set_error(error, CHV_ERROR, CHV_ERROR_INVALID_CONFIG, "'%s' is not understood",
                            argument(&inner, 0));
                return NULL;
        }
        return config_from_arguments(&inner, inner.config_file, error);
}

ExitStatus cmd_import(Options *options, Bus *bus) {
        const char *name = argument(options, 0);
        g_autoptr(GError) error = NULL;
        g_autoptr(ChvConfig) config = NULL;
        g_autoptr(GVariant) reply = NULL;

        if (!options->command_line && options->arguments->len != 2) {
                g_printerr("chvctl: usage: chvctl import NEW FILE, "
                           "or chvctl import NEW --command-line -- OPTION...\n");
                return EXIT_USAGE;
        }
        config = options->command_line
                                 ? config_from_command_line(options, &error)
                                 : config_from_arguments(options, argument(options, 1), &error);
        if (!config || !chv_name_valid(name, &error))
                return fail(options, NULL, error);
        reply =
                        bus_call(bus, MANAGER_PATH, MANAGER_INTERFACE, "CreateVM",
                                 g_variant_new("(s@a{sv}a{sh}@a{sv})", name,
                                               chv_config_to_variant(config), NULL, no_options()),
                                 "(o)", &error);
        return reply ? EXIT_OK : fail(options, name, error);
}

/* The editor that people know from other tools; its words are the shell's. */
static bool run_editor(const char *file, GError **error) {
        const char *editor = g_getenv("VISUAL") ?: g_getenv("EDITOR");
        g_autofree char *script = g_strdup_printf("%s \"$1\"", editor ?: "editor");
        const char *const argv[] = { "sh", "-c", script, "sh", file, NULL };
        int status;

        return g_spawn_sync(
                               /* working_directory= */ NULL, (char **) argv, /* envp= */ NULL,
                               G_SPAWN_SEARCH_PATH | G_SPAWN_CHILD_INHERITS_STDIN,
                               /* child_setup= */ NULL, /* user_data= */ NULL,
                               /* standard_output= */ NULL, /* standard_error= */ NULL, &status,
                               error) &&
               g_spawn_check_wait_status(status, error);
}

static bool set_config(Bus *bus, const char *path, const char *json, GError **error) {
        g_autoptr(ChvConfig) config = chv_config_from_json(json, -1, error);
        g_autoptr(GVariant) reply = NULL;

        if (!config)
                return false;
        reply =
                        bus_call(bus, path, VM_INTERFACE, "SetConfig",
                                 g_variant_new("(@a{sv}a{sh}@a{sv})", chv_config_to_variant(config),
                                               NULL, no_options()),
                                 "()", error);
        return reply != NULL;
}

/* Not after somebody has typed for an hour. */
static bool may_edit(Bus *bus, const char *path, GError **error) {
        g_autoptr(GVariant) state = bus_property(bus, path, VM_INTERFACE, "State", error);
        const char *text = state ? g_variant_get_string(state, NULL) : NULL;

        if (!text)
                return false;
        if (g_str_equal(text, "created") || g_str_equal(text, "shutdown") ||
            g_str_equal(text, "failed"))
                return true;
        g_set_error(error, CHV_ERROR, CHV_ERROR_INVALID_STATE,
                    "it is %s; its configuration can be changed when it is off", text);
        return false;
}

static ExitStatus
edit_file(Options *options, Bus *bus, const char *path, const char *before, const char *file) {
        const char *name = argument(options, 0);
        g_autoptr(GError) error = NULL;
        g_autofree char *after = NULL;

        if (!g_file_set_contents(file, before, -1, &error) || !run_editor(file, &error) ||
            !g_file_get_contents(file, &after, NULL, &error)) {
                (void) g_unlink(file);
                return fail(options, name, error);
        }
        if (g_str_equal(before, after)) {
                g_printerr("chvctl: nothing is changed\n");
                (void) g_unlink(file);
                return EXIT_OK;
        }
        if (!set_config(bus, path, after, &error)) {
                g_prefix_error(&error, "not changed (what was edited is in %s): ", file);
                return fail(options, name, error);
        }
        (void) g_unlink(file);
        return EXIT_OK;
}

ExitStatus cmd_edit(Options *options, Bus *bus) {
        const char *name = argument(options, 0);
        g_autoptr(GError) error = NULL;
        g_autofree char *path = bus_find_vm(bus, name, &error);
        g_autofree char *before = NULL, *file = NULL;
        int fd;

        if (!path || !may_edit(bus, path, &error))
                return fail(options, name, error);
        before = get_config(bus, path, &error);
        if (!before)
                return fail(options, name, error);
        fd = g_file_open_tmp("chvctl-XXXXXX.json", &file, &error);
        if (fd < 0)
                return fail(options, name, error);
        (void) close(fd);
        return edit_file(options, bus, path, before, file);
}

ExitStatus cmd_rename(Options *options, Bus *bus) {
        const char *name = argument(options, 0);
        g_autoptr(GError) error = NULL;
        g_autofree char *path = bus_find_vm(bus, name, &error);
        g_autoptr(GVariant) reply = NULL;

        if (path)
                reply = bus_call(
                                bus, path, VM_INTERFACE, "Rename",
                                g_variant_new("(s@a{sv})", argument(options, 1), no_options()),
                                "(o)", &error);
        return reply ? EXIT_OK : fail(options, name, error);
}
