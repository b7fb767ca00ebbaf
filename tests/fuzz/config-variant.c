/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/* Dictionaries as bus callers send them. An input that begins with '{' is GVariant text, which a person can read; any other is the
 * serialised form, brought to normal form as a bus library does. */

#include "fuzz.h"

#include <string.h>

#include "config-check.h"

#define MAX_SIZE 65536

static GVariant *read_text(const uint8_t *data, size_t size) {
        /* GLib's own parser wants this of its callers. */
        if (!g_utf8_validate((const char *) data, (gssize) size, NULL))
                return NULL;
        return g_variant_parse(
                        G_VARIANT_TYPE_VARDICT, (const char *) data, (const char *) data + size,
                        /* endptr= */ NULL,
                        /* error= */ NULL);
}

static GVariant *read_bytes(const uint8_t *data, size_t size) {
        g_autoptr(GBytes) bytes = g_bytes_new(data, size);
        g_autoptr(GVariant) raw = g_variant_ref_sink(g_variant_new_from_bytes(
                        G_VARIANT_TYPE_VARDICT, bytes, /* trusted= */ FALSE));

        /* A bus never delivers anything else. */
        return g_variant_is_normal_form(raw) ? g_steal_pointer(&raw) : NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        g_autoptr(GVariant) dict = NULL;
        g_autoptr(ChvConfig) config = NULL;
        g_autoptr(GError) error = NULL;

        if (size == 0 || size > MAX_SIZE)
                return 0;
        dict = data[0] == '{' ? read_text(data, size) : read_bytes(data, size);
        if (!dict)
                return 0;
        config = chv_config_from_variant(dict, &error);
        check_config(config, error);
        return 0;
}
