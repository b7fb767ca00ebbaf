/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <gio/gio.h>
#include <stdbool.h>

#include "dbus/config.h"

/* Opens one resource that is a file (any kind but taps and sockets). Any thread; may block as long as the file system does.
 * -1: CHV_ERROR_RESOURCE that begins with the option. */
int chvd_resource_open(const ChvResource *resource, GError **error);

/* Is fd, given by a client, fit to be this resource? */
bool chvd_resource_check(const ChvResource *resource, int fd, GError **error);

/* Keeps everybody else from writing the disk (or, for a writable disk, from using it at all), for as long as the open file behind fd lives.
 * Two descriptors of one open file share the lock. */
bool chvd_resource_lock(const ChvResource *resource, int fd, GError **error);
void chvd_resource_unlock(int fd);

/* Sets CHV_ERROR_RESOURCE "option: 'path': what: why"; errnum 0: no why. Always false. */
bool chvd_resource_fail(const ChvResource *resource, int errnum, const char *what, GError **error);
