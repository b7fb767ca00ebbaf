/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The host shuts down. While a VM runs, a delay lock of systemd-logind is held; when logind tells that a shutdown
 * begins, the names of the VMs that run are written down, all guests are asked at once to power off, and the lock is
 * given back when that is done and the last of them has gone. logind waits no longer than its own InhibitDelayMaxSec,
 * so nothing is forced here: what is left then, systemd stops as units, each with its own time-out.
 *
 * Without logind, or when it refuses the lock, hosts shut down as if this were not here.
 */

#include "daemon/chvd/shutdown.h"

#include <gio/gunixfdlist.h>
#include <stdbool.h>

#include "daemon/chvd/log.h"
#include "dbus/fd.h"

#define LOGIN1 "org.freedesktop.login1"
#define LOGIN1_PATH "/org/freedesktop/login1"
#define LOGIN1_MANAGER "org.freedesktop.login1.Manager"

struct ChvdShutdown {
        GDBusConnection *bus;
        ChvdManager *manager;
        char *record;
        guint watch, subscription;
        GCancellable *cancellable;
        bool present; /* logind */
        bool asking;  /* for the lock */
        bool writing; /* the record */
        unsigned running;
        int lock; /* -1: not held */
};

static void update(ChvdShutdown *shutdown);

static void on_lock(GObject *source, GAsyncResult *result, gpointer data) {
        ChvdShutdown *shutdown = data;
        g_autoptr(GUnixFDList) fds = NULL;
        g_autoptr(GError) error = NULL;
        g_autoptr(GVariant) reply = g_dbus_connection_call_with_unix_fd_list_finish(
                        G_DBUS_CONNECTION(source), &fds, result, &error);
        gint32 handle;

        /* Then there is no shutdown any more. */
        if (g_error_matches(error, G_IO_ERROR, G_IO_ERROR_CANCELLED))
                return;
        shutdown->asking = false;
        if (reply) {
                g_variant_get(reply, "(h)", &handle);
                if (fds && handle >= 0 && handle < g_unix_fd_list_get_length(fds))
                        shutdown->lock = g_unix_fd_list_get(fds, handle, &error);
        }
        if (shutdown->lock >= 0)
                return update(shutdown);
        /* It is not asked again until it comes anew. */
        shutdown->present = false;
        if (error)
                (void) g_dbus_error_strip_remote_error(error);
        g_message("logind does not let us delay a shutdown of the host: %s",
                  error ? error->message : "it sent no lock");
}

static void ask(ChvdShutdown *shutdown) {
        shutdown->asking = true;
        g_dbus_connection_call_with_unix_fd_list(
                        shutdown->bus, LOGIN1, LOGIN1_PATH, LOGIN1_MANAGER, "Inhibit",
                        g_variant_new("(ssss)", "shutdown", "chvd",
                                      "Virtual machines are asked to power off", "delay"),
                        G_VARIANT_TYPE("(h)"), G_DBUS_CALL_FLAGS_NO_AUTO_START,
                        /* timeout_msec= */ -1, /* fd_list= */ NULL, shutdown->cancellable, on_lock,
                        shutdown);
}

static void update(ChvdShutdown *shutdown) {
        bool wanted = shutdown->present && (shutdown->running > 0 || shutdown->writing);

        if (!wanted) {
                chv_fd_closep(&shutdown->lock);
                shutdown->lock = -1;
        } else if (shutdown->lock < 0 && !shutdown->asking)
                ask(shutdown);
}

typedef struct {
        char *path, *text;
} Record;

static void record_free(gpointer data) {
        Record *record = data;

        g_free(record->path);
        g_free(record->text);
        g_free(record);
}

/* In a thread of its own: the disk takes its time. */
static void
write_record(GTask *task, gpointer source, gpointer task_data, GCancellable *cancellable) {
        const Record *record = task_data;
        GError *error = NULL;

        if (g_file_set_contents_full(
                            record->path, record->text, /* length= */ -1,
                            G_FILE_SET_CONTENTS_CONSISTENT | G_FILE_SET_CONTENTS_DURABLE, 0600,
                            &error))
                g_task_return_boolean(task, true);
        else
                g_task_return_error(task, error);
}

static void on_written(GObject *source, GAsyncResult *result, gpointer data) {
        ChvdShutdown *shutdown = data;
        g_autoptr(GError) error = NULL;

        if (!g_task_propagate_boolean(G_TASK(result), &error)) {
                if (g_error_matches(error, G_IO_ERROR, G_IO_ERROR_CANCELLED))
                        return;
                g_message("which virtual machines run at the shutdown is not recorded: %s",
                          error->message);
        }
        shutdown->writing = false;
        update(shutdown);
}

static void keep_record(ChvdShutdown *shutdown, char **names) {
        g_autoptr(GTask) task = g_task_new(
                        /* source_object= */ NULL, shutdown->cancellable, on_written, shutdown);
        g_autoptr(GKeyFile) file = g_key_file_new();
        Record *record = g_new0(Record, 1);

        g_key_file_set_int64(file, "Shutdown", "Time", g_get_real_time());
        g_key_file_set_string_list(
                        file, "Shutdown", "VMs", (const char *const *) names, g_strv_length(names));
        record->path = g_strdup(shutdown->record);
        record->text = g_key_file_to_data(file, /* length= */ NULL, /* error= */ NULL);
        shutdown->writing = true;
        g_task_set_task_data(task, record, record_free);
        g_task_run_in_thread(task, write_record);
}

static void
on_prepare(GDBusConnection *connection,
           const char *sender,
           const char *path,
           const char *interface,
           const char *signal,
           GVariant *parameters,
           gpointer data) {
        ChvdShutdown *shutdown = data;
        g_auto(GStrv) names = NULL;
        gboolean begins;

        if (!g_variant_is_of_type(parameters, G_VARIANT_TYPE("(b)")))
                return;
        g_variant_get(parameters, "(b)", &begins);
        if (!begins || shutdown->writing)
                return;
        names = chvd_manager_press_power_buttons(shutdown->manager);
        if (!names[0])
                return;
        chvd_log(CHVD_LOG_HOST_SHUTDOWN, /* vm= */ NULL, /* uuid= */ NULL,
                 "the host shuts down: %u virtual machines are asked to power off",
                 g_strv_length(names));
        keep_record(shutdown, names);
}

static void
on_appeared(GDBusConnection *connection, const char *name, const char *owner, gpointer data) {
        ChvdShutdown *shutdown = data;

        shutdown->present = true;
        update(shutdown);
}

static void on_vanished(GDBusConnection *connection, const char *name, gpointer data) {
        ChvdShutdown *shutdown = data;

        shutdown->present = false;
        update(shutdown);
}

ChvdShutdown *chvd_shutdown_new(GDBusConnection *bus, ChvdManager *manager, const char *record) {
        ChvdShutdown *shutdown = g_new0(ChvdShutdown, 1);

        shutdown->bus = g_object_ref(bus);
        shutdown->manager = manager;
        shutdown->record = g_strdup(record);
        shutdown->lock = -1;
        shutdown->cancellable = g_cancellable_new();
        shutdown->subscription = g_dbus_connection_signal_subscribe(
                        bus, LOGIN1, LOGIN1_MANAGER, "PrepareForShutdown", LOGIN1_PATH,
                        /* arg0= */ NULL, G_DBUS_SIGNAL_FLAGS_NONE, on_prepare, shutdown,
                        /* user_data_free_func= */ NULL);
        shutdown->watch = g_bus_watch_name_on_connection(
                        bus, LOGIN1, G_BUS_NAME_WATCHER_FLAGS_NONE, on_appeared, on_vanished,
                        shutdown, /* user_data_free_func= */ NULL);
        return shutdown;
}

void chvd_shutdown_free(ChvdShutdown *shutdown) {
        if (!shutdown)
                return;
        g_bus_unwatch_name(shutdown->watch);
        g_dbus_connection_signal_unsubscribe(shutdown->bus, shutdown->subscription);
        /* What is under way finds out by this that there is nobody to tell. */
        g_cancellable_cancel(shutdown->cancellable);
        g_object_unref(shutdown->cancellable);
        g_object_unref(shutdown->bus);
        chv_fd_closep(&shutdown->lock);
        g_free(shutdown->record);
        g_free(shutdown);
}

void chvd_shutdown_update(ChvdShutdown *shutdown, unsigned running) {
        shutdown->running = running;
        update(shutdown);
}

bool chvd_shutdown_is_busy(const ChvdShutdown *shutdown) {
        return shutdown->writing;
}
