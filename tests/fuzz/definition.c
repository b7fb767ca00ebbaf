/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/* Definitions on disk. What is read can be written, and is read back the same; a VM made of it is a sound one. */

#include "fuzz.h"

#include <string.h>

#include "daemon/chvd/definition.h"
#include "daemon/chvd/store-record.h"

static void check_text(const ChvdRecord *record) {
        g_autofree char *text = chvd_record_to_text(record, /* error= */ NULL);
        g_autoptr(ChvdRecord) again = NULL;

        if (!text)
                return;
        again = chvd_record_from_text(text, strlen(text), /* warnings= */ NULL, /* error= */ NULL);
        g_assert_true(again && g_variant_equal(again->config, record->config));
        g_assert_cmpuint(again->owner, ==, record->owner);
        g_assert_cmpint(again->policy.crash, ==, record->policy.crash);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        g_autoptr(GPtrArray) warnings = g_ptr_array_new_with_free_func(g_free);
        g_autoptr(GVariant) no_fds = g_variant_ref_sink(g_variant_new("a{sh}", NULL));
        g_autoptr(GError) error = NULL, refused = NULL;
        g_autofree char *text = g_strndup((const char *) data, size);
        g_autoptr(ChvdRecord) record = NULL;
        g_autoptr(ChvdDefinition) definition = NULL;

        record = chvd_record_from_text(text, size, warnings, &error);
        g_assert_true((record == NULL) == (error != NULL));
        if (!record)
                return 0;
        g_assert_cmpint(record->policy.crash, >=, 0);
        g_assert_cmpint(record->policy.crash, <, CHVD_CRASH_MAX);
        check_text(record);
        definition = chvd_definition_new(
                        "fuzz", record->config, no_fds, /* list= */ NULL, &refused);
        g_assert_true((definition == NULL) == (refused != NULL));
        return 0;
}
