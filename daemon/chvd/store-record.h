/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <gio/gio.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "daemon/chvd/policy.h"

/* What is kept of a VM beside its name, see the table in store.c. */
typedef struct {
        uid_t owner;
        uint64_t created; /* microseconds since 1970 */
        ChvdPolicy policy;
        GVariant *config; /* a{sv}, not floating */
        GVariant *given;  /* as: names of the descriptors that its creator gave; NULL: none */
        bool has_run;     /* read only: not part of the text */
} ChvdRecord;

ChvdRecord *chvd_record_copy(const ChvdRecord *record);
void chvd_record_free(ChvdRecord *record);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(ChvdRecord, chvd_record_free)

#define CHVD_RECORD_MAX_SIZE (4 << 20)

/* The text, which is known to be read back as the same; else CHV_ERROR_INVALID_CONFIG. */
char *chvd_record_to_text(const ChvdRecord *record, GError **error);
/* The inverse. What is optional and broken has its default and a line in warnings (may be NULL). NULL: the record is broken or of another
 * version, and the error says how. The configuration is not looked into. */
ChvdRecord *
chvd_record_from_text(const char *text, size_t size, GPtrArray *warnings, GError **error);
