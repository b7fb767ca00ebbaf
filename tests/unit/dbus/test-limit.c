/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves that no setting of a limit is guessed at: what is not one is refused with the limit's name, and at both ends of
 * each range the first value outside is; that the default has two names; that what is shown can be set.
 */

#include <string.h>

#include "dbus/error.h"
#include "dbus/limit.h"

static void refuse(const ChvLimit *limit, const char *text, const char *why) {
        g_autoptr(GError) error = NULL;
        g_autofree char *prefix = g_strdup_printf("%s: ", limit->key);
        GVariant *value = chv_limit_parse(limit, text, &error);

        if (value)
                g_error("%s=%s is taken", limit->key, text);
        g_assert_error(error, CHV_ERROR, CHV_ERROR_INVALID_CONFIG);
        g_assert_true(g_str_has_prefix(error->message, prefix));
        g_assert_true(g_utf8_validate(error->message, -1, NULL));
        if (!strstr(error->message, why))
                g_error("'%s' does not say '%s'", error->message, why);
}

static void take(const char *key, const char *text, const char *expected) {
        g_autoptr(GError) error = NULL;
        g_autoptr(GVariant) value = chv_limit_parse(chv_limit_find(key), text, &error);
        g_autofree char *printed = NULL;

        g_assert_no_error(error);
        g_variant_ref_sink(value);
        printed = g_variant_print(value, /* type_annotate= */ true);
        g_assert_cmpstr(printed, ==, expected);
}

static void test_bad_text(void) {
        static const char *const bad[] = {
                " ",   "x",   "-1",    "+5",   " 50", "50 ",  "5.0", "1e3",      "0x10", "50%%",
                "%",   "%50", "50s",   "50MB", "50m", "50Mi", "=50", "Infinity", "none", "DEFAULT",
                "off", "max", "auto ", "50,5", "M",   "\xff", "\n",  "\033[2J",  "١",
        };

        for (unsigned i = 0; i < CHV_LIMIT_MAX; i++) {
                for (size_t j = 0; j < G_N_ELEMENTS(bad); j++)
                        refuse(chv_limit((ChvLimitId) i), bad[j], "is not a ");
                if (i != CHV_LIMIT_MEMORY_MAX) {
                        refuse(chv_limit((ChvLimitId) i), "auto", "is not a ");
                        refuse(chv_limit((ChvLimitId) i), "50M", "is not a ");
                }
                if (i != CHV_LIMIT_CPU_QUOTA)
                        refuse(chv_limit((ChvLimitId) i), "50%", "is not a ");
                if (i != CHV_LIMIT_MEMORY_MAX && i != CHV_LIMIT_CPU_QUOTA)
                        refuse(chv_limit((ChvLimitId) i), "infinity", "is not a ");
        }
        g_assert_null(chv_limit_find(""));
        g_assert_null(chv_limit_find("CPUWeight"));
        g_assert_null(chv_limit_find("cpu-weight="));
}

static void test_ranges(void) {
        static const char *const large[] = { "4294967296", "4294967396", "18446744073709551615",
                                             "18446744073709551616",
                                             "99999999999999999999999999999999" };

        for (unsigned i = 0; i < CHV_LIMIT_MAX; i++) {
                const ChvLimit *limit = chv_limit((ChvLimitId) i);
                g_autofree char *below = g_strdup_printf("%" G_GUINT64_FORMAT, limit->min - 1);
                g_autofree char *above = g_strdup_printf("%" G_GUINT64_FORMAT, limit->max + 1);
                g_autofree char *min = g_strdup_printf("%" G_GUINT64_FORMAT, limit->min);
                g_autofree char *max = g_strdup_printf("%" G_GUINT64_FORMAT, limit->max);
                g_autoptr(GVariant) least = chv_limit_parse(limit, min, NULL);
                g_autoptr(GVariant) most = chv_limit_parse(limit, max, NULL);

                if (limit->min > 0) {
                        refuse(limit, below, below);
                        refuse(limit, "0", "'0'");
                }
                refuse(limit, above, above);
                for (size_t j = i == CHV_LIMIT_MEMORY_MAX ? 2 : 0; j < G_N_ELEMENTS(large); j++)
                        refuse(limit, large[j], large[j]);
                g_assert_nonnull(least);
                g_assert_nonnull(most);
        }
        refuse(chv_limit_find("memory-max"), "1023K", "'1023K' is less than 1M");
        refuse(chv_limit_find("memory-max"), "16777216T", "'16777216T' is too large");
}

static void test_values(void) {
        take("cpu-weight", "250", "uint32 250");
        take("cpu-quota", "150", "uint32 150");
        take("cpu-quota", "150%", "uint32 150");
        take("cpu-quota", "infinity", "uint32 0");
        take("memory-max", "512M", "uint64 536870912");
        take("memory-max", "2G", "uint64 2147483648");
        take("memory-max", "1048576", "uint64 1048576");
        take("memory-max", "auto", "'auto'");
        take("memory-max", "infinity", "'infinity'");
        take("shutdown-timeout", "3600", "uint32 3600");
        for (unsigned i = 0; i < 2; i++) {
                const char *text = i == 0 ? "" : "default";

                take("cpu-weight", text, "uint32 100");
                take("cpu-quota", text, "uint32 0");
                take("memory-max", text, "'infinity'");
                take("io-weight", text, "uint32 100");
                take("tasks-max", text, "uint32 4096");
                take("shutdown-timeout", text, "uint32 90");
        }
}

static void test_shown_can_be_set(void) {
        for (unsigned i = 0; i < CHV_LIMIT_MAX; i++) {
                const ChvLimit *limit = chv_limit((ChvLimitId) i);
                const uint64_t values[] = { limit->min, limit->min + 1, limit->fallback,
                                            limit->max };

                for (size_t j = 0; j < G_N_ELEMENTS(values); j++) {
                        g_autofree char *text = chv_limit_format(limit, values[j]);
                        g_autoptr(GError) error = NULL;
                        g_autoptr(GVariant) value = chv_limit_parse(limit, text, &error);

                        g_assert_no_error(error);
                        g_variant_ref_sink(value);
                        g_assert_true(chv_limit_accepts(limit, values[j]));
                        if (g_variant_is_of_type(value, G_VARIANT_TYPE_STRING))
                                g_assert_true(chv_limit_is_infinite(limit, values[j]));
                        else if (g_variant_is_of_type(value, G_VARIANT_TYPE_UINT64))
                                g_assert_true(g_variant_get_uint64(value) == values[j]);
                        else
                                g_assert_true(g_variant_get_uint32(value) == values[j]);
                }
                g_assert_false(chv_limit_accepts(limit, limit->max + 1));
        }
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/limit/bad-text", test_bad_text);
        g_test_add_func("/limit/ranges", test_ranges);
        g_test_add_func("/limit/values", test_values);
        g_test_add_func("/limit/shown-can-be-set", test_shown_can_be_set);
        return g_test_run();
}
