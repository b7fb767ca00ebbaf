/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Which VMs a command is about that takes all when none is named: what it shows later is told by their objects.
 */

#include "chvctl/find.h"

#include "chvctl/arguments.h"
#include "chvctl/fail.h"

bool find_vms(Options *options, Bus *bus, GHashTable **ret_paths, ExitStatus *ret_status) {
        g_autoptr(GHashTable) paths = NULL;

        *ret_paths = NULL;
        if (options->arguments->len == 0)
                return true;
        paths = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
        for (guint i = 0; i < options->arguments->len; i++) {
                g_autoptr(GError) error = NULL;
                char *path = bus_find_vm(bus, argument(options, i), &error);

                if (!path) {
                        *ret_status = fail(options, argument(options, i), error);
                        return false;
                }
                g_hash_table_add(paths, path);
        }
        *ret_paths = g_steal_pointer(&paths);
        return true;
}
