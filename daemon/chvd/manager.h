/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <gio/gio.h>

#include "daemon/chvd/context.h"

/* The root of the service: the object Manager and the VMs. Main thread only. */
typedef struct ChvdManager ChvdManager;

/* Exports the manager's object. */
ChvdManager *chvd_manager_new(ChvdContext *context);
/* Makes the VMs whose definitions are stored, instead of those that there are. May wait for the disk; nothing may run. */
void chvd_manager_load(ChvdManager *manager);
/* The name is ours: tells of definitions that can't be used, and starts what is to start with the service. */
void chvd_manager_begin(ChvdManager *manager);
/* All VMs have to be stopped. */
void chvd_manager_free(ChvdManager *manager);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(ChvdManager, chvd_manager_free)

/* changed is called soon after VMs have come, gone, started or ended; in the main loop, never from within a call of the manager. */
void chvd_manager_watch(ChvdManager *manager, void (*changed)(gpointer data), gpointer data);
/* How many VMs there are, and how many of them have a run. */
unsigned chvd_manager_count(const ChvdManager *manager, unsigned *ret_running);

/* Takes no new work, powers off every VM, and calls done when none runs, in the main loop. A second call shortens the grace. */
void chvd_manager_stop(
                ChvdManager *manager,
                unsigned grace_ms,
                void (*done)(gpointer data),
                gpointer data);
