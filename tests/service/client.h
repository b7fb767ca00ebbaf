/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "tests/service/service.h"

/* Descriptors that it is started with, up to a -1; NULL: none but the standard ones. */
extern const int *client_fds;

/* Runs chvctl with the words, a list that NULL ends, and with the editor (NULL: one that fails) and the scratch folder in its environment.
 * Returns its exit status; *ret_out: both streams. Environment, from the build: CHVCTL. */
int client_run(Service *service, const char *editor, char **ret_out, ...) G_GNUC_NULL_TERMINATED;
