/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <gio/gio.h>
#include <stdbool.h>
#include <sys/types.h>

/* A short-lived process with the rights of a user (uid, primary group, supplementary groups), at the other end of a socket. */
typedef struct ChvdHelper ChvdHelper;

/* Starts program with a SOCK_SEQPACKET socket as standard input: as a transient unit when systemd is on bus (may be NULL), else as a child
 * that takes on the rights itself. Any thread but the main one; waits. NULL: CHV_ERROR. */
ChvdHelper *chvd_helper_start(
                GDBusConnection *bus,
                const char *program,
                uid_t uid,
                GCancellable *cancellable,
                GError **error);

int chvd_helper_socket(const ChvdHelper *helper);

/* What may be the reason that it has ended; "": nothing known. */
const char *chvd_helper_hint(const ChvdHelper *helper);

/* Closes the socket, at which it ends; kill: and does not wait for it to notice. Frees it. */
void chvd_helper_end(ChvdHelper *helper, bool kill);
