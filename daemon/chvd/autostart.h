/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <gio/gio.h>

#include "daemon/chvd/vm.h"

/* Starts VMs one after the other. Main thread only. */
typedef struct ChvdAutostart ChvdAutostart;

/* How it finds a VM again, which may be gone meanwhile: then NULL. */
typedef ChvdVm *(*ChvdAutostartFind)(gpointer data, const char *name);

/* vms: ChvdVm, those that are not to be started among them. Begins in the main loop; done is called there when all have been tried. */
ChvdAutostart *chvd_autostart_new(
                const GPtrArray *vms,
                ChvdAutostartFind find,
                void (*done)(gpointer data),
                gpointer data);
/* Starts no more. */
void chvd_autostart_free(ChvdAutostart *autostart);
