/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What many machines cost the service: 500 defined, of which 100 run (stand-in workers: the guests cost chvd nothing anyhow). Numbers to
 * compare, not a test; the round trip to the bus itself stands beside them, so that a slow machine can be told from a slow service. Prints
 * a table, and writes it as JSON to the file that CHV_BENCH_JSON names. CHV_BENCH_VMS and CHV_BENCH_RUNNING change the numbers.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/service/service.h"
#include "tests/service/usage.h"

#define READS 10000
#define LISTS 100
#define AT_ONCE 32 /* starts under way */
#define SETTLE_S 20
#define IDLE_S 5

typedef struct {
        Service *service;
        GString *json;
        unsigned vms, running;
} Bench;

static void report(Bench *bench, const char *name, double value, const char *unit) {
        printf("%-40s %12.1f %s\n", name, value, unit);
        (void) fflush(stdout);
        g_string_append_printf(
                        bench->json, "%s\n  {\"name\": \"%s\", \"value\": %.3f, \"unit\": \"%s\"}",
                        bench->json->len > 1 ? "," : "", name, value, unit);
}

static int compare(gconstpointer a, gconstpointer b) {
        double x = *(const double *) a, y = *(const double *) b;

        return (x > y) - (x < y);
}

static void report_times(Bench *bench, const char *what, double *us, unsigned n) {
        static const struct {
                const char *name;
                double part;
        } quantiles[] = { { "p50", 0.5 }, { "p99", 0.99 } };

        qsort(us, n, sizeof(*us), compare);
        for (unsigned i = 0; i < G_N_ELEMENTS(quantiles); i++) {
                g_autofree char *name = g_strdup_printf("%s, %s", what, quantiles[i].name);

                report(bench, name, us[(unsigned) ((n - 1) * quantiles[i].part)], "us");
        }
}

/* One call, as a simple client makes it, and how long it took. */
static double
time_call(Bench *bench,
          const char *name,
          const char *path,
          const char *interface,
          const char *method,
          GVariant *params) {
        gint64 begun = g_get_monotonic_time();
        g_autoptr(GError) error = NULL;
        g_autoptr(GVariant) reply = g_dbus_connection_call_sync(
                        bench->service->bus, name, path, interface, method, params, NULL,
                        G_DBUS_CALL_FLAGS_NONE, -1, NULL, &error);

        g_assert_no_error(error);
        return (double) (g_get_monotonic_time() - begun);
}

static void bench_reads(Bench *bench) {
        g_autofree double *us = g_new(double, READS);
        unsigned long before = usage_of(service_pid(bench->service)).cpu_ticks;

        for (unsigned i = 0; i < READS; i++)
                us[i] =
                                time_call(bench, "org.freedesktop.DBus", "/org/freedesktop/DBus",
                                          "org.freedesktop.DBus", "GetId", NULL);
        report_times(bench, "round trip to the bus", us, READS);
        for (unsigned i = 0; i < READS; i++) {
                g_autofree char *vm =
                                g_strdup_printf("/org/cloudhypervisor/vm/vm%d",
                                                g_random_int_range(0, (gint32) bench->vms));

                us[i] =
                                time_call(bench, MANAGER, vm, "org.freedesktop.DBus.Properties",
                                          "Get", g_variant_new("(ss)", VM, "State"));
        }
        report_times(bench, "property read", us, READS);
        report(bench, "chvd's CPU time for a property read",
               (double) (usage_of(service_pid(bench->service)).cpu_ticks - before) * 1e6 /
                               (double) sysconf(_SC_CLK_TCK) / READS,
               "us");
}

static void bench_lists(Bench *bench) {
        double us[LISTS];

        for (unsigned i = 0; i < LISTS; i++)
                us[i] =
                                time_call(bench, MANAGER, MANAGER_PATH, MANAGER, "ListVMs",
                                          g_variant_new("(a{sv})", NULL));
        report_times(bench, "ListVMs", us, LISTS);
        for (unsigned i = 0; i < LISTS; i++)
                us[i] = time_call(
                                bench, MANAGER, "/org/cloudhypervisor",
                                "org.freedesktop.DBus.ObjectManager", "GetManagedObjects", NULL);
        report_times(bench, "GetManagedObjects", us, LISTS);
}

static void bench_defining(Bench *bench) {
        Usage before = usage_of(service_pid(bench->service)), after;
        gint64 begun = g_get_monotonic_time();

        for (unsigned i = 0; i < bench->vms; i++) {
                g_autofree char *name = g_strdup_printf("vm%u", i);
                g_autofree char *vm = vm_create(bench->service, name, NULL, NULL);

                service_forget_signals(bench->service);
        }
        report(bench, "machines defined a second",
               bench->vms * 1e6 / (double) (g_get_monotonic_time() - begun), "1/s");
        after = usage_of(service_pid(bench->service));
        report(bench, "memory of chvd without machines", (double) before.rss_kib, "KiB");
        report(bench, "memory in chvd for a machine",
               (double) (after.rss_kib - before.rss_kib) / bench->vms, "KiB");
}

static void on_started(GObject *source, GAsyncResult *result, gpointer data) {
        g_autoptr(GError) error = NULL;
        g_autoptr(GVariant) reply =
                        g_dbus_connection_call_finish(G_DBUS_CONNECTION(source), result, &error);

        g_assert_no_error(error);
        (*(unsigned *) data)--;
}

static void bench_starting(Bench *bench) {
        Usage before = usage_of(service_pid(bench->service)), after;
        gint64 begun = g_get_monotonic_time();
        unsigned under_way = 0;

        for (unsigned i = 0; i < bench->running || under_way > 0;) {
                if (i < bench->running && under_way < AT_ONCE) {
                        g_autofree char *vm = g_strdup_printf("/org/cloudhypervisor/vm/vm%u", i++);

                        under_way++;
                        g_dbus_connection_call(
                                        bench->service->bus, MANAGER, vm, VM, "Start",
                                        g_variant_new_parsed("({'wait': <true>},)"), NULL,
                                        G_DBUS_CALL_FLAGS_NONE, G_MAXINT, NULL, on_started,
                                        &under_way);
                        continue;
                }
                (void) g_main_context_iteration(NULL, true);
        }
        report(bench, "machines started a second",
               bench->running * 1e6 / (double) (g_get_monotonic_time() - begun), "1/s");
        after = usage_of(service_pid(bench->service));
        report(bench, "more memory in chvd for one that runs",
               (double) (after.rss_kib - before.rss_kib) / bench->running, "KiB");
        report(bench, "descriptors in chvd for one that runs",
               (double) (after.fds - before.fds) / bench->running, "");
        report(bench, "threads of chvd", after.threads, "");
}

/* Voluntary switches of all its threads: each is a time when something woke it. */
static unsigned long count_wakeups(pid_t pid) {
        g_autofree char *tasks = g_strdup_printf("/proc/%d/task", pid);
        g_autoptr(GDir) dir = g_dir_open(tasks, 0, NULL);
        unsigned long sum = 0, one;
        const char *task, *line;

        while (dir && (task = g_dir_read_name(dir))) {
                g_autofree char *file = g_strdup_printf("%s/%s/status", tasks, task), *text = NULL;

                if (g_file_get_contents(file, &text, NULL, NULL) &&
                    (line = strstr(text, "\nvoluntary_ctxt_switches:")) &&
                    sscanf(line, "\nvoluntary_ctxt_switches: %lu", &one) == 1)
                        sum += one;
        }
        return sum;
}

static void bench_idle(Bench *bench) {
        pid_t pid = service_pid(bench->service);
        unsigned long wakeups, ticks;

        /* Threads that GLib's pools keep for a while go first. */
        service_linger(SETTLE_S * 1000);
        wakeups = count_wakeups(pid);
        ticks = usage_of(pid).cpu_ticks;
        service_linger(IDLE_S * 1000);
        report(bench, "CPU time of chvd when idle",
               (double) (usage_of(pid).cpu_ticks - ticks) * 1e3 / (double) sysconf(_SC_CLK_TCK) /
                               IDLE_S,
               "ms/s");
        report(bench, "wake-ups of chvd when idle",
               (double) (count_wakeups(pid) - wakeups) / IDLE_S, "1/s");
}

static unsigned from_environment(const char *variable, unsigned otherwise) {
        const char *text = g_getenv(variable);

        return text ? (unsigned) atoi(text) : otherwise;
}

int main(int argc, char **argv) {
        const char *file = g_getenv("CHV_BENCH_JSON");
        Bench bench = {
                .json = g_string_new("["),
                .vms = from_environment("CHV_BENCH_VMS", 500),
                .running = from_environment("CHV_BENCH_RUNNING", 100),
        };

        g_test_init(&argc, &argv, NULL);
        bench.service = service_start(NULL);
        bench_defining(&bench);
        bench_starting(&bench);
        bench_reads(&bench);
        bench_lists(&bench);
        bench_idle(&bench);
        g_string_append(bench.json, "\n]\n");
        if (file)
                g_assert_true(g_file_set_contents(file, bench.json->str, -1, NULL));
        service_stop(bench.service);
        (void) g_string_free(bench.json, true);
        return 0;
}
