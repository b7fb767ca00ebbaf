/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

/* What a process holds of the host, as /proc tells. */
typedef struct {
        unsigned fds, threads, children;
        unsigned long rss_kib;
        unsigned long cpu_ticks; /* user and system time, since its start */
} Usage;

Usage usage_of(pid_t pid);
/* Waits until the process holds no more descriptors and children than before (and no more threads, but for the few that GLib keeps idle);
 * fails after some seconds, saying what was left. */
void usage_await(pid_t pid, const Usage *before);
/* It has not grown by more than this much. Nothing is said of a program built with a sanitizer, which never gives memory back. */
void usage_assert_rss(pid_t pid, const Usage *before, unsigned long growth_kib);
/* Names in a folder. */
unsigned usage_entries(const char *folder);
