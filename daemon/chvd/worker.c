/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A worker, seen from chvd: a process and a D-Bus connection to it without a bus. Its life:
 *
 *   start: folder and listening socket, process              → ops->started
 *   connect to that socket, handshake (in GDBus's threads)   → ops->ready
 *   then calls one way, events and state changes the other
 *   end: the process has gone and the connection has run dry → ops->exited
 *
 * An adopted worker is one whose process another chvd started; it only begins with the second line.
 *
 * Whatever the worker sends is untrusted: it passes the meter first, and types are checked before use. A worker that
 * is ended is asked first and killed after its grace; one that is freed is killed at once.
 *
 * References: the owner's, that of a handshake under way, and one for each call in flight.
 */

#include "daemon/chvd/worker.h"

#include <string.h>
#include <unistd.h>

#include "daemon/chvd/meter.h"
#include "daemon/chvd/runtime.h"
#include "dbus/error.h"
#include "dbus/fd.h"

#define VMM_PATH "/org/cloudhypervisor/Vmm"
#define VMM_INTERFACE "org.cloudhypervisor.Vmm"
#define MAX_TEXT 512  /* bytes of a worker's words that are passed on */
#define DRAIN_MS 1000 /* for the connection to run dry after the process has gone */

struct ChvdWorker {
        unsigned refs;
        const ChvdContext *context;
        char *name;
        const ChvdWorkerOps *ops; /* NULL: freed by its owner */
        gpointer data;
        ChvdProcess *process; /* NULL: gone, or one that nobody has noted */
        ChvdExit exit;
        int listening;             /* until the process has it; -1: it has */
        GCancellable *cancellable; /* of the handshake and all calls */
        GDBusConnection *connection;
        ChvdMeter *meter;
        bool connecting, ready, gone, dry, told_to_end;
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
        g_free(worker->name);
        g_free(worker);
}

char *chvd_worker_bounded(const char *text) {
        if (strlen(text) <= MAX_TEXT)
                return g_strdup(text);
        return g_utf8_make_valid(text, MAX_TEXT);
}

static void report_exit(ChvdWorker *worker) {
        const ChvdWorkerOps *ops = worker->ops;

        if (!ops || !worker->gone || !worker->dry || worker->connecting)
                return;
        g_clear_handle_id(&worker->kill_timer, g_source_remove);
        g_clear_handle_id(&worker->drain_timer, g_source_remove);
        worker->ops = NULL;
        ops->exited(worker->data, &worker->exit);
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

static void on_exited(gpointer data, const ChvdExit *exit) {
        ChvdWorker *worker = data;

        worker->gone = true;
        worker->exit = *exit;
        g_clear_pointer(&worker->process, chvd_process_free);
        if ((!worker->dry || worker->connecting) && !worker->drain_timer)
                worker->drain_timer = g_timeout_add(DRAIN_MS, on_drain_timer, worker);
        report_exit(worker);
}

static void
on_closed(GDBusConnection *connection, gboolean peer_vanished, GError *error, ChvdWorker *worker) {
        worker->ready = false;
        worker->dry = true;
        if (!worker->process)
                worker->gone = true;
        /* It has gone, or is of no use: while the service is ours nobody else connects to it. */
        else
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
        bounded_reason = chvd_worker_bounded(reason);
        worker->ops->state(worker->data, state, bounded_reason);
}

static void on_unconnected(ChvdWorker *worker, const GError *error) {
        worker->dry = true;
        if (!worker->process)
                worker->gone = true;
        else if (worker->ops && !worker->told_to_end) {
                g_message("worker of VM '%s': no connection: %s", worker->name, error->message);
                chvd_worker_end(worker, /* grace_ms= */ 0);
        }
        report_exit(worker);
}

static void on_connected(GObject *source, GAsyncResult *result, gpointer data) {
        ChvdWorker *worker = data;
        g_autoptr(GError) error = NULL;

        worker->connecting = false;
        worker->connection = g_dbus_connection_new_finish(result, &error);
        if (!worker->connection || !worker->ops || worker->gone) {
                on_unconnected(worker, error);
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
        /* One that hung up during the handshake has said so already, when nobody listened. */
        if (g_dbus_connection_is_closed(worker->connection)) {
                on_closed(worker->connection, /* peer_vanished= */ true, /* error= */ NULL, worker);
                worker_unref(worker);
                return;
        }
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

static void connect_to(ChvdWorker *worker) {
        g_autofree char *guid = g_dbus_generate_guid();
        g_autoptr(GSocketConnection) stream = NULL;
        g_autoptr(GSocket) socket = NULL;
        g_autoptr(GError) error = NULL;
        chv_autofd fd = chvd_runtime_connect(worker->context->runtime_dir, worker->name, &error);

        if (fd >= 0)
                socket = g_socket_new_from_fd(fd, &error);
        if (!socket)
                return on_unconnected(worker, error);
        (void) chv_fd_steal(&fd);
        stream = g_socket_connection_factory_create_connection(socket);
        worker->connecting = true;
        worker->refs++;
        g_dbus_connection_new(
                        G_IO_STREAM(stream), guid,
                        G_DBUS_CONNECTION_FLAGS_AUTHENTICATION_SERVER |
                                        G_DBUS_CONNECTION_FLAGS_AUTHENTICATION_ALLOW_ANONYMOUS |
                                        G_DBUS_CONNECTION_FLAGS_DELAY_MESSAGE_PROCESSING,
                        /* observer= */ NULL, worker->cancellable, on_connected, worker);
}

static void on_started(gpointer data, const GError *error) {
        ChvdWorker *worker = data;
        const ChvdWorkerOps *ops = worker->ops;

        /* From here on only the process has it, so that its end is the end of all connections. */
        if (worker->listening >= 0)
                (void) close(chv_fd_steal(&worker->listening));
        if (error) {
                g_clear_pointer(&worker->process, chvd_process_free);
                worker->ops = NULL;
                return ops->failed(worker->data, error);
        }
        worker->refs++;
        ops->started(worker->data);
        if (worker->ops)
                connect_to(worker);
        worker_unref(worker);
}

static const ChvdProcessOps process_ops = {
        .started = on_started,
        .exited = on_exited,
};

static ChvdWorker *
worker_new(const ChvdContext *context, const char *name, const ChvdWorkerOps *ops, gpointer data) {
        ChvdWorker *worker = g_new0(ChvdWorker, 1);

        worker->refs = 1;
        worker->context = context;
        worker->name = g_strdup(name);
        worker->ops = ops;
        worker->data = data;
        worker->listening = -1;
        worker->cancellable = g_cancellable_new();
        return worker;
}

ChvdWorker *chvd_worker_start(
                const ChvdContext *context,
                const char *name,
                const char *uuid,
                bool pins_memory,
                GVariant *limits,
                const ChvdWorkerOps *ops,
                gpointer data,
                GError **error) {
        g_autoptr(GVariant) owned = limits ? g_variant_ref_sink(limits) : NULL;
        chv_autofd fd = chvd_runtime_listen(context->runtime_dir, name, error);
        g_autofree char *seccomp = g_strconcat("--seccomp=", context->seccomp, NULL);
        const char *const argv[] = { context->worker_path, context->seccomp ? seccomp : NULL,
                                     NULL };
        const ChvdProcessSetup setup = {
                .vm = name,
                .uuid = uuid,
                .argv = argv,
                .channel = fd,
                .pins_memory = pins_memory,
                .limits = owned,
        };
        ChvdWorker *worker;

        if (fd < 0)
                return NULL;
        worker = worker_new(context, name, ops, data);
        worker->listening = chv_fd_steal(&fd);
        worker->process = chvd_process_start(context, &setup, &process_ops, worker);
        return worker;
}

static gboolean on_unnoted(gpointer data) {
        ChvdWorker *worker = data;

        if (worker->ops)
                connect_to(worker);
        worker_unref(worker);
        return G_SOURCE_REMOVE;
}

ChvdWorker *chvd_worker_adopt(
                const ChvdContext *context,
                const char *name,
                const char *handle,
                const ChvdWorkerOps *ops,
                gpointer data) {
        ChvdWorker *worker = worker_new(context, name, ops, data);

        if (handle) {
                worker->process = chvd_process_adopt(context, handle, &process_ops, worker);
                return worker;
        }
        worker->refs++;
        (void) g_idle_add(on_unnoted, worker);
        return worker;
}

void chvd_worker_set_ops(ChvdWorker *worker, const ChvdWorkerOps *ops, gpointer data) {
        worker->ops = ops;
        worker->data = data;
}

void chvd_worker_abandon(ChvdWorker *worker) {
        worker->ops = NULL;
        worker->ready = false;
        g_clear_handle_id(&worker->kill_timer, g_source_remove);
        g_clear_handle_id(&worker->drain_timer, g_source_remove);
        g_cancellable_cancel(worker->cancellable);
        forget_connection(worker);
        g_clear_pointer(&worker->process, chvd_process_free);
        if (worker->listening >= 0)
                (void) close(chv_fd_steal(&worker->listening));
        worker_unref(worker);
}

void chvd_worker_free(ChvdWorker *worker) {
        if (!worker)
                return;
        if (worker->process)
                chvd_process_kill(worker->process);
        chvd_worker_abandon(worker);
}

pid_t chvd_worker_pid(const ChvdWorker *worker) {
        return worker->process ? chvd_process_pid(worker->process) : 0;
}

const char *chvd_worker_handle(const ChvdWorker *worker) {
        return worker->process ? chvd_process_handle(worker->process) : NULL;
}

const char *chvd_worker_unit(const ChvdWorker *worker) {
        return worker->process ? chvd_process_unit(worker->process) : "";
}

bool chvd_worker_has_limits(const ChvdWorker *worker) {
        return worker->process && chvd_process_has_limits(worker->process);
}

void chvd_worker_set_limits(
                ChvdWorker *worker,
                GVariant *limits,
                void (*done)(gpointer data, const GError *error),
                gpointer data) {
        g_autoptr(GVariant) owned = g_variant_ref_sink(limits);
        g_autoptr(GError) error = NULL;

        if (worker->process && chvd_process_handle(worker->process))
                return chvd_process_set_limits(worker->process, owned, done, data);
        g_set_error(&error, CHV_ERROR, CHV_ERROR_BUSY, "the VM's process is not there yet");
        if (done)
                done(data, error);
}

bool chvd_worker_is_ready(const ChvdWorker *worker) {
        return worker->ready;
}

/* What a worker's or GDBus's error is to clients. */
static GError *translate(const GError *error, const char *method) {
        g_autofree char *text = NULL;
        g_autoptr(GError) plain = g_error_copy(error);

        (void) g_dbus_error_strip_remote_error(plain);
        text = chvd_worker_bounded(plain->message);
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
        if (worker->process)
                chvd_process_kill(worker->process);
        return G_SOURCE_REMOVE;
}

static void ignore_reply(gpointer data, GVariant *reply, GUnixFDList *fds, const GError *error) {
}

void chvd_worker_end(ChvdWorker *worker, unsigned grace_ms) {
        if (worker->gone)
                return;
        worker->told_to_end = true;
        g_clear_handle_id(&worker->kill_timer, g_source_remove);
        if (grace_ms > 0 || !worker->process) {
                worker->kill_timer = g_timeout_add(grace_ms, on_kill_timer, worker);
                if (worker->ready)
                        chvd_worker_call(worker, "Quit", NULL, "()", NULL, -1, ignore_reply, NULL);
                return;
        }
        chvd_process_kill(worker->process);
}
