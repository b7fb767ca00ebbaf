/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Running VMs as machines of systemd-machined. A machine there is a name, a unit and a process; it takes the unit from the process, and
 * forgets the machine when the unit has ended, so all there is to do is to register:
 *
 *   untold ─ Register… ─ told
 *                └ there is one of that name ─ who? ─ ours: told
 *                                                   ─ of our unit, by a run before: unregistered, once more
 *                                                   ─ somebody's: waits until machined tells that it has gone
 *
 * Nobody waits for any of this, and nothing fails for it. Where machined is not installed nothing is said; other failures are told once,
 * until something succeeds. A machine's calls end with its entry: a callback that finds its call cancelled touches nothing.
 */

#include "daemon/chvd/machines.h"

#include <string.h>

#define MACHINE1 "org.freedesktop.machine1"
#define MACHINE1_PATH "/org/freedesktop/machine1"
#define MACHINE1_MANAGER "org.freedesktop.machine1.Manager"
#define MACHINE1_MACHINE "org.freedesktop.machine1.Machine"
#define EXISTS "org.freedesktop.machine1.MachineExists"

#define MAX_NAME 64 /* HOST_NAME_MAX */
#define MAX_TRIES 5 /* with one of that name that comes and goes */
#define UUID_BYTES 16

struct ChvdMachines {
        GDBusConnection *bus;
        GHashTable *entries; /* name → Entry */
        guint subscription;
        bool enabled;
        bool failed; /* and it was said */
};

typedef enum {
        UNTOLD,
        TELLING,
        WAITING, /* for the end of another machine of that name */
        TOLD,
} Phase;

typedef struct {
        ChvdMachines *machines;
        GCancellable *cancellable;
        Phase phase;
        unsigned tries;
        char *name, *unit;
        pid_t pid;
        const char *method;
        GVariant *parameters; /* of the method */
} Entry;

static void tell(Entry *entry);

static void entry_free(gpointer data) {
        Entry *entry = data;

        g_cancellable_cancel(entry->cancellable);
        g_object_unref(entry->cancellable);
        g_variant_unref(entry->parameters);
        g_free(entry->name);
        g_free(entry->unit);
        g_free(entry);
}

bool chvd_machines_name_fits(const char *name) {
        char before = '.';

        for (const char *c = name; *c; before = *c++) {
                bool edge = before == '.' || c[1] == '.' || c[1] == '\0';

                if (!g_ascii_isalnum(*c) && (edge || (*c != '-' && *c != '.')))
                        return false;
        }
        return name[0] && strlen(name) <= MAX_NAME;
}

/* Frees the error. */
static void fail(Entry *entry, GError *error) {
        ChvdMachines *machines = entry->machines;
        bool absent = g_error_matches(error, G_DBUS_ERROR, G_DBUS_ERROR_SERVICE_UNKNOWN);

        entry->phase = UNTOLD;
        (void) g_dbus_error_strip_remote_error(error);
        if (absent || machines->failed)
                g_debug("VM '%s' is not registered with systemd-machined: %s", entry->name,
                        error->message);
        else
                g_message("VM '%s' is not registered with systemd-machined, and others may not "
                          "be: %s",
                          entry->name, error->message);
        machines->failed = machines->failed || !absent;
        g_error_free(error);
}

static void succeed(Entry *entry) {
        entry->phase = TOLD;
        entry->machines->failed = false;
        g_debug("VM '%s' is registered with systemd-machined", entry->name);
}

/* Frees the error. */
static void tell_again(Entry *entry, GError *error) {
        if (++entry->tries >= MAX_TRIES)
                return fail(entry, error);
        g_error_free(error);
        tell(entry);
}

/* NULL without *ret_error: the entry is gone. */
static GVariant *finish(GObject *source, GAsyncResult *result, GError **ret_error) {
        GVariant *reply =
                        g_dbus_connection_call_finish(G_DBUS_CONNECTION(source), result, ret_error);

        if (!reply && g_error_matches(*ret_error, G_IO_ERROR, G_IO_ERROR_CANCELLED))
                g_clear_error(ret_error);
        return reply;
}

static void
call(Entry *entry,
     const char *path,
     const char *interface,
     const char *method,
     GVariant *parameters,
     const char *reply_type,
     GAsyncReadyCallback callback) {
        g_dbus_connection_call(
                        entry->machines->bus, MACHINE1, path, interface, method, parameters,
                        G_VARIANT_TYPE(reply_type), G_DBUS_CALL_FLAGS_NONE, /* timeout_msec= */ -1,
                        entry->cancellable, callback, entry);
}

static void on_unregistered(GObject *source, GAsyncResult *result, gpointer data) {
        GError *error = NULL;
        g_autoptr(GVariant) reply = finish(source, result, &error);

        if (!reply && !error)
                return;
        /* A failure is one to register too, if it is one: it may have gone by itself. */
        tell_again(data, error
                                         ?: g_error_new(G_DBUS_ERROR, G_DBUS_ERROR_FAILED,
                                                        "there is always one of that name"));
}

static void on_described(GObject *source, GAsyncResult *result, gpointer data) {
        Entry *entry = data;
        GError *error = NULL;
        g_autoptr(GVariant) reply = finish(source, result, &error);
        g_autoptr(GVariant) all = NULL;
        const char *unit = "";
        guint32 leader = 0;

        if (!reply) {
                if (error)
                        tell_again(entry, error);
                return;
        }
        all = g_variant_get_child_value(reply, 0);
        (void) g_variant_lookup(all, "Leader", "u", &leader);
        (void) g_variant_lookup(all, "Unit", "&s", &unit);
        if (leader == (guint32) entry->pid)
                return succeed(entry);
        /* A run that ended and one that began so fast after it that machined saw no end of the unit. */
        if (g_str_equal(unit, entry->unit))
                return call(entry, MACHINE1_PATH, MACHINE1_MANAGER, "UnregisterMachine",
                            g_variant_new("(s)", entry->name), "()", on_unregistered);
        entry->phase = WAITING;
        g_debug("VM '%s' is not registered with systemd-machined while that knows another machine "
                "of this name, %s",
                entry->name, unit);
}

static void on_found(GObject *source, GAsyncResult *result, gpointer data) {
        Entry *entry = data;
        GError *error = NULL;
        g_autoptr(GVariant) reply = finish(source, result, &error);
        const char *path;

        if (!reply) {
                if (error)
                        tell_again(entry, error);
                return;
        }
        g_variant_get(reply, "(&o)", &path);
        call(entry, path, "org.freedesktop.DBus.Properties", "GetAll",
             g_variant_new("(s)", MACHINE1_MACHINE), "(a{sv})", on_described);
}

static void on_registered(GObject *source, GAsyncResult *result, gpointer data) {
        Entry *entry = data;
        GError *error = NULL;
        g_autoptr(GVariant) reply = finish(source, result, &error);
        g_autofree char *name = error ? g_dbus_error_get_remote_error(error) : NULL;

        if (reply)
                return succeed(entry);
        if (!error)
                return;
        if (g_strcmp0(name, EXISTS) != 0)
                return fail(entry, error);
        g_error_free(error);
        call(entry, MACHINE1_PATH, MACHINE1_MANAGER, "GetMachine",
             g_variant_new("(s)", entry->name), "(o)", on_found);
}

static void tell(Entry *entry) {
        entry->phase = TELLING;
        call(entry, MACHINE1_PATH, MACHINE1_MANAGER, entry->method, entry->parameters, "(o)",
             on_registered);
}

static void
on_removed(GDBusConnection *connection,
           const char *sender,
           const char *path,
           const char *interface,
           const char *signal,
           GVariant *parameters,
           gpointer data) {
        ChvdMachines *machines = data;
        const char *name;
        Entry *entry;

        if (!g_variant_is_of_type(parameters, G_VARIANT_TYPE("(so)")))
                return;
        g_variant_get(parameters, "(&s&o)", &name, /* path */ NULL);
        entry = g_hash_table_lookup(machines->entries, name);
        if (!entry || entry->phase != WAITING)
                return;
        entry->phase = UNTOLD;
        entry->tries = 0;
        if (machines->enabled)
                tell(entry);
}

ChvdMachines *chvd_machines_new(GDBusConnection *bus) {
        ChvdMachines *machines = g_new0(ChvdMachines, 1);

        machines->bus = g_object_ref(bus);
        machines->entries = g_hash_table_new_full(
                        g_str_hash, g_str_equal, /* key: the entry's */ NULL, entry_free);
        machines->subscription = g_dbus_connection_signal_subscribe(
                        bus, MACHINE1, MACHINE1_MANAGER, "MachineRemoved", MACHINE1_PATH,
                        /* arg0= */ NULL, G_DBUS_SIGNAL_FLAGS_NONE, on_removed, machines,
                        /* user_data_free_func= */ NULL);
        return machines;
}

void chvd_machines_free(ChvdMachines *machines) {
        if (!machines)
                return;
        g_dbus_connection_signal_unsubscribe(machines->bus, machines->subscription);
        g_hash_table_unref(machines->entries);
        g_object_unref(machines->bus);
        g_free(machines);
}

void chvd_machines_set_enabled(ChvdMachines *machines, bool enabled) {
        GHashTableIter iter;
        gpointer value;

        if (!machines)
                return;
        machines->enabled = enabled;
        g_hash_table_iter_init(&iter, machines->entries);
        while (enabled && g_hash_table_iter_next(&iter, NULL, &value)) {
                Entry *entry = value;

                entry->tries = 0;
                if (entry->phase == UNTOLD)
                        tell(entry);
        }
}

/* ay: that of systemd's ids, which are written as UUIDs without hyphens. */
static GVariant *id_of(const char *uuid) {
        guint8 bytes[UUID_BYTES];
        unsigned n = 0;

        for (const char *c = uuid ?: ""; *c && n < sizeof(bytes); c++) {
                if (*c == '-')
                        continue;
                if (!g_ascii_isxdigit(c[0]) || !g_ascii_isxdigit(c[1]))
                        break;
                bytes[n++] =
                                (guint8) (g_ascii_xdigit_value(c[0]) << 4 |
                                          g_ascii_xdigit_value(c[1]));
                c++;
        }
        return g_variant_new_fixed_array(G_VARIANT_TYPE_BYTE, bytes, n == sizeof(bytes) ? n : 0, 1);
}

static GVariant *parameters_of(const ChvdMachine *machine) {
        GVariant *id = id_of(machine->uuid);

        if (machine->n_interfaces == 0)
                return g_variant_new(
                                "(s@ayssus)", machine->name, id, "chvd", "vm",
                                (guint32) machine->pid, /* root directory */ "");
        return g_variant_new(
                        "(s@ayssus@ai)", machine->name, id, "chvd", "vm", (guint32) machine->pid,
                        /* root directory */ "",
                        g_variant_new_fixed_array(
                                        G_VARIANT_TYPE_INT32, machine->interfaces,
                                        machine->n_interfaces, sizeof(gint32)));
}

void chvd_machines_add(ChvdMachines *machines, const ChvdMachine *machine) {
        Entry *entry;

        if (!machines || !machine->unit[0] || machine->pid <= 0)
                return;
        if (!chvd_machines_name_fits(machine->name)) {
                g_debug("VM '%s' is not registered with systemd-machined: its name is not that of "
                        "a host",
                        machine->name);
                return;
        }
        entry = g_new0(Entry, 1);
        entry->machines = machines;
        entry->cancellable = g_cancellable_new();
        entry->name = g_strdup(machine->name);
        entry->unit = g_strdup(machine->unit);
        entry->pid = machine->pid;
        entry->method = machine->n_interfaces > 0 ? "RegisterMachineWithNetwork"
                                                  : "RegisterMachine";
        entry->parameters = g_variant_ref_sink(parameters_of(machine));
        (void) g_hash_table_replace(machines->entries, entry->name, entry);
        if (machines->enabled)
                tell(entry);
}

void chvd_machines_remove(ChvdMachines *machines, const char *name) {
        if (machines)
                (void) g_hash_table_remove(machines->entries, name);
}
