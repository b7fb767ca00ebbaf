/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <glib.h>
#include <stdbool.h>

/*
 * Goes on in a child, which is the first process of a namespace of its own if that is asked for and the host has one for us (else a
 * debug message says so). Returns in the child only. The process that called ends with status 0 at detach_finish(), and as the child did
 * if that ends before. For a process of one thread. False: there is no child.
 */
bool detach_begin(bool own_namespace, GError **error);

/* The descriptor that detach_finish() needs, the next after standard error; standard error when nobody waits. */
int detach_fd(void);

/* Nothing is left to be done that could fail. Without detach_begin() nothing happens. */
void detach_finish(void);
