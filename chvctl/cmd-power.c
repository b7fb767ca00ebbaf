/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Commands that change the state of virtual machines: each takes any number of names, does them in order, goes on
 * after a failure, and exits with the status of the first one that failed.
 */

#include <pwd.h>

#include "chvctl/arguments.h"
#include "chvctl/bus.h"
#include "chvctl/fail.h"
#include "chvctl/wait.h"
#include "dbus/error.h"

typedef bool (*Action)(Bus *bus, const char *path, GError **error);

static ExitStatus for_each(Options *options, Bus *bus, Action action) {
        ExitStatus status = EXIT_OK;

        for (guint i = 0; i < options->arguments->len; i++) {
                const char *name = g_ptr_array_index(options->arguments, i);
                g_autoptr(GError) error = NULL;
                g_autofree char *path = bus_find_vm(bus, name, &error);

                if (!path || !action(bus, path, &error)) {
                        ExitStatus failed = fail(options, name, error);

                        status = status == EXIT_OK ? failed : status;
                }
        }
        return status;
}

static bool call(Bus *bus, const char *path, const char *method, GError **error) {
        g_autoptr(GVariant) reply =
                        bus_call(bus, path, VM_INTERFACE, method,
                                 g_variant_new("(@a{sv})", no_options()), "()", error);

        return reply != NULL;
}

static bool call_job(Bus *bus, const char *path, const char *method, GError **error) {
        return job_run(bus, path, method, g_variant_new("(@a{sv})", no_options()), error);
}

static bool do_start(Bus *bus, const char *path, GError **error) {
        g_auto(GVariantDict) dict = G_VARIANT_DICT_INIT(NULL);

        if (bus->options->paused)
                g_variant_dict_insert(&dict, "paused", "b", TRUE);
        return job_run(bus, path, "Start", g_variant_new("(@a{sv})", g_variant_dict_end(&dict)),
                       error);
}

static bool do_shutdown(Bus *bus, const char *path, GError **error) {
        g_autoptr(VmWatch) watch = NULL;
        const char *reason;

        if (!bus->options->wait)
                return call(bus, path, "Shutdown", error);
        watch = vm_watch_new(bus, path, error);
        if (!watch || !call(bus, path, "Shutdown", error))
                return false;
        if (!vm_watch_wait(watch, /* any_change= */ false, (unsigned) bus->options->timeout * 1000,
                           error)) {
                if (g_error_matches(*error, CHV_ERROR, CHV_ERROR_TIMED_OUT)) {
                        g_clear_error(error);
                        g_set_error(error, CHV_ERROR, CHV_ERROR_TIMED_OUT,
                                    "still running after %d s; chvctl poweroff does not ask the "
                                    "guest",
                                    bus->options->timeout);
                }
                return false;
        }
        if (vm_watch_has_failed(watch, &reason)) {
                g_set_error_literal(
                                error, CHV_ERROR, CHV_ERROR_FAILED, reason[0] ? reason : "failed");
                return false;
        }
        return true;
}

static bool do_poweroff(Bus *bus, const char *path, GError **error) {
        return call_job(bus, path, "PowerOff", error);
}

static GVariant *force_option(const Bus *bus) {
        g_auto(GVariantDict) dict = G_VARIANT_DICT_INIT(NULL);

        if (bus->options->force)
                g_variant_dict_insert(&dict, "force", "b", TRUE);
        return g_variant_dict_end(&dict);
}

static bool do_reboot(Bus *bus, const char *path, GError **error) {
        return job_run(bus, path, "Reboot", g_variant_new("(@a{sv})", force_option(bus)), error);
}

static bool do_reset(Bus *bus, const char *path, GError **error) {
        return call(bus, path, "Reset", error);
}

static bool do_pause(Bus *bus, const char *path, GError **error) {
        return call(bus, path, "Pause", error);
}

static bool do_resume(Bus *bus, const char *path, GError **error) {
        return call(bus, path, "Resume", error);
}

static bool do_nmi(Bus *bus, const char *path, GError **error) {
        return call(bus, path, "NMI", error);
}

static bool do_delete(Bus *bus, const char *path, GError **error) {
        g_autoptr(GVariant) reply =
                        bus_call(bus, path, VM_INTERFACE, "Delete",
                                 g_variant_new("(@a{sv})", force_option(bus)), "()", error);

        return reply != NULL;
}

ExitStatus cmd_start(Options *options, Bus *bus) {
        return for_each(options, bus, do_start);
}

ExitStatus cmd_shutdown(Options *options, Bus *bus) {
        return for_each(options, bus, do_shutdown);
}

ExitStatus cmd_poweroff(Options *options, Bus *bus) {
        return for_each(options, bus, do_poweroff);
}

ExitStatus cmd_reboot(Options *options, Bus *bus) {
        return for_each(options, bus, do_reboot);
}

ExitStatus cmd_reset(Options *options, Bus *bus) {
        return for_each(options, bus, do_reset);
}

ExitStatus cmd_pause(Options *options, Bus *bus) {
        return for_each(options, bus, do_pause);
}

ExitStatus cmd_resume(Options *options, Bus *bus) {
        return for_each(options, bus, do_resume);
}

ExitStatus cmd_nmi(Options *options, Bus *bus) {
        return for_each(options, bus, do_nmi);
}

ExitStatus cmd_delete(Options *options, Bus *bus) {
        return for_each(options, bus, do_delete);
}

static bool find_uid(const char *user, guint32 *ret, GError **error) {
        const struct passwd *entry = getpwnam(user);
        guint64 number;

        if (entry)
                *ret = entry->pw_uid;
        else if (g_ascii_string_to_unsigned(user, 10, 0, G_MAXUINT32 - 1, &number, NULL))
                *ret = (guint32) number;
        else {
                g_set_error(error, CHV_ERROR, CHV_ERROR_INVALID_CONFIG,
                            "there is no user '%s' on this host", user);
                return false;
        }
        return true;
}

ExitStatus cmd_set_owner(Options *options, Bus *bus) {
        const char *name = argument(options, 0);
        g_autoptr(GError) error = NULL;
        g_autoptr(GVariant) reply = NULL;
        g_autofree char *path = NULL;
        guint32 uid;

        if (find_uid(argument(options, 1), &uid, &error))
                path = bus_find_vm(bus, name, &error);
        if (path)
                reply = bus_call(
                                bus, path, VM_INTERFACE, "SetOwner",
                                g_variant_new("(u@a{sv})", uid, no_options()), "()", &error);
        return reply ? EXIT_OK : fail(options, name, error);
}
