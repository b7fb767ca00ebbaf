/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Events as they happen, one line each: from all virtual machines, or from those that are named. It ends after
 * --lines events, after --timeout seconds, or with the connection; it outlives a restart of the service, whose events
 * are subscribed to by name.
 */

#include <glib-unix.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "chvctl/bus.h"
#include "chvctl/fail.h"
#include "chvctl/find.h"
#include "chvctl/output.h"

typedef struct {
        Options *options;
        GHashTable *paths; /* path -> name of those to show; NULL: all */
        GMainLoop *loop;
        int shown;
        ExitStatus status;
} Monitor;

/* The name that a path was made from: _xx is a byte in hexadecimal. */
static char *path_to_name(const char *path) {
        const char *last = strrchr(path, '/');
        GString *name = g_string_new(NULL);

        for (const char *p = last ? last + 1 : path; *p; p++) {
                if (p[0] == '_' && g_ascii_isxdigit(p[1]) && g_ascii_isxdigit(p[2])) {
                        g_string_append_c(
                                        name, (char) (g_ascii_xdigit_value(p[1]) << 4 |
                                                      g_ascii_xdigit_value(p[2])));
                        p += 2;
                } else
                        g_string_append_c(name, *p);
        }
        return g_string_free(name, FALSE);
}

static char *format_properties(GVariant *properties) {
        GString *out = g_string_new(NULL);
        GVariantIter iter;
        const char *key;
        GVariant *value;

        g_variant_iter_init(&iter, properties);
        while (g_variant_iter_next(&iter, "{&sv}", &key, &value)) {
                g_autoptr(GVariant) owned = value;
                g_autofree char *text = g_variant_is_of_type(owned, G_VARIANT_TYPE_STRING)
                                                        ? g_variant_dup_string(owned, NULL)
                                                        : g_variant_print(owned, FALSE);

                g_string_append_printf(out, " %s=%s", key, text);
        }
        return g_string_free(out, FALSE);
}

static void show_json(const Monitor *monitor, const char *name, GVariant *parameters) {
        Options line = { .json = monitor->options->json };
        g_auto(GVariantBuilder) dict = G_VARIANT_BUILDER_INIT(G_VARIANT_TYPE_VARDICT);
        g_autoptr(GVariant) properties = g_variant_get_child_value(parameters, 4);
        g_autoptr(GVariant) object = NULL;
        guint64 timestamp;
        const char *source, *event;

        g_variant_get(parameters, "(&ot&s&s@a{sv})", NULL, &timestamp, &source, &event, NULL);
        g_variant_builder_add_parsed(&dict, "{'vm', <%s>}", name);
        g_variant_builder_add_parsed(&dict, "{'timestamp', <%t>}", timestamp);
        g_variant_builder_add_parsed(&dict, "{'source', <%s>}", source);
        g_variant_builder_add_parsed(&dict, "{'event', <%s>}", event);
        g_variant_builder_add(&dict, "{sv}", "properties", properties);
        object = g_variant_ref_sink(g_variant_builder_end(&dict));
        output_json(&line, object);
}

static void show_text(const char *name, GVariant *parameters) {
        g_autoptr(GVariant) properties = g_variant_get_child_value(parameters, 4);
        g_autofree char *more = format_properties(properties), *time = NULL, *line = NULL,
                        *safe = NULL;
        guint64 timestamp;
        const char *source, *event;

        g_variant_get(parameters, "(&ot&s&s@a{sv})", NULL, &timestamp, &source, &event, NULL);
        time = format_time(timestamp);
        line = g_strdup_printf(
                        "%s.%03u %s %s %s%s", time, (unsigned) (timestamp / 1000 % 1000), name,
                        source, event, more);
        safe = format_safe(line);
        puts(safe);
        (void) fflush(stdout);
}

static void
on_event(GDBusConnection *connection,
         const char *sender,
         const char *path,
         const char *interface,
         const char *signal,
         GVariant *parameters,
         gpointer data) {
        Monitor *monitor = data;
        g_autofree char *name = NULL;
        const char *vm;

        if (!g_variant_is_of_type(parameters, G_VARIANT_TYPE("(otssa{sv})")))
                return;
        g_variant_get_child(parameters, 0, "&o", &vm);
        if (monitor->paths && !g_hash_table_contains(monitor->paths, vm))
                return;
        name = path_to_name(vm);
        if (monitor->options->json != JSON_OFF)
                show_json(monitor, name, parameters);
        else
                show_text(name, parameters);
        if (ferror(stdout) || ++monitor->shown == monitor->options->lines)
                g_main_loop_quit(monitor->loop);
}

static gboolean on_timeout(gpointer data) {
        Monitor *monitor = data;

        monitor->status = monitor->options->lines ? EXIT_TIMED_OUT : EXIT_OK;
        g_main_loop_quit(monitor->loop);
        return G_SOURCE_REMOVE;
}

static gboolean on_signal(gpointer data) {
        Monitor *monitor = data;

        g_main_loop_quit(monitor->loop);
        return G_SOURCE_CONTINUE;
}

static void on_closed(GDBusConnection *connection, gboolean remote, GError *error, gpointer data) {
        Monitor *monitor = data;

        g_printerr("chvctl: the bus has closed the connection\n");
        monitor->status = EXIT_NO_SERVICE;
        g_main_loop_quit(monitor->loop);
}

ExitStatus cmd_monitor(Options *options, Bus *bus) {
        g_autoptr(GMainLoop) loop = g_main_loop_new(NULL, FALSE);
        Monitor monitor = { .options = options, .loop = loop };
        g_autoptr(GError) error = NULL;
        g_autoptr(GVariant) version = NULL;
        guint subscription;

        if (!bus_connect(bus, &error))
                return fail(options, NULL, error);
        subscription = g_dbus_connection_signal_subscribe(
                        bus->connection, bus_name(bus->connection), MANAGER_INTERFACE, "Event",
                        MANAGER_PATH,
                        /* arg0= */ NULL, G_DBUS_SIGNAL_FLAGS_NONE, on_event, &monitor,
                        /* user_data_free_func= */ NULL);
        /* Starts the service, and fails when there is none. */
        version = bus_property(bus, MANAGER_PATH, MANAGER_INTERFACE, "Version", &error);
        if (!version)
                return fail(options, NULL, error);
        if (!find_vms(options, bus, &monitor.paths, &monitor.status))
                return monitor.status;
        g_signal_connect(bus->connection, "closed", G_CALLBACK(on_closed), &monitor);
        g_unix_signal_add(SIGINT, on_signal, &monitor);
        g_unix_signal_add(SIGTERM, on_signal, &monitor);
        if (options->timeout)
                g_timeout_add_seconds((guint) options->timeout, on_timeout, &monitor);
        g_main_loop_run(loop);
        g_dbus_connection_signal_unsubscribe(bus->connection, subscription);
        g_signal_handlers_disconnect_by_data(bus->connection, &monitor);
        g_clear_pointer(&monitor.paths, g_hash_table_unref);
        return monitor.status;
}
