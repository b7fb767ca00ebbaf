/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <gio/gio.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* The name in a VM's counters that no device has. */
#define CHVD_USAGE_KEY "_process"

/* What a worker has used of the host. */
typedef struct {
        uint64_t cpu_us; /* time of all its threads, guest code included */
        uint64_t memory; /* bytes it has of the host's memory now */
} ChvdUsage;

/* Of a process of ours, or of the unit of the VM when the process can't be looked at from in here. False: nobody says. */
bool chvd_usage_read(pid_t pid, const char *vm, ChvdUsage *ret);

/* The a{sa{st}} of a worker with what the host says (usage; NULL: nothing) under CHVD_USAGE_KEY, and nothing there that the worker says. Floating. */
GVariant *chvd_usage_add(GVariant *counters, const ChvdUsage *usage);

/* For tests: reads below other folders than /proc and /sys/fs/cgroup. */
bool chvd_usage_read_from(
                const char *proc, const char *cgroups, pid_t pid, const char *vm, ChvdUsage *ret);
