/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <gio/gio.h>

#include "daemon/chvd/context.h"
#include "daemon/chvd/idle.h"

/* The root of the service: the object Manager and the VMs. Main thread only. */
typedef struct ChvdManager ChvdManager;

/* Exports the manager's object. */
ChvdManager *chvd_manager_new(ChvdContext *context);
/* Makes the VMs whose definitions are stored and those that run, and calls done when all are what they were; to be called once. May wait for the disk. */
void chvd_manager_load(ChvdManager *manager, void (*done)(gpointer data), gpointer data);
/* The name is ours: tells of definitions that can't be used, goes on with what was interrupted, and starts what is to start with the host. */
void chvd_manager_begin(ChvdManager *manager);
/* VMs that run go on without us. */
void chvd_manager_free(ChvdManager *manager);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(ChvdManager, chvd_manager_free)

/* changed is called soon after VMs have come, gone, started or ended; in the main loop, never from within a call of the manager. */
void chvd_manager_watch(ChvdManager *manager, void (*changed)(gpointer data), gpointer data);
/* How many VMs there are, and how many of them have a run. */
unsigned chvd_manager_count(const ChvdManager *manager, unsigned *ret_running);

/* What would be missed if the service ended now; calls under way are left out. */
ChvdNeed chvd_manager_need(const ChvdManager *manager);

/* Asks every guest that can hear it to power off, and tells what runs: names, NULL-terminated, the caller's. */
char **chvd_manager_press_power_buttons(ChvdManager *manager);

/* Takes no new work, powers off every VM, and calls done when none runs, in the main loop. A second call shortens the grace. */
void chvd_manager_stop(
                ChvdManager *manager,
                unsigned grace_ms,
                void (*done)(gpointer data),
                gpointer data);
/* The same, but VMs that run go on; only what is about to start or to stop is brought to its end. */
void chvd_manager_leave(ChvdManager *manager, void (*done)(gpointer data), gpointer data);
