/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <gio/gio.h>

#include "dbus/config.h"

/* What stands behind a console in mode pty (the master of a new pseudo-terminal) or tty (a duplicate of `given`, the creator's terminal). -1:
 * CHV_ERROR_RESOURCE that begins with the console's name. Any thread. */
int chvd_terminal_open(const char *name, ChvConsoleMode mode, int given, GError **error);

/* Path of the slave of a pseudo-terminal's master; NULL: not one. */
char *chvd_terminal_path(int master);
