/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

/* In a user namespace that the process has just made: uid and gid, its own outside, are the same inside, and there are no others.
 * False with errno set when the host refuses. System calls only, so it may stand between fork and exec. */
bool chv_user_map(uid_t uid, gid_t gid);
