/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What a virtual machine costs its host, as the host counts it: a worker may have been taken over by its guest, and is
 * not asked. A worker of another user is not to be seen in /proc by a confined service; then it is a unit of systemd,
 * whose accounting everybody may read.
 */

#include "daemon/chvd/usage.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Files of the kernel, which are short and never wait. */
static char *read_text(const char *folder, const char *name) {
        g_autofree char *path = g_build_filename(folder, name, NULL);
        char *text = NULL;

        return g_file_get_contents(path, &text, /* length= */ NULL, /* error= */ NULL) ? text
                                                                                       : NULL;
}

static bool read_process(const char *folder, ChvdUsage *ret) {
        g_autofree char *stat = read_text(folder, "stat"), *statm = read_text(folder, "statm");
        /* Its name is in parentheses and may have some in it. */
        const char *behind = stat ? strrchr(stat, ')') : NULL;
        uint64_t user, system, resident;

        if (!behind || !statm ||
            sscanf(behind + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %" SCNu64 " %" SCNu64,
                   &user, &system) != 2 ||
            sscanf(statm, "%*u %" SCNu64, &resident) != 1)
                return false;
        ret->cpu_us = (user + system) * G_USEC_PER_SEC / (uint64_t) sysconf(_SC_CLK_TCK);
        ret->memory = resident * (uint64_t) sysconf(_SC_PAGESIZE);
        return true;
}

static bool read_unit(const char *folder, ChvdUsage *ret) {
        g_autofree char *cpu = read_text(folder, "cpu.stat"),
                        *memory = read_text(folder, "memory.current");
        const char *usage = cpu ? strstr(cpu, "usage_usec ") : NULL;

        return usage && memory && sscanf(usage, "usage_usec %" SCNu64, &ret->cpu_us) == 1 &&
               sscanf(memory, "%" SCNu64, &ret->memory) == 1;
}

bool chvd_usage_read_from(
                const char *proc, const char *cgroups, pid_t pid, const char *vm, ChvdUsage *ret) {
        g_autofree char *process = g_strdup_printf("%s/%d", proc, pid);
        g_autofree char *unit = g_strdup_printf("%s/chv.slice/chv-%s.service", cgroups, vm);

        return pid > 0 && (read_process(process, ret) || read_unit(unit, ret));
}

bool chvd_usage_read(pid_t pid, const char *vm, ChvdUsage *ret) {
        return chvd_usage_read_from("/proc", "/sys/fs/cgroup", pid, vm, ret);
}

GVariant *chvd_usage_add(GVariant *counters, const ChvdUsage *usage) {
        g_auto(GVariantBuilder) all = G_VARIANT_BUILDER_INIT(G_VARIANT_TYPE("a{sa{st}}"));
        GVariantIter iter;
        const char *device;
        GVariant *of_device;

        g_variant_iter_init(&iter, counters);
        while (g_variant_iter_next(&iter, "{&s@a{st}}", &device, &of_device)) {
                g_autoptr(GVariant) owned = of_device;

                if (!g_str_equal(device, CHVD_USAGE_KEY))
                        g_variant_builder_add(&all, "{s@a{st}}", device, owned);
        }
        if (usage)
                g_variant_builder_add_parsed(
                                &all, "{%s, {'cpu_us': %t, 'memory_bytes': %t}}", CHVD_USAGE_KEY,
                                usage->cpu_us, usage->memory);
        return g_variant_builder_end(&all);
}
