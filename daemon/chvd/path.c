/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Object paths made from names. The escape is reversible and the one that systemd's objects use, so that tools which
 * know it show the name. An empty id becomes "_", as a path may not have an empty element.
 */

#include "daemon/chvd/path.h"

#include <glib.h>

char *chvd_path(const char *prefix, const char *id) {
        g_autoptr(GString) s = g_string_new(prefix);

        g_string_append_c(s, '/');
        if (!id[0])
                g_string_append_c(s, '_');
        for (const char *p = id; *p; p++)
                if (g_ascii_isalpha(*p) || (g_ascii_isdigit(*p) && p > id))
                        g_string_append_c(s, *p);
                else
                        g_string_append_printf(s, "_%02x", (unsigned char) *p);
        return g_string_free(g_steal_pointer(&s), /* free_segment= */ FALSE);
}
