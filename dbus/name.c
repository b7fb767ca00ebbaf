/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Names of VMs. They are short and plain because they become file names, unit names, cgroup names, object paths and
 * words that people type: no directory separator, nothing that starts with a dot or a dash, nothing a shell reads.
 */

#include "dbus/config.h"

#include <string.h>

#include "dbus/error.h"

#define NAME_MAX_LENGTH 64

static bool refuse(const char *name, const char *why, GError **error) {
        g_autofree char *escaped = g_strescape(name, NULL);

        g_set_error(error, CHV_ERROR, CHV_ERROR_INVALID_CONFIG, "name '%.*s%s': %s",
                    NAME_MAX_LENGTH, escaped, strlen(escaped) > NAME_MAX_LENGTH ? "…" : "", why);
        return false;
}

bool chv_name_valid(const char *name, GError **error) {
        if (!name || !name[0])
                return refuse("", "a VM needs a name", error);
        if (!g_ascii_isalnum(name[0]))
                return refuse(name, "must begin with a letter or a digit", error);
        if (strnlen(name, NAME_MAX_LENGTH + 1) > NAME_MAX_LENGTH)
                return refuse(name, "is longer than 64 characters", error);
        for (const char *p = name; *p; p++)
                if (!g_ascii_isalnum(*p) && !strchr("._-", *p))
                        return refuse(name, "may hold only letters, digits, '.', '_' and '-'",
                                      error);
        return true;
}
