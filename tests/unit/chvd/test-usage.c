/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves that what a worker costs is read from where it can be seen, whatever it calls itself, that nonsense is no
 * figure, and that a worker can't speak in the host's name.
 */

#include <glib/gstdio.h>
#include <string.h>
#include <unistd.h>

#include "daemon/chvd/usage.h"

#define ZEROS " 0 0 0 0 0 0 0 0 0 0 "

static char *dir;

static void put(const char *name, const char *text) {
        g_autofree char *path = g_build_filename(dir, name, NULL);
        g_autofree char *parent = g_path_get_dirname(path);

        if (!text) {
                (void) g_unlink(path);
                return;
        }
        g_assert_cmpint(g_mkdir_with_parents(parent, 0755), ==, 0);
        g_assert_true(g_file_set_contents(path, text, -1, NULL));
}

static bool look(pid_t pid, ChvdUsage *ret) {
        g_autofree char *proc = g_build_filename(dir, "proc", NULL);
        g_autofree char *cgroups = g_build_filename(dir, "cgroup", NULL);

        return chvd_usage_read_from(proc, cgroups, pid, "web1", ret);
}

static void test_nonsense(void) {
        static const char *const stats[] = {
                "", ")", "7 (x", "7 (x) R", "7 (x) R 1 1 1 1 1 1 1 1 1 1", "7 (x) R a b c",
        };
        ChvdUsage usage;

        g_assert_false(look(7, &usage));
        put("proc/7/statm", "1 2 3");
        for (unsigned i = 0; i < G_N_ELEMENTS(stats); i++) {
                put("proc/7/stat", stats[i]);
                g_assert_false(look(7, &usage));
        }
        put("proc/7/stat", "7 (x) R" ZEROS "1 2 3");
        g_assert_true(look(7, &usage));
        g_assert_false(look(0, &usage));
        put("proc/7/statm", "1");
        g_assert_false(look(7, &usage));
        put("proc/7/statm", NULL);
        g_assert_false(look(7, &usage));
        put("cgroup/chv.slice/chv-web1.service/cpu.stat", "user_usec 1\n");
        put("cgroup/chv.slice/chv-web1.service/memory.current", "1\n");
        g_assert_false(look(7, &usage));
        put("cgroup/chv.slice/chv-web1.service/memory.current", "max\n");
        put("cgroup/chv.slice/chv-web1.service/cpu.stat", "usage_usec 1\n");
        g_assert_false(look(7, &usage));
}

static void test_places(void) {
        ChvdUsage usage;

        put("proc/8/stat", "8 (x) R 9) R" ZEROS "300 200 1 1 0");
        put("proc/8/statm", "100 20 10 1 0 1 0\n");
        put("cgroup/chv.slice/chv-web1.service/cpu.stat", "usage_usec 123456\nuser_usec 1\n");
        put("cgroup/chv.slice/chv-web1.service/memory.current", "654321\n");
        g_assert_true(look(8, &usage));
        g_assert_cmpuint(usage.cpu_us, ==, 500 * G_USEC_PER_SEC / (uint64_t) sysconf(_SC_CLK_TCK));
        g_assert_cmpuint(usage.memory, ==, 20 * (uint64_t) sysconf(_SC_PAGESIZE));
        /* One that we don't see. */
        g_assert_true(look(9, &usage));
        g_assert_cmpuint(usage.cpu_us, ==, 123456);
        g_assert_cmpuint(usage.memory, ==, 654321);

        g_assert_true(chvd_usage_read(getpid(), "no VM", &usage));
        g_assert_cmpuint(usage.memory, >, 4096);
}

static void test_no_lies(void) {
        const ChvdUsage usage = { 7, 8 };
        g_autoptr(GVariant) all = NULL, none = NULL;
        g_autoptr(GVariant) counters = g_variant_ref_sink(
                        g_variant_new_parsed("{'_process': {'cpu_us': uint64 1}, 'a': {'b': uint64 "
                                             "2}, '_process': {}}"));
        g_autofree char *with = NULL, *without = NULL;

        all = g_variant_ref_sink(chvd_usage_add(counters, &usage));
        none = g_variant_ref_sink(chvd_usage_add(counters, NULL));
        with = g_variant_print(all, false);
        without = g_variant_print(none, false);
        g_assert_cmpstr(with, ==, "{'a': {'b': 2}, '_process': {'cpu_us': 7, 'memory_bytes': 8}}");
        g_assert_cmpstr(without, ==, "{'a': {'b': 2}}");
}

static void remove_tree(const char *path) {
        g_autoptr(GDir) folder = g_dir_open(path, 0, NULL);
        const char *name;

        while (folder && (name = g_dir_read_name(folder))) {
                g_autofree char *child = g_build_filename(path, name, NULL);

                if (g_file_test(child, G_FILE_TEST_IS_DIR))
                        remove_tree(child);
                else
                        (void) g_unlink(child);
        }
        (void) g_rmdir(path);
}

int main(int argc, char **argv) {
        int status;

        g_test_init(&argc, &argv, NULL);
        dir = g_dir_make_tmp("chvd-usage-XXXXXX", NULL);
        g_test_add_func("/usage/nonsense", test_nonsense);
        g_test_add_func("/usage/places", test_places);
        g_test_add_func("/usage/no-lies", test_no_lies);
        status = g_test_run();
        remove_tree(dir);
        g_free(dir);
        return status;
}
