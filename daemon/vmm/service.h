/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <gio/gio.h>

/* org.cloudhypervisor.Vmm on the private connection to chvd: one worker, one VM. Main thread. */
typedef struct VmmService VmmService;

/* finished is called once, when the worker has nothing left to do: exit with status. */
VmmService *
vmm_service_new(GDBusConnection *connection,
                void (*finished)(void *opaque, int status),
                void *opaque,
                GError **error);

/* Ends the machine, if there is one. */
void vmm_service_free(VmmService *service);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmmService, vmm_service_free)
