/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/* JSON files as users give them. */

#include "fuzz.h"

#include <string.h>

#include "config-check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        g_autofree char *text = g_memdup2(data, size);
        g_autoptr(GError) error = NULL;
        g_autoptr(ChvConfig) config = chv_config_from_json(size ? text : "", (gssize) size, &error);

        check_config(config, error);
        return 0;
}
