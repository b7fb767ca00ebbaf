/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <gio/gio.h>
#include <stdbool.h>
#include <sys/stat.h>

#include "daemon/chvd/walk.h"
#include "dbus/config.h"

/* Opens one resource that is a file (any kind but taps and sockets) and has a path, with the rights of the process. Any thread; may block as
 * long as the file system does. -1: *ret_fault says why. */
int chvd_resource_open(const ChvResource *resource, ChvdFault *ret_fault);

/* Is fd, which somebody else opened, fit to be this resource? */
bool chvd_resource_check(const ChvResource *resource, int fd, GError **error);
/* Gives fd, which has passed the check, the flags that it would have if chvd had opened it. */
bool chvd_resource_normalise(const ChvResource *resource, int fd, GError **error);
/* Type, mode, device and inode of whatever fd is; never waits for its file system. False: errno. */
bool chvd_resource_stat(int fd, struct statx *ret);

/* Keeps everybody else from writing the disk (or, for a writable disk, from using it at all), for as long as the open file behind fd lives.
 * Two descriptors of one open file share the lock. Its shape is the disk's lock_full. *ret_busy: somebody else has it. Any thread; may block as
 * long as the file system does. */
bool chvd_resource_lock(const ChvResource *disk, int fd, bool *ret_busy, ChvdFault *ret_fault);
void chvd_resource_unlock(int fd);

/* Sets CHV_ERROR_RESOURCE "option: 'path': what: why"; errnum 0: no why. Always false. */
bool chvd_resource_fail(const ChvResource *resource, int errnum, const char *what, GError **error);
