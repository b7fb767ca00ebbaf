/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stddef.h>

#include "daemon/chvd/process.h"

/* The inside of a process, for the kinds of them. A kind's own struct begins with a ChvdProcess. */

typedef struct ChvdProcessKind {
        const char *name; /* first word of its handles, followed by a space */
        size_t size;      /* of its own struct, which is made zeroed */
        /* Both end in chvd_process_tell_started(), later. */
        void (*start)(ChvdProcess *process,
                      const ChvdContext *context,
                      const ChvdProcessSetup *setup);
        void (*adopt)(ChvdProcess *process, const ChvdContext *context, const char *handle);
        /* Also before it has started: then it ends as soon as it can. */
        void (*kill)(ChvdProcess *process);
        /* NULL: none can be set. */
        void (*set_limits)(
                        ChvdProcess *process,
                        GVariant *limits,
                        void (*done)(gpointer data, const GError *error),
                        gpointer data);
        /* Of its own fields only. It may still be starting, and whatever it becomes is to be reaped. */
        void (*clear)(ChvdProcess *process);
} ChvdProcessKind;

struct ChvdProcess {
        const ChvdProcessKind *kind;
        const ChvdProcessOps *ops;
        gpointer data;
        char *handle;
        char *unit;   /* NULL: none */
        char *cgroup; /* path of the one it was put into; NULL: none, or systemd's */
        pid_t pid;    /* 0: not started, or gone */
};

extern const ChvdProcessKind chvd_process_child;
extern const ChvdProcessKind chvd_process_systemd; /* process-unit.c; for a context with units */

/* Those of chvd's own variables that help with debugging, as NAME=VALUE. */
char **chvd_process_debug_environment(void);

/* The process may be freed by these; without error, handle and pid are set before. */
void chvd_process_tell_started(ChvdProcess *process, const GError *error);
void chvd_process_tell_exited(ChvdProcess *process, const ChvdExit *exit);
