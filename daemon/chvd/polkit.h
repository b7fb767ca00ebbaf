/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <gio/gio.h>
#include <stdbool.h>

/* A question to polkit. Everything is read during the call of chvd_polkit_ask_async() only. */
typedef struct {
        GDBusConnection *bus; /* of the caller, and polkit's too */
        const char *sender;   /* unique name of the caller */
        const char *action;
        bool interactive;           /* somebody may be asked for a password */
        const char *const *details; /* key, value … NULL */
} ChvdPolkitQuestion;

/* Asks whether the caller is authorised. Given up when the caller leaves the bus. Main thread. */
void chvd_polkit_ask_async(
                const ChvdPolkitQuestion *question, GAsyncReadyCallback callback, gpointer data);
/* False: no, or nobody knows; the message says why, as half a sentence. CHV_ERROR_NEEDS_INTERACTION: would be asked if that were
 * allowed. Else CHV_ERROR_ACCESS_DENIED. */
bool chvd_polkit_ask_finish(GAsyncResult *result, GError **error);
