/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "devices/net/port.h"

/* Descriptors of a tap or macvtap interface, opened with IFF_TAP | IFF_NO_PI | IFF_VNET_HDR, and IFF_MULTI_QUEUE where there
 * are several. */
extern const struct net_port_ops net_tap_ops;

/* What fits the interface of a descriptor: of a macvtap, where the kernel has no programs to choose frames, it chooses them itself. */
const struct net_port_ops *net_tap_ops_for(int fd);
