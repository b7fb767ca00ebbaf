/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves of what a later chvd goes on from: a record of a run is read back as it was written, and no part of one, nor one
 * with anything wrong in it, is read at all; a run's folder is ours alone and may lie as deep as it likes; one chvd holds the lock; a
 * process outlives who forgets it, is known again by its handle, and is never taken for another of the same number.
 */

#include <fcntl.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/chvd/process.h"
#include "daemon/chvd/run-record.h"
#include "daemon/chvd/runtime.h"
#include "dbus/error.h"
#include "dbus/fd.h"

static ChvdRun *example(ChvdRunPhase phase) {
        ChvdRun *run = g_new0(ChvdRun, 1);

        run->phase = phase;
        run->transient = true;
        run->restart = true;
        run->before = CHV_VM_STATE_SHUTDOWN;
        run->end = CHV_VM_STATE_FAILED;
        run->reason = phase == CHVD_RUN_STOPPING ? g_strdup("it's \"so\"\nand [Run]\nVersion=2")
                                                 : NULL;
        run->handle = g_strdup("child 1 2");
        run->started_at = 123456789;
        run->deadline = 42;
        run->consoles = g_variant_ref_sink(g_variant_new_parsed("{'serial': '/dev/pts/1'}"));
        run->resources = g_variant_ref_sink(g_variant_new_parsed("{'made': <'x'>}"));
        run->record = g_new0(ChvdRecord, 1);
        run->record->owner = 1000;
        run->record->created = 5;
        run->record->policy.crash = CHVD_CRASH_RESTART;
        run->record->config = g_variant_ref_sink(
                        g_variant_new_parsed("{'payload': <{'kernel': <'/k\\n[x]'>}>}"));
        run->record->given = g_variant_ref_sink(g_variant_new_parsed("['disks/_disk0']"));
        return run;
}

static char *text_of(ChvdRunPhase phase) {
        g_autoptr(ChvdRun) run = example(phase);
        g_autoptr(GError) error = NULL;
        char *text = chvd_run_to_text(run, &error);

        g_assert_no_error(error);
        return text;
}

static void test_round_trip(void) {
        static const ChvdRunPhase phases[] = { CHVD_RUN_STARTING, CHVD_RUN_RUNNING,
                                               CHVD_RUN_STOPPING };

        for (size_t i = 0; i < G_N_ELEMENTS(phases); i++) {
                g_autofree char *text = text_of(phases[i]), *again = NULL, *boot = chvd_run_boot();
                g_autoptr(ChvdRun) was = example(phases[i]), run = NULL;
                g_autoptr(GError) error = NULL;

                run = chvd_run_from_text(text, strlen(text), &error);
                g_assert_no_error(error);
                g_assert_cmpstr(run->boot, ==, boot);
                g_assert_cmpint(run->phase, ==, phases[i]);
                g_assert_true(run->transient && run->restart);
                g_assert_cmpint(run->before, ==, CHV_VM_STATE_SHUTDOWN);
                g_assert_cmpstr(run->reason, ==, was->reason);
                g_assert_cmpstr(run->handle, ==, "child 1 2");
                g_assert_cmpuint(run->started_at, ==, 123456789);
                g_assert_cmpint(run->deadline, ==, 42);
                g_assert_true(g_variant_equal(run->consoles, was->consoles));
                g_assert_true(g_variant_equal(run->resources, was->resources));
                g_assert_true(g_variant_equal(run->record->config, was->record->config));
                g_assert_cmpint(run->record->policy.crash, ==, CHVD_CRASH_RESTART);
                again = chvd_run_to_text(run, &error);
                g_assert_cmpstr(again, ==, text);
        }
}

static void assert_broken(const char *text, size_t size) {
        g_autoptr(GError) error = NULL;
        g_autoptr(ChvdRun) run = chvd_run_from_text(text, size, &error);

        if (run)
                g_error("read: %.*s", (int) size, text);
        g_assert_true(g_error_matches(error, CHV_ERROR, CHV_ERROR_INVALID_CONFIG) ||
                      g_error_matches(error, CHV_ERROR, CHV_ERROR_NOT_SUPPORTED));
}

static void test_cut(void) {
        g_autofree char *text = text_of(CHVD_RUN_STOPPING);

        /* Without its last line break it is whole. */
        for (size_t size = 0; size + 1 < strlen(text); size++)
                assert_broken(text, size);
}

static char *replaced(const char *text, const char *from, const char *to) {
        g_auto(GStrv) parts = g_strsplit(text, from, 2);

        if (!parts[1])
                g_error("no '%s' in %s", from, text);
        return g_strconcat(parts[0], to, parts[1], NULL);
}

static void test_wrong(void) {
        static const char *const changes[][2] = {
                { "Version=1", "Version=2" },
                { "Version=1", "Version=" },
                { "Complete=true", "Complete=false" },
                { "'phase': <'stopping'>", "'phase': <'resting'>" },
                { "'phase': <'stopping'>", "'phase': <uint32 1>" },
                { "'before': <'shutdown'>", "'before': <'running'>" },
                { "'before': <'shutdown'>", "'before': <''>" },
                { "'end': <'failed'>", "'end': <'paused'>" },
                { "'end': <'failed'>", "'start': <'failed'>" },
                { "'transient': <true>", "'transient': <'true'>" },
                { "'restart': <true>", "'restarted': <true>" },
                { "'boot':", "'boat':" },
                { "'started-at': <uint64", "'started-at': <int64" },
                { "Run={", "Run=[" },
                { "Owner=1000", "Owner=-1" },
                { "Crea", "Dest" },
        };
        g_autofree char *text = text_of(CHVD_RUN_STOPPING);

        for (size_t i = 0; i < G_N_ELEMENTS(changes); i++) {
                g_autofree char *bad = replaced(text, changes[i][0], changes[i][1]);

                assert_broken(bad, strlen(bad));
        }
        /* Whatever else a disk or a hand makes of it, it is either read or refused. */
        for (unsigned i = 0; i < 2000; i++) {
                g_autofree char *bad = g_strdup(text);
                g_autoptr(GError) error = NULL;
                g_autoptr(ChvdRun) run = NULL;

                for (unsigned n = 0; n < 3; n++)
                        bad[g_test_rand_int_range(0, (gint32) strlen(text))] =
                                        (char) g_test_rand_int_range(1, 127);
                run = chvd_run_from_text(bad, strlen(text), &error);
                g_assert_true(!run == !!error);
        }
}

typedef struct {
        char *top, *dir;
} Folder;

static Folder folder_new(void) {
        g_autofree char *deep = g_strnfill(200, 'd');
        Folder folder = { .top = g_dir_make_tmp("chvd-run-XXXXXX", NULL) };

        folder.dir = g_build_filename(folder.top, deep, NULL);
        return folder;
}

static void folder_clear(Folder *folder) {
        static const char *const left[] = { "lock", "autostarted", "vm", "" };

        for (size_t i = 0; i < G_N_ELEMENTS(left); i++) {
                g_autofree char *path = g_build_filename(folder->dir, left[i], NULL);

                (void) g_remove(path);
        }
        g_assert_cmpint(g_rmdir(folder->top), ==, 0);
        g_free(folder->top);
        g_free(folder->dir);
}

static void test_folder(void) {
        Folder folder = folder_new();
        g_autofree char *run = g_build_filename(folder.dir, "vm", "a", NULL), *text = NULL;
        g_auto(GStrv) names = NULL;
        g_autoptr(GError) error = NULL, none = NULL;
        struct stat st;
        size_t size;

        g_assert_cmpint(chvd_runtime_connect(folder.dir, "a", &error), ==, -1);
        g_assert_error(error, CHV_ERROR, CHV_ERROR_RESOURCE);
        g_assert_null(chvd_runtime_load(folder.dir, "a", &size, &none));
        g_assert_no_error(none);
        for (unsigned i = 0; i < 2; i++) {
                chv_autofd listening = chvd_runtime_listen(folder.dir, "a", &none);
                chv_autofd ours = chvd_runtime_connect(folder.dir, "a", &none);
                chv_autofd theirs = accept(listening, NULL, NULL);

                g_assert_no_error(none);
                g_assert_cmpint(theirs, >=, 0);
        }
        g_assert_cmpint(stat(run, &st), ==, 0);
        g_assert_cmpuint(st.st_mode & 07777, ==, 0700);
        g_assert_true(chvd_runtime_save(folder.dir, "a", "one", &none));
        g_assert_true(chvd_runtime_save(folder.dir, "a", "two", &none));
        text = chvd_runtime_load(folder.dir, "a", &size, &none);
        g_assert_cmpmem(text, size, "two", 3);
        names = chvd_runtime_list(folder.dir);
        g_assert_cmpstr(names[0], ==, "a");
        g_assert_null(names[1]);
        chvd_runtime_remove(folder.dir, "a");
        chvd_runtime_remove(folder.dir, "a");
        g_assert_false(g_file_test(run, G_FILE_TEST_EXISTS));
        folder_clear(&folder);
}

static void test_lock(void) {
        Folder folder = folder_new();
        g_autoptr(GError) error = NULL, none = NULL;
        int first = chvd_runtime_lock(folder.dir, &none), again;

        g_assert_no_error(none);
        g_assert_cmpint(chvd_runtime_lock(folder.dir, &error), ==, -1);
        g_assert_error(error, CHV_ERROR, CHV_ERROR_BUSY);
        (void) close(first);
        again = chvd_runtime_lock(folder.dir, &none);
        g_assert_cmpint(again, >=, 0);
        (void) close(again);
        g_assert_false(chvd_runtime_is_up(folder.dir));
        chvd_runtime_set_up(folder.dir);
        g_assert_true(chvd_runtime_is_up(folder.dir));
        folder_clear(&folder);
}

/* What a process told. */
typedef struct {
        unsigned started, exited;
        GError *error;
        ChvdExit exit;
} Told;

static void on_started(gpointer data, const GError *error) {
        Told *told = data;

        told->started++;
        told->error = error ? g_error_copy(error) : NULL;
}

static void on_exited(gpointer data, const ChvdExit *exit) {
        Told *told = data;

        told->exited++;
        told->exit = *exit;
}

static const ChvdProcessOps ops = { .started = on_started, .exited = on_exited };

static void wait_for(const unsigned *what) {
        while (!*what)
                (void) g_main_context_iteration(NULL, true);
}

static void test_process(void) {
        const ChvdContext context = { 0 };
        chv_autofd channel = -1, held = -1;
        const char *const cat[] = { "/bin/cat", "-", NULL };
        ChvdProcessSetup setup = { .vm = "a", .argv = cat };
        Told told = { 0 }, later = { 0 };
        ChvdProcess *process, *adopted;
        g_autofree char *handle = NULL;
        int pair[2];
        pid_t pid;

        /* It reads until nobody can write. */
        g_assert_cmpint(pipe2(pair, O_CLOEXEC), ==, 0);
        channel = setup.channel = pair[0];
        held = pair[1];
        process = chvd_process_start(&context, &setup, &ops, &told);

        g_assert_cmpuint(told.started, ==, 0);
        wait_for(&told.started);
        g_assert_no_error(told.error);
        handle = g_strdup(chvd_process_handle(process));
        pid = chvd_process_pid(process);
        g_assert_cmpint(getpgid(pid), ==, pid);
        g_assert_cmpstr(chvd_process_unit(process), ==, "");
        chvd_process_free(process);
        g_assert_cmpint(kill(pid, 0), ==, 0);
        adopted = chvd_process_adopt(&context, handle, &ops, &later);
        wait_for(&later.started);
        g_assert_no_error(later.error);
        g_assert_cmpint(chvd_process_pid(adopted), ==, pid);
        g_assert_cmpstr(chvd_process_handle(adopted), ==, handle);
        chvd_process_kill(adopted);
        wait_for(&later.exited);
        g_assert_false(later.exit.known);
        g_assert_cmpint(chvd_process_pid(adopted), ==, 0);
        chvd_process_free(adopted);
        g_assert_cmpuint(told.exited, ==, 0);
}

static void test_process_ends(void) {
        const ChvdContext context = { 0 };
        const char *const no[] = { "/bin/false", NULL }, *const nothing[] = { "/nonexistent",
                                                                              NULL };
        const ChvdProcessSetup good = { .vm = "a", .argv = no, .channel = 0 },
                               bad = { .vm = "a", .argv = nothing, .channel = 0 };
        Told told = { 0 }, never = { 0 };
        ChvdProcess *process = chvd_process_start(&context, &good, &ops, &told);

        wait_for(&told.exited);
        g_assert_true(told.exit.known && WIFEXITED(told.exit.status));
        g_assert_cmpint(WEXITSTATUS(told.exit.status), ==, 1);
        chvd_process_free(process);
        process = chvd_process_start(&context, &bad, &ops, &never);
        wait_for(&never.started);
        g_assert_error(never.error, CHV_ERROR, CHV_ERROR_FAILED);
        g_assert_cmpuint(never.exited, ==, 0);
        chvd_process_free(process);
        g_clear_error(&never.error);
}

static void test_not_that_process(void) {
        g_autofree char *other = g_strdup_printf("child %d 1", getpid());
        const char *const handles[] = { other,        "child",     "child 0 0",
                                        "child -1 5", "child x",   "child 1234567",
                                        "",           "demon 1 1", "childish 1 1" };
        const ChvdContext context = { 0 };

        for (size_t i = 0; i < G_N_ELEMENTS(handles); i++) {
                Told told = { 0 };
                ChvdProcess *process = chvd_process_adopt(&context, handles[i], &ops, &told);

                chvd_process_kill(process);
                wait_for(&told.started);
                g_assert_nonnull(told.error);
                chvd_process_kill(process);
                chvd_process_free(process);
                g_clear_error(&told.error);
        }
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/run/round-trip", test_round_trip);
        g_test_add_func("/run/cut", test_cut);
        g_test_add_func("/run/wrong", test_wrong);
        g_test_add_func("/run/folder", test_folder);
        g_test_add_func("/run/lock", test_lock);
        g_test_add_func("/run/process", test_process);
        g_test_add_func("/run/process-ends", test_process_ends);
        g_test_add_func("/run/not-that-process", test_not_that_process);
        return g_test_run();
}
