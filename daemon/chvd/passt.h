/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "daemon/chvd/opener.h"

/* Starts passt for a network and returns the other end of its socket; it ends when that does. Any thread but the main one; waits.
 * -1: CHV_ERROR_RESOURCE names the option. */
int chvd_passt_start(
                const ChvdRights *rights,
                const ChvResource *need,
                GCancellable *cancellable,
                GError **error);

/* Its command line but for the socket, for a network. Owned by the caller. */
char **chvd_passt_arguments(const char *program, const ChvNetConfig *net);
