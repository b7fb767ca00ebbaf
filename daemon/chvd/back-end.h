/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <gio/gio.h>

#include "dbus/config.h"

/* Waits for a back end that connects to us: its socket, or -1. Any thread. */
int chvd_back_end_accept(
                int listener, const ChvResource *need, GCancellable *cancellable, GError **error);
