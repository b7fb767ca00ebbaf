/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "dbus/config.h"
#include "dbus/value.h"

/* What the codecs of a configuration share. For dbus/ only. */

void chv_section_set_fallbacks(const ChvSection *section, void *element, ChvArena *arena);
/* A new element at its defaults; NULL when there are too many. Moves the elements before it. */
void *chv_section_add(const ChvSection *section, ChvConfig *config, GError **error);
/* cli: by the name in option strings. */
const ChvOption *chv_section_option(const ChvSection *section, const char *key, bool cli);
/* A dictionary of options into one value, or NULL, for each row, which the caller unrefs, also on errors. */
bool chv_section_collect(
                const ChvSection *section, GVariant *dict, GVariant **values, GError **error);
/* One value, or NULL, for each row. Messages begin with "where.key: ", or for an option string with "--where key: ". */
bool chv_section_apply(
                const ChvSection *section,
                void *element,
                GVariant *const *values,
                ChvArena *arena,
                const char *where,
                bool cli,
                GError **error);
/* Always false: says whether the key is unknown or not supported yet. */
bool chv_refuse_key(const char *key, const char *later, GError **error);

/* The reference's "rate_limiter_config", an object with an object for each bucket, as values of the rows bw_size … of a section
 * that has them. False without an error: the section has none. */
bool chv_limiter_expand(
                const ChvSection *section, GVariant *dict, GVariant **values, GError **error);
#define CHV_LIMITER_KEY "rate_limiter_config"
