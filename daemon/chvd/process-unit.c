/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A worker as a transient unit of systemd, chv-NAME.service. What such a unit may do is in a drop-in for all of them
 * (data/systemd/chv-.service.d); here is only what differs from one to the next.
 *
 *   start: StartTransientUnit, job removed, all properties read     → started
 *   adopt: Ref, all properties read                                 → started
 *   then its state is watched, by signals and by the process itself: all properties read again → exited
 *
 * Our reference keeps a unit that has ended until its exit status has been read; then it is let go. A unit is told from
 * an earlier one of the same name by its invocation, which is part of the handle. Whatever has the name of one that is
 * to be started is a left-over, and killed.
 *
 * All calls end with the process: a callback that finds its call cancelled touches nothing.
 */

#include <glib-unix.h>
#include <signal.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/chvd/path.h"
#include "daemon/chvd/process-private.h"
#include "daemon/chvd/units.h"
#include "dbus/error.h"
#include "dbus/fd.h"

#define NAME "unit"
#define UNIT_PREFIX "chv-"
#define SLICE "chv.slice"
#define RETRY_MS 100 /* until a left-over has gone */
#define MAX_TRIES 50
#define RINGS_MEMLOCK (64ull << 20)

typedef enum {
        STARTING,
        ADOPTING,
        RUNNING,
        ENDED,
} Phase;

typedef struct {
        ChvdProcess process;
        GDBusConnection *bus;
        GCancellable *cancellable;
        Phase phase;
        char *path; /* of the unit's object */
        GVariant *start_call;
        GUnixFDList *start_fds;
        unsigned tries;
        char *job;                          /* of the start; NULL: not known yet */
        char *removed_job, *removed_result; /* the last one of this unit */
        char *invocation;
        guint job_signal, unit_signal, retry, watch;
        int pidfd;              /* -1: none */
        bool asking, ask_again; /* for its properties */
        bool killed;            /* before it had started */
} Unit;

/* What systemd says of a unit. Strings belong to `all`. */
typedef struct {
        GVariant *all;
        const char *load_state, *active_state, *result;
        char *invocation; /* "": none */
        guint32 main_pid;
        gint32 code, status; /* code: as CLD_*; 0: it has not ended */
} Status;

static void send_start(Unit *unit);
static void ask(Unit *unit);

static void status_clear(Status *status) {
        g_clear_pointer(&status->all, g_variant_unref);
        g_clear_pointer(&status->invocation, g_free);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Status, status_clear)

static char *to_hex(GVariant *all, const char *key) {
        g_autoptr(GVariant) bytes = g_variant_lookup_value(all, key, G_VARIANT_TYPE_BYTESTRING);
        GString *text = g_string_new(NULL);
        gsize n = 0;
        const guint8 *b = bytes ? g_variant_get_fixed_array(bytes, &n, 1) : NULL;

        for (gsize i = 0; i < n; i++)
                g_string_append_printf(text, "%02x", b[i]);
        return g_string_free(text, /* free_segment= */ FALSE);
}

static void status_read(Status *status, GVariant *reply) {
        *status = (Status){
                .all = g_variant_get_child_value(reply, 0),
                .load_state = "",
                .active_state = "",
                .result = "",
        };
        (void) g_variant_lookup(status->all, "LoadState", "&s", &status->load_state);
        (void) g_variant_lookup(status->all, "ActiveState", "&s", &status->active_state);
        (void) g_variant_lookup(status->all, "Result", "&s", &status->result);
        (void) g_variant_lookup(status->all, "MainPID", "u", &status->main_pid);
        (void) g_variant_lookup(status->all, "ExecMainCode", "i", &status->code);
        (void) g_variant_lookup(status->all, "ExecMainStatus", "i", &status->status);
        status->invocation = to_hex(status->all, "InvocationID");
}

static ChvdExit status_exit(const Status *status) {
        switch (status->code) {
        case CLD_EXITED:
                return (ChvdExit){ true, (status->status & 0xff) << 8 };
        case CLD_KILLED:
                return (ChvdExit){ true, status->status & 0x7f };
        case CLD_DUMPED:
                return (ChvdExit){ true, (status->status & 0x7f) | WCOREFLAG };
        default:
                return (ChvdExit){ .known = false };
        }
}

static bool has_ended(const Status *status) {
        return g_str_equal(status->active_state, "inactive") ||
               g_str_equal(status->active_state, "failed");
}

static void call_manager(Unit *unit, const char *method, GVariant *parameters) {
        g_dbus_connection_call(
                        unit->bus, CHVD_UNITS_BUS_NAME, CHVD_UNITS_PATH, CHVD_UNITS_MANAGER, method,
                        parameters, /* reply_type= */ NULL, G_DBUS_CALL_FLAGS_NO_AUTO_START,
                        /* timeout_msec= */ -1, /* cancellable= */ NULL, /* callback= */ NULL,
                        /* user_data= */ NULL);
}

static void send_kill(Unit *unit) {
        call_manager(unit, "KillUnit",
                     g_variant_new("(ssi)", unit->process.unit, "all", (gint32) SIGKILL));
}

/* Without our reference, and when it is not kept for having failed, systemd forgets it. */
static void let_go(Unit *unit, bool ours) {
        if (ours)
                call_manager(unit, "ResetFailedUnit", g_variant_new("(s)", unit->process.unit));
        call_manager(unit, "UnrefUnit", g_variant_new("(s)", unit->process.unit));
}

static void fail(Unit *unit, ChvError code, const char *why) {
        g_autoptr(GError) error = g_error_new(CHV_ERROR, code, "%s: %s", unit->process.unit, why);

        unit->phase = ENDED;
        chvd_process_tell_started(&unit->process, error);
}

static gboolean on_gone(gint fd, GIOCondition condition, gpointer data) {
        Unit *unit = data;

        /* Signals may have been lost while systemd was reloading itself. */
        unit->watch = 0;
        ask(unit);
        return G_SOURCE_REMOVE;
}

static void set_running(Unit *unit, const Status *status) {
        unit->phase = RUNNING;
        unit->process.pid = (pid_t) status->main_pid;
        if (!unit->invocation)
                unit->invocation = g_strdup(status->invocation);
        unit->process.handle = g_strdup_printf(NAME " %s %s", unit->process.unit, unit->invocation);
        unit->pidfd = pidfd_open(unit->process.pid, /* flags= */ 0);
        if (unit->pidfd >= 0)
                unit->watch = g_unix_fd_add(unit->pidfd, G_IO_IN, on_gone, unit);
        else
                ask(unit);
        if (unit->killed)
                send_kill(unit);
        chvd_process_tell_started(&unit->process, /* error= */ NULL);
}

/* Of a process that ended before it was the unit's main one: what is known of the command. */
static void read_start(Status *status) {
        g_autoptr(GVariant) commands = g_variant_lookup_value(
                        status->all, "ExecStart", G_VARIANT_TYPE("a(sasbttttuii)"));
        gsize n = commands ? g_variant_n_children(commands) : 0;

        if (n > 0)
                g_variant_get_child(
                                commands, n - 1, "(&s@asbttttuii)", NULL, NULL, NULL, NULL, NULL,
                                NULL, NULL, NULL, &status->code, &status->status);
}

static char *describe(Status *status) {
        if (status->code == 0)
                read_start(status);
        if (status->code == CLD_KILLED || status->code == CLD_DUMPED)
                return g_strdup_printf("its process was killed by signal %d", status->status);
        /* 200 and more: systemd could not bring the process about (systemd.exec(5)). */
        if (status->code == CLD_EXITED && status->status != 0)
                return g_strdup_printf("its process ended with status %d", status->status);
        return g_strdup_printf(
                        "it ended: %s", status->result[0] ? status->result : "nobody knows why");
}

static void examine(Unit *unit, Status *status) {
        bool same = !unit->invocation || g_str_equal(unit->invocation, status->invocation);
        bool ended = !same || has_ended(status);

        if (unit->phase != RUNNING) {
                g_autofree char *why = same && !g_str_equal(status->load_state, "not-found")
                                                       ? describe(status)
                                                       : g_strdup("it is gone");

                if (!ended && status->main_pid > 0)
                        return set_running(unit, status);
                let_go(unit, same);
                if (unit->phase == ADOPTING && same &&
                    g_str_equal(status->active_state, "inactive"))
                        return fail(unit, CHV_ERROR_CANCELLED, "it was stopped");
                return fail(unit, CHV_ERROR_WORKER_DIED, why);
        }
        /* Of a process that has gone, the end of the unit is to be told yet, by a signal. */
        if (ended) {
                ChvdExit exit = same ? status_exit(status) : (ChvdExit){ .known = false };

                unit->phase = ENDED;
                let_go(unit, same);
                chvd_process_tell_exited(&unit->process, &exit);
        }
}

static void on_properties(GObject *source, GAsyncResult *result, gpointer data) {
        Unit *unit = data;
        g_autoptr(GError) error = NULL;
        g_autoptr(GVariant) reply =
                        g_dbus_connection_call_finish(G_DBUS_CONNECTION(source), result, &error);
        g_auto(Status) status = { 0 };

        if (g_error_matches(error, G_IO_ERROR, G_IO_ERROR_CANCELLED))
                return;
        unit->asking = false;
        if (unit->phase == ENDED)
                return;
        if (!reply) {
                g_dbus_error_strip_remote_error(error);
                if (unit->phase != RUNNING)
                        return fail(unit, CHV_ERROR_FAILED, error->message);
                g_message("%s: %s", unit->process.unit, error->message);
                /* There is no systemd to ask. The process itself can be. */
                if (unit->watch == 0) {
                        unit->phase = ENDED;
                        chvd_process_tell_exited(&unit->process, &(ChvdExit){ .known = false });
                }
                return;
        }
        if (unit->ask_again) {
                unit->ask_again = false;
                return ask(unit);
        }
        status_read(&status, reply);
        examine(unit, &status);
}

/* Of all interfaces at once: they belong together. */
static void ask(Unit *unit) {
        if (unit->asking) {
                unit->ask_again = true;
                return;
        }
        unit->asking = true;
        g_dbus_connection_call(
                        unit->bus, CHVD_UNITS_BUS_NAME, unit->path,
                        "org.freedesktop.DBus.Properties", "GetAll", g_variant_new("(s)", ""),
                        G_VARIANT_TYPE("(a{sv})"), G_DBUS_CALL_FLAGS_NO_AUTO_START,
                        /* timeout_msec= */ -1, unit->cancellable, on_properties, unit);
}

static void
on_changed(GDBusConnection *bus,
           const char *sender,
           const char *path,
           const char *interface,
           const char *signal,
           GVariant *parameters,
           gpointer data) {
        Unit *unit = data;
        g_autoptr(GVariant) changed = NULL;
        const char *changed_interface, *state;

        if (unit->phase != RUNNING ||
            !g_variant_is_of_type(parameters, G_VARIANT_TYPE("(sa{sv}as)")))
                return;
        g_variant_get(parameters, "(&s@a{sv}as)", &changed_interface, &changed, NULL);
        if (g_str_equal(changed_interface, CHVD_UNITS_UNIT) &&
            g_variant_lookup(changed, "ActiveState", "&s", &state) &&
            (g_str_equal(state, "inactive") || g_str_equal(state, "failed")))
                ask(unit);
}

static gboolean on_retry(gpointer data) {
        Unit *unit = data;

        unit->retry = 0;
        send_start(unit);
        return G_SOURCE_REMOVE;
}

static bool is(const GError *error, const char *name) {
        g_autofree char *remote = g_dbus_error_get_remote_error(error);

        return g_strcmp0(remote, name) == 0;
}

static void look_at_job(Unit *unit) {
        if (!unit->job || g_strcmp0(unit->job, unit->removed_job) != 0)
                return;
        g_clear_pointer(&unit->job, g_free);
        if (g_strcmp0(unit->removed_result, "done") == 0 ||
            g_strcmp0(unit->removed_result, "failed") == 0)
                return ask(unit);
        fail(unit, CHV_ERROR_FAILED, unit->removed_result);
}

static void on_start_reply(GObject *source, GAsyncResult *result, gpointer data) {
        Unit *unit = data;
        g_autoptr(GError) error = NULL;
        g_autoptr(GVariant) reply = g_dbus_connection_call_with_unix_fd_list_finish(
                        G_DBUS_CONNECTION(source), /* out_fd_list= */ NULL, result, &error);

        if (g_error_matches(error, G_IO_ERROR, G_IO_ERROR_CANCELLED))
                return;
        if (reply) {
                g_variant_get(reply, "(o)", &unit->job);
                return look_at_job(unit);
        }
        if (is(error, "org.freedesktop.systemd1.UnitExists") && unit->tries < MAX_TRIES) {
                send_kill(unit);
                let_go(unit, /* ours= */ true);
                unit->retry = g_timeout_add(RETRY_MS, on_retry, unit);
                return;
        }
        g_dbus_error_strip_remote_error(error);
        fail(unit, CHV_ERROR_FAILED, error->message);
}

static void send_start(Unit *unit) {
        unit->tries++;
        g_dbus_connection_call_with_unix_fd_list(
                        unit->bus, CHVD_UNITS_BUS_NAME, CHVD_UNITS_PATH, CHVD_UNITS_MANAGER,
                        "StartTransientUnit", unit->start_call, G_VARIANT_TYPE("(o)"),
                        G_DBUS_CALL_FLAGS_NO_AUTO_START, /* timeout_msec= */ -1, unit->start_fds,
                        unit->cancellable, on_start_reply, unit);
}

static void
on_job_removed(GDBusConnection *bus,
               const char *sender,
               const char *path,
               const char *interface,
               const char *signal,
               GVariant *parameters,
               gpointer data) {
        Unit *unit = data;
        const char *job, *name, *result;

        if (unit->phase != STARTING || !g_variant_is_of_type(parameters, G_VARIANT_TYPE("(uoss)")))
                return;
        g_variant_get(parameters, "(u&o&s&s)", NULL, &job, &name, &result);
        if (!g_str_equal(name, unit->process.unit))
                return;
        g_free(unit->removed_job);
        g_free(unit->removed_result);
        unit->removed_job = g_strdup(job);
        unit->removed_result = g_strdup(result);
        look_at_job(unit);
}

static void listen_to(Unit *unit) {
        unit->unit_signal = g_dbus_connection_signal_subscribe(
                        unit->bus, CHVD_UNITS_BUS_NAME, "org.freedesktop.DBus.Properties",
                        "PropertiesChanged", unit->path, CHVD_UNITS_UNIT, G_DBUS_SIGNAL_FLAGS_NONE,
                        on_changed, unit, /* user_data_free_func= */ NULL);
        if (unit->phase == STARTING)
                unit->job_signal = g_dbus_connection_signal_subscribe(
                                unit->bus, CHVD_UNITS_BUS_NAME, CHVD_UNITS_MANAGER, "JobRemoved",
                                CHVD_UNITS_PATH, /* arg0= */ NULL, G_DBUS_SIGNAL_FLAGS_NONE,
                                on_job_removed, unit, /* user_data_free_func= */ NULL);
}

static void add(GVariantBuilder *properties, const char *name, GVariant *value) {
        g_variant_builder_add(properties, "(sv)", name, value);
}

/* Of vardict; NULL: none. */
static void add_all(GVariantBuilder *properties, GVariant *vardict) {
        GVariantIter iter;
        const char *name;
        GVariant *value;

        if (!vardict)
                return;
        g_variant_iter_init(&iter, vardict);
        while (g_variant_iter_next(&iter, "{&sv}", &name, &value)) {
                add(properties, name, value);
                g_variant_unref(value);
        }
}

static void add_exec(GVariantBuilder *properties, const char *const *argv) {
        g_autoptr(GStrvBuilder) words = g_strv_builder_new();
        g_auto(GStrv) detached = NULL;
        GVariantBuilder commands;

        g_strv_builder_addv(words, (const char **) argv);
        g_strv_builder_add(words, "--detach");
        detached = g_strv_builder_end(words);
        g_variant_builder_init(&commands, G_VARIANT_TYPE("a(sasb)"));
        g_variant_builder_add(
                        &commands, "(s@asb)", argv[0],
                        g_variant_new_strv((const char *const *) detached, -1),
                        /* ignore_failure= */ FALSE);
        add(properties, "ExecStart", g_variant_builder_end(&commands));
}

static void add_program_to_root(GVariantBuilder *properties, const char *program) {
        GVariantBuilder paths;

        g_variant_builder_init(&paths, G_VARIANT_TYPE("a(ssbt)"));
        g_variant_builder_add(
                        &paths, "(ssbt)", program, program, /* ignore_enoent= */ FALSE,
                        (guint64) 0 /* not recursive */);
        add(properties, "BindReadOnlyPaths", g_variant_builder_end(&paths));
}

static void add_journal_field(GVariantBuilder *fields, const char *name, const char *value) {
        g_autofree char *field = g_strdup_printf("%s=%s", name, value);

        g_variant_builder_add_value(
                        fields,
                        g_variant_new_fixed_array(
                                        G_VARIANT_TYPE_BYTE, field, strlen(field), sizeof(char)));
}

/* As chvd's own messages have (log.c). */
static void add_journal_fields(GVariantBuilder *properties, const ChvdProcessSetup *setup) {
        GVariantBuilder fields;

        g_variant_builder_init(&fields, G_VARIANT_TYPE("aay"));
        add_journal_field(&fields, "CHV_VM", setup->vm);
        if (setup->uuid)
                add_journal_field(&fields, "CHV_VM_UUID", setup->uuid);
        add(properties, "LogExtraFields", g_variant_builder_end(&fields));
}

static GVariant *
start_call(const Unit *unit, const ChvdContext *context, const ChvdProcessSetup *setup) {
        g_autofree char *description = g_strdup_printf("Virtual machine %s", setup->vm);
        g_auto(GStrv) env = chvd_process_debug_environment();
        GVariantBuilder properties;

        g_variant_builder_init(&properties, G_VARIANT_TYPE("a(sv)"));
        add(&properties, "Description", g_variant_new_string(description));
        add(&properties, "Slice", g_variant_new_string(SLICE));
        add(&properties, "AddRef", g_variant_new_boolean(true));
        /* It goes on in a child, and leaves that when it is ready. */
        add(&properties, "Type", g_variant_new_string("forking"));
        add_exec(&properties, setup->argv);
        add(&properties, "StandardInputFileDescriptor", g_variant_new_handle(0));
        add(&properties, "Environment", g_variant_new_strv((const char *const *) env, -1));
        add_journal_fields(&properties, setup);
        /* The system's unit has a root of its own. */
        if (!context->session)
                add_program_to_root(&properties, setup->argv[0]);
        /* Its user is its own, and what it pins is charged to it; kernels before 5.12 count rings of I/O, too. */
        add(&properties, "LimitMEMLOCK",
            g_variant_new_uint64(setup->pins_memory ? UINT64_MAX : RINGS_MEMLOCK));
        add_all(&properties, setup->limits);
        return g_variant_new(
                        "(ssa(sv)a(sa(sv)))", unit->process.unit, "replace", &properties, NULL);
}

static void begin(Unit *unit, const ChvdContext *context, Phase phase) {
        unit->bus = g_object_ref(chvd_units_bus(context->units));
        unit->cancellable = g_cancellable_new();
        unit->phase = phase;
        unit->pidfd = -1;
        unit->path = chvd_path(CHVD_UNITS_PATH "/unit", unit->process.unit);
        listen_to(unit);
}

static void start(ChvdProcess *process, const ChvdContext *context, const ChvdProcessSetup *setup) {
        Unit *unit = (Unit *) process;

        /* Every name of a VM can be part of one. */
        process->unit = g_strdup_printf(UNIT_PREFIX "%s.service", setup->vm);
        begin(unit, context, STARTING);
        unit->start_call = g_variant_ref_sink(start_call(unit, context, setup));
        unit->start_fds = g_unix_fd_list_new();
        /* Fails when there are no descriptors left; systemd then misses it, and says so. */
        (void) g_unix_fd_list_append(unit->start_fds, setup->channel, /* error= */ NULL);
        send_start(unit);
}

static void on_adopted(GObject *source, GAsyncResult *result, gpointer data) {
        Unit *unit = data;
        ChvError why = CHV_ERROR_CANCELLED; /* systemd forgets a unit that ended well, and no other */
        g_autoptr(GError) error = NULL;
        g_autoptr(GVariant) reply =
                        g_dbus_connection_call_finish(G_DBUS_CONNECTION(source), result, &error);

        if (g_error_matches(error, G_IO_ERROR, G_IO_ERROR_CANCELLED))
                return;
        if (reply)
                return ask(unit);
        if (!is(error, "org.freedesktop.systemd1.NoSuchUnit") || !unit->invocation[0])
                why = CHV_ERROR_WORKER_DIED;
        g_dbus_error_strip_remote_error(error);
        fail(unit, why, why == CHV_ERROR_CANCELLED ? "it was stopped" : error->message);
}

static void adopt(ChvdProcess *process, const ChvdContext *context, const char *handle) {
        Unit *unit = (Unit *) process;
        g_auto(GStrv) words = g_strsplit(handle, " ", -1);
        bool whole = g_strv_length(words) == 3;

        process->unit = g_strdup(whole ? words[1] : "");
        begin(unit, context, ADOPTING);
        unit->invocation = g_strdup(whole ? words[2] : "");
        /* Refused for a name that is none, or that no unit has. */
        g_dbus_connection_call(
                        unit->bus, CHVD_UNITS_BUS_NAME, CHVD_UNITS_PATH, CHVD_UNITS_MANAGER,
                        "RefUnit", g_variant_new("(s)", process->unit), /* reply_type= */ NULL,
                        G_DBUS_CALL_FLAGS_NO_AUTO_START, /* timeout_msec= */ -1, unit->cancellable,
                        on_adopted, unit);
}

static void end(ChvdProcess *process) {
        Unit *unit = (Unit *) process;

        unit->killed = true;
        if (unit->phase != ENDED)
                send_kill(unit);
}

typedef struct {
        void (*done)(gpointer data, const GError *error);
        gpointer data;
} LimitsCall;

static void on_limits_set(GObject *source, GAsyncResult *result, gpointer data) {
        g_autofree LimitsCall *call = data;
        g_autoptr(GError) error = NULL, ours = NULL;
        g_autoptr(GVariant) reply =
                        g_dbus_connection_call_finish(G_DBUS_CONNECTION(source), result, &error);

        if (!reply) {
                g_dbus_error_strip_remote_error(error);
                ours = g_error_new(CHV_ERROR, CHV_ERROR_FAILED, "limits: %s", error->message);
        }
        if (call->done)
                call->done(call->data, ours);
}

static void
set_limits(ChvdProcess *process,
           GVariant *limits,
           void (*done)(gpointer data, const GError *error),
           gpointer data) {
        Unit *unit = (Unit *) process;
        LimitsCall *call = g_new0(LimitsCall, 1);
        GVariantBuilder properties;

        call->done = done;
        call->data = data;
        g_variant_builder_init(&properties, G_VARIANT_TYPE("a(sv)"));
        add_all(&properties, limits);
        g_dbus_connection_call(
                        unit->bus, CHVD_UNITS_BUS_NAME, CHVD_UNITS_PATH, CHVD_UNITS_MANAGER,
                        "SetUnitProperties",
                        g_variant_new("(sba(sv))", process->unit, /* runtime= */ TRUE, &properties),
                        /* reply_type= */ NULL, G_DBUS_CALL_FLAGS_NO_AUTO_START,
                        /* timeout_msec= */ -1, /* cancellable= */ NULL, on_limits_set, call);
}

static void clear(ChvdProcess *process) {
        Unit *unit = (Unit *) process;

        g_cancellable_cancel(unit->cancellable);
        /* Nobody could adopt it: it has not told who it is. */
        if (unit->phase == STARTING) {
                call_manager(unit, "StopUnit", g_variant_new("(ss)", process->unit, "replace"));
                let_go(unit, /* ours= */ true);
        }
        g_clear_handle_id(&unit->retry, g_source_remove);
        g_clear_handle_id(&unit->watch, g_source_remove);
        if (unit->job_signal)
                g_dbus_connection_signal_unsubscribe(unit->bus, unit->job_signal);
        if (unit->unit_signal)
                g_dbus_connection_signal_unsubscribe(unit->bus, unit->unit_signal);
        if (unit->pidfd >= 0)
                (void) close(chv_fd_steal(&unit->pidfd));
        g_clear_pointer(&unit->start_call, g_variant_unref);
        g_clear_object(&unit->start_fds);
        g_clear_object(&unit->cancellable);
        g_clear_object(&unit->bus);
        g_free(unit->path);
        g_free(unit->job);
        g_free(unit->removed_job);
        g_free(unit->removed_result);
        g_free(unit->invocation);
}

const ChvdProcessKind chvd_process_systemd = {
        .name = NAME,
        .size = sizeof(Unit),
        .start = start,
        .adopt = adopt,
        .kill = end,
        .set_limits = set_limits,
        .clear = clear,
};
