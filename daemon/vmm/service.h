/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <gio/gio.h>

/* org.cloudhypervisor.Vmm on the private connection to chvd: one worker, one VM. Main thread. */
typedef struct VmmService VmmService;

/* finished is called once, when the worker has nothing left to do: exit with status. */
VmmService *vmm_service_new(void (*finished)(void *opaque, int status), void *opaque);

/* From now on chvd is at this connection, whose processing of messages is started here, and no more at the one before. NULL: nowhere;
 * without a machine the worker finishes if that lasts. */
void vmm_service_connect(VmmService *service, GDBusConnection *connection);

/* Somebody wants the process to go: presses the power button of a machine that runs, and finishes when that has powered off. A second time, or without
 * a machine that runs, it finishes at once. */
void vmm_service_terminate(VmmService *service);

/* Somebody wants the guest to start again: presses the power button of a machine that runs, and starts it anew, instead of ending, when that has
 * powered off, unless somebody else wants it off meanwhile. A paused one is started anew at once; without a machine nothing happens. */
void vmm_service_restart(VmmService *service);

/* Ends the machine, if there is one. */
void vmm_service_free(VmmService *service);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmmService, vmm_service_free)
