/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <gio/gio.h>
#include <stdbool.h>
#include <sys/types.h>

/* Starts program with `channel` as its descriptor 3 and nothing else of ours: stdin is null, stdout and stderr are our stderr, the
 * environment is clean, its session its own; it is killed when we die. Main thread only (the kill is tied to the calling thread).
 * The caller keeps channel and reaps the child. CHV_ERROR_FAILED. */
bool chvd_spawn(const char *program, int channel, pid_t *ret_pid, GError **error);
