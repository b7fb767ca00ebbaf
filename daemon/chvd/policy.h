/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <gio/gio.h>
#include <stdbool.h>

#include "daemon/chvd/shares.h"

/* What becomes of a VM whose process died or whose guest broke the machine. */
typedef enum {
        CHVD_CRASH_DESTROY, /* "destroy": it is failed and everything of it released */
        CHVD_CRASH_RESTART, /* "restart": it is started again, after a while that grows */
        CHVD_CRASH_PRESERVE, /* "preserve": its process is kept, if there is one, until it is powered off */
        CHVD_CRASH_MAX,
        CHVD_CRASH_INVALID = -22,
} ChvdCrash;

const char *chvd_crash_to_string(ChvdCrash crash);
ChvdCrash chvd_crash_from_string(const char *text);

#define CHVD_POLICY_MAX_DELAY_S 3600

/* What the service does with a VM of its own accord, and what it gives it. All zero is the default. */
typedef struct {
        bool autostart;       /* start it when the service starts */
        unsigned start_order; /* those with lower numbers first */
        unsigned start_delay; /* seconds until the next one is started */
        ChvdCrash crash;
        ChvdShares shares;
} ChvdPolicy;

/* Rows for chvd_options_check(). */
#define CHVD_POLICY_OPTIONS                                                                        \
        "autostart", "b", "autostart-order", "u", "autostart-delay", "u", "crash-policy", "s",     \
                        CHVD_SHARES_OPTIONS

/* Changes what the options name. CHV_ERROR_INVALID_CONFIG names the option; the policy is untouched then. */
bool chvd_policy_update(ChvdPolicy *policy, bool transient, GVariant *options, GError **error);
