/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Limits as the reference's JSON writes them (reference 1.6): an object with the objects "bandwidth" and "ops", each of which has a
 * bucket's size, burst and time. They are read as if the flat keys bw_size … had been given, which are the ones that we write.
 */

#include "dbus/codec.h"

#define N_BUCKETS 2
#define N_FIELDS 3

static const char *const bucket_keys[N_BUCKETS] = { "bandwidth", "ops" };
static const char *const fields[N_FIELDS] = { "size", "one_time_burst", "refill_time" };
static const char *const rows[N_BUCKETS][N_FIELDS] = {
        { "bw_size", "bw_one_time_burst", "bw_refill_time" },
        { "ops_size", "ops_one_time_burst", "ops_refill_time" },
};

static void clear(GVariant **found, size_t n) {
        for (size_t i = 0; i < n; i++)
                g_clear_pointer(&found[i], g_variant_unref);
}

static bool is_null(GVariant *value) {
        return !value || g_variant_is_of_type(value, G_VARIANT_TYPE_UNIT);
}

static bool
take_bucket(const ChvSection *section,
            GVariant *dict,
            int which,
            GVariant **values,
            GError **error) {
        GVariant *found[N_FIELDS] = { NULL };
        bool good = chv_variant_read_keys(dict, fields, N_FIELDS, found, error);

        for (int i = 0; good && i < N_FIELDS; i++) {
                const ChvOption *option =
                                chv_section_option(section, rows[which][i], /* cli= */ false);
                size_t row = (size_t) (option - section->options);

                if (is_null(found[i]))
                        continue;
                if (values[row])
                        good = chv_invalid(error, "'%s' is given twice", option->key);
                else
                        values[row] = g_steal_pointer(&found[i]);
        }
        clear(found, N_FIELDS);
        return good;
}

bool chv_limiter_expand(
                const ChvSection *section, GVariant *dict, GVariant **values, GError **error) {
        GVariant *found[N_BUCKETS] = { NULL };
        bool good;

        if (!chv_section_option(section, rows[0][0], /* cli= */ false))
                return false;
        if (is_null(dict))
                return true;
        good = chv_variant_read_keys(dict, bucket_keys, N_BUCKETS, found, error);
        for (int i = 0; good && i < N_BUCKETS; i++) {
                good = is_null(found[i]) || take_bucket(section, found[i], i, values, error);
                if (!good)
                        g_prefix_error(error, "%s: ", bucket_keys[i]);
        }
        clear(found, N_BUCKETS);
        if (!good)
                g_prefix_error(error, "%s: ", CHV_LIMITER_KEY);
        return good;
}
