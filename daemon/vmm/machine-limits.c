/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Limits of disks and networks (reference 1.6): from the configuration to token buckets. A group's buckets are the machine's, and
 * the disks in it share them; all others are their devices' own.
 */

#include "daemon/vmm/machine-private.h"

#include "dbus/error.h"

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

static const ChvRateLimiter *find_limiter(const ChvConfig *config, const char *id) {
        for (size_t i = 0; i < config->n_disks; i++)
                if (g_strcmp0(config->disks[i].pci.id, id) == 0)
                        return &config->disks[i].limiter;
        for (size_t i = 0; i < config->n_net; i++)
                if (g_strcmp0(config->net[i].pci.id, id) == 0)
                        return &config->net[i].limiter;
        return NULL;
}

bool machine_set_limits(Machine *machine, const char *id, const ChvConfig *config, GError **error) {
        const ChvRateLimiter *limiter = find_limiter(config, id);
        struct virtio_dev *vd = machine_find_virtio(machine, id);
        struct throttle_config limits;
        int r;

        if (!limiter || !vd || !vd->ops->set_throttle) {
                g_set_error(error, CHV_ERROR, CHV_ERROR_NOT_SUPPORTED,
                            "Device '%s' has no limits that could be changed", id);
                return false;
        }
        limits = machine_limits(limiter);
        r = vd->ops->set_throttle(vd, &limits);
        if (r >= 0)
                return true;
        g_set_error(error, CHV_ERROR, CHV_ERROR_FAILED, "Setting the limits of '%s': %s", id,
                    g_strerror(-r));
        return false;
}

bool machine_set_group_limits(
                Machine *machine, const char *id, const ChvConfig *config, GError **error) {
        const ChvRateLimitGroup *group = chv_config_rate_limit_group(config, id);
        const ChvConfig *own = machine->parts.config;
        struct throttle *shared = machine_group(machine, id);
        struct throttle_config limits;
        int r = 0;

        if (!group || !shared) {
                g_set_error(error, CHV_ERROR, CHV_ERROR_INVALID_CONFIG, "There is no group '%s'",
                            id);
                return false;
        }
        limits = machine_limits(&group->limiter);
        throttle_set(shared, &limits);
        /* Whoever waits asks again. A group always has had limits, so its disks have their timers. */
        for (size_t i = 0; r >= 0 && i < own->n_disks; i++) {
                struct virtio_dev *vd = machine_find_virtio(machine, own->disks[i].pci.id);

                if (vd && vd->ops->set_throttle &&
                    machine_group(machine, own->disks[i].rate_limit_group) == shared)
                        r = vd->ops->set_throttle(vd, /* config= */ NULL);
        }
        if (r >= 0)
                return true;
        g_set_error(error, CHV_ERROR, CHV_ERROR_FAILED, "Setting the limits of group '%s': %s", id,
                    g_strerror(-r));
        return false;
}
