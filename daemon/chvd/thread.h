/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <gio/gio.h>

/* Runs work(data of the task, cancellable of the task) in a thread of its own and returns what it does from the task: a pointer, or NULL and an
 * error. When the task is cancelled it returns at once; whatever comes of the work later is freed by free_result. Main thread. */
void chvd_thread_run(
                GTask *task,
                gpointer (*work)(gpointer data, GCancellable *cancellable, GError **error),
                GDestroyNotify free_result);
