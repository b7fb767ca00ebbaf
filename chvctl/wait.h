/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "chvctl/bus.h"
#include "dbus/state.h"

/* Calls a method that answers with a job, and waits for the job's end unless --no-block; --timeout holds. */
bool job_run(Bus *bus, const char *path, const char *method, GVariant *parameters, GError **error);

/* What becomes of one VM. */
typedef struct VmWatch VmWatch;
VmWatch *vm_watch_new(Bus *bus, const char *path, GError **error);
void vm_watch_free(VmWatch *watch);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmWatch, vm_watch_free)

/* INVALID: it is gone from the bus, or its state is one this client does not know. */
ChvVmState vm_watch_state(const VmWatch *watch);
/* Whether it is off: created, shutdown, failed or gone. */
bool vm_watch_is_off(const VmWatch *watch);
/* Whether its last run failed, with the reason; "" when there is none. */
bool vm_watch_has_failed(const VmWatch *watch, const char **ret_reason);

/* Waits until something changes (any_change), or else until it is off. timeout_ms 0: for ever. False: the time is over
 * (TIMED_OUT) or the service has gone (NO_SERVER). */
bool vm_watch_wait(VmWatch *watch, bool any_change, unsigned timeout_ms, GError **error);
