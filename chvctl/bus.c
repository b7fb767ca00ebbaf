/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The connection to the service: the system bus, the session bus, any address, or another host's system bus through
 * ssh and its systemd-stdio-bridge, as systemctl does it. Calls wait for their answer without a time limit of their
 * own: a person may be typing a password meanwhile. What ends the wait is the service's answer or its end.
 *
 * A call is made without the flag that lets polkit ask somebody; when the service answers that this is what it lacks,
 * it had no effect, and is made again with the flag, and with an agent on the terminal if there is one. So nobody who
 * is let in anyway waits for an agent to start.
 */

#include "chvctl/bus.h"

#include <gio/gunixfdlist.h>
#include <sys/socket.h>

#include "chvctl/agent.h"
#include "dbus/error.h"
#include "dbus/fd.h"

#define SYSTEM_SOCKET "/run/chvd/bus"

/* ssh with one end of a socket pair as its standard input and output; the other end carries D-Bus. */
static GDBusConnection *connect_host(Bus *bus, GError **error) {
        const char *ssh = g_getenv("SYSTEMD_SSH");
        g_autoptr(GSubprocessLauncher) launcher =
                        g_subprocess_launcher_new(G_SUBPROCESS_FLAGS_NONE);
        g_autoptr(GSocket) socket = NULL;
        g_autoptr(GSocketConnection) stream = NULL;
        int fds[2];

        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0) {
                g_set_error_literal(error, CHV_ERROR, CHV_ERROR_FAILED, g_strerror(errno));
                return NULL;
        }
        socket = g_socket_new_from_fd(fds[0], error);
        if (!socket) {
                close(fds[0]);
                close(fds[1]);
                return NULL;
        }
        g_subprocess_launcher_take_stdin_fd(launcher, dup(fds[1]));
        g_subprocess_launcher_take_stdout_fd(launcher, fds[1]);
        bus->ssh = g_subprocess_launcher_spawn(
                        launcher, error, ssh ? ssh : "ssh", "-xT", "--", bus->options->host,
                        "systemd-stdio-bridge", NULL);
        if (!bus->ssh)
                return NULL;
        /* The launcher still holds the other end: without this ssh's end would not be ours. */
        g_subprocess_launcher_close(launcher);
        stream = g_socket_connection_factory_create_connection(socket);
        return g_dbus_connection_new_sync(
                        G_IO_STREAM(stream),
                        /* guid= */ NULL,
                        G_DBUS_CONNECTION_FLAGS_AUTHENTICATION_CLIENT |
                                        G_DBUS_CONNECTION_FLAGS_MESSAGE_BUS_CONNECTION,
                        /* observer= */ NULL,
                        /* cancellable= */ NULL, error);
}

static GDBusConnection *connect_address(const char *address, GError **error) {
        return g_dbus_connection_new_for_address_sync(
                        address,
                        G_DBUS_CONNECTION_FLAGS_AUTHENTICATION_CLIENT |
                                        G_DBUS_CONNECTION_FLAGS_MESSAGE_BUS_CONNECTION,
                        /* observer= */ NULL,
                        /* cancellable= */ NULL, error);
}

static GDBusConnection *connect_bus(GBusType type, GError **error) {
        g_autofree char *address =
                        g_dbus_address_get_for_bus_sync(type, /* cancellable= */ NULL, error);

        return address ? connect_address(address, error) : NULL;
}

static GDBusConnection *connect_socket(const char *path, GError **error) {
        g_autofree char *escaped = g_dbus_address_escape_value(path);
        g_autofree char *address = g_strconcat("unix:path=", escaped, NULL);

        return g_dbus_connection_new_for_address_sync(
                        address, G_DBUS_CONNECTION_FLAGS_AUTHENTICATION_CLIENT,
                        /* observer= */ NULL,
                        /* cancellable= */ NULL, error);
}

/* The system's service, without the bus if there is none. */
static GDBusConnection *connect_system(GError **error) {
        GDBusConnection *connection = connect_bus(G_BUS_TYPE_SYSTEM, error);

        if (!connection)
                connection = connect_socket(SYSTEM_SOCKET, /* error= */ NULL);
        if (connection)
                g_clear_error(error);
        return connection;
}

GDBusConnection *bus_connect(Bus *bus, GError **error) {
        const Options *options = bus->options;
        g_autoptr(GError) reason = NULL;

        if (bus->connection)
                return bus->connection;
        /* Registers the names of errors, so that answers arrive with their codes. */
        (void) CHV_ERROR;
        if (options->host)
                bus->connection = connect_host(bus, &reason);
        else if (options->address)
                bus->connection = connect_address(options->address, &reason);
        else if (options->socket)
                bus->connection = connect_socket(options->socket, &reason);
        else if (options->user)
                bus->connection = connect_bus(G_BUS_TYPE_SESSION, &reason);
        else
                bus->connection = connect_system(&reason);
        if (bus->connection)
                return bus->connection;
        g_set_error(error, G_DBUS_ERROR, G_DBUS_ERROR_NO_SERVER, "%s%s can't be reached: %s",
                    options->host      ? "the bus of "
                    : options->address ? "the bus at "
                    : options->socket  ? "the socket "
                    : options->user    ? "the session bus"
                                       : "the system bus",
                    options->host      ? options->host
                    : options->address ? options->address
                    : options->socket  ? options->socket
                                       : "",
                    reason->message);
        return NULL;
}

void bus_clear(Bus *bus) {
        if (bus->connection)
                (void) g_dbus_connection_close_sync(bus->connection, NULL, NULL);
        g_clear_object(&bus->connection);
        g_clear_object(&bus->ssh);
}

GVariant *bus_call_with_fds(
                Bus *bus,
                const char *path,
                const char *interface,
                const char *method,
                GVariant *parameters,
                const char *reply,
                GUnixFDList *fds,
                GUnixFDList **ret_fds,
                GError **error) {
        g_autoptr(GVariant) owned = parameters ? g_variant_ref_sink(parameters) : NULL;
        GDBusConnection *connection = bus_connect(bus, error);
        GDBusCallFlags flags = G_DBUS_CALL_FLAGS_NONE;
        g_autoptr(Agent) agent = NULL;

        if (!connection)
                return NULL;
        for (;;) {
                GError *remote = NULL;
                GVariant *answer = g_dbus_connection_call_with_unix_fd_list_sync(
                                connection, bus_name(connection), path, interface, method, owned,
                                reply ? G_VARIANT_TYPE(reply) : NULL, flags,
                                /* timeout_msec= */ G_MAXINT, fds, ret_fds,
                                /* cancellable= */ NULL, &remote);

                if (answer)
                        return answer;
                (void) g_dbus_error_strip_remote_error(remote);
                if (flags != G_DBUS_CALL_FLAGS_NONE || bus->options->no_ask_password ||
                    !g_error_matches(remote, CHV_ERROR, CHV_ERROR_NEEDS_INTERACTION)) {
                        g_propagate_error(error, remote);
                        return NULL;
                }
                g_error_free(remote);
                /* Lives until we return. NOLINTNEXTLINE(clang-analyzer-deadcode.DeadStores) */
                agent = agent_start(bus->options);
                flags = G_DBUS_CALL_FLAGS_ALLOW_INTERACTIVE_AUTHORIZATION;
        }
}

GVariant *
bus_call(Bus *bus,
         const char *path,
         const char *interface,
         const char *method,
         GVariant *parameters,
         const char *reply,
         GError **error) {
        return bus_call_with_fds(
                        bus, path, interface, method, parameters, reply, NULL, NULL, error);
}

GVariant *bus_vm_config(Bus *bus, const char *path, GError **error) {
        g_autoptr(GVariant) reply =
                        bus_call(bus, path, VM_INTERFACE, "GetConfig",
                                 g_variant_new("(@a{sv})", no_options()), "(a{sv})", error);

        return reply ? g_variant_get_child_value(reply, 0) : NULL;
}

char *bus_find_vm(Bus *bus, const char *name, GError **error) {
        g_autoptr(GVariant) reply =
                        bus_call(bus, MANAGER_PATH, MANAGER_INTERFACE, "GetVM",
                                 g_variant_new("(s)", name), "(o)", error);
        char *path = NULL;

        if (reply)
                g_variant_get(reply, "(o)", &path);
        return path;
}

GVariant *bus_objects(Bus *bus, GError **error) {
        g_autoptr(GVariant) reply = bus_call(
                        bus, ROOT_PATH, "org.freedesktop.DBus.ObjectManager", "GetManagedObjects",
                        /* parameters= */ NULL, "(a{oa{sa{sv}}})", error);

        return reply ? g_variant_get_child_value(reply, 0) : NULL;
}

GVariant *
bus_property(Bus *bus, const char *path, const char *interface, const char *name, GError **error) {
        g_autoptr(GVariant) reply =
                        bus_call(bus, path, "org.freedesktop.DBus.Properties", "Get",
                                 g_variant_new("(ss)", interface, name), "(v)", error);
        GVariant *value = NULL;

        if (reply)
                g_variant_get(reply, "(v)", &value);
        return value;
}

GVariant *bus_properties(Bus *bus, const char *path, const char *interface, GError **error) {
        g_autoptr(GVariant) reply =
                        bus_call(bus, path, "org.freedesktop.DBus.Properties", "GetAll",
                                 g_variant_new("(s)", interface), "(a{sv})", error);

        return reply ? g_variant_get_child_value(reply, 0) : NULL;
}

GVariant *no_options(void) {
        return g_variant_new_array(G_VARIANT_TYPE("{sv}"), NULL, 0);
}
