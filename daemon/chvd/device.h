/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <gio/gio.h>
#include <stdbool.h>

#include "daemon/chvd/vm.h"

/* A device of a running VM, as an object on the bus. Main thread only. */
typedef struct ChvdDevice ChvdDevice;

/* Exports it. config: a{sv}. */
ChvdDevice *
chvd_device_new(ChvdContext *context,
                ChvdVm *vm,
                const char *id,
                const char *kind,
                const char *pci_address,
                GVariant *config);
/* Takes it off the bus. */
void chvd_device_free(ChvdDevice *device);
