/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What the stand-ins for systemd and systemd-machined have in common: a connection of their own to the test's bus, their
 * objects, and a name that is theirs when this returns.
 */

#include "tests/service/stand-in-bus.h"

GDBusConnection *stand_in_connect(GTestDBus *daemon) {
        return g_dbus_connection_new_for_address_sync(
                        g_test_dbus_get_bus_address(daemon),
                        G_DBUS_CONNECTION_FLAGS_AUTHENTICATION_CLIENT |
                                        G_DBUS_CONNECTION_FLAGS_MESSAGE_BUS_CONNECTION,
                        NULL, NULL, NULL);
}

void stand_in_serve(
                GDBusConnection *connection,
                const char *name,
                const char *xml,
                const char *const *paths,
                const GDBusInterfaceVTable *vtable,
                gpointer data) {
        g_autoptr(GDBusNodeInfo) node = g_dbus_node_info_new_for_xml(xml, NULL);
        g_autoptr(GError) error = NULL;
        g_autoptr(GVariant) reply = NULL;

        for (unsigned i = 0; node->interfaces[i]; i++) {
                (void) g_dbus_connection_register_object(
                                connection, paths[i], node->interfaces[i], vtable, data, NULL,
                                &error);
                g_assert_no_error(error);
        }
        reply = g_dbus_connection_call_sync(
                        connection, "org.freedesktop.DBus", "/org/freedesktop/DBus",
                        "org.freedesktop.DBus", "RequestName", g_variant_new("(su)", name, 0), NULL,
                        0, -1, NULL, &error);
        g_assert_no_error(error);
}
