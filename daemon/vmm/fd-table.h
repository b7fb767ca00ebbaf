/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <gio/gunixfdlist.h>

/* The descriptors a machine was given, by the name of the option they serve ("kvm", "payload/kernel",
 * "disks/_disk0", "net/_net1/0"). Owns them. Main thread. */
typedef struct FdTable FdTable;

/* From the a{sh} of a method call and the message's descriptors. Refuses duplicate names and wrong handles. */
FdTable *fd_table_new(GVariant *handles, GUnixFDList *list, GError **error);
void fd_table_free(FdTable *table);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(FdTable, fd_table_free)

/* The descriptor of that name, still the table's; -1 when there is none. */
int fd_table_get(const FdTable *table, const char *name);

/* Puts fd, which it takes, in the place of the one of that name. */
void fd_table_replace(FdTable *table, const char *name, int fd);

/* A duplicate for the caller to own; -1 and error when there is none or none can be had. */
int fd_table_dup(const FdTable *table, const char *name, GError **error);
