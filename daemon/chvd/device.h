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
const char *chvd_device_id(const ChvdDevice *device);
/* Of a disk, in bytes. */
void chvd_device_set_size(ChvdDevice *device, uint64_t size);
/* Takes it off the bus. */
void chvd_device_free(ChvdDevice *device);
