/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <sys/types.h>

/* Stage 1 of the sandbox, for a process of one thread. uid and gid, if not NULL, must be taken on or it fails. What
 * the host does not allow otherwise (namespaces, Landlock, giving capabilities up) is left out with a debug message. */
bool confine_process(const uid_t *uid, const gid_t *gid, int keep_fd, GError **error);
