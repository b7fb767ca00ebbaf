/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What a process holds. What is released, is released a moment after the reply that says so (GDBus closes connections in its own thread,
 * a worker is reaped when it has gone), so it is waited for; that it ever comes is the claim, not when.
 */

#include "tests/service/usage.h"

#include <glib.h>
#include <stdio.h>
#include <string.h>

#define PATIENCE_S 20
/* GLib ends idle threads of its pools after 15 s at the earliest. */
#define IDLE_THREADS 12

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED true
#else
#define SANITIZED false
#endif

unsigned usage_entries(const char *folder) {
        g_autoptr(GDir) dir = g_dir_open(folder, 0, NULL);
        unsigned n = 0;

        while (dir && g_dir_read_name(dir))
                n++;
        return n;
}

static unsigned count_children(pid_t pid) {
        g_autofree char *tasks = g_strdup_printf("/proc/%d/task", pid);
        g_autoptr(GDir) dir = g_dir_open(tasks, 0, NULL);
        const char *task;
        unsigned n = 0;

        while (dir && (task = g_dir_read_name(dir))) {
                g_autofree char *file = g_strdup_printf("%s/%s/children", tasks, task);
                g_autofree char *text = NULL;

                if (!g_file_get_contents(file, &text, NULL, NULL))
                        continue;
                for (const char *c = text; *c; c++)
                        n += *c == ' ';
        }
        return n;
}

static unsigned long count_ticks(pid_t pid) {
        g_autofree char *file = g_strdup_printf("/proc/%d/stat", pid), *text = NULL;
        unsigned long user = 0, kernel = 0;
        const char *after;

        if (g_file_get_contents(file, &text, NULL, NULL) && (after = strrchr(text, ')')))
                (void) sscanf(after, ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user,
                              &kernel);
        return user + kernel;
}

static unsigned long read_rss(pid_t pid) {
        g_autofree char *file = g_strdup_printf("/proc/%d/status", pid), *text = NULL;
        const char *line;
        unsigned long kib = 0;

        if (g_file_get_contents(file, &text, NULL, NULL) && (line = strstr(text, "\nVmRSS:")))
                (void) sscanf(line, "\nVmRSS: %lu kB", &kib);
        return kib;
}

Usage usage_of(pid_t pid) {
        g_autofree char *fds = g_strdup_printf("/proc/%d/fd", pid);
        g_autofree char *tasks = g_strdup_printf("/proc/%d/task", pid);

        return (Usage){
                .fds = usage_entries(fds),
                .threads = usage_entries(tasks),
                .children = count_children(pid),
                .rss_kib = read_rss(pid),
                .cpu_ticks = count_ticks(pid),
        };
}

void usage_await(pid_t pid, const Usage *before) {
        gint64 until = g_get_monotonic_time() + PATIENCE_S * G_USEC_PER_SEC;
        Usage now;

        for (;;) {
                now = usage_of(pid);
                g_assert_cmpuint(now.fds, >, 0);
                if (now.fds <= before->fds && now.children <= before->children &&
                    now.threads <= before->threads + IDLE_THREADS)
                        return;
                if (g_get_monotonic_time() > until)
                        break;
                /* What is left may need this process to take its end of it. */
                (void) g_main_context_iteration(NULL, false);
                g_usleep(5000);
        }
        g_error("%u descriptors were %u, %u children were %u, %u threads were %u", now.fds,
                before->fds, now.children, before->children, now.threads, before->threads);
}

void usage_assert_rss(pid_t pid, const Usage *before, unsigned long growth_kib) {
        Usage now = usage_of(pid);

        g_test_message("resident: %lu KiB, was %lu KiB", now.rss_kib, before->rss_kib);
        if (!SANITIZED)
                g_assert_cmpuint(now.rss_kib, <=, before->rss_kib + growth_kib);
}
