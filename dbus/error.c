/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The service's error domain. One table ties each ChvError to its name on the bus; GDBus translates both ways once
 * the domain is registered, which happens the first time anybody asks for the quark. Names are part of the API:
 * they are only ever added, in the order of the enum.
 */

#include "dbus/error.h"

#include <string.h>

static const GDBusErrorEntry entries[] = {
        { CHV_ERROR_FAILED, "org.cloudhypervisor.Error.Failed" },
        { CHV_ERROR_INVALID_CONFIG, "org.cloudhypervisor.Error.InvalidConfig" },
        { CHV_ERROR_EXISTS, "org.cloudhypervisor.Error.Exists" },
        { CHV_ERROR_NO_SUCH_VM, "org.cloudhypervisor.Error.NoSuchVM" },
        { CHV_ERROR_NO_SUCH_DEVICE, "org.cloudhypervisor.Error.NoSuchDevice" },
        { CHV_ERROR_INVALID_STATE, "org.cloudhypervisor.Error.InvalidState" },
        { CHV_ERROR_NOT_SUPPORTED, "org.cloudhypervisor.Error.NotSupported" },
        { CHV_ERROR_ACCESS_DENIED, "org.cloudhypervisor.Error.AccessDenied" },
        { CHV_ERROR_RESOURCE, "org.cloudhypervisor.Error.Resource" },
        { CHV_ERROR_IMAGE, "org.cloudhypervisor.Error.Image" },
        { CHV_ERROR_BUSY, "org.cloudhypervisor.Error.Busy" },
        { CHV_ERROR_LIMIT, "org.cloudhypervisor.Error.Limit" },
        { CHV_ERROR_WORKER_DIED, "org.cloudhypervisor.Error.WorkerDied" },
        { CHV_ERROR_TIMED_OUT, "org.cloudhypervisor.Error.TimedOut" },
        { CHV_ERROR_CANCELLED, "org.cloudhypervisor.Error.Cancelled" },
        /* The D-Bus specification's own, which clients know what to do about. */
        { CHV_ERROR_NEEDS_INTERACTION,
          "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired" },
};

G_STATIC_ASSERT(G_N_ELEMENTS(entries) == CHV_ERROR_MAX);

GQuark chv_error_quark(void) {
        static gsize quark = 0;

        g_dbus_error_register_error_domain(
                        "chv-error-quark", &quark, entries, G_N_ELEMENTS(entries));
        return (GQuark) quark;
}

char *chv_quote_text(const char *text) {
        g_autofree char *start = g_strndup(text, 64);
        g_autofree char *valid = g_utf8_make_valid(start, -1);
        GString *quoted = g_string_new("'");

        for (const char *p = valid; *p; p = g_utf8_next_char(p)) {
                gunichar c = g_utf8_get_char(p);

                if (g_unichar_isprint(c))
                        g_string_append_unichar(quoted, c);
                else
                        g_string_append_c(quoted, '?');
        }
        g_string_append(quoted, strlen(text) > 64 ? "…'" : "'");
        return g_string_free(quoted, FALSE);
}
