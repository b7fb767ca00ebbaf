/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <gio/gio.h>
#include <sys/types.h>

/* Whom the bus says its clients are. Main thread only. */
typedef struct ChvdCallers ChvdCallers;

ChvdCallers *chvd_callers_new(void);
/* Questions that are still open are never answered. */
void chvd_callers_free(ChvdCallers *callers);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(ChvdCallers, chvd_callers_free)

/* error (borrowed): the bus does not know, or does not say. */
typedef void (*ChvdCallerTold)(gpointer data, uid_t uid, const GError *error);

/* Asks for the uid of the client of that unique name. told may be called before this returns; of one sender, in the order of the questions. */
void chvd_callers_ask(
                ChvdCallers *callers,
                GDBusConnection *bus,
                const char *sender,
                ChvdCallerTold told,
                gpointer data);
