/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <glib.h>

#include "dbus/config.h"
#include "dbus/error.h"

/* What holds for every configuration that a reader has taken: each codec writes it so that it reads back as the same. */

static inline ChvConfig *from_options(char **argv, GError **error) {
        g_autoptr(ChvConfig) config = chv_config_new();

        for (; argv[0]; argv += 2)
                if (!chv_config_add_option(config, argv[0] + 2, argv[1], error))
                        return NULL;
        return g_steal_pointer(&config);
}

static inline void check_equal(GVariant *wanted, ChvConfig *config, const GError *error) {
        g_autoptr(GVariant) dict = NULL;

        g_assert_no_error(error);
        dict = g_variant_ref_sink(chv_config_to_variant(config));
        g_assert_true(g_variant_equal(wanted, dict));
}

static inline void check_config(ChvConfig *config, const GError *refusal) {
        g_autoptr(GVariant) dict = NULL;
        g_autofree char *json = NULL;
        g_auto(GStrv) argv = NULL;
        g_autoptr(GError) error = NULL;
        g_autoptr(ChvConfig) by_variant = NULL, by_json = NULL, by_options = NULL;
        g_autoptr(GArray) resources = NULL;

        if (!config) {
                g_assert_error(refusal, CHV_ERROR, CHV_ERROR_INVALID_CONFIG);
                g_assert_true(g_utf8_validate(refusal->message, -1, NULL));
                g_assert_cmpuint(strlen(refusal->message), <, 1024);
                return;
        }
        if (!chv_config_validate(config, &error))
                g_assert_error(error, CHV_ERROR, CHV_ERROR_INVALID_CONFIG);
        /* A mode without its path can be read but not written as an option string; the rules refuse it. */
        if (error)
                return;
        dict = g_variant_ref_sink(chv_config_to_variant(config));
        by_variant = chv_config_from_variant(dict, &error);
        check_equal(dict, by_variant, error);
        json = chv_config_to_json(config);
        by_json = chv_config_from_json(json, -1, &error);
        check_equal(dict, by_json, error);
        argv = chv_config_to_options(config);
        by_options = from_options(argv, &error);
        check_equal(dict, by_options, error);
        chv_config_complete(config);
        chv_config_validate(config, &error);
        g_assert_no_error(error);
        resources = chv_config_resources(config);
        g_assert_cmpuint(resources->len, >, 0);
}
