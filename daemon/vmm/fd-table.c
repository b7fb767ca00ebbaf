/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Descriptors by name. A machine is built from the same table each time its guest reboots, so
 * devices get duplicates and the table keeps the originals for the worker's whole life.
 */

#include "daemon/vmm/fd-table.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "dbus/error.h"

struct FdTable {
        GHashTable *fds; /* name → fd as pointer */
};

static void close_value(gpointer value) {
        (void) close(GPOINTER_TO_INT(value));
}

FdTable *fd_table_new(GVariant *handles, GUnixFDList *list, GError **error) {
        g_autoptr(FdTable) table = g_new0(FdTable, 1);
        GVariantIter iter;
        const char *name;
        gint32 handle;

        table->fds = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, close_value);
        g_variant_iter_init(&iter, handles);
        while (g_variant_iter_next(&iter, "{&sh}", &name, &handle)) {
                int fd;

                if (!list || handle < 0 || handle >= g_unix_fd_list_get_length(list)) {
                        g_set_error(error, CHV_ERROR, CHV_ERROR_INVALID_CONFIG,
                                    "descriptor '%s' did not arrive", name);
                        return NULL;
                }
                if (g_hash_table_contains(table->fds, name)) {
                        g_set_error(error, CHV_ERROR, CHV_ERROR_INVALID_CONFIG,
                                    "descriptor '%s' is given twice", name);
                        return NULL;
                }
                fd = g_unix_fd_list_get(list, handle, error); /* a duplicate, close-on-exec */
                if (fd < 0)
                        return NULL;
                g_hash_table_insert(table->fds, g_strdup(name), GINT_TO_POINTER(fd));
        }
        return g_steal_pointer(&table);
}

void fd_table_free(FdTable *table) {
        if (!table)
                return;
        g_hash_table_unref(table->fds);
        g_free(table);
}

int fd_table_get(const FdTable *table, const char *name) {
        gpointer value;

        if (!g_hash_table_lookup_extended(table->fds, name, NULL, &value))
                return -1;
        return GPOINTER_TO_INT(value);
}

int fd_table_dup(const FdTable *table, const char *name, GError **error) {
        int fd = fd_table_get(table, name), copy;

        if (fd < 0) {
                g_set_error(error, CHV_ERROR, CHV_ERROR_INVALID_CONFIG,
                            "descriptor '%s' is missing", name);
                return -1;
        }
        copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
        if (copy < 0)
                g_set_error(error, CHV_ERROR, CHV_ERROR_RESOURCE, "descriptor '%s': %s", name,
                            g_strerror(errno));
        return copy;
}

void fd_table_replace(FdTable *table, const char *name, int fd) {
        g_hash_table_insert(table->fds, g_strdup(name), GINT_TO_POINTER(fd));
}
