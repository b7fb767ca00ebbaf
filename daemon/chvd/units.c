/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The systemd on the other side of the bus. It is there when its name has an owner: the system's on the system bus, the
 * user's on the session bus. It comes and goes with reloads of itself; what it had started stays, and its signals go
 * on when it is told again that somebody listens.
 */

#include "daemon/chvd/units.h"

#include <gio/gunixfdlist.h>

struct ChvdUnits {
        GDBusConnection *bus;
        ChvdUnitsMode mode;
        guint watch;
        bool there;
};

ChvdUnitsMode chvd_units_mode_from_string(const char *text) {
        static const char *const modes[] = {
                [CHVD_UNITS_AUTO] = "auto",
                [CHVD_UNITS_YES] = "yes",
                [CHVD_UNITS_NO] = "no",
        };

        G_STATIC_ASSERT(G_N_ELEMENTS(modes) == CHVD_UNITS_MAX);
        for (unsigned i = 0; i < G_N_ELEMENTS(modes); i++)
                if (g_strcmp0(text, modes[i]) == 0)
                        return (ChvdUnitsMode) i;
        return CHVD_UNITS_INVALID;
}

static void on_appeared(GDBusConnection *bus, const char *name, const char *owner, gpointer data) {
        ChvdUnits *units = data;

        units->there = true;
        /* Without it, jobs and units change in silence. */
        g_dbus_connection_call(
                        bus, CHVD_UNITS_BUS_NAME, CHVD_UNITS_PATH, CHVD_UNITS_MANAGER, "Subscribe",
                        /* parameters= */ NULL, /* reply_type= */ NULL,
                        G_DBUS_CALL_FLAGS_NO_AUTO_START, /* timeout_msec= */ -1,
                        /* cancellable= */ NULL, /* callback= */ NULL, /* user_data= */ NULL);
}

static void on_vanished(GDBusConnection *bus, const char *name, gpointer data) {
        ChvdUnits *units = data;

        units->there = false;
}

ChvdUnits *chvd_units_new(GDBusConnection *bus, ChvdUnitsMode mode) {
        ChvdUnits *units = g_new0(ChvdUnits, 1);

        units->bus = g_object_ref(bus);
        units->mode = mode;
        units->watch = g_bus_watch_name_on_connection(
                        bus, CHVD_UNITS_BUS_NAME, G_BUS_NAME_WATCHER_FLAGS_NONE, on_appeared,
                        on_vanished, units, /* user_data_free_func= */ NULL);
        return units;
}

void chvd_units_free(ChvdUnits *units) {
        if (!units)
                return;
        g_bus_unwatch_name(units->watch);
        g_object_unref(units->bus);
        g_free(units);
}

bool chvd_units_wanted(const ChvdUnits *units) {
        return units &&
               (units->mode == CHVD_UNITS_YES || (units->mode == CHVD_UNITS_AUTO && units->there));
}

GDBusConnection *chvd_units_bus(const ChvdUnits *units) {
        return units->bus;
}

bool chvd_units_start_transient(
                GDBusConnection *bus,
                const char *unit,
                GVariant *properties,
                int input,
                GCancellable *cancellable,
                bool *ret_absent,
                GError **error) {
        g_autoptr(GVariant) owned = g_variant_ref_sink(properties), reply = NULL;
        g_autoptr(GUnixFDList) list = g_unix_fd_list_new();
        g_autoptr(GError) ours = NULL;

        *ret_absent = false;
        if (g_unix_fd_list_append(list, input, &ours) >= 0)
                reply = g_dbus_connection_call_with_unix_fd_list_sync(
                                bus, CHVD_UNITS_BUS_NAME, CHVD_UNITS_PATH, CHVD_UNITS_MANAGER,
                                "StartTransientUnit",
                                g_variant_new("(ss@a(sv)a(sa(sv)))", unit, "fail", owned, NULL),
                                G_VARIANT_TYPE("(o)"), G_DBUS_CALL_FLAGS_NO_AUTO_START,
                                /* timeout_msec= */ -1, list, /* out_fd_list= */ NULL, cancellable,
                                &ours);
        if (reply)
                return true;
        *ret_absent = g_error_matches(ours, G_DBUS_ERROR, G_DBUS_ERROR_SERVICE_UNKNOWN) ||
                      g_error_matches(ours, G_DBUS_ERROR, G_DBUS_ERROR_NAME_HAS_NO_OWNER);
        (void) g_dbus_error_strip_remote_error(ours);
        g_propagate_error(error, g_steal_pointer(&ours));
        return false;
}
