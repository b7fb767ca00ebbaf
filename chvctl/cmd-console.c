/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * chvctl console: attach to a console of a running virtual machine. Another host's console can't be passed as a
 * descriptor through ssh; there the command runs on the other host, on a terminal of its own.
 */

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "chvctl/arguments.h"
#include "chvctl/bus.h"
#include "chvctl/console.h"
#include "chvctl/fail.h"
#include "chvctl/session.h"
#include "dbus/config.h"

static ExitStatus over_ssh(Options *options, const char *name) {
        const char *ssh = g_getenv("SYSTEMD_SSH");
        const char *argv[12];
        size_t n = 0;

        argv[n++] = ssh ? ssh : "ssh";
        if (isatty(STDIN_FILENO))
                argv[n++] = "-t";
        argv[n++] = "--";
        argv[n++] = options->host;
        argv[n++] = "chvctl";
        argv[n++] = "console";
        if (options->read_only)
                argv[n++] = "--read-only";
        if (options->force)
                argv[n++] = "--force";
        if (options->no_replay)
                argv[n++] = "--no-replay";
        argv[n++] = name;
        argv[n++] = argument(options, 1); /* may be the end already */
        argv[n] = NULL;
        (void) execvp(argv[0], (char *const *) argv);
        g_printerr("chvctl: %s: %s\n", argv[0], g_strerror(errno));
        return EXIT_NO_SERVICE;
}

static ExitStatus report(const char *name, const VmWatch *watch) {
        const char *reason;

        if (!vm_watch_has_failed(watch, &reason)) {
                if (isatty(STDIN_FILENO))
                        g_printerr("\r\n%s is off.\n", name);
                return EXIT_OK;
        }
        g_printerr("chvctl: %s: failed%s%s\n", name, reason[0] ? ": " : "", reason);
        return EXIT_FAILED;
}

ExitStatus cmd_console(Options *options, Bus *bus) {
        const char *name = argument(options, 0), *console = argument(options, 1);
        g_autoptr(GError) error = NULL;
        g_autofree char *path = NULL;
        g_autoptr(VmWatch) watch = NULL;
        bool off;
        int fd;

        if (!chv_name_valid(name, &error))
                return fail(options, NULL, error);
        if (console && strcmp(console, "serial") != 0 && strcmp(console, "console") != 0 &&
            strcmp(console, "debug_console") != 0) {
                g_printerr("chvctl: '%s' is none of serial, console and debug_console\n", console);
                return EXIT_USAGE;
        }
        if (options->host)
                return over_ssh(options, name);
        path = bus_find_vm(bus, name, &error);
        watch = path ? vm_watch_new(bus, path, &error) : NULL;
        if (!watch)
                return fail(options, name, error);
        if (!console) {
                g_autoptr(GVariant) config = bus_vm_config(bus, path, NULL);

                console = config ? console_guess(config) : "serial";
        }
        fd = session_open(bus, path, console, &error);
        if (fd < 0)
                return fail(options, name, error);
        if (isatty(STDIN_FILENO))
                g_printerr("Connected to %s, %s. Ctrl-] leaves.\r\n", name, console);
        if (!session_stay(bus, watch, path, console, fd, &off, &error))
                return fail(options, name, error);
        if (off)
                return report(name, watch);
        if (isatty(STDIN_FILENO))
                g_printerr("\r\nLeft %s; it runs on.\n", name);
        return EXIT_OK;
}
