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

/* left is called whenever a client has gone. */
void chvd_peers_on_left(ChvdPeers *peers, void (*left)(gpointer data), gpointer data);
/* How many clients there are, and may soon be. */
unsigned chvd_peers_count(const ChvdPeers *peers);
/* Lets nobody in any more; who comes waits in the socket, for us or for the next service. There must be no clients. */
void chvd_peers_shut(ChvdPeers *peers);

/* An object for everybody who is connected to the service, and the end of it. */
void chvd_objects_export(ChvdContext *context, gpointer object);
void chvd_objects_unexport(ChvdContext *context, const char *path);
