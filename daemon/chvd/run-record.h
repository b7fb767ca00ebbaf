/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <gio/gio.h>
#include <stdbool.h>
#include <stdint.h>

#include "daemon/chvd/store-record.h"
#include "dbus/state.h"

typedef enum {
        CHVD_RUN_STARTING, /* there may be a process, and it may have been told to boot */
        CHVD_RUN_RUNNING,
        CHVD_RUN_STOPPING,
        CHVD_RUN_INVALID = -1
} ChvdRunPhase;

/* What a later chvd needs to know of a run to go on with it. */
typedef struct {
        char *boot; /* of the host, which it belongs to */
        ChvdRunPhase phase;
        bool transient;
        bool keep;           /* it is to be stored when it has started */
        bool restart;        /* it is to be started again when this run has ended */
        ChvdRecord *record;  /* of the VM as it runs */
        ChvVmState before;   /* where a start that fails goes back to */
        ChvVmState end;      /* what a run that is stopping ends in */
        char *reason;        /* why it stops; NULL: it does not */
        char *handle;        /* of its process; NULL: none is known yet */
        uint64_t started_at; /* microseconds since 1970 */
        int64_t deadline; /* CLOCK_MONOTONIC: when a guest that was asked to power off is forced to; 0: never */
        GVariant *consoles;  /* a{ss}; NULL: none */
        GVariant *resources; /* of chvd_resources_save(); NULL: none */
} ChvdRun;

void chvd_run_free(ChvdRun *run);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(ChvdRun, chvd_run_free)

/* Of the host, as long as it is up. Newly allocated. */
char *chvd_run_boot(void);

/* boot is filled in. */
char *chvd_run_to_text(const ChvdRun *run, GError **error);
/* NULL: it is broken, or of another version (CHV_ERROR_NOT_SUPPORTED). */
ChvdRun *chvd_run_from_text(const char *text, size_t size, GError **error);
