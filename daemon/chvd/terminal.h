/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>

#include "daemon/chvd/walk.h"

/* The master of a new pseudo-terminal, whose slave is for who the process is and nobody else. Any thread. -1: *ret_fault. */
int chvd_terminal_make(ChvdFault *ret_fault);

/* Is fd, which somebody else sent, such a master? */
bool chvd_terminal_is_master(int fd);

/* Path of the slave of a pseudo-terminal's master; NULL: not one. */
char *chvd_terminal_path(int master);
