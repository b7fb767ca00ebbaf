/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <gio/gio.h>

#include "dbus/config.h"

/* A listening UNIX stream socket bound at the resource's path, for nobody but its owner. Replaces a socket that nobody listens on. -1:
 * CHV_ERROR_RESOURCE that begins with the option. */
int chvd_socket_listen(const ChvResource *resource, GError **error);
