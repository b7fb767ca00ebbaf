/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <unistd.h>

/* autofd: a file descriptor that closes itself at the end of its scope. Initialise it (-1 for none). */
static inline void chv_closep(int *fd) {
        if (*fd >= 0)
                (void) close(*fd);
}

/* Takes the descriptor out of *fd, so that its scope no longer closes it. */
static inline int chv_steal_fd(int *fd) {
        int taken = *fd;

        *fd = -1;
        return taken;
}

#define autofd __attribute__((cleanup(chv_closep), unused)) int
