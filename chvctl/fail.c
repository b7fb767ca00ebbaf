/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What the user sees of an error: one line with what failed and why, a second with what helps, when something is known
 * to help, and an exit status. Never the help text: who mistyped one option does not want to read about all the others.
 */

#include "chvctl/fail.h"

#include "dbus/error.h"

static const struct {
        ChvError code;
        ExitStatus status;
        const char *hint;
} table[] = {
        { CHV_ERROR_INVALID_CONFIG, EXIT_USAGE, NULL },
        { CHV_ERROR_EXISTS, EXIT_FAILED,
          "chvctl delete removes it, another name leaves it alone." },
        { CHV_ERROR_NO_SUCH_VM, EXIT_MISSING, "chvctl list shows what there is." },
        { CHV_ERROR_NO_SUCH_DEVICE, EXIT_MISSING, "chvctl info shows what it has." },
        { CHV_ERROR_INVALID_STATE, EXIT_STATE, NULL },
        { CHV_ERROR_BUSY, EXIT_STATE, NULL },
        { CHV_ERROR_ACCESS_DENIED, EXIT_DENIED, "Its owner may, and who is authorised by polkit." },
        { CHV_ERROR_NEEDS_INTERACTION, EXIT_DENIED,
          "Without --no-ask-password you would be asked for a password." },
        { CHV_ERROR_TIMED_OUT, EXIT_TIMED_OUT, NULL },
};

static bool is_no_service(const GError *error) {
        return g_error_matches(error, G_DBUS_ERROR, G_DBUS_ERROR_NO_SERVER) ||
               g_error_matches(error, G_DBUS_ERROR, G_DBUS_ERROR_SERVICE_UNKNOWN) ||
               g_error_matches(error, G_DBUS_ERROR, G_DBUS_ERROR_NAME_HAS_NO_OWNER) ||
               g_error_matches(error, G_DBUS_ERROR, G_DBUS_ERROR_NO_REPLY) ||
               g_error_matches(error, G_DBUS_ERROR, G_DBUS_ERROR_DISCONNECTED) ||
               g_error_matches(error, G_DBUS_ERROR, G_DBUS_ERROR_SPAWN_FAILED) ||
               g_error_matches(error, G_IO_ERROR, G_IO_ERROR_CLOSED);
}

static const char *service_hint(const Options *options) {
        if (options->host)
                return "The host needs ssh, systemd-stdio-bridge and a running chvd.";
        if (options->user || options->address || options->socket)
                return "Start your own service with: chvd --session";
        return "See systemctl status chvd; chvctl --user talks to a service of your own.";
}

static const char *classify(const Options *options, const GError *error, ExitStatus *ret) {
        *ret = EXIT_FAILED;
        if (is_no_service(error)) {
                *ret = EXIT_NO_SERVICE;
                return service_hint(options);
        }
        if (g_error_matches(error, G_DBUS_ERROR, G_DBUS_ERROR_ACCESS_DENIED)) {
                *ret = EXIT_DENIED;
                return NULL;
        }
        if (g_error_matches(error, G_DBUS_ERROR, G_DBUS_ERROR_TIMEOUT) ||
            g_error_matches(error, G_DBUS_ERROR, G_DBUS_ERROR_TIMED_OUT)) {
                *ret = EXIT_TIMED_OUT;
                return NULL;
        }
        for (size_t i = 0; i < G_N_ELEMENTS(table); i++)
                if (g_error_matches(error, CHV_ERROR, (int) table[i].code)) {
                        *ret = table[i].status;
                        return table[i].hint;
                }
        return NULL;
}

ExitStatus status_of(const GError *error) {
        static const Options none;
        ExitStatus status;

        classify(&none, error, &status);
        return status;
}

ExitStatus fail(const Options *options, const char *subject, const GError *error) {
        ExitStatus status;
        const char *hint = classify(options, error, &status);

        g_printerr("chvctl: %s%s%s\n", subject ? subject : "", subject ? ": " : "", error->message);
        if (hint)
                g_printerr("%s\n", hint);
        return status;
}
