/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "daemon/chvd/walk.h"

/* Which file a socket was bound to. */
typedef struct {
        uint64_t device, inode;
} ChvdSocketFile;

/* A listening UNIX stream socket bound at the absolute path, for nobody but who the process is. Replaces a socket that nobody listens on.
 * -1: *ret_fault. */
int chvd_socket_listen(const char *path, ChvdSocketFile *ret_file, ChvdFault *ret_fault);

/* A connection to who listens at the absolute path, as it accepts it at once. -1: *ret_fault. */
int chvd_socket_connect(const char *path, ChvdFault *ret_fault);

/* Removes the file at path if it is still that one; somebody may have put something of their own there since. */
void chvd_socket_remove(const char *path, const ChvdSocketFile *file);
