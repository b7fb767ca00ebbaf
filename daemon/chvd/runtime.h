/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <gio/gio.h>
#include <stdbool.h>

/* The folder of a run, RUNTIME/vm/NAME, and the socket in it. runtime_dir is RUNTIME. Errors are CHV_ERROR_RESOURCE and name the path. */

/* Makes the folder, for us alone, and a listening socket in it, instead of one that is there. -1: error. The descriptor is the caller's. */
int chvd_runtime_listen(const char *runtime_dir, const char *vm, GError **error);
/* To the one who listens there. -1: error. */
int chvd_runtime_connect(const char *runtime_dir, const char *vm, GError **error);
/* Removes the folder and what a run may have in it. That there is none is no error. */
void chvd_runtime_remove(const char *runtime_dir, const char *vm);
