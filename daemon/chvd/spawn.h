/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <sys/types.h>

/* A child in a session of its own, and in a namespace of processes of its own (its first process) where the host lets us make one. */
typedef struct {
        const char *const *argv; /* a path first; NULL-terminated */
        const char *const *env;  /* NAME=VALUE; NULL-terminated */
        int input;  /* its standard input; it has our standard error twice, and nothing else */
        int cgroup; /* "cgroup.procs" of the group it is to be in, open for writing; -1: ours */
} ChvdSpawn;

/* Returns when the program runs: its number, to be waited for; 0: it does not (error in CHV_ERROR). Any thread. */
pid_t chvd_spawn(const ChvdSpawn *spawn, GError **error);
