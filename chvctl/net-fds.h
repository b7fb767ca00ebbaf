/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <gio/gunixfdlist.h>
#include <stdbool.h>

#include "dbus/config.h"

/* Descriptors of this process that networks of config have as fds: into list and, by the names that CreateVM has for them, into handles,
 * which is of a{sh}. The networks get as many queues, and no fds any more. */
bool net_fds_take(ChvConfig *config, GVariantBuilder *handles, GUnixFDList *list, GError **error);
