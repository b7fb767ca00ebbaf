/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <gio/gio.h>

#include "dbus/config.h"

/* Opens one queue pair of a tap interface. interface: the name that the first queue pair got; NULL to attach to (or create) the
 * configured one, which is then set up and brought up. -1: CHV_ERROR_RESOURCE that begins with the option. Any thread. */
int chvd_tap_open(const ChvResource *resource, const char *interface, GError **error);

/* Name of the interface behind a descriptor; NULL: none. */
char *chvd_tap_interface(int fd);

/* 0-128 of a netmask written as an address ("255.255.255.0", "ffff:ffff::"); -1: not a mask. */
int chvd_tap_prefix_length(const char *mask);
