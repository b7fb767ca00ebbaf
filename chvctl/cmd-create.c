/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Commands that take a configuration: create, run and check. run is create, start and console in one. It starts the
 * machine paused, attaches and then lets it go, so that not a byte of the first output is missed and a guest that
 * ends at once has been seen.
 */

#include <fcntl.h>
#include <gio/gunixfdlist.h>
#include <stdio.h>
#include <termios.h>
#include <unistd.h>

#include "chvctl/arguments.h"
#include "chvctl/bus.h"
#include "chvctl/config-args.h"
#include "chvctl/console.h"
#include "chvctl/fail.h"
#include "chvctl/net-fds.h"
#include "chvctl/output.h"
#include "chvctl/session.h"
#include "dbus/error.h"
#include "dbus/fd.h"

/* Consoles of mode tty are this process's terminal. */
static bool
add_terminals(const ChvConfig *config,
              GVariantBuilder *fds,
              GUnixFDList *list,
              bool *ret_any,
              GError **error) {
        const struct {
                const char *name;
                const ChvConsoleConfig *console;
        } consoles[] = {
                { "serial", &config->serial },
                { "console", &config->console },
                { "debug_console", &config->debug_console },
        };

        *ret_any = false;
        for (size_t i = 0; i < G_N_ELEMENTS(consoles); i++) {
                chv_autofd fd = -1;
                int index;

                if (consoles[i].console->mode != CHV_CONSOLE_TTY)
                        continue;
                fd = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
                if (fd < 0) {
                        g_set_error(error, CHV_ERROR, CHV_ERROR_INVALID_CONFIG,
                                    "--%s tty: there is no terminal", consoles[i].name);
                        return false;
                }
                index = g_unix_fd_list_append(list, fd, error);
                if (index < 0)
                        return false;
                g_variant_builder_add(fds, "{sh}", consoles[i].name, index);
                *ret_any = true;
        }
        return true;
}

/* CreateVM; the new object's path. */
static char *
create(Options *options,
       Bus *bus,
       ChvConfig *config,
       const char *name,
       bool *ret_tty,
       GError **error) {
        g_auto(GVariantBuilder) fds = G_VARIANT_BUILDER_INIT(G_VARIANT_TYPE("a{sh}"));
        g_auto(GVariantDict) dict = G_VARIANT_DICT_INIT(NULL);
        g_autoptr(GUnixFDList) list = g_unix_fd_list_new();
        g_autoptr(GVariant) reply = NULL;
        char *path;

        if (!chv_name_valid(name, error) || !add_terminals(config, &fds, list, ret_tty, error) ||
            !net_fds_take(config, &fds, list, error))
                return NULL;
        if (options->host && g_unix_fd_list_get_length(list) > 0) {
                g_set_error(error, CHV_ERROR, CHV_ERROR_NOT_SUPPORTED,
                            "descriptors (fd, tty) do not go through ssh");
                return NULL;
        }
        if (options->remove)
                g_variant_dict_insert(&dict, "transient", "b", TRUE);
        reply = bus_call_with_fds(
                        bus, MANAGER_PATH, MANAGER_INTERFACE, "CreateVM",
                        g_variant_new("(s@a{sv}@a{sh}@a{sv})", name, chv_config_to_variant(config),
                                      g_variant_builder_end(&fds), g_variant_dict_end(&dict)),
                        "(o)", g_unix_fd_list_get_length(list) > 0 ? list : NULL,
                        /* ret_fds= */ NULL, error);
        if (!reply)
                return NULL;
        g_variant_get(reply, "(o)", &path);
        return path;
}

/* Given as an argument or by --name, once. */
static bool take_name(Options *options, GError **error) {
        if (argument(options, 0) && options->name) {
                g_set_error(error, CHV_ERROR, CHV_ERROR_INVALID_CONFIG,
                            "the name is given twice: '%s' and --name %s", argument(options, 0),
                            options->name);
                return false;
        }
        if (argument(options, 0))
                options->name = g_strdup(argument(options, 0));
        return true;
}

ExitStatus cmd_create(Options *options, Bus *bus) {
        g_autoptr(GError) error = NULL;
        g_autoptr(ChvConfig) config = NULL;
        g_autofree char *path = NULL;
        bool tty;

        if (!take_name(options, &error))
                return fail(options, NULL, error);
        if (!options->name) {
                g_printerr("chvctl: usage: chvctl create NAME [OPTION]...\n");
                return EXIT_USAGE;
        }
        config = config_from_arguments(options, options->config_file, &error);
        if (!config)
                return fail(options, NULL, error);
        path = create(options, bus, config, options->name, &tty, &error);
        return path ? EXIT_OK : fail(options, options->name, error);
}

static bool start_paused(Bus *bus, const char *path, GError **error) {
        g_auto(GVariantDict) dict = G_VARIANT_DICT_INIT(NULL);

        g_variant_dict_insert(&dict, "paused", "b", TRUE);
        return job_run(bus, path, "Start", g_variant_new("(@a{sv})", g_variant_dict_end(&dict)),
                       error);
}

static bool call(Bus *bus, const char *path, const char *method, GError **error) {
        g_autoptr(GVariant) reply =
                        bus_call(bus, path, VM_INTERFACE, method,
                                 g_variant_new("(@a{sv})", no_options()), "()", error);

        return reply != NULL;
}

/* What never ran is not left behind. Where it is gone already, or still there, there is nothing to say about that. */
static void forget(Bus *bus, const char *path) {
        (void) call(bus, path, "Delete", /* error= */ NULL);
}

/* The worker has the terminal: it is only made raw here, and put back. */
static bool stay_on_terminal(VmWatch *watch, GError **error) {
        chv_autofd fd = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
        struct termios saved, raw;
        bool is_raw = fd >= 0 && tcgetattr(fd, &saved) == 0;
        bool good;

        if (is_raw) {
                raw = saved;
                cfmakeraw(&raw);
                is_raw = tcsetattr(fd, TCSAFLUSH, &raw) == 0;
        }
        good = vm_watch_wait(watch, /* any_change= */ false, /* timeout_ms= */ 0, error);
        if (is_raw)
                (void) tcsetattr(fd, TCSAFLUSH, &saved);
        return good;
}

static ExitStatus ended(Options *options, const VmWatch *watch) {
        const char *reason;

        if (!vm_watch_has_failed(watch, &reason))
                return EXIT_OK;
        g_printerr("chvctl: %s: failed%s%s\n", options->name, reason[0] ? ": " : "", reason);
        return EXIT_FAILED;
}

static ExitStatus
attach(Options *options, Bus *bus, const ChvConfig *config, const char *path, bool tty) {
        g_autoptr(GError) error = NULL;
        g_autoptr(VmWatch) watch = vm_watch_new(bus, path, &error);
        g_autoptr(GVariant) dict = g_variant_ref_sink(chv_config_to_variant(config));
        const char *console = console_guess(dict);
        bool off = true, good = watch != NULL;
        int fd = -1;

        if (good && !start_paused(bus, path, &error)) {
                forget(bus, path);
                return fail(options, options->name, error);
        }
        if (good && !tty) {
                fd = session_open(bus, path, console, &error);
                good = fd >= 0;
        }
        if (good && isatty(STDIN_FILENO) && !tty)
                g_printerr("Running %s, %s. Ctrl-] leaves.\r\n", options->name, console);
        if (good)
                good = call(bus, path, "Resume", &error);
        if (good && tty)
                good = stay_on_terminal(watch, &error);
        else if (good)
                good = session_stay(bus, watch, path, console, fd, &off, &error);
        else if (fd >= 0)
                (void) close(fd);
        if (!good)
                return fail(options, options->name, error);
        if (off)
                return ended(options, watch);
        g_printerr("\r\nLeft %s; it runs on. chvctl console %s comes back.\n", options->name,
                   options->name);
        return EXIT_OK;
}

ExitStatus cmd_run(Options *options, Bus *bus) {
        g_autoptr(GError) error = NULL;
        g_autoptr(ChvConfig) config = NULL;
        g_autofree char *path = NULL;
        bool tty;

        if (!take_name(options, &error))
                return fail(options, NULL, error);
        if (!options->name)
                options->name = g_strdup_printf("vm-%08x", g_random_int());
        config = config_from_arguments(options, options->config_file, &error);
        if (!config)
                return fail(options, NULL, error);
        if (options->host && !options->detach) {
                g_set_error(&error, CHV_ERROR, CHV_ERROR_NOT_SUPPORTED,
                            "can't attach through ssh; use --detach, then chvctl console");
                return fail(options, NULL, error);
        }
        path = create(options, bus, config, options->name, &tty, &error);
        if (!path)
                return fail(options, options->name, error);
        if (!options->detach)
                return attach(options, bus, config, path, tty);
        if (!job_run(bus, path, "Start", g_variant_new("(@a{sv})", no_options()), &error)) {
                forget(bus, path);
                return fail(options, options->name, error);
        }
        puts(options->name);
        return EXIT_OK;
}

/* The service's word: what this client takes for right may be beyond it. */
static GVariant *ask_service(Bus *bus, const ChvConfig *config, GError **error) {
        g_autoptr(GVariant) reply =
                        bus_call(bus, MANAGER_PATH, MANAGER_INTERFACE, "CheckConfig",
                                 g_variant_new("(@a{sv}@a{sv})", chv_config_to_variant(config),
                                               no_options()),
                                 "(a{sv})", error);

        return reply ? g_variant_get_child_value(reply, 0) : NULL;
}

ExitStatus cmd_check(Options *options, Bus *bus) {
        const char *file = argument(options, 0) ? argument(options, 0) : options->config_file;
        g_autoptr(GError) error = NULL;
        g_autoptr(ChvConfig) config = config_from_arguments(options, file, &error);
        g_autoptr(GVariant) complete = NULL;

        if (!config || !chv_config_validate(config, &error))
                return fail(options, config ? file : NULL, error);
        if (!options->offline) {
                complete = ask_service(bus, config, &error);
                if (!complete)
                        return fail(options, file, error);
        } else {
                chv_config_complete(config);
                complete = g_variant_ref_sink(chv_config_to_variant(config));
        }
        if (options->json != JSON_OFF)
                output_json(options, complete);
        else
                puts("The configuration is valid.");
        return EXIT_OK;
}
