/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves that machines that come and go leave nothing behind: after many cycles of create, start, stop and delete, with every end that a
 * run can have, the service has the descriptors, threads, workers, folders and (but for what the allocator keeps) memory it began with.
 * CHV_CYCLES says how many cycles; the benchmark "service-cycles" does ten thousand and tells how memory went.
 */

#include <glib/gstdio.h>
#include <signal.h>
#include <stdlib.h>

#include "tests/service/service.h"
#include "tests/service/usage.h"

#define REPORTS 10
/* Of memory a cycle, above which something is not given back. */
#define GROWTH_BYTES 100
#define GROWTH_KIB 4096

static void power_off(Service *service, const char *vm) {
        g_autoptr(GVariant) reply = vm_call(service, vm, "PowerOff", NULL);
}

static void shut_down(Service *service, const char *vm) {
        g_autoptr(GVariant) reply = vm_call(service, vm, "Shutdown", NULL);

        vm_await(service, vm, "shutdown");
}

static void kill_worker(Service *service, const char *vm) {
        g_autofree char *pid = vm_get(service, vm, "WorkerPID");

        g_assert_cmpint(kill(atoi(pid), SIGKILL), ==, 0);
        vm_await(service, vm, "failed");
}

static void reboot(Service *service, const char *vm) {
        g_autoptr(GVariant) reply = vm_call(service, vm, "Reboot", NULL),
                            counters = vm_call(service, vm, "GetCounters", NULL);

        vm_await(service, vm, "running");
}

static const struct {
        const char *options, *words;
        void (*end)(Service *service, const char *vm); /* NULL: it does not start */
} kinds[] = {
        { "{}", NULL, power_off },
        { "{'transient': <true>}", NULL, NULL },
        { "{}", "boot-error", NULL },
        { "{}", NULL, shut_down },
        { "{}", "boot-crash", NULL },
        { "{}", NULL, kill_worker },
        { "{'transient': <true>}", NULL, reboot },
        { "{}", NULL, reboot },
};

static void cycle(Service *service, unsigned n) {
        unsigned kind = n % G_N_ELEMENTS(kinds);
        g_autofree char *name = g_strdup_printf("vm%u", n % 50);
        g_autoptr(GError) error = NULL;
        g_autofree char *disk = g_build_filename(service->dir, "disk", NULL);
        g_autofree char *more = g_strdup_printf(
                        "'disks': <[{'path': <'%s'>}]>, 'serial': <{'mode': <'Pty'>}>", disk);
        g_autofree char *vm = vm_create_full(
                        service, name, service_config(service, kinds[kind].words, more), NULL, NULL,
                        kinds[kind].options, &error);
        g_autoptr(GVariant) started = NULL, deleted = NULL;

        g_assert_no_error(error);
        if (kinds[kind].end || kinds[kind].words)
                started = vm_try(service, vm, "Start", NULL, &error);
        g_assert_true((started != NULL) == (kinds[kind].end != NULL));
        if (kinds[kind].end)
                kinds[kind].end(service, vm);
        /* A transient one goes with its run. */
        if (vm_exists(service, vm))
                deleted = vm_call(service, vm, "Delete", "{'force': <true>}");
        service_forget_signals(service);
}

static unsigned count_in(const char *folder, const char *sub) {
        g_autofree char *path = g_build_filename(folder, sub, NULL);

        return usage_entries(path);
}

static void test_cycles(void) {
        unsigned cycles = (unsigned) atoi(g_getenv("CHV_CYCLES") ?: "300");
        g_autoptr(Service) service = service_start(NULL);
        g_autofree char *disk = g_build_filename(service->dir, "disk", NULL);
        unsigned definitions, runs;
        Usage before;

        g_assert_true(g_file_set_contents(disk, "0123456789", -1, NULL));
        /* Threads, tables and lazily made things first. */
        for (unsigned i = 0; i < 100; i++)
                cycle(service, i);
        before = usage_of(service_pid(service));
        definitions = count_in(service->state_dir, "vms");
        runs = count_in(service->runtime_dir, "vm");
        for (unsigned i = 1; i <= cycles; i++) {
                cycle(service, i);
                if (i % MAX(cycles / REPORTS, 1) == 0) {
                        Usage now = usage_of(service_pid(service));

                        g_print("# %u cycles: %u descriptors, %u threads, %lu KiB, %lu ticks\n", i,
                                now.fds, now.threads, now.rss_kib, now.cpu_ticks);
                }
        }
        usage_await(service_pid(service), &before);
        g_assert_cmpuint(count_in(service->state_dir, "vms"), ==, definitions);
        g_assert_cmpuint(count_in(service->runtime_dir, "vm"), ==, runs);
        usage_assert_rss(
                        service_pid(service), &before,
                        GROWTH_KIB + (unsigned long) cycles * GROWTH_BYTES / 1024);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/cycles/all", test_cycles);
        return g_test_run();
}
