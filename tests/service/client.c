/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * chvctl as a client of the service under test: the program itself, on the private bus.
 */

#include "tests/service/client.h"

#include <unistd.h>

const int *client_fds;

int client_run(Service *service, const char *editor, char **ret_out, ...) {
        g_autoptr(GSubprocessLauncher) launcher = g_subprocess_launcher_new(
                        G_SUBPROCESS_FLAGS_STDOUT_PIPE | G_SUBPROCESS_FLAGS_STDERR_MERGE);
        g_autoptr(GPtrArray) argv = g_ptr_array_new();
        g_autoptr(GSubprocess) process = NULL;
        g_autoptr(GError) error = NULL;
        const char *word;
        va_list words;

        g_ptr_array_add(argv, (gpointer) g_getenv("CHVCTL"));
        g_ptr_array_add(argv, "--address");
        g_ptr_array_add(argv, service->address);
        va_start(words, ret_out);
        while ((word = va_arg(words, const char *)))
                g_ptr_array_add(argv, (gpointer) word);
        va_end(words);
        g_ptr_array_add(argv, NULL);
        for (unsigned i = 0; client_fds && client_fds[i] >= 0; i++)
                g_subprocess_launcher_take_fd(launcher, dup(client_fds[i]), client_fds[i]);
        g_subprocess_launcher_unsetenv(launcher, "VISUAL");
        g_subprocess_launcher_setenv(launcher, "EDITOR", editor ?: "false", true);
        g_subprocess_launcher_setenv(launcher, "TMPDIR", service->dir, true);
        process = g_subprocess_launcher_spawnv(launcher, (const char *const *) argv->pdata, &error);
        g_assert_no_error(error);
        g_assert_true(g_subprocess_communicate_utf8(process, NULL, NULL, ret_out, NULL, &error));
        g_assert_no_error(error);
        return g_subprocess_get_exit_status(process);
}
