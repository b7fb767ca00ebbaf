/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <gio/gio.h>
#include <stdint.h>

/* What one client may have on the way to its answer. */
#define CHVD_INBOX_CALLS 256
#define CHVD_INBOX_FDS 128
#define CHVD_INBOX_BYTES (32u << 20)

/* Bounds the calls that have been read from a connection of clients and are not done with, for each client: a filter that lives as long
 * as the connection. Calls above the bound are answered with CHV_ERROR_LIMIT in the connection's own thread. */
void chvd_inbox_attach(GDBusConnection *connection);

/* How many calls there are that have been read from any of these connections and are not done with. Any thread. */
unsigned chvd_inbox_calls(void);
/* When there was one last; monotonic, 0: never. Any thread. */
int64_t chvd_inbox_last_call(void);
