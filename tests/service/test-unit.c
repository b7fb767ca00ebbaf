/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves how a worker becomes a unit of systemd, how it is told apart from others of its name, and how its end is heard
 * of, against a stand-in of systemd's manager that fails on demand.
 */

#include <fcntl.h>
#include <gio/gunixfdlist.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/chvd/process.h"
#include "daemon/chvd/units.h"
#include "dbus/error.h"
#include "dbus/fd.h"
#include "tests/service/stand-in-bus.h"

#define UNIT "chv-web-1.service"
#define UNIT_PATH CHVD_UNITS_PATH "/unit/chv_2dweb_2d1_2eservice"
#define JOB "/org/freedesktop/systemd1/job/7"

static const char xml[] =
                "<node><interface name='org.freedesktop.systemd1.Manager'>"
                "<method name='Subscribe'/>"
                "<method name='StartTransientUnit'><arg type='s' direction='in'/>"
                "<arg type='s' direction='in'/><arg type='a(sv)' direction='in'/>"
                "<arg type='a(sa(sv))' direction='in'/><arg type='o' direction='out'/></method>"
                "<method name='StopUnit'><arg type='s' direction='in'/><arg type='s' "
                "direction='in'/>"
                "<arg type='o' direction='out'/></method>"
                "<method name='KillUnit'><arg type='s' direction='in'/><arg type='s' "
                "direction='in'/>"
                "<arg type='i' direction='in'/></method>"
                "<method name='RefUnit'><arg type='s' direction='in'/></method>"
                "<method name='UnrefUnit'><arg type='s' direction='in'/></method>"
                "<method name='ResetFailedUnit'><arg type='s' direction='in'/></method>"
                "<method name='SetUnitProperties'><arg type='s' direction='in'/>"
                "<arg type='b' direction='in'/><arg type='a(sv)' direction='in'/></method>"
                "</interface><interface name='org.freedesktop.DBus.Properties'>"
                "<method name='GetAll'><arg type='s' direction='in'/>"
                "<arg type='a{sv}' direction='out'/></method></interface></node>";

/* The stand-in of systemd, and what is told by the process. */
typedef struct {
        GTestDBus *daemon;
        GDBusConnection *ours, *theirs;
        ChvdUnits *units;
        ChvdContext context;
        ChvdProcess *process;
        GString *calls; /* names of methods, each followed by a space */
        bool pins_memory;
        GVariant *properties; /* of the last start or change */
        struct stat input;    /* what the unit gets as standard input */
        unsigned exists;      /* so many starts find the unit there */
        bool early;           /* the job is over before its name is told */
        bool silent;          /* the job does not end */
        const char *refusal;  /* why there is no such unit; NULL: there is */
        const char *job_result, *active_state;
        guint8 invocation;
        guint32 main_pid;
        gint32 code, status;
        unsigned started, exited;
        GError *error;
        ChvdExit exit;
} Rig;

static void emit_job_removed(Rig *rig) {
        g_autoptr(GError) error = NULL;

        (void) g_dbus_connection_emit_signal(
                        rig->theirs, NULL, CHVD_UNITS_PATH, CHVD_UNITS_MANAGER, "JobRemoved",
                        g_variant_new("(uoss)", 6, JOB "6", "other.service", "failed"), &error);
        (void) g_dbus_connection_emit_signal(
                        rig->theirs, NULL, CHVD_UNITS_PATH, CHVD_UNITS_MANAGER, "JobRemoved",
                        g_variant_new("(uoss)", 7, JOB, UNIT, rig->job_result), &error);
        g_assert_no_error(error);
}

static void take_properties(Rig *rig, GVariant *parameters, gsize i) {
        g_clear_pointer(&rig->properties, g_variant_unref);
        rig->properties = g_variant_get_child_value(parameters, i);
}

static GVariant *find(Rig *rig, const char *name) {
        GVariantIter iter;
        const char *key;
        GVariant *value;

        g_variant_iter_init(&iter, rig->properties);
        while (g_variant_iter_next(&iter, "(&sv)", &key, &value)) {
                if (g_str_equal(key, name))
                        return value;
                g_variant_unref(value);
        }
        return NULL;
}

static void on_start_unit(Rig *rig, GVariant *parameters, GDBusMethodInvocation *invocation) {
        GUnixFDList *list = g_dbus_message_get_unix_fd_list(
                        g_dbus_method_invocation_get_message(invocation));
        chv_autofd fd = list ? g_unix_fd_list_get(list, 0, NULL) : -1;

        take_properties(rig, parameters, 2);
        g_assert_cmpint(fstat(fd, &rig->input), ==, 0);
        if (rig->exists > 0) {
                rig->exists--;
                g_dbus_method_invocation_return_dbus_error(
                                invocation, "org.freedesktop.systemd1.UnitExists", "it is there");
                return;
        }
        if (rig->early)
                emit_job_removed(rig);
        g_dbus_method_invocation_return_value(invocation, g_variant_new("(o)", JOB));
        if (!rig->early && !rig->silent)
                emit_job_removed(rig);
}

static GVariant *all_properties(Rig *rig) {
        GVariantDict dict;

        g_variant_dict_init(&dict, NULL);
        g_variant_dict_insert(&dict, "LoadState", "s", "loaded");
        g_variant_dict_insert(&dict, "ActiveState", "s", rig->active_state);
        g_variant_dict_insert(&dict, "Result", "s", "unknown");
        g_variant_dict_insert(&dict, "MainPID", "u", rig->main_pid);
        g_variant_dict_insert(&dict, "ExecMainCode", "i", rig->code);
        g_variant_dict_insert(&dict, "ExecMainStatus", "i", rig->status);
        g_variant_dict_insert_value(
                        &dict, "InvocationID",
                        g_variant_new_fixed_array(G_VARIANT_TYPE_BYTE, &rig->invocation, 1, 1));
        return g_variant_new("(@a{sv})", g_variant_dict_end(&dict));
}

static void
on_call(GDBusConnection *connection,
        const char *sender,
        const char *path,
        const char *interface,
        const char *method,
        GVariant *parameters,
        GDBusMethodInvocation *invocation,
        gpointer data) {
        Rig *rig = data;

        g_string_append_printf(rig->calls, "%s ", method);
        if (g_str_equal(method, "GetAll"))
                return g_dbus_method_invocation_return_value(invocation, all_properties(rig));
        if (g_str_equal(method, "StartTransientUnit"))
                return on_start_unit(rig, parameters, invocation);
        if (rig->refusal)
                return g_dbus_method_invocation_return_dbus_error(
                                invocation, "org.freedesktop.systemd1.NoSuchUnit", rig->refusal);
        if (g_str_equal(method, "SetUnitProperties"))
                take_properties(rig, parameters, 2);
        if (g_str_equal(method, "StopUnit"))
                return g_dbus_method_invocation_return_value(invocation, g_variant_new("(o)", JOB));
        g_dbus_method_invocation_return_value(invocation, NULL);
}

static void export(Rig *rig) {
        static const GDBusInterfaceVTable vtable = { .method_call = on_call };
        static const char *const paths[] = { CHVD_UNITS_PATH, UNIT_PATH };

        stand_in_serve(rig->theirs, CHVD_UNITS_BUS_NAME, xml, paths, &vtable, rig);
}

static Rig *rig_new(void) {
        Rig *rig = g_new0(Rig, 1);

        rig->daemon = g_test_dbus_new(G_TEST_DBUS_NONE);
        g_test_dbus_up(rig->daemon);
        rig->ours = stand_in_connect(rig->daemon);
        rig->theirs = stand_in_connect(rig->daemon);
        rig->calls = g_string_new(NULL);
        rig->job_result = "done";
        rig->active_state = "active";
        rig->invocation = 0xab;
        rig->main_pid = (guint32) getpid();
        rig->units = chvd_units_new(rig->ours, CHVD_UNITS_AUTO);
        rig->context.units = rig->units;
        g_assert_false(chvd_units_wanted(rig->units));
        export(rig);
        while (!chvd_units_wanted(rig->units) || !strstr(rig->calls->str, "Subscribe "))
                g_main_context_iteration(NULL, true);
        return rig;
}

static void rig_free(Rig *rig) {
        chvd_process_free(rig->process);
        chvd_units_free(rig->units);
        /* What is on the way would outlive its connection. */
        for (unsigned i = 0; i < 2; i++) {
                GDBusConnection *connection = i == 0 ? rig->ours : rig->theirs;

                (void) g_dbus_connection_flush_sync(connection, NULL, NULL);
                (void) g_dbus_connection_close_sync(connection, NULL, NULL);
        }
        while (g_main_context_iteration(NULL, false))
                continue;
        g_object_unref(rig->ours);
        g_object_unref(rig->theirs);
        g_test_dbus_down(rig->daemon);
        g_object_unref(rig->daemon);
        g_string_free(rig->calls, true);
        g_clear_pointer(&rig->properties, g_variant_unref);
        g_clear_error(&rig->error);
        g_free(rig);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Rig, rig_free)

static void on_started(gpointer data, const GError *error) {
        Rig *rig = data;

        rig->started++;
        rig->error = error ? g_error_copy(error) : NULL;
}

static void on_exited(gpointer data, const ChvdExit *exit) {
        Rig *rig = data;

        rig->exited++;
        rig->exit = *exit;
}

static const ChvdProcessOps ops = { on_started, on_exited };

static void await_call(Rig *rig, const char *method) {
        g_autofree char *word = g_strdup_printf("%s ", method);

        while (!strstr(rig->calls->str, word))
                g_main_context_iteration(NULL, true);
}

static void start(Rig *rig) {
        chv_autofd fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
        const char *const argv[] = { "/usr/libexec/chv-vmm", "--seccomp=log", NULL };
        const ChvdProcessSetup setup = {
                .vm = "web-1",
                .uuid = "00000000-0000-4000-8000-000000000001",
                .argv = argv,
                .channel = fd,
                .pins_memory = rig->pins_memory,
                .limits = g_variant_new_parsed("{'TasksMax': <uint64 7>}"),
        };
        g_autoptr(GVariant) limits = g_variant_ref_sink(setup.limits);

        rig->process = chvd_process_start(&rig->context, &setup, &ops, rig);
        g_assert_cmpuint(rig->started, ==, 0);
        if (rig->silent)
                return await_call(rig, "StartTransientUnit");
        while (rig->started == 0)
                g_main_context_iteration(NULL, true);
}

static void end(Rig *rig, const char *state, gint32 code, gint32 status) {
        rig->active_state = state;
        rig->main_pid = 0;
        rig->code = code;
        rig->status = status;
        (void) g_dbus_connection_emit_signal(
                        rig->theirs, NULL, UNIT_PATH, "org.freedesktop.DBus.Properties",
                        "PropertiesChanged",
                        g_variant_new("(s@a{sv}as)", CHVD_UNITS_UNIT,
                                      g_variant_new_parsed("{'ActiveState': <%s>}", state), NULL),
                        NULL);
        while (rig->exited == 0)
                g_main_context_iteration(NULL, true);
        await_call(rig, "UnrefUnit");
}

/* They have no final zero. */
static const char *field(GVariant *fields, gsize i) {
        static char text[2][64];
        g_autoptr(GVariant) bytes = g_variant_get_child_value(fields, i);
        gsize n;
        const char *data = g_variant_get_fixed_array(bytes, &n, 1);

        g_assert_cmpuint(i, <, 2);
        (void) g_snprintf(text[i], sizeof(text[i]), "%.*s", (int) n, data);
        return text[i];
}

static void test_start(void) {
        g_autoptr(Rig) rig = rig_new();
        g_autoptr(GVariant) exec = NULL, type = NULL, fields = NULL, tasks = NULL, ref = NULL;
        g_autoptr(GVariant) pinned = NULL;
        g_autofree char *text = NULL;
        struct stat null;

        start(rig);
        g_assert_no_error(rig->error);
        g_assert_cmpstr(chvd_process_unit(rig->process), ==, UNIT);
        g_assert_cmpstr(chvd_process_handle(rig->process), ==, "unit " UNIT " ab");
        g_assert_cmpint(chvd_process_pid(rig->process), ==, getpid());
        g_assert_cmpint(stat("/dev/null", &null), ==, 0);
        g_assert_true(null.st_rdev == rig->input.st_rdev);
        exec = find(rig, "ExecStart");
        text = g_variant_print(exec, false);
        g_assert_cmpstr(text, ==,
                        "[('/usr/libexec/chv-vmm', ['/usr/libexec/chv-vmm', "
                        "'--seccomp=log', '--detach'], false)]");
        type = find(rig, "Type");
        g_assert_cmpstr(g_variant_get_string(type, NULL), ==, "forking");
        fields = find(rig, "LogExtraFields");
        g_free(text);
        text = g_strjoin(" ", field(fields, 0), field(fields, 1), NULL);
        g_assert_cmpstr(text, ==, "CHV_VM=web-1 CHV_VM_UUID=00000000-0000-4000-8000-000000000001");
        tasks = find(rig, "TasksMax");
        g_assert_cmpuint(g_variant_get_uint64(tasks), ==, 7);
        ref = find(rig, "AddRef");
        g_assert_true(g_variant_get_boolean(ref));
        pinned = find(rig, "LimitMEMLOCK");
        g_assert_cmpuint(g_variant_get_uint64(pinned), ==, 64 << 20);
}

static void test_pinned(void) {
        g_autoptr(Rig) rig = rig_new();
        g_autoptr(GVariant) pinned = NULL;

        rig->pins_memory = true;
        start(rig);
        pinned = find(rig, "LimitMEMLOCK");
        g_assert_cmpuint(g_variant_get_uint64(pinned), ==, UINT64_MAX);
}

static void test_job_before_its_name(void) {
        g_autoptr(Rig) rig = rig_new();

        rig->early = true;
        start(rig);
        g_assert_no_error(rig->error);
}

static void test_left_over(void) {
        g_autoptr(Rig) rig = rig_new();

        rig->exists = 2;
        start(rig);
        g_assert_no_error(rig->error);
        g_assert_true(g_str_has_prefix(
                        rig->calls->str,
                        "Subscribe StartTransientUnit KillUnit ResetFailedUnit UnrefUnit "
                        "StartTransientUnit KillUnit "));
}

static void test_failed_starts(void) {
        static const struct {
                const char *result, *state, *says;
                int code;
        } cases[] = {
                { "failed", "failed", "status 226", CHV_ERROR_WORKER_DIED },
                { "done", "failed", "status 226", CHV_ERROR_WORKER_DIED },
                { "canceled", "inactive", "canceled", CHV_ERROR_FAILED },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
                g_autoptr(Rig) rig = rig_new();

                rig->job_result = cases[i].result;
                rig->active_state = cases[i].state;
                rig->main_pid = 0;
                rig->code = CLD_EXITED;
                rig->status = 226;
                start(rig);
                g_assert_error(rig->error, CHV_ERROR, cases[i].code);
                g_assert_nonnull(strstr(rig->error->message, UNIT));
                g_assert_nonnull(strstr(rig->error->message, cases[i].says));
        }
}

static void test_ends(void) {
        static const struct {
                const char *state;
                int code, status, wait;
                bool known;
        } cases[] = {
                { "inactive", CLD_EXITED, 0, 0, true },
                { "failed", CLD_EXITED, 3, 3 << 8, true },
                { "failed", CLD_KILLED, SIGKILL, SIGKILL, true },
                { "failed", CLD_DUMPED, SIGSYS, SIGSYS | WCOREFLAG, true },
                { "inactive", 0, 0, 0, false },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
                g_autoptr(Rig) rig = rig_new();

                start(rig);
                g_assert_no_error(rig->error);
                end(rig, cases[i].state, cases[i].code, cases[i].status);
                g_assert_cmpint(rig->exit.known, ==, cases[i].known);
                g_assert_cmpint(rig->exit.status, ==, cases[i].wait);
                g_assert_cmpint(chvd_process_pid(rig->process), ==, 0);
                g_assert_cmpuint(rig->exited, ==, 1);
        }
}

static void test_adopt(void) {
        static const struct {
                const char *handle, *refusal, *state;
                bool there, stopped;
        } cases[] = {
                { "unit " UNIT " ab", NULL, "active", true },
                { "unit " UNIT " ab", NULL, "deactivating", true },
                { "unit " UNIT " ab", NULL, "failed", false },
                { "unit " UNIT " ab", NULL, "inactive", false, true },
                { "unit " UNIT " ac", NULL, "inactive", false },
                { "unit " UNIT " ac", NULL, "active", false }, /* another of that name */
                { "unit " UNIT " ab", "no such unit", "active", false, true },
                { "unit " UNIT, "no such unit", "active", false },
                { "unit ", "no such unit", "active", false },
                { "units " UNIT " ab", NULL, "active", false },
                { "", NULL, "active", false },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
                g_autoptr(Rig) rig = rig_new();

                rig->refusal = cases[i].refusal;
                rig->active_state = cases[i].state;
                rig->process = chvd_process_adopt(&rig->context, cases[i].handle, &ops, rig);
                g_assert_cmpuint(rig->started, ==, 0);
                while (rig->started == 0)
                        g_main_context_iteration(NULL, true);
                g_assert_cmpint(rig->error == NULL, ==, cases[i].there);
                if (!cases[i].there) {
                        g_assert_cmpint(rig->error->code == CHV_ERROR_CANCELLED, ==,
                                        cases[i].stopped);
                        continue;
                }
                g_assert_cmpint(chvd_process_pid(rig->process), ==, getpid());
                g_assert_cmpstr(chvd_process_handle(rig->process), ==, cases[i].handle);
                end(rig, "failed", CLD_KILLED, SIGKILL);
                g_assert_cmpint(rig->exit.status, ==, SIGKILL);
        }
}

/* Without a systemd to ask, a handle of one says nothing. */
static void test_adopt_without_units(void) {
        g_autoptr(Rig) rig = rig_new();

        rig->context.units = NULL;
        rig->process = chvd_process_adopt(&rig->context, "unit " UNIT " ab", &ops, rig);
        while (rig->started == 0)
                g_main_context_iteration(NULL, true);
        g_assert_error(rig->error, CHV_ERROR, CHV_ERROR_FAILED);
}

static void on_limits(gpointer data, const GError *error) {
        Rig *rig = data;

        rig->exited++;
        rig->error = error ? g_error_copy(error) : NULL;
}

static void test_limits(void) {
        g_autoptr(Rig) rig = rig_new();
        g_autoptr(GVariant) weight = NULL;

        start(rig);
        for (unsigned i = 0; i < 2; i++) {
                rig->exited = 0;
                rig->refusal = i == 0 ? NULL : "no more";
                chvd_process_set_limits(
                                rig->process, g_variant_new_parsed("{'CPUWeight': <uint64 9>}"),
                                on_limits, rig);
                while (rig->exited == 0)
                        g_main_context_iteration(NULL, true);
                g_assert_cmpint(rig->error == NULL, ==, i == 0);
        }
        g_assert_nonnull(strstr(rig->error->message, "no more"));
        weight = find(rig, "CPUWeight");
        g_assert_cmpuint(g_variant_get_uint64(weight), ==, 9);
}

/* Nothing is told any more, and what comes up is stopped. */
static void test_free_early(void) {
        g_autoptr(Rig) rig = rig_new();

        rig->silent = true;
        start(rig);
        g_clear_pointer(&rig->process, chvd_process_free);
        await_call(rig, "StopUnit");
        emit_job_removed(rig);
        await_call(rig, "UnrefUnit");
        g_assert_cmpuint(rig->started + rig->exited, ==, 0);
}

/* One that runs goes on. */
static void test_free_late(void) {
        g_autoptr(Rig) rig = rig_new();

        start(rig);
        g_clear_pointer(&rig->process, chvd_process_free);
        chvd_units_free(g_steal_pointer(&rig->units));
        (void) g_dbus_connection_flush_sync(rig->ours, NULL, NULL);
        g_assert_null(strstr(rig->calls->str, "StopUnit"));
        g_assert_null(strstr(rig->calls->str, "KillUnit"));
}

static void test_kill(void) {
        g_autoptr(Rig) rig = rig_new();

        rig->silent = true;
        start(rig);
        chvd_process_kill(rig->process);
        await_call(rig, "KillUnit");
        /* It may have been too early: there was nothing to kill. */
        g_string_truncate(rig->calls, 0);
        emit_job_removed(rig);
        await_call(rig, "KillUnit");
        g_assert_cmpuint(rig->started, ==, 1);
        end(rig, "failed", CLD_KILLED, SIGKILL);
}

static void test_modes(void) {
        static const char *const words[] = { "auto", "yes", "no" };

        for (unsigned i = 0; i < G_N_ELEMENTS(words); i++)
                g_assert_cmpint(chvd_units_mode_from_string(words[i]), ==, i);
        g_assert_cmpint(chvd_units_mode_from_string("maybe"), ==, CHVD_UNITS_INVALID);
        g_assert_cmpint(chvd_units_mode_from_string(NULL), ==, CHVD_UNITS_INVALID);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/unit/start", test_start);
        g_test_add_func("/unit/pinned", test_pinned);
        g_test_add_func("/unit/job-before-its-name", test_job_before_its_name);
        g_test_add_func("/unit/left-over", test_left_over);
        g_test_add_func("/unit/failed-starts", test_failed_starts);
        g_test_add_func("/unit/ends", test_ends);
        g_test_add_func("/unit/adopt", test_adopt);
        g_test_add_func("/unit/adopt-without-units", test_adopt_without_units);
        g_test_add_func("/unit/limits", test_limits);
        g_test_add_func("/unit/free-early", test_free_early);
        g_test_add_func("/unit/free-late", test_free_late);
        g_test_add_func("/unit/kill", test_kill);
        g_test_add_func("/unit/modes", test_modes);
        return g_test_run();
}
