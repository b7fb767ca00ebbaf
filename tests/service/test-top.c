/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves "chvctl top" against the service: only what runs is shown, a machine that does not answer or broke its worker
 * costs the others nothing, figures are the host's and the devices', again and again, as tables and as JSON.
 */

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "tests/service/service.h"

typedef struct {
        int status;
        char *out, *err;
} Ran;

static void ran_clear(Ran *ran) {
        g_free(ran->out);
        g_free(ran->err);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Ran, ran_clear)

static Ran top(Service *service, const char *words) {
        g_autofree char *line = g_strdup_printf(
                        "%s --address %s top %s", g_getenv("CHVCTL"), service->address, words);
        g_auto(GStrv) argv = g_strsplit(line, " ", -1);
        g_autoptr(GError) error = NULL;
        g_autoptr(GSubprocess) process = g_subprocess_newv(
                        (const char *const *) argv,
                        G_SUBPROCESS_FLAGS_STDOUT_PIPE | G_SUBPROCESS_FLAGS_STDERR_PIPE, &error);
        Ran ran = { 0 };

        g_assert_no_error(error);
        g_assert_true(g_subprocess_communicate_utf8(
                        process, NULL, NULL, &ran.out, &ran.err, &error));
        g_assert_no_error(error);
        ran.status = g_subprocess_get_exit_status(process);
        return ran;
}

/* The words of the row of a VM, in the last table. */
static char **row(const Ran *ran, const char *name) {
        g_auto(GStrv) lines = g_strsplit(ran->out, "\n", -1);

        for (unsigned i = g_strv_length(lines); i > 0; i--) {
                g_autoptr(GStrvBuilder) words = g_strv_builder_new();
                g_auto(GStrv) all = g_strsplit(lines[i - 1], " ", -1);

                if (g_strcmp0(all[0], name) != 0)
                        continue;
                for (unsigned k = 0; all[k]; k++)
                        if (all[k][0])
                                g_strv_builder_add(words, all[k]);
                return g_strv_builder_end(words);
        }
        g_error("no row of '%s' in '%s'", name, ran->out);
}

static void test_wrong(void) {
        g_autoptr(Service) service = service_start(NULL);
        g_auto(Ran) missing = top(service, "nobody"), zero = top(service, "--count 0"),
                    word = top(service, "--interval soon"), empty = top(service, "--count 1");

        g_assert_cmpint(missing.status, ==, 3);
        g_assert_cmpint(zero.status, ==, 2);
        g_assert_cmpint(word.status, ==, 2);
        g_assert_cmpint(empty.status, ==, 0);
        g_assert_cmpstr(empty.out, ==,
                        "NAME  STATE  CPUS  %CPU  MEMORY  READ/s  WRITE/s  RX/s  TX/s\n");
}

static void test_rows(void) {
        g_autoptr(Service) service = service_start(NULL);
        g_autofree char *off = vm_create(service, "off", NULL, NULL);
        g_autofree char *idle = vm_run(service, "idle", NULL, "'cpus': <{'boot_vcpus': <3>}>");
        g_autofree char *busy = vm_run(service, "busy", "busy", NULL);
        g_autofree char *paused = vm_run(service, "still", NULL, NULL);
        g_autofree char *hung = vm_run(service, "hung", "hang-on-GetCounters", NULL);
        g_autoptr(GVariant) reply = vm_call(service, paused, "Pause", NULL);
        g_auto(Ran) once = top(service, "--count 2 --interval 1 idle busy still");
        g_auto(Ran) all = top(service, "--count 1 --no-legend");
        g_auto(GStrv) of_idle = row(&once, "idle"), of_busy = row(&once, "busy"),
                      of_still = row(&once, "still"), of_hung = row(&all, "hung");
        g_auto(GStrv) blocks = g_strsplit(once.out, "\n\n", -1);

        g_assert_cmpint(once.status, ==, 0);
        g_assert_cmpuint(g_strv_length(blocks), ==, 2);
        g_assert_true(g_str_has_prefix(blocks[1], "NAME "));
        g_assert_null(strstr(all.out, "off "));
        g_assert_null(strstr(all.out, "NAME"));

        g_assert_cmpuint(g_strv_length(of_idle), ==, 9);
        g_assert_cmpstr(of_idle[1], ==, "running");
        g_assert_cmpstr(of_idle[2], ==, "3");
        g_assert_cmpstr(of_idle[4], !=, "-");
        g_assert_cmpstr(of_idle[5], ==, "0B");
        g_assert_cmpstr(of_still[1], ==, "paused");
        /* It reads 64 MiB for each time it is asked, on two disks, and says that it needs no memory. */
        g_assert_cmpstr(of_busy[4], !=, "1B");
        g_assert_cmpstr(of_busy[5], !=, "0B");
        g_assert_true(strchr(of_busy[5], 'M') || strchr(of_busy[5], 'K'));
        g_assert_cmpstr(of_busy[6], ==, "0B");
        g_assert_cmpstr(of_busy[7], !=, "0B");
        for (unsigned i = 3; i < 9; i++)
                g_assert_cmpstr(of_hung[i], ==, "-");
}

static void test_json(void) {
        g_autoptr(Service) service = service_start(NULL);
        g_autofree char *busy = vm_run(service, "busy", "busy", NULL);
        g_autofree char *broken = vm_run(service, "broken", "huge-counters", NULL);
        g_auto(Ran) ran = top(service, "--count 3 --interval 1 --json=short");
        g_auto(GStrv) lines = g_strsplit(g_strchomp(ran.out), "\n", -1);

        g_assert_cmpuint(g_strv_length(lines), ==, 3);
        for (unsigned i = 0; i < 3; i++) {
                g_assert_true(g_str_has_prefix(lines[i], "{\"timestamp\":"));
                g_assert_nonnull(strstr(
                                lines[i], "\"vms\":[{\"name\":\"busy\",\"state\":\"running\","
                                          "\"vcpus\":1,\"memory\":"));
                g_assert_nonnull(strstr(lines[i], "\"cpu\":"));
                g_assert_nonnull(strstr(lines[i], "\"written\":0.0,\"received\":"));
                /* Nothing is known of the other. */
                g_assert_nonnull(
                                strstr(lines[i],
                                       "{\"name\":\"broken\",\"state\":\"running\",\"vcpus\":1}]"));
        }
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/top/wrong", test_wrong);
        g_test_add_func("/top/rows", test_rows);
        g_test_add_func("/top/json", test_json);
        return g_test_run();
}
