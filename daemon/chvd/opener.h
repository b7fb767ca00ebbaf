/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <gio/gio.h>
#include <stdbool.h>
#include <sys/types.h>

#include "daemon/chvd/context.h"
#include "daemon/chvd/socket.h"
#include "dbus/config.h"

/*
 * Opens things with the rights of a VM's owner: in the calling thread when those are ours, else through a process of the owner's
 * (open/main.c) that is started when it is first needed. One thread at a time, and not the main one: it waits. Errors are in CHV_ERROR and name the
 * option; when cancelled, it returns at once and the process is killed by chvd_opener_free().
 */
typedef struct ChvdOpener ChvdOpener;

/* Whose rights, and how to get them. */
typedef struct {
        bool self;            /* ours */
        uid_t uid;            /* the owner's */
        char *program;        /* chv-open */
        GDBusConnection *bus; /* where systemd may be; NULL: none */
} ChvdRights;

/* What a VM of that owner names is opened with our own rights. */
bool chvd_opener_is_self(const ChvdContext *context, uid_t owner);

/* Main thread. */
ChvdRights *chvd_rights_new(const ChvdContext *context, uid_t owner);
ChvdRights *chvd_rights_copy(const ChvdRights *rights);
void chvd_rights_free(ChvdRights *rights);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(ChvdRights, chvd_rights_free)

/* rights are borrowed. */
ChvdOpener *chvd_opener_new(const ChvdRights *rights);
void chvd_opener_free(ChvdOpener *opener);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(ChvdOpener, chvd_opener_free)

/* A file, checked to be what the option wants. A disk is locked, unless *ret_busy: then somebody else has the lock. */
int chvd_opener_open(
                ChvdOpener *opener,
                const ChvResource *need,
                bool *ret_busy,
                GCancellable *cancellable,
                GError **error);
/* A console's listening socket, and its file. */
int chvd_opener_listen(
                ChvdOpener *opener,
                const ChvResource *need,
                ChvdSocketFile *ret_file,
                GCancellable *cancellable,
                GError **error);
/* A connection to a socket. */
int chvd_opener_connect(
                ChvdOpener *opener,
                const ChvResource *need,
                GCancellable *cancellable,
                GError **error);
/* The master of a new pseudo-terminal for the console `name`. */
int chvd_opener_terminal(
                ChvdOpener *opener, const char *name, GCancellable *cancellable, GError **error);
/* The file of such a socket, if it still is that one. */
bool chvd_opener_remove(
                ChvdOpener *opener,
                const char *path,
                const ChvdSocketFile *file,
                GCancellable *cancellable,
                GError **error);
