/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What the service does with a VM without being asked: start it when the service starts, and what after a crash; and
 * what it has of the host. It is given as options of CreateVM and SetOptions, stored with the definition, and no part of the configuration, which
 * says what the machine is.
 */

#include "daemon/chvd/policy.h"

#include "daemon/chvd/options.h"
#include "dbus/error.h"

static const char *const crashes[] = {
        [CHVD_CRASH_DESTROY] = "destroy",
        [CHVD_CRASH_RESTART] = "restart",
        [CHVD_CRASH_PRESERVE] = "preserve",
};

G_STATIC_ASSERT(G_N_ELEMENTS(crashes) == CHVD_CRASH_MAX);

const char *chvd_crash_to_string(ChvdCrash crash) {
        return (int) crash >= 0 && crash < CHVD_CRASH_MAX ? crashes[crash] : NULL;
}

ChvdCrash chvd_crash_from_string(const char *text) {
        for (unsigned i = 0; i < CHVD_CRASH_MAX; i++)
                if (g_strcmp0(crashes[i], text) == 0)
                        return (ChvdCrash) i;
        return CHVD_CRASH_INVALID;
}

bool chvd_policy_update(ChvdPolicy *policy, bool transient, GVariant *options, GError **error) {
        ChvdPolicy changed = *policy;
        const char *crash;

        changed.autostart = chvd_options_bool(options, "autostart", policy->autostart);
        changed.start_order = chvd_options_uint(options, "autostart-order", policy->start_order);
        changed.start_delay = chvd_options_uint(options, "autostart-delay", policy->start_delay);
        if (changed.autostart && transient) {
                g_set_error(error, CHV_ERROR, CHV_ERROR_INVALID_CONFIG,
                            "options: 'autostart' is not for a transient VM, which is not there "
                            "when the service starts");
                return false;
        }
        if (changed.start_delay > CHVD_POLICY_MAX_DELAY_S) {
                g_set_error(error, CHV_ERROR, CHV_ERROR_INVALID_CONFIG,
                            "options: 'autostart-delay' is %u s, more than %d s",
                            changed.start_delay, CHVD_POLICY_MAX_DELAY_S);
                return false;
        }
        if (g_variant_lookup(options, "crash-policy", "&s", &crash)) {
                changed.crash = chvd_crash_from_string(crash);
                if (changed.crash == CHVD_CRASH_INVALID) {
                        g_autofree char *quoted = chv_quote_text(crash);

                        g_set_error(error, CHV_ERROR, CHV_ERROR_INVALID_CONFIG,
                                    "options: 'crash-policy' is %s, which is none of destroy, "
                                    "restart and preserve",
                                    quoted);
                        return false;
                }
        }
        if (!chvd_shares_update(&changed.shares, options, error))
                return false;
        *policy = changed;
        return true;
}
