/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <gio/gio.h>
#include <stdbool.h>

#include "daemon/chvd/context.h"

/* The service without a bus: clients that connect to a socket of its own see the object tree there. Main thread only. */
typedef struct ChvdPeers ChvdPeers;

/* Listens on fd, a listening UNIX stream socket, which it takes over in any case. */
ChvdPeers *chvd_peers_new(ChvdContext *context, int fd, GError **error);
/* Makes such a socket, for its owner alone, in the place of one that nobody listens on. -1: CHV_ERROR_RESOURCE. */
int chvd_peers_listen(const char *path, GError **error);
/* Ends all connections. */
void chvd_peers_free(ChvdPeers *peers);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(ChvdPeers, chvd_peers_free)

/* An object for everybody who is connected to the service, and the end of it. */
void chvd_objects_export(ChvdContext *context, gpointer object);
void chvd_objects_unexport(ChvdContext *context, const char *path);
