/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Limits of disks and networks (reference 1.6): from the configuration to token buckets. A group's buckets are the machine's, and
 * the disks in it share them; all others are their devices' own.
 */

#include "daemon/vmm/machine-private.h"

static struct throttle_limit limit(const ChvRateLimit *l) {
        return (struct throttle_limit){ l->size, l->one_time_burst, l->refill_time };
}

struct throttle_config machine_limits(const ChvRateLimiter *limiter) {
        return (struct throttle_config){ limit(&limiter->bw), limit(&limiter->ops) };
}

void machine_add_groups(Machine *machine) {
        const ChvConfig *config = machine->parts.config;

        machine->groups = g_new0(struct throttle, config->n_rate_limit_groups);
        for (size_t i = 0; i < config->n_rate_limit_groups; i++) {
                struct throttle_config limits =
                                machine_limits(&config->rate_limit_groups[i].limiter);

                throttle_init(&machine->groups[i], /* shared = */ true, &limits);
        }
}

struct throttle *machine_group(const Machine *machine, const char *id) {
        const ChvConfig *config = machine->parts.config;
        const ChvRateLimitGroup *group = id ? chv_config_rate_limit_group(config, id) : NULL;

        return group ? &machine->groups[group - config->rate_limit_groups] : NULL;
}
