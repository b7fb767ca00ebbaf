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
/* Writes the record of the run, in one step; the folder is made when there is none. */
bool chvd_runtime_save(const char *runtime_dir, const char *vm, const char *text, GError **error);
/* The record, NULL and no error when there is none: then there is no process either. */
char *chvd_runtime_load(const char *runtime_dir, const char *vm, size_t *ret_size, GError **error);
/* Names of VMs that have a folder, NULL-terminated. */
char **chvd_runtime_list(const char *runtime_dir);

/* Only one chvd at a time may have runs there. -1: another has (CHV_ERROR_BUSY), or error; else a descriptor that holds it. */
int chvd_runtime_lock(const char *runtime_dir, GError **error);

/* Whether VMs that start with the host have been started since it booted; and that they have. */
bool chvd_runtime_is_up(const char *runtime_dir);
void chvd_runtime_set_up(const char *runtime_dir);

/* Removes the folder and what a run may have in it. That there is none is no error. */
void chvd_runtime_remove(const char *runtime_dir, const char *vm);
