/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <sys/types.h>

/*
 * Limits of workers that are no units: a control group for each below our own, where that is ours to divide (cgroups(7), version 2).
 * Main thread only; every call is a few writes to the kernel.
 */
typedef struct ChvdCgroups ChvdCgroups;

/* Nothing is looked at or changed before the first group is made. */
ChvdCgroups *chvd_cgroups_new(void);
void chvd_cgroups_free(ChvdCgroups *cgroups);

/*
 * A group for the worker of a VM, held to limits (a{sv}, systemd's names; borrowed), of which those that this kernel does not have are
 * named in the log: its path, and in *ret_procs the file that a process writes to in order to get in. NULL: there are none here, and why was
 * said in the log, once.
 */
char *chvd_cgroups_make(ChvdCgroups *cgroups, const char *vm, GVariant *limits, int *ret_procs);

/* The group that a process is in, if it is one of those: it may be another chvd that made it. NULL: none. */
char *chvd_cgroup_of(pid_t pid);

/* As many as can be set are; CHV_ERROR_NOT_SUPPORTED or _FAILED names those that cannot. limits is borrowed. */
bool chvd_cgroup_limit(const char *path, GVariant *limits, GError **error);

/* Once there is nobody in it. */
void chvd_cgroup_remove(const char *path);
