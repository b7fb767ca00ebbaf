/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The options that end every mutating method. An unknown key is refused rather than ignored: a client that asks for
 * something this version cannot do must hear so.
 */

#include "daemon/chvd/options.h"

#include "dbus/error.h"

bool chvd_options_check(GVariant *options, const char *const *known, GError **error) {
        GVariantIter iter;
        const char *key;
        GVariant *value;

        g_variant_iter_init(&iter, options);
        while (g_variant_iter_next(&iter, "{&sv}", &key, &value)) {
                g_autoptr(GVariant) owned = value;
                const char *const *row = known;

                while (row[0] && !g_str_equal(row[0], key))
                        row += 2;
                if (!row[0]) {
                        g_autofree char *quoted = chv_quote_text(key);

                        g_set_error(error, CHV_ERROR, CHV_ERROR_INVALID_CONFIG,
                                    "options: unknown key %s", quoted);
                        return false;
                }
                if (!g_variant_is_of_type(owned, (const GVariantType *) row[1])) {
                        g_set_error(error, CHV_ERROR, CHV_ERROR_INVALID_CONFIG,
                                    "options: '%s' has type '%s', not '%s'", key,
                                    g_variant_get_type_string(owned), row[1]);
                        return false;
                }
        }
        return true;
}

bool chvd_options_bool(GVariant *options, const char *key, bool fallback) {
        gboolean value = fallback;

        (void) g_variant_lookup(options, key, "b", &value);
        return value;
}

unsigned chvd_options_uint(GVariant *options, const char *key, unsigned fallback) {
        guint32 value = fallback;

        (void) g_variant_lookup(options, key, "u", &value);
        return value;
}
