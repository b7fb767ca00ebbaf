/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <gio/gio.h>

#include "daemon/chvd/manager.h"

/* What happens to VMs when the host shuts down, as far as systemd-logind says so before it does. Main thread only. */
typedef struct ChvdShutdown ChvdShutdown;

/* bus: logind's; manager: borrowed; record: the file that keeps which VMs ran. */
ChvdShutdown *chvd_shutdown_new(GDBusConnection *bus, ChvdManager *manager, const char *record);
void chvd_shutdown_free(ChvdShutdown *shutdown);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(ChvdShutdown, chvd_shutdown_free)

/* So many VMs have a run now. */
void chvd_shutdown_update(ChvdShutdown *shutdown, unsigned running);
/* Something of it is under way that is not to be cut short. */
bool chvd_shutdown_is_busy(const ChvdShutdown *shutdown);
