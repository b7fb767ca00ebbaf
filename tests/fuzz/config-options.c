/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/* Option strings: each line of the input is a section, a space and its value. */

#include "fuzz.h"

#include <string.h>

#include "config-check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        g_autofree char *text = g_strndup((const char *) data, size);
        g_auto(GStrv) lines = g_strsplit(text, "\n", 64);
        g_autoptr(ChvConfig) config = chv_config_new();
        g_autoptr(GError) error = NULL;

        for (char **line = lines; *line && config; line++) {
                char *value = strchr(*line, ' ');

                if (value)
                        *value++ = '\0';
                if (!chv_config_add_option(config, *line, value ? value : "", &error))
                        g_clear_pointer(&config, chv_config_free);
        }
        check_config(config, error);
        return 0;
}
