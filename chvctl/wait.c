/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Waiting for the service. Signals are subscribed to before the call that leads to them, so that none can slip by;
 * between calls nothing runs, they are delivered when a main loop does. The service's end ends every wait: a job of
 * a daemon that is gone never completes.
 */

#include "chvctl/wait.h"

#include <string.h>

#include "dbus/error.h"

/* The loop of one wait, with the two things that may end it early. */
typedef struct {
        GMainLoop *loop;
        guint timer, name_watch;
        gulong closed;
        GDBusConnection *connection;
        bool timed_out, service_gone;
} Wait;

static gboolean on_timeout(gpointer data) {
        Wait *wait = data;

        wait->timed_out = true;
        wait->timer = 0;
        g_main_loop_quit(wait->loop);
        return G_SOURCE_REMOVE;
}

static void on_name_vanished(GDBusConnection *connection, const char *name, gpointer data) {
        Wait *wait = data;

        wait->service_gone = true;
        g_main_loop_quit(wait->loop);
}

static void on_closed(GDBusConnection *connection, gboolean remote, GError *error, gpointer data) {
        on_name_vanished(connection, BUS_NAME, data);
}

static void wait_begin(Wait *wait, GDBusConnection *connection, unsigned timeout_ms) {
        *wait = (Wait){ .loop = g_main_loop_new(NULL, FALSE), .connection = connection };
        if (timeout_ms)
                wait->timer = g_timeout_add(timeout_ms, on_timeout, wait);
        /* Also told when the connection closes. */
        if (bus_name(connection))
                wait->name_watch = g_bus_watch_name_on_connection(
                                connection, BUS_NAME, G_BUS_NAME_WATCHER_FLAGS_NONE,
                                /* name_appeared_handler= */ NULL, on_name_vanished, wait,
                                /* user_data_free_func= */ NULL);
        else
                wait->closed = g_signal_connect(connection, "closed", G_CALLBACK(on_closed), wait);
}

static bool wait_end(Wait *wait, GError **error) {
        g_clear_handle_id(&wait->timer, g_source_remove);
        if (wait->name_watch)
                g_bus_unwatch_name(wait->name_watch);
        if (wait->closed)
                g_signal_handler_disconnect(wait->connection, wait->closed);
        g_main_loop_unref(wait->loop);
        if (wait->service_gone) {
                g_set_error(error, G_DBUS_ERROR, G_DBUS_ERROR_NO_SERVER, "the service has gone");
                return false;
        }
        if (wait->timed_out) {
                g_set_error(error, CHV_ERROR, CHV_ERROR_TIMED_OUT,
                            "not done in time; it goes on in the background");
                return false;
        }
        return true;
}

/* Runs the main loop, which is *place meanwhile for whom to end it, until done says so. False: not before the time was over or the service gone. */
static bool
wait_until(Bus *bus,
           unsigned timeout_ms,
           GMainLoop **place,
           bool (*done)(gconstpointer data),
           gconstpointer data,
           GError **error) {
        bool is_done;
        Wait wait;

        wait_begin(&wait, bus->connection, timeout_ms);
        *place = wait.loop;
        while (!(is_done = done(data)) && !wait.timed_out && !wait.service_gone)
                g_main_loop_run(wait.loop);
        *place = NULL;
        wait.timed_out &= !is_done;
        wait.service_gone &= !is_done;
        return wait_end(&wait, error);
}

typedef struct {
        char *message; /* "": success */
} Ended;

static void ended_free(gpointer data) {
        Ended *ended = data;

        g_free(ended->message);
        g_free(ended);
}

typedef struct {
        GHashTable *ended; /* path -> Ended, of every job that ended meanwhile */
        const char *awaited;
        GMainLoop *loop;
} Jobs;

static void
on_completed(GDBusConnection *connection,
             const char *sender,
             const char *path,
             const char *interface,
             const char *signal,
             GVariant *parameters,
             gpointer data) {
        Jobs *jobs = data;
        Ended *ended;
        gboolean success;

        if (!g_variant_is_of_type(parameters, G_VARIANT_TYPE("(bs)")))
                return;
        ended = g_new0(Ended, 1);
        g_variant_get(parameters, "(bs)", &success, &ended->message);
        if (success)
                ended->message[0] = '\0';
        else if (!ended->message[0]) {
                g_free(ended->message);
                ended->message = g_strdup("failed");
        }
        g_hash_table_insert(jobs->ended, g_strdup(path), ended);
        if (jobs->loop && strcmp(path, jobs->awaited) == 0)
                g_main_loop_quit(jobs->loop);
}

static bool has_ended(gconstpointer data) {
        const Jobs *jobs = data;

        return g_hash_table_contains(jobs->ended, jobs->awaited);
}

static bool await_job(Bus *bus, Jobs *jobs, const char *path, GError **error) {
        const Ended *ended;

        jobs->awaited = path;
        if (!wait_until(bus, (unsigned) bus->options->timeout * 1000, &jobs->loop, has_ended, jobs,
                        error))
                return false;
        ended = g_hash_table_lookup(jobs->ended, path);
        g_assert(ended);
        if (ended->message[0]) {
                g_set_error_literal(error, CHV_ERROR, CHV_ERROR_FAILED, ended->message);
                return false;
        }
        return true;
}

bool job_run(Bus *bus, const char *path, const char *method, GVariant *parameters, GError **error) {
        g_autoptr(GHashTable) table =
                        g_hash_table_new_full(g_str_hash, g_str_equal, g_free, ended_free);
        Jobs jobs = { .ended = table };
        g_autoptr(GVariant) owned = g_variant_ref_sink(parameters);
        g_autoptr(GVariant) reply = NULL;
        const char *job;
        guint subscription;
        bool good = true;

        if (!bus_connect(bus, error))
                return false;
        subscription = g_dbus_connection_signal_subscribe(
                        bus->connection, bus_name(bus->connection), JOB_INTERFACE, "Completed",
                        /* object_path= */ NULL,
                        /* arg0= */ NULL, G_DBUS_SIGNAL_FLAGS_NONE, on_completed, &jobs,
                        /* user_data_free_func= */ NULL);
        reply = bus_call(bus, path, VM_INTERFACE, method, owned, "(o)", error);
        if (!reply)
                good = false;
        else if (!bus->options->no_block) {
                g_variant_get(reply, "(&o)", &job);
                good = await_job(bus, &jobs, job, error);
        }
        g_dbus_connection_signal_unsubscribe(bus->connection, subscription);
        return good;
}

struct VmWatch {
        Bus *bus;
        char *path;
        char *state, *reason;
        bool gone, failed, changed;
        bool until_off; /* of the wait that runs */
        GMainLoop *loop;
        guint properties, events, removal;
};

ChvVmState vm_watch_state(const VmWatch *watch) {
        return watch->gone ? CHV_VM_STATE_INVALID : chv_vm_state_from_string(watch->state);
}

bool vm_watch_is_off(const VmWatch *watch) {
        ChvVmState state = vm_watch_state(watch);

        return watch->gone || state == CHV_VM_STATE_CREATED || state == CHV_VM_STATE_SHUTDOWN ||
               state == CHV_VM_STATE_FAILED;
}

bool vm_watch_has_failed(const VmWatch *watch, const char **ret_reason) {
        *ret_reason = watch->reason ? watch->reason : "";
        return watch->failed;
}

static bool is_awaited(gconstpointer data) {
        const VmWatch *watch = data;

        return watch->until_off ? vm_watch_is_off(watch) : watch->changed;
}

static void changed(VmWatch *watch) {
        watch->changed = true;
        if (watch->loop && is_awaited(watch))
                g_main_loop_quit(watch->loop);
}

static void set_text(char **place, const char *text) {
        g_free(*place);
        *place = g_strdup(text);
}

static void
on_properties(GDBusConnection *connection,
              const char *sender,
              const char *path,
              const char *interface,
              const char *signal,
              GVariant *parameters,
              gpointer data) {
        VmWatch *watch = data;
        g_autoptr(GVariant) values = NULL;
        const char *text;

        if (!g_variant_is_of_type(parameters, G_VARIANT_TYPE("(sa{sv}as)")))
                return;
        values = g_variant_get_child_value(parameters, 1);
        if (g_variant_lookup(values, "StateReason", "&s", &text))
                set_text(&watch->reason, text);
        if (g_variant_lookup(values, "State", "&s", &text)) {
                set_text(&watch->state, text);
                watch->failed = strcmp(text, "failed") == 0;
                changed(watch);
        }
}

/* A transient VM may be gone before its last state is told as a property: the event tells it too. */
static void
on_event(GDBusConnection *connection,
         const char *sender,
         const char *path,
         const char *interface,
         const char *signal,
         GVariant *parameters,
         gpointer data) {
        VmWatch *watch = data;
        g_autoptr(GVariant) properties = NULL;
        const char *source, *event, *message, *state;

        if (!g_variant_is_of_type(parameters, G_VARIANT_TYPE("(tssa{sv})")))
                return;
        g_variant_get(parameters, "(t&s&s@a{sv})", NULL, &source, &event, &properties);
        if (strcmp(source, "vm") != 0)
                return;
        state = "";
        (void) g_variant_lookup(properties, "state", "&s", &state);
        if (strcmp(event, "failed") == 0 || strcmp(event, "worker-died") == 0 ||
            strcmp(state, "failed") == 0) {
                watch->failed = true;
                if (g_variant_lookup(properties, "message", "&s", &message) ||
                    g_variant_lookup(properties, "reason", "&s", &message))
                        set_text(&watch->reason, message);
        } else if (strcmp(event, "booted") == 0)
                watch->failed = false;
}

static void
on_removed(GDBusConnection *connection,
           const char *sender,
           const char *path,
           const char *interface,
           const char *signal,
           GVariant *parameters,
           gpointer data) {
        VmWatch *watch = data;
        const char *removed;

        if (!g_variant_is_of_type(parameters, G_VARIANT_TYPE("(oas)")))
                return;
        g_variant_get(parameters, "(&oas)", &removed, NULL);
        if (strcmp(removed, watch->path) == 0) {
                watch->gone = true;
                changed(watch);
        }
}

static guint
subscribe(VmWatch *watch,
          const char *interface,
          const char *signal,
          const char *path,
          const char *arg0,
          GDBusSignalCallback callback) {
        return g_dbus_connection_signal_subscribe(
                        watch->bus->connection, bus_name(watch->bus->connection), interface, signal,
                        path, arg0, G_DBUS_SIGNAL_FLAGS_NONE, callback, watch,
                        /* user_data_free_func= */ NULL);
}

VmWatch *vm_watch_new(Bus *bus, const char *path, GError **error) {
        g_autoptr(VmWatch) watch = g_new0(VmWatch, 1);
        g_autoptr(GVariant) state = NULL, reason = NULL;

        if (!bus_connect(bus, error))
                return NULL;
        watch->bus = bus;
        watch->path = g_strdup(path);
        watch->properties =
                        subscribe(watch, "org.freedesktop.DBus.Properties", "PropertiesChanged",
                                  path, VM_INTERFACE, on_properties);
        watch->events = subscribe(watch, VM_INTERFACE, "Event", path, NULL, on_event);
        watch->removal =
                        subscribe(watch, "org.freedesktop.DBus.ObjectManager", "InterfacesRemoved",
                                  ROOT_PATH, NULL, on_removed);
        state = bus_property(bus, path, VM_INTERFACE, "State", error);
        if (!state)
                return NULL;
        reason = bus_property(bus, path, VM_INTERFACE, "StateReason", NULL);
        set_text(&watch->state, g_variant_get_string(state, NULL));
        watch->failed = strcmp(watch->state, "failed") == 0;
        if (reason && g_variant_is_of_type(reason, G_VARIANT_TYPE_STRING))
                set_text(&watch->reason, g_variant_get_string(reason, NULL));
        return g_steal_pointer(&watch);
}

void vm_watch_free(VmWatch *watch) {
        if (!watch)
                return;
        if (watch->properties)
                g_dbus_connection_signal_unsubscribe(watch->bus->connection, watch->properties);
        if (watch->events)
                g_dbus_connection_signal_unsubscribe(watch->bus->connection, watch->events);
        if (watch->removal)
                g_dbus_connection_signal_unsubscribe(watch->bus->connection, watch->removal);
        g_free(watch->path);
        g_free(watch->state);
        g_free(watch->reason);
        g_free(watch);
}

bool vm_watch_wait(VmWatch *watch, bool any_change, unsigned timeout_ms, GError **error) {
        watch->until_off = !any_change;
        watch->changed = false;
        return wait_until(watch->bus, timeout_ms, &watch->loop, is_awaited, watch, error);
}
