/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "chvctl/wait.h"

/* Opens a console of a VM. -1: *error is set. */
int session_open(Bus *bus, const char *path, const char *console, GError **error);

/* Stays at a console, across reboots, until the user leaves or the VM is off. fd is the console, already open; it is taken. *ret_off:
 * the VM is off. */
bool session_stay(
                Bus *bus,
                VmWatch *watch,
                const char *path,
                const char *console,
                int fd,
                bool *ret_off,
                GError **error);
