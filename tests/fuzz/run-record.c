/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/* Records of runs, which a chvd reads that may be another than the one that wrote them. What is read can be written, and says the same. */

#include "fuzz.h"

#include <string.h>

#include "daemon/chvd/run-record.h"

static void check_text(const ChvdRun *run) {
        g_autofree char *text = chvd_run_to_text(run, /* error= */ NULL);
        g_autoptr(ChvdRun) again = NULL;

        if (!text)
                return;
        again = chvd_run_from_text(text, strlen(text), /* error= */ NULL);
        g_assert_nonnull(again);
        g_assert_cmpint(again->phase, ==, run->phase);
        g_assert_cmpint(again->before, ==, run->before);
        g_assert_cmpstr(again->handle, ==, run->handle);
        g_assert_cmpstr(again->reason, ==, run->reason);
        g_assert_true(g_variant_equal(again->record->config, run->record->config));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        g_autofree char *text = g_strndup((const char *) data, size);
        g_autoptr(GError) error = NULL;
        g_autoptr(ChvdRun) run = NULL;

        (void) g_log_set_always_fatal(G_LOG_LEVEL_CRITICAL | G_LOG_LEVEL_ERROR);
        run = chvd_run_from_text(text, size, &error);
        g_assert_true((run == NULL) == (error != NULL));
        if (run)
                check_text(run);
        return 0;
}
