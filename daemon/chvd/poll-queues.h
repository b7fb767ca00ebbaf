/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <glib.h>
#include <stdbool.h>

#include "dbus/config.h"

/* Whether the device of a disk with iopoll=on, which fd is or lies on, keeps queues for polling; of what has no device of its own nobody
 * knows, and it is let pass. Anything else passes, too. Any thread. CHV_ERROR_RESOURCE. */
bool chvd_poll_queues_check(const ChvResource *resource, int fd, GError **error);
