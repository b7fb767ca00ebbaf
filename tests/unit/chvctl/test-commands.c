/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves, with the program itself on a private bus and a stand-in for the service: what each command asks of the
 * service, what it prints, with which status it ends; that jobs and states are waited for, with and without a time
 * limit; that a console carries bytes both ways in a pipe and on a terminal, with the earlier output, the escape and
 * the window's size; that a service which fails, dies or is not there gives a sentence and a status.
 */

#include <fcntl.h>
#include <gio/gio.h>
#include <glib-unix.h>
#include <glib/gstdio.h>
#include <pty.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "stand-in.h"

typedef struct {
        GTestDBus *bus;
        GDBusConnection *connection;
        StandIn *stand_in;
        guint owned;
        char *dir;
} Fixture;

typedef struct {
        GSubprocess *process;
        GMainLoop *loop;
        char *out, *err;
        int status;
} Run;

static void on_owned(GDBusConnection *connection, const char *name, gpointer data) {
        *(gboolean *) data = TRUE;
}

static void set_up(Fixture *f, gconstpointer data) {
        g_autoptr(GError) error = NULL;
        gboolean owned = FALSE;

        f->bus = g_test_dbus_new(G_TEST_DBUS_NONE);
        g_test_dbus_up(f->bus);
        g_setenv("DBUS_SYSTEM_BUS_ADDRESS", g_test_dbus_get_bus_address(f->bus), TRUE);
        f->connection = g_dbus_connection_new_for_address_sync(
                        g_test_dbus_get_bus_address(f->bus),
                        G_DBUS_CONNECTION_FLAGS_AUTHENTICATION_CLIENT |
                                        G_DBUS_CONNECTION_FLAGS_MESSAGE_BUS_CONNECTION,
                        NULL, NULL, &error);
        g_assert_no_error(error);
        f->stand_in = stand_in_new(f->connection);
        f->owned = g_bus_own_name_on_connection(
                        f->connection, "org.cloudhypervisor.Manager", G_BUS_NAME_OWNER_FLAGS_NONE,
                        on_owned, NULL, &owned, NULL);
        while (!owned)
                (void) g_main_context_iteration(NULL, TRUE);
        f->dir = g_dir_make_tmp("chvctl-XXXXXX", &error);
        g_assert_no_error(error);
}

static void tear_down(Fixture *f, gconstpointer data) {
        g_clear_handle_id(&f->owned, g_bus_unown_name);
        stand_in_free(f->stand_in);
        g_assert_true(g_dbus_connection_close_sync(f->connection, NULL, NULL));
        g_object_unref(f->connection);
        g_test_dbus_down(f->bus);
        g_object_unref(f->bus);
        g_assert_cmpint(g_rmdir(f->dir), ==, 0);
        g_free(f->dir);
}

static void on_done(GObject *source, GAsyncResult *result, gpointer data) {
        Run *run = data;
        g_autoptr(GError) error = NULL;

        g_subprocess_communicate_utf8_finish(run->process, result, &run->out, &run->err, &error);
        g_assert_no_error(error);
        run->status = g_subprocess_get_if_exited(run->process)
                                      ? g_subprocess_get_exit_status(run->process)
                                      : -1;
        g_main_loop_quit(run->loop);
}

static void run_clear(Run *run) {
        g_free(run->out);
        g_free(run->err);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Run, run_clear)

/* Runs chvctl with the words of line; input is its standard input. */
static Run chvctl(const char *line, const char *input) {
        g_autofree char *command = g_strdup_printf("%s %s", g_getenv("CHVCTL"), line);
        g_auto(GStrv) argv = NULL;
        g_autoptr(GError) error = NULL;
        g_autoptr(GMainLoop) loop = g_main_loop_new(NULL, FALSE);
        Run run = { .loop = loop };

        g_assert_true(g_shell_parse_argv(command, NULL, &argv, &error));
        run.process = g_subprocess_newv(
                        (const char *const *) argv,
                        G_SUBPROCESS_FLAGS_STDIN_PIPE | G_SUBPROCESS_FLAGS_STDOUT_PIPE |
                                        G_SUBPROCESS_FLAGS_STDERR_PIPE,
                        &error);
        g_assert_no_error(error);
        g_subprocess_communicate_utf8_async(run.process, input, NULL, on_done, &run);
        g_main_loop_run(loop);
        g_clear_object(&run.process);
        if (g_test_verbose())
                g_test_message("chvctl %s -> %d\n%s%s", line, run.status, run.out, run.err);
        return run;
}

/* Runs and checks the status and, where not NULL, the whole of the output or of the errors. */
static void expect(const char *line, int status, const char *out, const char *err) {
        g_auto(Run) run = chvctl(line, NULL);

        if (run.status != status)
                g_error("chvctl %s: status %d, not %d\n%s%s", line, run.status, status, run.out,
                        run.err);
        if (out)
                g_assert_cmpstr(run.out, ==, out);
        if (err)
                g_assert_cmpstr(run.err, ==, err);
}

static void expect_calls(Fixture *f, const char *calls) {
        g_autofree char *made = stand_in_calls(f->stand_in);

        g_assert_cmpstr(made, ==, calls);
}

static void test_usage(Fixture *f, gconstpointer data) {
        expect("bogus", 2, "", "chvctl: unknown command 'bogus'; see chvctl help\n");
        expect("--bogus", 2, "", "chvctl: unknown option '--bogus'\n");
        expect("start", 2, "", "chvctl: usage: chvctl start NAME...\n");
        expect("create", 2, "", "chvctl: usage: chvctl create NAME [OPTION]...\n");
        expect("create a --cpus boot=x", 2, "", "chvctl: --cpus boot: 'x' is not a whole number\n");
        expect("create a b", 2, "", NULL);
        expect("create a", 2, "",
               "chvctl: a: payload.kernel: neither a kernel nor a firmware is given\n");
        expect("create .x --kernel /k", 2, "",
               "chvctl: .x: name '.x': must begin with a letter or a digit\n");
        expect("create a --config /nowhere.json", 2, "",
               "chvctl: /nowhere.json: No such file or directory\n");
        expect("console a b", 2, "", "chvctl: 'b' is none of serial, console and debug_console\n");
        expect("help bogus", 2, "", NULL);
        expect_calls(f, "CreateVM");
}

static void test_no_such_vm(Fixture *f, gconstpointer data) {
        expect("start nobody", 3, "",
               "chvctl: nobody: there is no 'nobody'\nchvctl list shows what there is.\n");
        expect("info nobody", 3, "", NULL);
        expect("console nobody", 3, "", NULL);
        expect("monitor nobody", 3, "", NULL);
}

static void test_life(Fixture *f, gconstpointer data) {
        expect("create a --kernel /k --memory size=1G", 0, "", "");
        expect("create a --kernel /k", 1, "", NULL);
        g_assert_cmpstr(stand_in_state(f->stand_in, "a"), ==, "created");
        g_assert_false(stand_in_transient(f->stand_in, "a"));
        expect("pause a", 7, "", "chvctl: a: not while it is created\n");
        expect("start a", 0, "", "");
        g_assert_cmpstr(stand_in_state(f->stand_in, "a"), ==, "running");
        expect("pause a", 0, "", "");
        expect("resume a", 0, "", "");
        expect("nmi a", 0, "", "");
        expect("reset a", 0, "", "");
        expect("reboot a", 0, "", "");
        expect("shutdown --wait a", 0, "", "");
        g_assert_cmpstr(stand_in_state(f->stand_in, "a"), ==, "shutdown");
        expect("start --paused a", 0, "", "");
        g_assert_cmpstr(stand_in_state(f->stand_in, "a"), ==, "paused");
        expect("delete a", 7, "", NULL);
        expect("poweroff a", 0, "", "");
        expect("delete a", 0, "", "");
        g_assert_null(stand_in_state(f->stand_in, "a"));
        expect_calls(f, "CreateVM CreateVM Pause Start Pause Resume NMI Reset Reboot Shutdown "
                        "Start Delete"
                        " PowerOff Delete");
}

static void test_several(Fixture *f, gconstpointer data) {
        expect("create a --kernel /k", 0, NULL, NULL);
        expect("create b --kernel /k", 0, NULL, NULL);
        expect("start a nobody b", 3, "", NULL);
        g_assert_cmpstr(stand_in_state(f->stand_in, "b"), ==, "running");
        expect("delete --force a b", 0, "", "");
        g_assert_null(stand_in_state(f->stand_in, "a"));
        g_assert_null(stand_in_state(f->stand_in, "b"));
}

static void test_waiting(Fixture *f, gconstpointer data) {
        expect("create broken --kernel /k", 0, NULL, NULL);
        expect("start broken", 1, "", "chvctl: broken: disks[0].path: no such file\n");
        expect("create silent --kernel /k", 0, NULL, NULL);
        expect("start --timeout 1 silent", 6, "",
               "chvctl: silent: not done in time; it goes on in the background\n");
        expect("create silent-too --kernel /k", 0, NULL, NULL);
        expect("start --no-block silent-too", 0, "", "");
        expect("create stubborn --kernel /k", 0, NULL, NULL);
        expect("start stubborn", 0, NULL, NULL);
        expect("shutdown stubborn", 0, "", "");
        expect("shutdown --wait -t1 stubborn", 6, "",
               "chvctl: stubborn: still running after 1 s; chvctl poweroff does not ask the "
               "guest\n");
}

static gboolean drop_name(gpointer data) {
        Fixture *f = data;

        g_clear_handle_id(&f->owned, g_bus_unown_name);
        return G_SOURCE_REMOVE;
}

static void test_service_gone(Fixture *f, gconstpointer data) {
        g_auto(Run) run = { 0 };

        expect("create silent --kernel /k", 0, NULL, NULL);
        g_timeout_add(200, drop_name, f);
        run = chvctl("start silent", NULL);
        g_assert_cmpint(run.status, ==, 5);
        g_assert_true(g_str_has_prefix(run.err, "chvctl: silent: the service has gone\n"));
        expect("list", 5, "", NULL);
        expect("version", 0, NULL, NULL);
        expect("--address unix:path=/nowhere list", 5, "", NULL);
}

static void test_listings(Fixture *f, gconstpointer data) {
        g_auto(Run) list = { 0 }, info = { 0 };

        expect("list", 0, "NAME  STATE  CPUS  MEMORY  OWNER  UP\n\n0 virtual machines.\n", "");
        expect("list --json=short", 0, "[]\n", "");
        expect("create b --kernel /k --cpus boot=2 --memory size=1536M --disk path=/x path=/y", 0,
               NULL, NULL);
        expect("create a --kernel /k", 0, NULL, NULL);
        expect("list --no-legend", 0,
               "a  created  1  512M  root  -\nb  created  2  1.5G  root  -\n", "");
        list = chvctl("list --json=short", NULL);
        g_assert_true(g_str_has_prefix(list.out, "[{\"name\":\"a\",\"state\":\"created\","));
        info = chvctl("info b", NULL);
        g_assert_cmpint(info.status, ==, 0);
        g_assert_nonnull(strstr(info.out, "       State: created\n"));
        g_assert_nonnull(strstr(info.out, "     Options: --cpus boot=2\n"));
        g_assert_nonnull(strstr(info.out, "--disk path=/y\n"));
        expect("start b", 0, NULL, NULL);
        expect("counters b --no-legend", 0, "b  _disk0  read_bytes  4096\n", "");
        expect("counters b --json=short", 0, "{\"b\":{\"_disk0\":{\"read_bytes\":4096}}}\n", "");
        expect("version --json=short", 0, "{\"client\":\"0.1.0\",\"service\":\"7.7\"}\n", "");
}

static void test_configuration(Fixture *f, gconstpointer data) {
        g_autofree char *file = g_build_filename(f->dir, "vm.json", NULL);
        g_autofree char *create = g_strdup_printf(
                        "create a --config %s --cpus max=4 --disk path=rel.img", file);
        g_autofree char *check = g_strdup_printf("check %s", file);
        g_autofree char *cwd = g_get_current_dir(), *expected = NULL, *text = NULL;
        g_auto(Run) piped = { 0 };

        g_file_set_contents(
                        file, "{\"payload\":{\"kernel\":\"/k\"},\"cpus\":{\"boot_vcpus\":2}}", -1,
                        NULL);
        expect(create, 0, "", "");
        text = g_variant_print(stand_in_config(f->stand_in, "a"), FALSE);
        expected = g_strdup_printf(
                        "{'cpus': <{'boot_vcpus': <uint32 2>, 'max_vcpus': <uint32 4>}>, "
                        "'payload': <{'kernel': <'/k'>}>,"
                        " 'disks': <[{'path': <'%s/rel.img'>}]>}",
                        cwd);
        g_assert_cmpstr(text, ==, expected);
        expect(check, 0, "The configuration is valid.\n", "");
        expect_calls(f, "CreateVM CheckConfig");
        piped = chvctl("check --offline -", "{\"payload\":{\"kernel\":\"/"
                                            "k\"},\"disks\":[{\"path\":\"/d\",\"queue_size\":5}]}");
        g_assert_cmpint(piped.status, ==, 2);
        g_assert_cmpstr(piped.err, ==, "chvctl: -: disks[0].queue_size: 5 is not a power of 2\n");
        expect("check --offline --json=short --kernel /k --platform "
               "uuid=d0a7a3a0-0000-4000-8000-000000000000",
               0,
               "{\"cpus\":{\"max_vcpus\":1},\"payload\":{\"kernel\":\"/k\"},"
               "\"platform\":{\"system_uuid\":\"d0a7a3a0-0000-4000-8000-000000000000\"}}\n",
               "");
        expect_calls(f, "");
        g_assert_cmpint(g_unlink(file), ==, 0);
}

static gboolean tell_event(gpointer data) {
        Fixture *f = data;

        stand_in_emit(f->stand_in, "a", "failed");
        return G_SOURCE_CONTINUE;
}

static void test_monitor(Fixture *f, gconstpointer data) {
        g_auto(Run) text = { 0 }, json = { 0 };
        guint source;

        expect("create a --kernel /k", 0, NULL, NULL);
        expect("create b --kernel /k", 0, NULL, NULL);
        source = g_timeout_add(50, tell_event, f);
        text = chvctl("monitor --lines 1 a", NULL);
        json = chvctl("monitor --lines 1 --json=short", NULL);
        expect("monitor --lines 1 --timeout 1 b", 6, "", "");
        g_source_remove(source);
        g_assert_cmpint(text.status, ==, 0);
        /* The escape character in the message must not reach the terminal. */
        g_assert_true(g_str_has_suffix(text.out, " a vm failed message=it ? broke\n"));
        g_assert_true(g_str_has_prefix(json.out, "{\"vm\":\"a\",\"timestamp\":"));
}

/* What is refused is not asked for again and again. */
static void test_top_refused(Fixture *f, gconstpointer data) {
        g_autofree char *calls = NULL;
        g_auto(Run) run = { 0 };
        unsigned n = 0;

        expect("create secret --kernel /k", 0, NULL, NULL);
        expect("start secret", 0, NULL, NULL);
        g_free(stand_in_calls(f->stand_in));
        run = chvctl("top --count 3 --interval 1 --no-legend", NULL);
        g_assert_cmpint(run.status, ==, 0);
        g_assert_cmpstr(run.out, ==,
                        "secret  running  1  -  -  -  -  -  -\n\n"
                        "secret  running  1  -  -  -  -  -  -\n\n"
                        "secret  running  1  -  -  -  -  -  -\n");
        calls = stand_in_calls(f->stand_in);
        for (const char *p = calls; (p = strstr(p, "counters-refused")); p++)
                n++;
        g_assert_cmpuint(n, ==, 1);
}

static void test_console_pipe(Fixture *f, gconstpointer data) {
        g_auto(Run) run = { 0 }, watch = { 0 };

        expect("create a --kernel /k --cmdline 'console=ttyS0 console=hvc0'", 0, NULL, NULL);
        expect("console a", 7, "", "chvctl: a: not while it is created\n");
        expect("start a", 0, NULL, NULL);
        g_free(stand_in_calls(f->stand_in));
        run = chvctl("console a", "ls \x1d\noff\n");
        g_assert_cmpint(run.status, ==, 0);
        g_assert_cmpstr(run.out, ==, "boot\nLS \x1d\nOFF\n");
        g_assert_cmpstr(run.err, ==, "");
        expect_calls(f, "OpenConsole:console");
        g_assert_cmpstr(stand_in_state(f->stand_in, "a"), ==, "shutdown");
}

static void test_run(Fixture *f, gconstpointer data) {
        g_auto(Run) run = chvctl("run a --rm --kernel /k --cmdline console=ttyS0", "hello\noff\n");
        g_auto(Run) detached = { 0 }, broken = { 0 };
        g_autofree char *start = NULL;

        g_assert_cmpint(run.status, ==, 0);
        g_assert_cmpstr(run.out, ==, "boot\nHELLO\nOFF\n");
        g_assert_null(stand_in_state(f->stand_in, "a"));
        expect_calls(f, "CreateVM Start OpenConsole:serial Resume");
        detached = chvctl("run --detach --kernel /k", NULL);
        g_assert_cmpint(detached.status, ==, 0);
        g_strchomp(detached.out);
        g_assert_cmpstr(stand_in_state(f->stand_in, detached.out), ==, "running");
        broken = chvctl("run broken --kernel /k", NULL);
        g_assert_cmpint(broken.status, ==, 1);
        g_assert_cmpstr(broken.err, ==, "chvctl: broken: disks[0].path: no such file\n");
        g_assert_null(stand_in_state(f->stand_in, "broken"));
}

/* What is wrong is said before the service hears of it; what is right goes there in one call. */
static void test_limits(Fixture *f, gconstpointer data) {
        static const char *const wrong[][2] = {
                { "cpu-weight", "'cpu-weight' is not KEY=VALUE" },
                { "=1", "there is no limit ''; see chvctl help limits" },
                { "CPUWeight=1", "there is no limit 'CPUWeight'; see chvctl help limits" },
                { "cpu-weight=7 cpu-weight=", "cpu-weight is given twice" },
                { "cpu-weight=7 io-weight=0", "io-weight: '0' is not from 1 to 10000" },
                { "io-weight=7 tasks-max=-9", "tasks-max: '-9' is not a whole number" },
                { "memory-max=1G cpu-quota=50%%", "cpu-quota: '50%' is not a whole number" },
                { "memory-max=16777216T", "memory-max: '16777216T' is too large" },
        };
        g_auto(Run) unit = { 0 }, off = { 0 }, bare = { 0 };

        expect("create unit --kernel /k", 0, NULL, NULL);
        expect("create child --kernel /k", 0, NULL, NULL);
        expect("create off --kernel /k", 0, NULL, NULL);
        expect("create group --kernel /k", 0, NULL, NULL);
        g_free(stand_in_calls(f->stand_in));
        for (size_t i = 0; i < G_N_ELEMENTS(wrong); i++) {
                g_autofree char *line = g_strdup_printf("limits unit %s", wrong[i][0]);
                g_autofree char *error = g_strdup_printf("chvctl: %s\n", wrong[i][1]);

                expect(line, 2, "", error);
        }
        expect("limits", 2, "", "chvctl: usage: chvctl limits NAME [KEY=VALUE]...\n");
        expect("limits nobody", 3, "", NULL);
        expect("limits nobody tasks-max=9", 3, "", NULL);
        expect("limits unit", 0, NULL, "");
        expect_calls(f, "");
        expect("limits unit cpu-weight=250 memory-max=auto tasks-max=", 0, "", "");
        expect_calls(f, "SetOptions:3");
        unit = chvctl("limits unit", NULL);
        g_assert_nonnull(strstr(unit.out, "\ncpu-weight        250       100 "));
        g_assert_true(g_str_has_suffix(unit.out, "\n\nIn force for chv-u?.service.\n"));
        bare = chvctl("limits --no-legend unit", NULL);
        g_assert_true(g_str_has_prefix(bare.out, "cpu-weight"));
        g_assert_null(strstr(bare.out, "force"));
        expect("limits child --json=short", 0,
               "{\"name\":\"child\",\"unit\":\"\",\"memory_max_auto\":false,\"limits\":{"
               "\"cpu-weight\":0,\"cpu-quota\":\"infinity\",\"memory-max\":\"infinity\","
               "\"io-weight\":0,\"tasks-max\":0,\"shutdown-timeout\":0}}\n",
               "");
        off = chvctl("limits child", NULL);
        g_assert_true(g_str_has_suffix(
                        off.out,
                        "\n\nNot in force: its process is no unit of systemd and has no control "
                        "group.\n"));
        run_clear(&off);
        off = chvctl("limits group", NULL);
        g_assert_true(g_str_has_suffix(off.out, "\n\nIn force.\n"));
        run_clear(&off);
        off = chvctl("limits off", NULL);
        g_assert_true(g_str_has_suffix(
                        off.out,
                        "\n\nIn force when it runs as a unit of systemd or in a control group.\n"));
}

typedef struct {
        GMainLoop *loop;
        GString *seen;
        const char *awaited;
        int fd;
} Terminal;

static gboolean on_terminal(gint fd, GIOCondition condition, gpointer data) {
        Terminal *terminal = data;
        char buffer[512];
        ssize_t n = read(fd, buffer, sizeof(buffer));

        if (n > 0)
                g_string_append_len(terminal->seen, buffer, n);
        if (n <= 0 || strstr(terminal->seen->str, terminal->awaited))
                g_main_loop_quit(terminal->loop);
        return n > 0;
}

static void await_text(Terminal *terminal, const char *text) {
        guint source;

        terminal->awaited = text;
        if (strstr(terminal->seen->str, text))
                return;
        source = g_unix_fd_add(terminal->fd, G_IO_IN | G_IO_HUP, on_terminal, terminal);
        g_main_loop_run(terminal->loop);
        if (!strstr(terminal->seen->str, text))
                g_error("waited for '%s', saw '%s'", text, terminal->seen->str);
        g_source_remove(source);
}

static void on_child(GPid pid, gint status, gpointer data) {
        Terminal *terminal = data;

        g_assert_true(WIFEXITED(status));
        g_assert_cmpint(WEXITSTATUS(status), ==, 0);
        g_main_loop_quit(terminal->loop);
}

static void test_console_terminal(Fixture *f, gconstpointer data) {
        g_autoptr(GMainLoop) loop = g_main_loop_new(NULL, FALSE);
        g_autoptr(GString) seen = g_string_new(NULL);
        struct winsize size = { .ws_col = 100, .ws_row = 30 };
        Terminal terminal = { .loop = loop, .seen = seen };
        struct termios settings;
        const char *program = g_getenv("CHVCTL");
        pid_t pid;

        expect("create a --kernel /k", 0, NULL, NULL);
        expect("start a", 0, NULL, NULL);
        pid = forkpty(&terminal.fd, NULL, NULL, &size);
        g_assert_cmpint(pid, >=, 0);
        if (pid == 0) {
                (void) execl(program, program, "console", "a", (char *) NULL);
                _exit(127);
        }
        await_text(&terminal, "boot\n");
        g_assert_nonnull(strstr(seen->str, "Connected to a, serial. Ctrl-] leaves."));
        g_assert_cmpint(tcgetattr(terminal.fd, &settings), ==, 0);
        g_assert_false(settings.c_lflag & (ICANON | ECHO | ISIG));
        /* Ctrl-C is the guest's; nothing but the guest echoes. */
        g_assert_cmpint(write(terminal.fd, "x\003y", 3), ==, 3);
        await_text(&terminal, "X\003Y");
        /* A reboot: the next console follows, from its beginning. */
        g_assert_cmpint(write(terminal.fd, "again\n", 6), ==, 6);
        await_text(&terminal, "AGAIN\nboot\n");
        g_assert_cmpint(write(terminal.fd, "z\035never", 7), ==, 7);
        await_text(&terminal, "Left a; it runs on.");
        g_child_watch_add(pid, on_child, &terminal);
        g_main_loop_run(loop);
        g_assert_cmpint(tcgetattr(terminal.fd, &settings), ==, 0);
        g_assert_true(settings.c_lflag & ICANON);
        close(terminal.fd);
        g_assert_cmpstr(stand_in_state(f->stand_in, "a"), ==, "running");
}

/* Of what is not told, info says so and shows the rest. */
static void test_hidden(Fixture *f, gconstpointer data) {
        g_auto(Run) info = { 0 }, json = { 0 }, open = { 0 };

        expect("create secret --kernel /hidden --cpus boot=3", 0, NULL, NULL);
        expect("create open --kernel /k", 0, NULL, NULL);
        expect("list --no-legend", 0,
               "open    created  1  512M  root  -\nsecret  created  3  512M  root  -\n", "");
        info = chvctl("info secret", NULL);
        g_assert_cmpint(info.status, ==, 0);
        g_assert_cmpstr(info.err, ==, "");
        g_assert_nonnull(strstr(info.out, "       State: created\n"));
        g_assert_nonnull(strstr(info.out, "      Hidden: options and consoles: not for you\n"));
        g_assert_null(strstr(info.out, "/hidden"));
        g_assert_null(strstr(info.out, "/dev/pts"));
        json = chvctl("info secret --json=short", NULL);
        g_assert_nonnull(strstr(json.out, "\"hidden\":\"not for you\""));
        g_assert_null(strstr(json.out, "/hidden"));
        open = chvctl("info open", NULL);
        g_assert_null(strstr(open.out, "Hidden"));
        g_assert_nonnull(strstr(open.out, "     Console: serial at /dev/pts/7\n"));
}

static void test_set_owner(Fixture *f, gconstpointer data) {
        expect("create a --kernel /k", 0, NULL, NULL);
        expect("set-owner a 4711", 0, "", "");
        g_assert_cmpuint(stand_in_owner(f->stand_in, "a"), ==, 4711);
        expect("set-owner a root", 0, "", "");
        g_assert_cmpuint(stand_in_owner(f->stand_in, "a"), ==, 0);
        expect("set-owner a no-such-user", 2, "",
               "chvctl: a: there is no user 'no-such-user' on this host\n");
        expect("set-owner a 4294967295", 2, "", NULL);
        expect("set-owner nobody 1", 3, "", NULL);
}

/* Runs chvctl on a terminal of its own, to its end; returns what it showed there. */
static char *chvctl_on_terminal(const char *word, const char *name) {
        g_autoptr(GMainLoop) loop = g_main_loop_new(NULL, FALSE);
        g_autoptr(GString) seen = g_string_new(NULL);
        Terminal terminal = { .loop = loop, .seen = seen };
        const char *program = g_getenv("CHVCTL");
        pid_t pid = forkpty(&terminal.fd, NULL, NULL, NULL);
        char buffer[256];
        ssize_t n;

        g_assert_cmpint(pid, >=, 0);
        if (pid == 0) {
                (void) execl(program, program, word, name, (char *) NULL);
                _exit(127);
        }
        g_child_watch_add(pid, on_child, &terminal);
        g_main_loop_run(loop);
        while ((n = read(terminal.fd, buffer, sizeof(buffer))) > 0)
                g_string_append_len(seen, buffer, n);
        close(terminal.fd);
        return g_strdup(seen->str);
}

/* A call that lacks a person is made again, with an agent if there is a terminal; any other is made once. */
static void test_agent(Fixture *f, gconstpointer data) {
        static const char script[] =
                        "#!/bin/sh\n[ \"$*\" = '--notify-fd 3 --fallback' ] || exit 1\n"
                        "echo asked\nexec 3>&-\nexec sleep 60\n";
        g_autofree char *agent = g_build_filename(f->dir, "pkttyagent", NULL);
        g_autofree char *before = g_strdup(g_getenv("PATH")), *path = NULL;
        g_autofree char *locked = NULL, *open = NULL;

        g_assert_true(g_file_set_contents_full(
                        agent, script, -1, G_FILE_SET_CONTENTS_NONE, 0700, NULL));
        path = g_strdup_printf("%s:%s", f->dir, before);
        g_setenv("PATH", path, TRUE);
        expect("create locked --kernel /k", 0, NULL, NULL);
        expect("create open --kernel /k", 0, NULL, NULL);
        expect("start locked open", 0, NULL, NULL);
        g_free(stand_in_calls(f->stand_in));

        expect("nmi locked --no-ask-password", 4, "", NULL);
        expect_calls(f, "refused");
        /* No terminal, no agent; but there may be another. */
        expect("nmi locked", 0, "", "");
        expect_calls(f, "refused NMI");
        locked = chvctl_on_terminal("nmi", "locked");
        g_assert_cmpstr(locked, ==, "asked\r\n");
        expect_calls(f, "refused NMI");
        open = chvctl_on_terminal("nmi", "open");
        g_assert_cmpstr(open, ==, "");
        expect_calls(f, "NMI");
        g_setenv("PATH", before, TRUE);
        g_assert_cmpint(g_unlink(agent), ==, 0);
}

/* -H through a stand-in for ssh that ignores the host and runs the bridge on the private bus. */
static void test_host(Fixture *f, gconstpointer data) {
        g_autofree char *bridge = g_find_program_in_path("systemd-stdio-bridge");
        g_autofree char *script = g_build_filename(f->dir, "ssh", NULL);
        g_autofree char *text = NULL;

        if (!bridge) {
                g_test_skip("there is no systemd-stdio-bridge");
                return;
        }
        text = g_strdup_printf(
                        "#!/bin/sh\n[ \"$*\" = '-xT -- me@there systemd-stdio-bridge' ] || exit 1\n"
                        "exec %s --bus-path='%s'\n",
                        bridge, g_test_dbus_get_bus_address(f->bus));
        g_file_set_contents_full(script, text, -1, G_FILE_SET_CONTENTS_NONE, 0700, NULL);
        g_setenv("SYSTEMD_SSH", script, TRUE);
        expect("-H me@there create a --kernel /k", 0, "", "");
        expect("-H me@there start a", 0, "", "");
        g_assert_cmpstr(stand_in_state(f->stand_in, "a"), ==, "running");
        expect("-H elsewhere list", 5, "", NULL);
        expect("-H me@there --user list", 2, "", NULL);
        g_unsetenv("SYSTEMD_SSH");
        g_assert_cmpint(g_unlink(script), ==, 0);
}

#define ADD(name, function) g_test_add("/chvctl/" name, Fixture, NULL, set_up, function, tear_down)

int main(int argc, char **argv) {
        g_setenv("LC_ALL", "C.UTF-8", TRUE);
        g_test_init(&argc, &argv, NULL);
        ADD("usage", test_usage);
        ADD("no-such-vm", test_no_such_vm);
        ADD("life", test_life);
        ADD("several", test_several);
        ADD("waiting", test_waiting);
        ADD("service-gone", test_service_gone);
        ADD("listings", test_listings);
        ADD("hidden", test_hidden);
        ADD("set-owner", test_set_owner);
        ADD("limits", test_limits);
        ADD("agent", test_agent);
        ADD("configuration", test_configuration);
        ADD("monitor", test_monitor);
        ADD("top-refused", test_top_refused);
        ADD("console/pipe", test_console_pipe);
        ADD("console/terminal", test_console_terminal);
        ADD("run", test_run);
        ADD("host", test_host);
        return g_test_run();
}
