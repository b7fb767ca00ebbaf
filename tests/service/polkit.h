/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "tests/service/service.h"

typedef enum {
        POLKIT_ALLOWS,
        POLKIT_DENIES,
        POLKIT_ASKS, /* yes, after a dialogue, if the caller allows one */
        POLKIT_HAS_NO_AGENT,
        POLKIT_IS_DISMISSED,
        POLKIT_FAILS,
        POLKIT_HANGS,
} PolkitAnswer;

/* A stand-in for polkit on the service's bus, in this process: it answers while the main loop runs. */
typedef struct {
        GDBusConnection *bus;
        guint object;
        PolkitAnswer answer;
        const char *only; /* every other action is denied; NULL: no such rule */
        GPtrArray *asked; /* char *: "ACTION interactive=0 device=… owner=… verb=… vm=…" */
        char *subject;    /* bus name of the last */
        GPtrArray *held;  /* GDBusMethodInvocation, while it hangs */
        unsigned cancelled; /* questions taken back */
} Polkit;

Polkit *polkit_start(Service *service, PolkitAnswer answer);
void polkit_stop(Polkit *polkit);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Polkit, polkit_stop)
/* What it was asked since the last time, one a line; "" for nothing. */
char *polkit_take_asked(Polkit *polkit);
/* Answers what hangs. */
void polkit_release(Polkit *polkit, PolkitAnswer how);
