/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A worker, seen from chvd: a child process and a D-Bus connection to it without a bus. Its life:
 *
 *   start: socket pair, spawn, handshake (in GDBus's threads)    → ops->ready
 *   then calls one way, events and state changes the other
 *   end: the process is reaped and the connection has run dry    → ops->exited
 *
 * Whatever the worker sends is untrusted: it passes the meter first, and types are checked before use. A worker that
 * is ended is asked first and killed after its grace; one that is freed is killed at once, and reaped whenever it goes.
 *
 * References: the owner's, the child watch's, and one for each call in flight.
 */

#include "daemon/chvd/worker.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/chvd/meter.h"
#include "daemon/chvd/spawn.h"
#include "dbus/error.h"
#include "dbus/fd.h"

#define VMM_PATH "/org/cloudhypervisor/Vmm"
#define VMM_INTERFACE "org.cloudhypervisor.Vmm"
#define MAX_TEXT 512  /* bytes of a worker's words that are passed on */
#define DRAIN_MS 1000 /* for the connection to run dry after the process has gone */

struct ChvdWorker {
        unsigned refs;
        const ChvdWorkerOps *ops; /* NULL: freed by its owner */
        gpointer data;
        pid_t pid; /* 0: reaped */
        int status;
        GCancellable *cancellable; /* of the handshake and all calls */
        GDBusConnection *connection;
        ChvdMeter *meter;
        bool connecting, ready, reaped, dry, told_to_end;
        guint event_signal, properties_signal; /* subscriptions */
        guint kill_timer, drain_timer;
};

typedef struct {
        ChvdWorker *worker;
        ChvdWorkerReply done;
        gpointer data;
        char *method;
} Call;

static void worker_unref(ChvdWorker *worker) {
        if (--worker->refs > 0)
                return;
        g_clear_object(&worker->connection);
        g_clear_object(&worker->cancellable);
        g_free(worker);
}

static char *bounded(const char *text) {
        if (strlen(text) <= MAX_TEXT)
                return g_strdup(text);
        return g_utf8_make_valid(text, MAX_TEXT);
}

static void report_exit(ChvdWorker *worker) {
        const ChvdWorkerOps *ops = worker->ops;

        if (!ops || !worker->reaped || !worker->dry || worker->connecting)
                return;
        g_clear_handle_id(&worker->kill_timer, g_source_remove);
        g_clear_handle_id(&worker->drain_timer, g_source_remove);
        worker->ops = NULL;
        ops->exited(worker->data, worker->status);
}

static gboolean on_drain_timer(gpointer data) {
        ChvdWorker *worker = data;

        /* A grandchild may hold the other end open: it is not waited for. */
        worker->drain_timer = 0;
        worker->dry = true;
        g_cancellable_cancel(worker->cancellable);
        report_exit(worker);
        return G_SOURCE_REMOVE;
}

static void on_reaped(GPid pid, gint status, gpointer data) {
        ChvdWorker *worker = data;

        worker->reaped = true;
        worker->pid = 0;
        worker->status = status;
        if (worker->ops && (!worker->dry || worker->connecting) && !worker->drain_timer)
                worker->drain_timer = g_timeout_add(DRAIN_MS, on_drain_timer, worker);
        report_exit(worker);
        worker_unref(worker);
}

static void
on_closed(GDBusConnection *connection, gboolean peer_vanished, GError *error, ChvdWorker *worker) {
        worker->ready = false;
        worker->dry = true;
        /* Without its channel a worker is of no use. */
        if (worker->pid > 0)
                chvd_worker_end(worker, DRAIN_MS);
        report_exit(worker);
}

static void
on_event(GDBusConnection *connection,
         const char *sender,
         const char *path,
         const char *interface,
         const char *signal,
         GVariant *parameters,
         gpointer data) {
        ChvdWorker *worker = data;
        g_autoptr(GVariant) properties = NULL, none = NULL;
        const char *source, *event;
        unsigned dropped;
        guint64 timestamp;

        if (!worker->ops || !g_variant_is_of_type(parameters, G_VARIANT_TYPE("(tssa{sv})")))
                return;
        dropped = chvd_meter_take_dropped(worker->meter);
        if (dropped > 0) {
                none = g_variant_ref_sink(
                                g_variant_new_parsed("{'count': <%u>}", (guint32) dropped));
                worker->ops->event(
                                worker->data, (uint64_t) g_get_real_time(), "vm", "events-lost",
                                none);
        }
        g_variant_get(parameters, "(t&s&s@a{sv})", &timestamp, &source, &event, &properties);
        if (worker->ops && strlen(source) <= 64 && strlen(event) <= 64)
                worker->ops->event(worker->data, timestamp, source, event, properties);
}

static void
on_properties(GDBusConnection *connection,
              const char *sender,
              const char *path,
              const char *interface,
              const char *signal,
              GVariant *parameters,
              gpointer data) {
        ChvdWorker *worker = data;
        g_autoptr(GVariant) changed = NULL;
        g_autofree char *bounded_reason = NULL;
        const char *changed_interface, *state, *reason = "";

        if (!worker->ops || !g_variant_is_of_type(parameters, G_VARIANT_TYPE("(sa{sv}as)")))
                return;
        g_variant_get(parameters, "(&s@a{sv}as)", &changed_interface, &changed, NULL);
        if (!g_str_equal(changed_interface, VMM_INTERFACE) ||
            !g_variant_lookup(changed, "State", "&s", &state))
                return;
        (void) g_variant_lookup(changed, "StateReason", "&s", &reason);
        bounded_reason = bounded(reason);
        worker->ops->state(worker->data, state, bounded_reason);
}

static void on_connected(GObject *source, GAsyncResult *result, gpointer data) {
        ChvdWorker *worker = data;
        g_autoptr(GError) error = NULL;

        worker->connecting = false;
        worker->connection = g_dbus_connection_new_finish(result, &error);
        if (!worker->connection || !worker->ops || worker->reaped) {
                worker->dry = true;
                if (worker->ops && worker->pid > 0 && !worker->told_to_end) {
                        g_message("worker %d: handshake failed: %s", worker->pid, error->message);
                        chvd_worker_end(worker, /* grace_ms= */ 0);
                }
                report_exit(worker);
                worker_unref(worker);
                return;
        }
        worker->meter = chvd_meter_attach(worker->connection);
        worker->event_signal = g_dbus_connection_signal_subscribe(
                        worker->connection,
                        /* sender= */ NULL, VMM_INTERFACE, "Event", VMM_PATH,
                        /* arg0= */ NULL, G_DBUS_SIGNAL_FLAGS_NONE, on_event, worker,
                        /* user_data_free_func= */ NULL);
        worker->properties_signal = g_dbus_connection_signal_subscribe(
                        worker->connection,
                        /* sender= */ NULL, "org.freedesktop.DBus.Properties", "PropertiesChanged",
                        VMM_PATH,
                        /* arg0= */ NULL, G_DBUS_SIGNAL_FLAGS_NONE, on_properties, worker,
                        /* user_data_free_func= */ NULL);
        (void) g_signal_connect(worker->connection, "closed", G_CALLBACK(on_closed), worker);
        g_dbus_connection_start_message_processing(worker->connection);
        worker->ready = true;
        worker->ops->ready(worker->data);
        worker_unref(worker);
}

/* Nothing that the connection still has queued reaches the worker after this. */
static void forget_connection(ChvdWorker *worker) {
        g_autoptr(GDBusConnection) connection = g_steal_pointer(&worker->connection);

        if (!connection)
                return;
        (void) g_signal_handlers_disconnect_by_data(connection, worker);
        if (worker->event_signal)
                g_dbus_connection_signal_unsubscribe(connection, worker->event_signal);
        if (worker->properties_signal)
                g_dbus_connection_signal_unsubscribe(connection, worker->properties_signal);
        if (!g_dbus_connection_is_closed(connection))
                g_dbus_connection_close(connection, NULL, NULL, NULL);
}

/* Takes fd over. */
static bool connect_to(ChvdWorker *worker, int fd, GError **error) {
        g_autofree char *guid = g_dbus_generate_guid();
        g_autoptr(GSocketConnection) stream = NULL;
        g_autoptr(GSocket) socket = g_socket_new_from_fd(fd, error);

        if (!socket) {
                (void) close(fd);
                return false;
        }
        stream = g_socket_connection_factory_create_connection(socket);
        worker->connecting = true;
        worker->refs++;
        g_dbus_connection_new(
                        G_IO_STREAM(stream), guid,
                        G_DBUS_CONNECTION_FLAGS_AUTHENTICATION_SERVER |
                                        G_DBUS_CONNECTION_FLAGS_AUTHENTICATION_ALLOW_ANONYMOUS |
                                        G_DBUS_CONNECTION_FLAGS_DELAY_MESSAGE_PROCESSING,
                        /* observer= */ NULL, worker->cancellable, on_connected, worker);
        return true;
}

ChvdWorker *
chvd_worker_start(const char *program, const ChvdWorkerOps *ops, gpointer data, GError **error) {
        chv_autofd ours = -1, theirs = -1;
        ChvdWorker *worker;
        int pair[2];
        pid_t pid;

        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
                g_set_error(error, CHV_ERROR, CHV_ERROR_FAILED,
                            "starting the worker: no socket: %s", g_strerror(errno));
                return NULL;
        }
        ours = pair[0];
        theirs = pair[1];
        if (!chvd_spawn(program, theirs, &pid, error))
                return NULL;

        worker = g_new0(ChvdWorker, 1);
        worker->refs = 2;
        worker->ops = ops;
        worker->data = data;
        worker->pid = pid;
        worker->cancellable = g_cancellable_new();
        (void) g_child_watch_add(pid, on_reaped, worker);
        if (!connect_to(worker, chv_fd_steal(&ours), error)) {
                chvd_worker_free(worker);
                return NULL;
        }
        return worker;
}

void chvd_worker_free(ChvdWorker *worker) {
        if (!worker)
                return;
        worker->ops = NULL;
        worker->ready = false;
        g_clear_handle_id(&worker->kill_timer, g_source_remove);
        g_clear_handle_id(&worker->drain_timer, g_source_remove);
        g_cancellable_cancel(worker->cancellable);
        forget_connection(worker);
        if (worker->pid > 0)
                (void) kill(worker->pid, SIGKILL);
        worker_unref(worker);
}

pid_t chvd_worker_pid(const ChvdWorker *worker) {
        return worker->pid;
}

bool chvd_worker_is_ready(const ChvdWorker *worker) {
        return worker->ready;
}

/* What a worker's or GDBus's error is to clients. */
static GError *translate(const GError *error, const char *method) {
        g_autofree char *text = NULL;
        g_autoptr(GError) plain = g_error_copy(error);

        (void) g_dbus_error_strip_remote_error(plain);
        text = bounded(plain->message);
        if (plain->domain == CHV_ERROR)
                return g_error_new_literal(CHV_ERROR, plain->code, text);
        if (g_error_matches(plain, G_IO_ERROR, G_IO_ERROR_TIMED_OUT) ||
            g_error_matches(plain, G_DBUS_ERROR, G_DBUS_ERROR_NO_REPLY))
                return g_error_new(
                                CHV_ERROR, CHV_ERROR_TIMED_OUT,
                                "the worker did not answer %s in time", method);
        if (g_error_matches(plain, G_IO_ERROR, G_IO_ERROR_CLOSED) ||
            g_error_matches(plain, G_IO_ERROR, G_IO_ERROR_CANCELLED))
                return g_error_new(
                                CHV_ERROR, CHV_ERROR_WORKER_DIED, "the worker ended during %s",
                                method);
        return g_error_new(CHV_ERROR, CHV_ERROR_FAILED, "%s: %s", method, text);
}

static void on_reply(GObject *source, GAsyncResult *result, gpointer data) {
        g_autofree Call *call = data;
        g_autofree char *method = call->method;
        g_autoptr(GUnixFDList) fds = NULL;
        g_autoptr(GError) error = NULL, ours = NULL;
        g_autoptr(GVariant) reply = g_dbus_connection_call_with_unix_fd_list_finish(
                        G_DBUS_CONNECTION(source), &fds, result, &error);

        if (error)
                ours = translate(error, method);
        call->done(call->data, reply, fds, ours);
        worker_unref(call->worker);
}

void chvd_worker_call(
                ChvdWorker *worker,
                const char *method,
                GVariant *parameters,
                const char *reply_type,
                GUnixFDList *fds,
                int timeout_ms,
                ChvdWorkerReply done,
                gpointer data) {
        Call *call = g_new0(Call, 1);

        call->worker = worker;
        call->done = done;
        call->data = data;
        call->method = g_strdup(method);
        worker->refs++;
        g_dbus_connection_call_with_unix_fd_list(
                        worker->connection,
                        /* bus_name= */ NULL, VMM_PATH, VMM_INTERFACE, method, parameters,
                        G_VARIANT_TYPE(reply_type), G_DBUS_CALL_FLAGS_NONE, timeout_ms, fds,
                        worker->cancellable, on_reply, call);
}

static gboolean on_kill_timer(gpointer data) {
        ChvdWorker *worker = data;

        worker->kill_timer = 0;
        if (worker->pid > 0)
                (void) kill(worker->pid, SIGKILL);
        return G_SOURCE_REMOVE;
}

static void ignore_reply(gpointer data, GVariant *reply, GUnixFDList *fds, const GError *error) {
}

void chvd_worker_end(ChvdWorker *worker, unsigned grace_ms) {
        if (worker->pid == 0)
                return;
        worker->told_to_end = true;
        g_clear_handle_id(&worker->kill_timer, g_source_remove);
        if (grace_ms == 0) {
                (void) kill(worker->pid, SIGKILL);
                return;
        }
        worker->kill_timer = g_timeout_add(grace_ms, on_kill_timer, worker);
        if (worker->ready)
                chvd_worker_call(worker, "Quit", NULL, "()", NULL, -1, ignore_reply, NULL);
}
