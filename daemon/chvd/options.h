/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <gio/gio.h>
#include <stdbool.h>

/* Reads an options dictionary a{sv}. `known` lists the keys that the method takes, each followed by its type: "force", "b", NULL.
 * Unknown keys and wrong types are CHV_ERROR_INVALID_CONFIG naming the key. */
bool chvd_options_check(GVariant *options, const char *const *known, GError **error);

/* After chvd_options_check(): the value, or the fallback when not given. */
bool chvd_options_bool(GVariant *options, const char *key, bool fallback);
unsigned chvd_options_uint(GVariant *options, const char *key, unsigned fallback);
