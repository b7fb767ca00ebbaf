/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <gio/gio.h>

/* Bounds what a worker can send: a filter for its connection. Messages other than signals of the Vmm interface, property changes and replies,
 * large ones and ones above the rate are dropped in the connection's own thread, before they cost the main loop anything. */
typedef struct ChvdMeter ChvdMeter;

/* Installs a meter that lives as long as the connection. */
ChvdMeter *chvd_meter_attach(GDBusConnection *connection);

/* How many events were dropped since the last call. Any thread, while the connection is referenced. */
unsigned chvd_meter_take_dropped(ChvdMeter *meter);
