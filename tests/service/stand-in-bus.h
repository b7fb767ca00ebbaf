/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <gio/gio.h>

/* A service of the system that a test stands in for, on a bus of the test's own. */

GDBusConnection *stand_in_connect(GTestDBus *daemon);

/* Has vtable answer for every interface of xml, each at its path, and takes the name. */
void stand_in_serve(
                GDBusConnection *connection,
                const char *name,
                const char *xml,
                const char *const *paths,
                const GDBusInterfaceVTable *vtable,
                gpointer data);
