/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "daemon/chvd/fd-set.h"
#include "dbus/config.h"

/* Opens the kernel's back ends of a network whose taps are in the set, and the statistics of their interface, and adds them: "net/ID/vhost/PAIR"
 * and "net/ID/statistics/N". False: they are wanted and cannot be had; CHV_ERROR_RESOURCE. Any thread. */
bool chvd_vhost_add(ChvdFdSet *fds, const ChvNetConfig *net, size_t index, GError **error);
