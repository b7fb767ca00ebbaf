/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <unistd.h>

/* passt needs a user namespace, which it makes as nobody if it is started by root. */
static inline bool real_passt_works(void) {
        int status = 1;

        return g_spawn_command_line_sync(
                               geteuid() == 0 ? "setpriv --reuid=65534 --regid=65534 "
                                                "--clear-groups unshare -U true"
                                              : "unshare -U true",
                               NULL, NULL, &status, NULL) &&
               status == 0;
}

/* NULL: passt can be used. */
static inline const char *real_passt_skip(void) {
        g_autofree char *program = g_find_program_in_path("passt");

        if (!program)
                return "passt is not installed";
        return real_passt_works() ? NULL : "this host keeps user namespaces from passt";
}
