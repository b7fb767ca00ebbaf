/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves that VMs outlive the service: whenever it is killed, the next one finds each VM as it was, with the same
 * process, properties, devices and consoles, or ended with a reason that says so; no process and no folder is left
 * behind; and what it can't understand it leaves alone and starts no second time.
 */

#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "dbus/fd.h"
#include "tests/service/service.h"

#define VM_(name) "/org/cloudhypervisor/vm/" name
#define KILLS 220
#define NAMES 4

static void call(Service *service, const char *vm, const char *method, const char *options) {
        g_autoptr(GVariant) reply = vm_call(service, vm, method, options);
}

static void
assert_property(Service *service, const char *vm, const char *property, const char *contains) {
        g_autofree char *value = vm_get(service, vm, property);

        if (!strstr(value, contains))
                g_error("%s of %s is '%s', without '%s'", property, vm, value, contains);
}

static char *run_with(Service *service, const char *name, const char *words, const char *options) {
        g_autoptr(GError) error = NULL;
        char *path =
                        vm_create_full(service, name, service_config(service, words, NULL), NULL,
                                       NULL, options, &error);

        g_assert_no_error(error);
        return path;
}

static int compare_texts(gconstpointer a, gconstpointer b) {
        return strcmp(*(char *const *) a, *(char *const *) b);
}

/* All objects of VMs and their properties. */
static char *describe(Service *service) {
        g_autoptr(GError) error = NULL;
        g_autoptr(GVariant) tree = service_call(
                        service, "/org/cloudhypervisor", "org.freedesktop.DBus.ObjectManager",
                        "GetManagedObjects", NULL, &error);
        g_autoptr(GVariant) objects = NULL;
        g_autoptr(GPtrArray) rows = g_ptr_array_new_with_free_func(g_free);
        GVariantIter iter;
        GVariant *one;

        g_assert_no_error(error);
        objects = g_variant_get_child_value(tree, 0);
        g_variant_iter_init(&iter, objects);
        while ((one = g_variant_iter_next_value(&iter))) {
                g_autoptr(GVariant) owned = one;
                char *text = g_variant_print(one, true);

                if (strstr(text, "/vm/"))
                        g_ptr_array_add(rows, text);
                else
                        g_free(text);
        }
        g_ptr_array_sort(rows, compare_texts);
        g_ptr_array_add(rows, NULL);
        return g_strjoinv("\n", (char **) rows->pdata);
}

static pid_t worker_of(Service *service, const char *vm) {
        g_autofree char *pid = vm_get(service, vm, "WorkerPID"), *number = NULL;
        const char *digits = strrchr(pid, ' ');

        return (pid_t) g_ascii_strtoll(digits ? digits + 1 : pid, NULL, 10);
}

static char *run_file(Service *service, const char *name) {
        return g_build_filename(service->runtime_dir, "vm", name, "run", NULL);
}

static bool has_run_folder(Service *service, const char *name) {
        g_autofree char *folder = g_build_filename(service->runtime_dir, "vm", name, NULL);

        return g_file_test(folder, G_FILE_TEST_EXISTS);
}

static int open_console(Service *service, const char *vm) {
        g_autoptr(GUnixFDList) list = NULL;
        g_autoptr(GError) error = NULL;
        g_autoptr(GVariant) reply = g_dbus_connection_call_with_unix_fd_list_sync(
                        service->bus, MANAGER, vm, VM, "OpenConsole",
                        g_variant_new("(sa{sv})", "serial", NULL), NULL, G_DBUS_CALL_FLAGS_NONE, -1,
                        NULL, &list, NULL, &error);

        g_assert_no_error(error);
        return g_unix_fd_list_get(list, 0, NULL);
}

/* The number of the next line. */
static unsigned next_line(int fd) {
        char line[32] = "";
        size_t n = 0;

        while (n < sizeof(line) - 1 && (n == 0 || line[n - 1] != '\n')) {
                struct pollfd p = { .fd = fd, .events = POLLIN };

                g_assert_cmpint(poll(&p, 1, 20000), ==, 1);
                g_assert_cmpint(read(fd, line + n, 1), ==, 1);
                n++;
        }
        return (unsigned) atoi(line);
}

static void test_as_before(void) {
        static const int signals[] = { SIGKILL, SIGTERM, SIGKILL };
        g_autoptr(Service) service = service_start(NULL);
        g_autofree char *
                        a = vm_run(service, "a", "chatty", NULL),
                       *b = vm_run(service, "b", NULL,
                                   "'console': <{'mode': <'pty'>}>, 'serial': <{'mode': <'off'>}>"),
                       *t = run_with(service, "t", NULL, "{'transient': <true>, 'start': <true>}"),
                       *off = vm_create(service, "off", NULL, NULL);
        g_autofree char *before = NULL, *paths = vm_ask(service, b, "GetConsolePaths");
        chv_autofd console = open_console(service, a), again = -1;
        unsigned line = next_line(console);

        call(service, b, "Pause", NULL);
        before = describe(service);
        g_assert_nonnull(strstr(paths, "/dev/pts/"));
        for (size_t i = 0; i < G_N_ELEMENTS(signals); i++) {
                g_autofree char *after = NULL, *now = NULL;

                service_restart(service, signals[i]);
                after = describe(service);
                g_assert_cmpstr(after, ==, before);
                now = vm_ask(service, b, "GetConsolePaths");
                g_assert_cmpstr(now, ==, paths);
                /* Who held a console did not notice. */
                for (unsigned n = 0; n < 10; n++) {
                        unsigned next = next_line(console);

                        g_assert_cmpuint(next, ==, line + 1);
                        line = next;
                }
        }
        again = open_console(service, a);
        (void) next_line(again);
        assert_property(service, t, "Transient", "true");
        assert_property(service, off, "State", "created");
        call(service, b, "Resume", NULL);
        call(service, b, "Shutdown", NULL);
        vm_await(service, b, "shutdown");
        call(service, a, "Reboot", "{'force': <true>}");
        call(service, a, "PowerOff", NULL);
        call(service, t, "PowerOff", NULL);
        g_assert_false(vm_exists(service, t));
        g_assert_false(has_run_folder(service, "a"));
}

static void test_died_meanwhile(void) {
        g_autoptr(Service) service = service_start(NULL);
        g_autofree char *a = vm_run(service, "a", NULL, NULL),
                        *b = run_with(service, "b", NULL,
                                      "{'crash-policy': <'restart'>, 'start': <true>}"),
                        *t = run_with(service, "t", NULL, "{'transient': <true>, 'start': <true>}");
        pid_t pids[] = { worker_of(service, a), worker_of(service, b), worker_of(service, t) };

        service_kill(service);
        for (size_t i = 0; i < G_N_ELEMENTS(pids); i++)
                g_assert_cmpint(kill(pids[i], SIGKILL), ==, 0);
        while (service_count_workers(service) > 0)
                g_usleep(1000);
        service_restart(service, 0);
        assert_property(service, a, "State", "failed");
        assert_property(service, a, "StateReason", "died while the service was away");
        assert_property(service, a, "WorkerPID", "0");
        g_assert_false(has_run_folder(service, "a"));
        service_await_signal(service, "'restarting'");
        vm_await(service, b, "running");
        g_assert_cmpint(worker_of(service, b), !=, pids[1]);
        g_assert_false(vm_exists(service, t));
        call(service, a, "Start", NULL);
}

static void test_shut_down_meanwhile(void) {
        g_autoptr(Service) service = service_start(NULL);
        g_autofree char *a = vm_run(service, "a", NULL, NULL);
        pid_t pid = worker_of(service, a);

        service_kill(service);
        g_assert_cmpint(kill(pid, SIGUSR1), ==, 0);
        service_restart(service, 0);
        /* It may have been quicker than the guest. */
        vm_await(service, a, "shutdown");
        assert_property(service, a, "StateReason", "powered off");
        g_assert_cmpuint(service_count_workers(service), ==, 0);
        call(service, a, "Start", NULL);
}

static void begin(Service *service, const char *vm, const char *method, const char *options) {
        g_dbus_connection_call(
                        service->bus, MANAGER, vm, VM, method,
                        g_variant_new("(@a{sv})", g_variant_new_parsed(options)), NULL,
                        G_DBUS_CALL_FLAGS_NONE, -1, NULL, NULL, NULL);
}

static void test_interrupted(void) {
        g_autoptr(Service) service = service_start(NULL);
        g_autofree char *a = vm_create(service, "a", "boot-hang", NULL),
                        *b = vm_run(service, "b", "deaf-quit", NULL),
                        *c = vm_run(service, "c", "deaf", NULL);

        begin(service, a, "Start", "@a{sv} {}");
        vm_await(service, a, "starting");
        while (worker_of(service, a) == 0)
                service_linger(2);
        begin(service, b, "PowerOff", "{'timeout': <uint32 60>}");
        vm_await(service, b, "stopping");
        begin(service, c, "Shutdown", "{'timeout': <uint32 1>}");
        service_linger(100);
        service_restart(service, SIGKILL);
        assert_property(service, a, "State", "created");
        assert_property(service, a, "StateReason", "interrupted");
        assert_property(service, b, "State", "shutdown");
        assert_property(service, b, "StateReason", "powered off");
        /* The guest had a second, whoever counts it. */
        vm_await(service, c, "shutdown");
        assert_property(service, c, "StateReason", "did not power off in time");
        g_assert_cmpuint(service_count_workers(service), ==, 0);
        g_assert_false(has_run_folder(service, "a"));
        g_assert_false(has_run_folder(service, "b"));
}

/* What was to last lasts, though nobody was there to store it when it had started. */
static void test_kept_late(void) {
        g_autoptr(Service) service = service_start(NULL);
        g_autofree char *t = run_with(service, "t", NULL, "{'transient': <true>, 'start': <true>}"),
                        *file = run_file(service, "t"), *text = NULL, *other = NULL;
        g_auto(GStrv) parts = NULL;

        g_assert_true(g_file_get_contents(file, &text, NULL, NULL));
        parts = g_strsplit(text, "'keep': <false>", 2);
        g_assert_nonnull(parts[1]);
        other = g_strconcat(parts[0], "'keep': <true>", parts[1], NULL);
        service_kill(service);
        g_assert_true(g_file_set_contents(file, other, -1, NULL));
        service_restart(service, 0);
        vm_await(service, t, "running");
        for (unsigned i = 0; i < 1000; i++) {
                g_autofree char *transient = vm_get(service, t, "Transient");

                if (g_str_equal(transient, "false"))
                        break;
                service_linger(10);
        }
        assert_property(service, t, "Transient", "false");
        call(service, t, "PowerOff", NULL);
        service_restart(service, SIGKILL);
        assert_property(service, t, "State", "shutdown");
}

/* The number of a process that is gone may be another's. */
static void test_stale_process(void) {
        g_autoptr(Service) service = service_start(NULL);
        g_autofree char *a = vm_run(service, "a", NULL, NULL), *file = run_file(service, "a"),
                        *text = NULL, *old = NULL, *new = NULL, *stale = NULL;
        g_auto(GStrv) parts = NULL;
        pid_t pid = worker_of(service, a);

        g_assert_true(g_file_get_contents(file, &text, NULL, NULL));
        old = g_strdup_printf("'child %d ", pid);
        new = g_strdup_printf("'child %d 1", getpid());
        g_assert_nonnull(strstr(text, old));
        parts = g_strsplit(text, old, 2);
        stale = g_strconcat(parts[0], new, parts[1], NULL);
        service_kill(service);
        g_assert_true(g_file_set_contents(file, stale, -1, NULL));
        g_assert_cmpint(kill(pid, SIGKILL), ==, 0);
        service_restart(service, 0);
        assert_property(service, a, "State", "failed");
        call(service, a, "Start", NULL);
}

static void test_hostile_record(void) {
        g_autoptr(Service) service = service_start(NULL);
        g_autofree char *a = vm_run(service, "a", NULL, NULL), *file = run_file(service, "a"),
                        *text = NULL;
        pid_t pid = worker_of(service, a);
        gsize size;

        g_assert_true(g_file_get_contents(file, &text, &size, NULL));
        for (unsigned i = 0; i < 6; i++) {
                g_autofree char *bad = g_strdup(text), *now = NULL;
                g_autoptr(GError) error = NULL;
                gsize length = size, left;

                if (i < 3)
                        length = (gsize) g_test_rand_int_range(0, (gint32) size - 5);
                else if (i == 3)
                        *strstr(bad, "Version=1") = 'W';
                else if (i == 4)
                        strstr(bad, "Version=1")[8] = '9';
                else
                        for (unsigned n = 0; n < 64; n++)
                                bad[g_test_rand_int_range(20, (gint32) size - 20)] =
                                                (char) g_test_rand_int_range(128, 255);
                service_kill(service);
                g_assert_true(g_file_set_contents(file, bad, (gssize) length, NULL));
                service_restart(service, 0);
                g_assert_false(vm_exists(service, a));
                g_assert_null(
                                vm_create_full(service, "a", service_config(service, NULL, NULL),
                                               NULL, NULL, "{'start': <true>}", &error));
                assert_names(error, CHV_ERROR_EXISTS, "vm/a/run");
                g_assert_true(g_file_get_contents(file, &now, &left, NULL));
                g_assert_cmpmem(now, left, bad, length);
                g_assert_cmpint(kill(pid, 0), ==, 0);
        }
        service_kill(service);
        g_assert_true(g_file_set_contents(file, text, -1, NULL));
        service_restart(service, 0);
        vm_await(service, a, "running");
        g_assert_cmpint(worker_of(service, a), ==, pid);
}

/* What the client knows of a VM. */
typedef struct {
        Service *service;
        char *path;
        const char *state;         /* NULL: an operation on it was not answered */
        const char *before, *then; /* what it was, and is to be */
        pid_t pid;                 /* as of the last restart; -1: another since */
        bool asked;
        unsigned *answered;
} Known;

typedef struct {
        Known *known;
        const char *then;
} Asked;

static void on_answer(GObject *source, GAsyncResult *result, gpointer data) {
        g_autofree Asked *asked = data;
        g_autoptr(GError) error = NULL;
        g_autoptr(GVariant) reply =
                        g_dbus_connection_call_finish(G_DBUS_CONNECTION(source), result, &error);

        asked->known->asked = false;
        if (reply)
                asked->known->state = asked->then;
        if (reply)
                (*asked->known->answered)++;
        else
                g_assert_false(g_dbus_error_is_remote_error(error) && error->domain == CHV_ERROR);
}

/* Something that is possible in the state it is in. */
static void ask(Known *known) {
        static const struct {
                const char *in, *method, *options, *then;
        } rows[] = {
                { "created", "Start", "{'wait': <true>}", "running" },
                { "shutdown", "Start", "{'wait': <true>}", "running" },
                { "shutdown", "Start", "{'wait': <true>, 'paused': <true>}", "paused" },
                { "running", "Pause", "@a{sv} {}", "paused" },
                { "running", "PowerOff", "{'wait': <true>}", "shutdown" },
                { "running", "Reboot", "{'wait': <true>, 'force': <true>}", "running" },
                { "running", "Reset", "@a{sv} {}", "running" },
                { "paused", "Resume", "@a{sv} {}", "running" },
                { "paused", "PowerOff", "{'wait': <true>}", "shutdown" },
        };
        size_t i = (size_t) g_test_rand_int_range(0, G_N_ELEMENTS(rows));
        Asked *asked;

        while (!g_str_equal(rows[i].in, known->state))
                i = (i + 1) % G_N_ELEMENTS(rows);
        asked = g_new0(Asked, 1);
        *asked = (Asked){ known, rows[i].then };
        if (!g_str_equal(rows[i].method, "Pause") && !g_str_equal(rows[i].method, "Resume") &&
            !g_str_equal(rows[i].method, "Reset"))
                known->pid = -1;
        known->before = known->state;
        known->then = rows[i].then;
        known->state = NULL;
        known->asked = true;
        g_dbus_connection_call(
                        known->service->bus, MANAGER, known->path, VM, rows[i].method,
                        g_variant_new("(@a{sv})", g_variant_new_parsed(rows[i].options)), NULL,
                        G_DBUS_CALL_FLAGS_NONE, -1, NULL, on_answer, asked);
}

/* As before, or ended with a reason. A reboot may have its second half before it. */
static void compare(Known *known) {
        g_autofree char *state = vm_get(known->service, known->path, "State"),
                        *reason = vm_get(known->service, known->path, "StateReason");
        pid_t pid;

        while (g_str_equal(state, "starting")) {
                service_linger(2);
                g_free(state);
                state = vm_get(known->service, known->path, "State");
        }
        pid = worker_of(known->service, known->path);
        if (known->state)
                g_assert_cmpstr(state, ==, known->state);
        if (known->pid >= 0)
                g_assert_cmpint(pid, ==, known->pid);
        if (g_str_equal(state, "running") || g_str_equal(state, "paused"))
                g_assert_cmpint(kill(pid, 0), ==, 0);
        else if (g_str_equal(state, "shutdown") || g_str_equal(state, "failed"))
                g_assert_true(reason[0] || known->state || g_str_equal(state, known->before) ||
                              g_str_equal(state, known->then));
        else
                g_assert_cmpstr(state, ==, "created");
        known->state = g_intern_string(state);
        known->pid = pid;
}

static void test_kills(void) {
        g_autoptr(Service) service = service_start(NULL);
        Known known[NAMES] = { 0 };
        unsigned answered = 0, lost = 0;

        for (unsigned i = 0; i < NAMES; i++) {
                g_autofree char *name = g_strdup_printf("vm%u", i);

                known[i].service = service;
                known[i].path = vm_create(service, name, NULL, NULL);
                known[i].state = "created";
                known[i].answered = &answered;
        }
        for (unsigned n = 0; n < KILLS; n++) {
                /* A slow machine gets more time, so that there are answers as well as none. */
                gint32 longest = answered * 3 < n ? 400000 : 40000;
                gint64 until = g_get_monotonic_time() + g_test_rand_int_range(0, longest);
                unsigned runs = 0;

                do {
                        /* One is left in peace. */
                        for (unsigned i = 0; i < NAMES; i++)
                                if (!known[i].asked && i != n % NAMES)
                                        ask(&known[i]);
                        (void) g_main_context_iteration(NULL, false);
                } while (g_get_monotonic_time() < until);
                service_kill(service);
                for (unsigned i = 0; i < NAMES; i++) {
                        while (known[i].asked)
                                (void) g_main_context_iteration(NULL, true);
                        lost += !known[i].state;
                }
                service_restart(service, 0);
                for (unsigned i = 0; i < NAMES; i++) {
                        compare(&known[i]);
                        runs += known[i].pid > 0;
                }
                g_assert_cmpuint(service_count_workers(service), ==, runs);
                for (unsigned i = 0; i < NAMES; i++) {
                        g_autofree char *name = g_strdup_printf("vm%u", i);

                        g_assert_true(has_run_folder(service, name) == (known[i].pid > 0));
                }
        }
        g_test_message("%u answered, %u not", answered, lost);
        g_assert_cmpuint(answered, >, KILLS / 4);
        g_assert_cmpuint(lost, >, KILLS / 4);
        for (unsigned i = 0; i < NAMES; i++)
                g_free(known[i].path);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/outlive/as-before", test_as_before);
        g_test_add_func("/outlive/died-meanwhile", test_died_meanwhile);
        g_test_add_func("/outlive/shut-down-meanwhile", test_shut_down_meanwhile);
        g_test_add_func("/outlive/interrupted", test_interrupted);
        g_test_add_func("/outlive/kept-late", test_kept_late);
        g_test_add_func("/outlive/stale-process", test_stale_process);
        g_test_add_func("/outlive/hostile-record", test_hostile_record);
        g_test_add_func("/outlive/kills", test_kills);
        return g_test_run();
}
