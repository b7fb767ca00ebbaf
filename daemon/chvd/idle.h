/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <glib.h>
#include <stdint.h>

#include "daemon/chvd/notify.h"

/* The service ends by itself when nobody has needed it for a while, and is started by who needs it next. Main thread only. */
typedef struct ChvdIdle ChvdIdle;

#define CHVD_IDLE_NEVER UINT64_MAX
/* Two minutes, as libvirt's daemons: longer than the breaks of somebody at work. */
#define CHVD_IDLE_DEFAULT_MS (120 * 1000)
/* The exit status that has the service manager start another one at once; chvd.service knows it. */
#define CHVD_IDLE_EXIT_AGAIN 75

/* What the service would be missed by. */
typedef enum {
        CHVD_NEED_NOTHING,
        CHVD_NEED_RUNS, /* VMs that run: they go on without it, and want another one soon */
        CHVD_NEED_THIS, /* what would be lost with this process */
} ChvdNeed;

typedef struct {
        /* Calls are left out: the inbox knows them. */
        ChvdNeed (*need)(gpointer data);
        /* No new client on a socket is let in any more. */
        void (*shut)(gpointer data);
        /* Gives the name up. When it returns, all calls that were sent to it before are in the inbox; nothing has been dispatched meanwhile. */
        void (*release)(gpointer data);
        /* Asks for it again, before anything is dispatched. */
        void (*retake)(gpointer data);
        /* May free it. */
        void (*end)(gpointer data, int status);
} ChvdIdleOps;

/* Everything must outlive it. It does nothing before chvd_idle_set_time(). */
ChvdIdle *chvd_idle_new(const ChvdIdleOps *ops, gpointer data, ChvdNotify *notify);
void chvd_idle_free(ChvdIdle *idle);

/* After how many milliseconds; 0 and CHVD_IDLE_NEVER: never. */
void chvd_idle_set_time(ChvdIdle *idle, uint64_t ms);
/* Something was needed until now. */
void chvd_idle_touch(ChvdIdle *idle);
