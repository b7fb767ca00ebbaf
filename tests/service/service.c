/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The fixture of the service tests.
 */

#include "tests/service/service.h"

#include <fcntl.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define PATIENCE_S 20

static const char bus_config[] =
                "<!DOCTYPE busconfig PUBLIC \"-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN\""
                " \"http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd\">"
                "<busconfig><listen>unix:path=%s/bus</listen><auth>EXTERNAL</auth>"
                "<policy context=\"default\"><allow user=\"*\"/>%s</policy>"
                "<policy user=\"root\"><allow own=\"org.freedesktop.PolicyKit1\"/>"
                "<allow own=\"org.freedesktop.login1\"/></policy>"
                "%s</busconfig>";

static const char all_open[] = "<allow own=\"*\"/><allow send_type=\"method_call\"/>"
                               "<allow send_destination=\"*\"/><allow receive_sender=\"*\"/>";
static const char like_system[] = "<allow send_type=\"signal\"/><allow "
                                  "send_requested_reply=\"true\" send_type=\"method_return\"/>"
                                  "<allow send_requested_reply=\"true\" "
                                  "send_type=\"error\"/><allow receive_type=\"method_call\"/>"
                                  "<allow receive_type=\"method_return\"/><allow "
                                  "receive_type=\"error\"/><allow receive_type=\"signal\"/>"
                                  "<allow send_destination=\"org.freedesktop.DBus\"/>"
                                  "<allow send_destination=\"org.freedesktop.PolicyKit1\"/>"
                                  "<allow send_destination=\"org.freedesktop.login1\"/>";

static const char *required(const char *variable) {
        const char *value = g_getenv(variable);

        if (!value)
                g_error("%s is not set: run by meson test", variable);
        return value;
}

static void
on_signal(GDBusConnection *bus,
          const char *sender,
          const char *path,
          const char *interface,
          const char *name,
          GVariant *parameters,
          gpointer data) {
        Service *service = data;
        g_autofree char *arguments = g_variant_print(parameters, /* type_annotate= */ false);

        g_ptr_array_add(service->signals,
                        g_strdup_printf("%s %s.%s %s", path, interface, name, arguments));
}

static GDBusConnection *connect_to(Service *service, GError **error) {
        return g_dbus_connection_new_for_address_sync(
                        service->address,
                        G_DBUS_CONNECTION_FLAGS_AUTHENTICATION_CLIENT |
                                        G_DBUS_CONNECTION_FLAGS_MESSAGE_BUS_CONNECTION,
                        NULL, NULL, error);
}

GDBusConnection *service_connect(Service *service) {
        g_autoptr(GError) error = NULL;
        GDBusConnection *bus = connect_to(service, &error);

        g_assert_no_error(error);
        return bus;
}

GDBusConnection *service_connect_as(Service *service, uid_t uid) {
        g_autoptr(GError) error = NULL;
        GDBusConnection *bus;

        /* The bus asks the kernel who connects, once; the connection stays who it was. */
        g_assert_cmpint(seteuid(uid), ==, 0);
        bus = connect_to(service, &error);
        g_assert_cmpint(seteuid(0), ==, 0);
        if (!bus)
                g_assert_error(error, G_IO_ERROR, G_IO_ERROR_CLOSED);
        return bus;
}

/* An aborted test leaves no process behind. */
static void die_with_test(gpointer data) {
        (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
}

static void start_bus(Service *service, bool system) {
        g_autofree char *file = g_build_filename(service->dir, "bus.conf", NULL);
        g_autofree char *include = system ? g_strdup_printf("<include>%s</include>",
                                                            required("CHV_BUS_POLICY"))
                                          : g_strdup("");
        g_autofree char *text = g_strdup_printf(
                        bus_config, service->dir, system ? like_system : all_open, include);
        g_autofree char *argument = g_strconcat("--config-file=", file, NULL);
        g_autoptr(GSubprocessLauncher) launcher = g_subprocess_launcher_new(
                        G_SUBPROCESS_FLAGS_STDOUT_PIPE | G_SUBPROCESS_FLAGS_STDERR_SILENCE);
        g_autoptr(GDataInputStream) out = NULL;
        g_autoptr(GError) error = NULL;

        g_assert_true(g_file_set_contents(file, text, -1, NULL));
        g_subprocess_launcher_set_child_setup(launcher, die_with_test, NULL, NULL);
        service->bus_daemon = g_subprocess_launcher_spawn(
                        launcher, &error, "dbus-daemon", argument, "--nofork", "--nopidfile",
                        "--print-address", NULL);
        g_assert_no_error(error);
        out = g_data_input_stream_new(g_subprocess_get_stdout_pipe(service->bus_daemon));
        service->address = g_data_input_stream_read_line(out, NULL, NULL, &error);
        g_assert_no_error(error);
        g_assert_nonnull(service->address);
        service->bus = service_connect(service);
}

static bool has_owner(Service *service) {
        g_autoptr(GVariant) reply = g_dbus_connection_call_sync(
                        service->bus, "org.freedesktop.DBus", "/org/freedesktop/DBus",
                        "org.freedesktop.DBus", "NameHasOwner", g_variant_new("(s)", MANAGER),
                        G_VARIANT_TYPE("(b)"), G_DBUS_CALL_FLAGS_NONE, -1, NULL, NULL);
        gboolean has = false;

        g_assert_nonnull(reply);
        g_variant_get(reply, "(b)", &has);
        return has;
}

static void start_chvd(Service *service, const char *const *extra) {
        g_autoptr(GSubprocessLauncher) launcher =
                        g_subprocess_launcher_new(G_SUBPROCESS_FLAGS_NONE);
        g_autoptr(GPtrArray) argv = g_ptr_array_new();
        g_autoptr(GError) error = NULL;
        gint64 until = g_get_monotonic_time() + PATIENCE_S * G_USEC_PER_SEC;

        g_ptr_array_add(argv, (gpointer) required("CHVD"));
        g_ptr_array_add(argv, "--address");
        g_ptr_array_add(argv, service->address);
        /* No machine is made: any character device does. */
        g_ptr_array_add(argv, "--kvm");
        g_ptr_array_add(argv, "/dev/null");
        /* Nothing of the user's is touched. */
        g_ptr_array_add(argv, "--state-dir");
        g_ptr_array_add(argv, service->state_dir);
        g_ptr_array_add(argv, "--runtime-dir");
        g_ptr_array_add(argv, service->runtime_dir);
        for (unsigned i = 0; extra && extra[i]; i++)
                g_ptr_array_add(argv, (gpointer) extra[i]);
        g_ptr_array_add(argv, "--worker");
        g_ptr_array_add(argv, service->worker);
        g_ptr_array_add(argv, NULL);
        g_subprocess_launcher_set_child_setup(launcher, die_with_test, NULL, NULL);
        g_subprocess_launcher_setenv(launcher, "G_DEBUG", "fatal-criticals", true);
        g_subprocess_launcher_setenv(launcher, "CHV_TEST_SECRET", "1", true);
        service->chvd = g_subprocess_launcher_spawnv(
                        launcher, (const char *const *) argv->pdata, &error);
        g_assert_no_error(error);
        while (!has_owner(service)) {
                g_assert_cmpint(g_get_monotonic_time(), <, until);
                g_usleep(5000);
        }
}

/* Workers outlive chvd, so they outlive a test that aborts too. */
static void start_guard(Service *service, const char *program) {
        g_autoptr(GError) error = NULL;

        service->worker = g_build_filename(service->dir, "worker", NULL);
        g_assert_cmpint(symlink(program, service->worker), ==, 0);
        service->guard = g_subprocess_new(
                        G_SUBPROCESS_FLAGS_STDIN_PIPE, &error, "/bin/sh", "-c",
                        "read x; for i in 1 2; do for p in /proc/[0-9]*; do "
                        "case $(tr '\\0' ' ' 2>/dev/null <$p/cmdline) in "
                        "\"$0\"*) kill -9 ${p#/proc/} 2>/dev/null;; esac; done; done",
                        service->worker, NULL);
        g_assert_no_error(error);
}

static bool is_worker(Service *service, const char *pid) {
        g_autofree char *file = g_build_filename("/proc", pid, "cmdline", NULL), *program = NULL;

        return g_ascii_isdigit(pid[0]) && g_file_get_contents(file, &program, NULL, NULL) &&
               g_strcmp0(program, service->worker) == 0;
}

unsigned service_count_workers(Service *service) {
        g_autoptr(GDir) dir = g_dir_open("/proc", 0, NULL);
        const char *pid;
        unsigned n = 0;

        while ((pid = g_dir_read_name(dir)))
                n += is_worker(service, pid);
        return n;
}

void service_forget_boot(Service *service) {
        g_autofree char *marker = g_build_filename(service->runtime_dir, "autostarted", NULL);

        (void) g_unlink(marker);
}

static void stop_guard(Service *service, bool clean) {
        gint64 until = g_get_monotonic_time() + PATIENCE_S * G_USEC_PER_SEC;

        while (clean && service_count_workers(service) > 0 && g_get_monotonic_time() < until)
                g_usleep(5000);
        if (clean && service_count_workers(service) > 0)
                g_error("workers were left behind");
        /* Looking through all processes takes a shell its time. */
        if (service_count_workers(service) == 0)
                g_subprocess_force_exit(service->guard);
        else
                g_assert_true(g_output_stream_close(
                                g_subprocess_get_stdin_pipe(service->guard), NULL, NULL));
        (void) g_subprocess_wait(service->guard, NULL, NULL);
        g_object_unref(service->guard);
        g_free(service->worker);
}

static const char *program_in(const char *const *extra) {
        for (unsigned i = 0; extra && extra[i]; i++)
                if (g_str_equal(extra[i], "--worker"))
                        return extra[i + 1];
        return required("CHV_STAND_IN");
}

Service *service_start(const char *const *extra) {
        Service *service = g_new0(Service, 1);
        bool system = extra && g_strv_contains(extra, "--system");

        (void) CHV_ERROR; /* registered, so that errors come over the bus as what they are */
        const char *const *arguments = extra;
        static const char *const session[] = { "--session", NULL };
        g_autoptr(GPtrArray) joined = g_ptr_array_new();

        if (!system) {
                g_ptr_array_add(joined, (gpointer) session[0]);
                for (unsigned i = 0; extra && extra[i]; i++)
                        g_ptr_array_add(joined, (gpointer) extra[i]);
                g_ptr_array_add(joined, NULL);
                arguments = (const char *const *) joined->pdata;
        }
        service->dir = g_dir_make_tmp("chvd-test-XXXXXX", NULL);
        g_assert_nonnull(service->dir);
        (void) g_chmod(service->dir, 0755);
        service->state_dir = g_build_filename(service->dir, "state", NULL);
        service->runtime_dir = g_build_filename(service->dir, "run", NULL);
        service->kernel = g_build_filename(service->dir, "kernel", NULL);
        g_assert_true(g_file_set_contents(service->kernel, "kernel", -1, NULL));
        service->signals = g_ptr_array_new_with_free_func(g_free);
        start_guard(service, program_in(extra));
        start_bus(service, system);
        service->subscription = g_dbus_connection_signal_subscribe(
                        service->bus, MANAGER, NULL, NULL, NULL, NULL, G_DBUS_SIGNAL_FLAGS_NONE,
                        on_signal, service, NULL);
        service->arguments = g_strdupv((char **) arguments);
        start_chvd(service, arguments);
        return service;
}

void service_kill(Service *service) {
        g_subprocess_send_signal(service->chvd, SIGKILL);
        (void) service_wait(service);
        while (has_owner(service))
                g_usleep(500);
}

void service_restart(Service *service, int sig) {
        if (g_subprocess_get_identifier(service->chvd)) {
                g_subprocess_send_signal(service->chvd, sig);
                (void) service_wait(service);
        }
        while (has_owner(service))
                g_usleep(500);
        g_object_unref(service->chvd);
        start_chvd(service, (const char *const *) service->arguments);
}

pid_t service_pid(Service *service) {
        return atoi(g_subprocess_get_identifier(service->chvd));
}

int service_wait(Service *service) {
        g_assert_true(g_subprocess_wait(service->chvd, NULL, NULL));
        return g_subprocess_get_status(service->chvd);
}

static void remove_tree(const char *path) {
        g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
        const char *name;

        while (dir && (name = g_dir_read_name(dir))) {
                g_autofree char *child = g_build_filename(path, name, NULL);

                if (g_file_test(child, G_FILE_TEST_IS_DIR) &&
                    !g_file_test(child, G_FILE_TEST_IS_SYMLINK))
                        remove_tree(child);
                else
                        (void) g_unlink(child);
        }
        (void) g_rmdir(path);
}

void service_stop(Service *service) {
        bool clean = false;

        if (!service)
                return;
        if (g_subprocess_get_identifier(service->chvd)) {
                g_subprocess_send_signal(service->chvd, SIGINT);
                (void) service_wait(service);
                clean = true;
        }
        /* G_DEBUG=fatal-criticals makes a critical an abort. */
        if (g_subprocess_get_if_signaled(service->chvd) &&
            g_subprocess_get_term_sig(service->chvd) != SIGKILL)
                g_error("chvd died of signal %d", g_subprocess_get_term_sig(service->chvd));
        /* Sanitizers have exit statuses of their own. */
        if (g_subprocess_get_if_exited(service->chvd) &&
            g_subprocess_get_exit_status(service->chvd) > 1)
                g_error("chvd exited with %d", g_subprocess_get_exit_status(service->chvd));
        g_object_unref(service->chvd);
        g_dbus_connection_signal_unsubscribe(service->bus, service->subscription);
        g_object_unref(service->bus);
        g_subprocess_force_exit(service->bus_daemon);
        (void) g_subprocess_wait(service->bus_daemon, NULL, NULL);
        g_object_unref(service->bus_daemon);
        stop_guard(service, clean);
        remove_tree(service->dir);
        g_ptr_array_unref(service->signals);
        g_free(service->address);
        g_free(service->kernel);
        g_free(service->state_dir);
        g_free(service->runtime_dir);
        g_strfreev(service->arguments);
        g_free(service->dir);
        g_free(service);
}

typedef struct {
        GVariant *reply;
        GUnixFDList *list;
        GError *error;
        bool done;
} Answer;

static void on_answer(GObject *source, GAsyncResult *result, gpointer data) {
        Answer *answer = data;

        answer->reply = g_dbus_connection_call_with_unix_fd_list_finish(
                        G_DBUS_CONNECTION(source), &answer->list, result, &answer->error);
        answer->done = true;
}

static GVariant *
call_full(GDBusConnection *bus,
          GDBusCallFlags flags,
          const char *path,
          const char *interface,
          const char *method,
          GVariant *params,
          GUnixFDList *list,
          GError **error) {
        Answer answer = { 0 };

        g_dbus_connection_call_with_unix_fd_list(
                        bus, MANAGER, path, interface, method, params, NULL, flags, 60 * 1000, list,
                        NULL, on_answer, &answer);
        while (!answer.done)
                (void) g_main_context_iteration(NULL, true);
        g_clear_object(&answer.list);
        if (answer.error)
                g_propagate_error(error, answer.error);
        return answer.reply;
}

GVariant *
service_call(Service *service,
             const char *path,
             const char *interface,
             const char *method,
             GVariant *params,
             GError **error) {
        return call_full(
                        service->bus, G_DBUS_CALL_FLAGS_NONE, path, interface, method, params, NULL,
                        error);
}

GVariant *
service_call_as(GDBusConnection *bus,
                GDBusCallFlags flags,
                const char *path,
                const char *interface,
                const char *method,
                GVariant *params,
                GUnixFDList *list,
                GError **error) {
        return call_full(bus, flags, path, interface, method, params, list, error);
}

static GVariant *parse(const char *type, const char *text) {
        g_autoptr(GError) error = NULL;
        GVariant *value = g_variant_parse(G_VARIANT_TYPE(type), text, NULL, NULL, &error);

        g_assert_no_error(error);
        return value;
}

/* What takes time is waited for, so that its errors come with their names. */
static GVariant *options_tuple(const char *method, const char *options) {
        static const char *const slow[] = { "Start", "PowerOff", "Reboot", NULL };
        g_autoptr(GVariant) dict = parse("a{sv}", options ?: "{}");
        g_auto(GVariantDict) more = G_VARIANT_DICT_INIT(dict);

        if (g_strv_contains(slow, method))
                g_variant_dict_insert(&more, "wait", "b", (gboolean) true);
        return g_variant_new("(@a{sv})", g_variant_dict_end(&more));
}

GVariant *
vm_try(Service *service, const char *vm, const char *method, const char *options, GError **error) {
        return service_call(service, vm, VM, method, options_tuple(method, options), error);
}

GVariant *vm_call(Service *service, const char *vm, const char *method, const char *options) {
        g_autoptr(GError) error = NULL;
        GVariant *reply = vm_try(service, vm, method, options, &error);

        g_assert_no_error(error);
        return reply;
}

void vm_call_fails(
                Service *service,
                const char *vm,
                const char *method,
                const char *options,
                int code) {
        g_autoptr(GError) error = NULL;
        g_autoptr(GVariant) reply = vm_try(service, vm, method, options, &error);

        g_assert_null(reply);
        assert_chv_error(error, code);
}

GVariant *service_config(Service *service, const char *words, const char *more) {
        g_autofree char *text =
                        g_strdup_printf("{'payload': <{'kernel': <'%s'>, 'cmdline': <'%s'>}>%s%s}",
                                        service->kernel, words ?: "", more ? ", " : "", more ?: "");

        return parse("a{sv}", text);
}

char *
vm_create_full(Service *service,
               const char *name,
               GVariant *config,
               GVariant *fds,
               GUnixFDList *list,
               const char *options,
               GError **error) {
        g_autoptr(GVariant) owned = g_variant_take_ref(config);
        g_autoptr(GVariant) dict = parse("a{sv}", options ?: "{}");
        g_autoptr(GVariant) reply = NULL;
        char *path = NULL;

        reply = call_full(
                        service->bus, G_DBUS_CALL_FLAGS_NONE, MANAGER_PATH, MANAGER, "CreateVM",
                        g_variant_new("(s@a{sv}@a{sh}@a{sv})", name, owned,
                                      fds ?: g_variant_new("a{sh}", NULL), dict),
                        list, error);
        if (reply)
                g_variant_get(reply, "(o)", &path);
        return path;
}

char *vm_create(Service *service, const char *name, const char *words, const char *more) {
        g_autoptr(GError) error = NULL;
        char *path =
                        vm_create_full(service, name, service_config(service, words, more), NULL,
                                       NULL, NULL, &error);

        g_assert_no_error(error);
        return path;
}

char *vm_run(Service *service, const char *name, const char *words, const char *more) {
        char *path = vm_create(service, name, words, more);
        g_autoptr(GVariant) reply = vm_call(service, path, "Start", NULL);

        return path;
}

static GVariant *get(Service *service, const char *vm, const char *property, GError **error) {
        g_autoptr(GVariant) reply =
                        service_call(service, vm, "org.freedesktop.DBus.Properties", "Get",
                                     g_variant_new("(ss)", VM, property), error);
        GVariant *value = NULL;

        if (reply)
                g_variant_get(reply, "(v)", &value);
        return value;
}

char *vm_get(Service *service, const char *vm, const char *property) {
        g_autoptr(GError) error = NULL;
        g_autoptr(GVariant) value = get(service, vm, property, &error);

        g_assert_no_error(error);
        if (g_variant_is_of_type(value, G_VARIANT_TYPE_STRING))
                return g_variant_dup_string(value, NULL);
        return g_variant_print(value, /* type_annotate= */ false);
}

char *vm_ask(Service *service, const char *vm, const char *method) {
        g_autoptr(GVariant) reply = vm_call(service, vm, method, NULL);

        return g_variant_print(reply, /* type_annotate= */ false);
}

bool vm_exists(Service *service, const char *vm) {
        g_autoptr(GVariant) value = get(service, vm, "State", NULL);

        return value != NULL;
}

void vm_await(Service *service, const char *vm, const char *state) {
        gint64 until = g_get_monotonic_time() + PATIENCE_S * G_USEC_PER_SEC;

        for (;;) {
                g_autofree char *now = vm_get(service, vm, "State");

                if (g_str_equal(now, state))
                        return;
                if (g_get_monotonic_time() > until)
                        g_error("%s is %s, not %s", vm, now, state);
                service_linger(5);
        }
}

bool service_has_signal(Service *service, const char *text) {
        for (unsigned i = 0; i < service->signals->len; i++)
                if (strstr(g_ptr_array_index(service->signals, i), text))
                        return true;
        return false;
}

unsigned service_signal_index(Service *service, const char *text) {
        for (unsigned i = 0; i < service->signals->len; i++)
                if (strstr(g_ptr_array_index(service->signals, i), text))
                        return i;
        for (unsigned i = 0; i < service->signals->len; i++)
                g_test_message("%s", (const char *) g_ptr_array_index(service->signals, i));
        g_error("no signal '%s'", text);
}

void service_await_signal(Service *service, const char *text) {
        gint64 until = g_get_monotonic_time() + PATIENCE_S * G_USEC_PER_SEC;

        while (!service_has_signal(service, text)) {
                if (g_get_monotonic_time() > until)
                        (void) service_signal_index(service, text);
                service_linger(5);
        }
}

void service_forget_signals(Service *service) {
        g_ptr_array_set_size(service->signals, 0);
}

static gboolean on_linger(gpointer data) {
        *(bool *) data = true;
        return G_SOURCE_REMOVE;
}

void service_linger(unsigned ms) {
        bool over = false;

        (void) g_timeout_add(ms, on_linger, &over);
        while (!over)
                (void) g_main_context_iteration(NULL, true);
}

void assert_names(const GError *error, int code, const char *what) {
        assert_chv_error(error, code);
        if (!strstr(error->message, what))
                g_error("'%s' does not name '%s'", error->message, what);
}
