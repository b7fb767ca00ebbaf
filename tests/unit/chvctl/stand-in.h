/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <gio/gio.h>

/*
 * A service that plays chvd on a bus: VMs are entries in a table, jobs end after a moment, a console greets with "boot\n", gives
 * back what is typed in capitals, and ends with the VM when it reads "off\n" and is
 * replaced, with a reboot, when it reads "again\n". A guest asked to shut down does so after a moment,
 * unless its name begins with "stubborn"; starting one whose name begins with "broken" fails; one whose name begins with "silent"
 * never completes a job. The configuration of one whose name begins with "secret" is not told, and an NMI for one whose name
 * begins with "locked" needs a call that lets somebody be asked. One whose name begins with "unit" says that it is one of systemd, one
 * whose name begins with "child" that it has a process which is none.
 */
typedef struct StandIn StandIn;
StandIn *stand_in_new(GDBusConnection *connection);
void stand_in_free(StandIn *stand_in);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(StandIn, stand_in_free)

/* The state of a VM, NULL: there is none. And the methods that were called, separated by spaces, since the last look. */
const char *stand_in_state(StandIn *stand_in, const char *name);
GVariant *stand_in_config(StandIn *stand_in, const char *name);
guint stand_in_owner(StandIn *stand_in, const char *name);
gboolean stand_in_transient(StandIn *stand_in, const char *name);
char *stand_in_calls(StandIn *stand_in);
void stand_in_emit(StandIn *stand_in, const char *name, const char *event);
