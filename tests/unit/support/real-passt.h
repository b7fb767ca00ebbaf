/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <glib.h>
#include <sched.h>
#include <stdbool.h>
#include <sys/wait.h>
#include <unistd.h>

/* passt needs a user namespace, which it makes as nobody if it is started by root. To be asked before there are threads. */
static inline bool real_passt_works(void) {
        pid_t pid = fork();
        int status = 1;

        g_assert_cmpint(pid, >=, 0);
        if (pid == 0)
                _exit((geteuid() == 0 && (setgid(65534) < 0 || setuid(65534) < 0)) ||
                      unshare(CLONE_NEWUSER) < 0);
        g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
        return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* NULL: passt can be used. */
static inline const char *real_passt_skip(void) {
        g_autofree char *program = g_find_program_in_path("passt");

        if (!program)
                return "passt is not installed";
        return real_passt_works() ? NULL : "this host keeps user namespaces from passt";
}
