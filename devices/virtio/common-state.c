/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Save and restore of the common registers and queues (common.h).
 *
 * State comes from a file or another host and is believed no more than a guest: features are negotiated
 * again, rings are checked and mapped again. A device that was active starts at resume, not here, as guest memory may
 * not be there yet.
 */

#include <assert.h>

#include "devices/guard.h"
#include "devices/virtio/common.h"
#include "hypervisor/error.h"

/* Version, status, broken, active, generation, config vector, selectors of device features, driver features and
 * queues, features of the driver, features negotiated; a queue: size, ready, broken, vector, desc, avail,
 * used, last_avail, used_idx, signalled, in_flight. */
#define COMMON_VERSION 1
#define COMMON_TYPE "(uybbyquuqtta(qbbqtttqqqq))"

GVariant *virtio_common_save(struct virtio_common *c) {
        GVariantBuilder queues;

        g_variant_builder_init(&queues, G_VARIANT_TYPE("a(qbbqtttqqqq)"));
        for (unsigned i = 0; i < c->vd->n_queues; i++) {
                const struct virtq *q = &c->vd->queues[i];

                g_variant_builder_add(
                                &queues, "(qbbqtttqqqq)", q->size, q->ready, q->broken, q->vector,
                                q->desc.v, q->avail.v, q->used.v, q->last_avail, q->used_idx,
                                q->signalled, q->in_flight);
        }

        return g_variant_new(
                        COMMON_TYPE, COMMON_VERSION, atomic_load(&c->status),
                        atomic_load(&c->broken), c->vd->active || c->start_on_resume,
                        atomic_load(&c->generation), atomic_load(&c->config_vector),
                        c->device_feature_select, c->driver_feature_select, c->queue_select,
                        c->driver_features, c->vd->features, &queues);
}

static bool restore_queue(struct virtio_common *c, struct virtq *q, GVariant *state) {
        gboolean ready, is_broken;

        g_variant_get(state, "(qbbqtttqqqq)", &q->size, &ready, &is_broken, &q->vector, &q->desc.v,
                      &q->avail.v, &q->used.v, &q->last_avail, &q->used_idx, &q->signalled,
                      &q->in_flight);
        q->vector = virtio_common_valid_vector(c, q->vector);
        q->broken = is_broken;

        /* Nobody here would ever finish a request of the old process. */
        return q->in_flight == 0 && (!ready || virtq_enable(q) == 0);
}

static bool restore_queues(struct virtio_common *c, GVariantIter *queues, GError **error) {
        if (g_variant_iter_n_children(queues) != c->vd->n_queues) {
                g_set_error(error, HV_ERROR, HV_ERROR_STATE,
                            "%s: state has %zu queues, the device has %u", c->vd->id,
                            g_variant_iter_n_children(queues), c->vd->n_queues);
                return false;
        }

        for (unsigned i = 0; i < c->vd->n_queues; i++) {
                g_autoptr(GVariant) queue = g_variant_iter_next_value(queues);

                if (!restore_queue(c, &c->vd->queues[i], queue)) {
                        g_set_error(error, HV_ERROR, HV_ERROR_STATE,
                                    "%s: state of queue %u is damaged", c->vd->id, i);
                        return false;
                }
        }

        return true;
}

static bool
restore_features(struct virtio_common *c, uint8_t status, uint64_t features, GError **error) {
        if ((features & ~virtio_common_offered(c)) != 0) {
                g_set_error(error, HV_ERROR, HV_ERROR_STATE,
                            "%s: state uses features %#" G_GINT64_MODIFIER
                            "x, the device offers %#" G_GINT64_MODIFIER "x",
                            c->vd->id, features, virtio_common_offered(c));
                return false;
        }

        if ((status & VSTATUS_FEATURES_OK) && c->vd->ops->negotiated &&
            !c->vd->ops->negotiated(c->vd, features)) {
                g_set_error(error, HV_ERROR, HV_ERROR_STATE,
                            "%s: state uses features in a combination that the device refuses",
                            c->vd->id);
                return false;
        }

        c->vd->features = features;
        virtio_common_set_ring_features(c);
        return true;
}

bool virtio_common_restore(struct virtio_common *c, GVariant *state, GError **error) {
        g_autoptr(GVariantIter) queues = NULL;
        gboolean is_broken, active;
        uint8_t status, generation;
        uint16_t config_vector;
        uint64_t features;
        uint32_t version;
        GUARD(&c->lock);

        assert(!c->vd->active);

        if (!state_fits(c->vd->id, state, COMMON_TYPE, COMMON_VERSION, error))
                return false;

        virtio_common_power_on(c);
        g_variant_get(state, COMMON_TYPE, &version, &status, &is_broken, &active, &generation,
                      &config_vector, &c->device_feature_select, &c->driver_feature_select,
                      &c->queue_select, &c->driver_features, &features, &queues);

        if ((status & ~VSTATUS_OF_DRIVER) != 0 || (active && !(status & VSTATUS_DRIVER_OK)) ||
            ((status & VSTATUS_DRIVER_OK) && !(status & VSTATUS_FEATURES_OK))) {
                g_set_error(error, HV_ERROR, HV_ERROR_STATE,
                            "%s: state has an impossible status %#x", c->vd->id, status);
                return false;
        }
        if (!restore_features(c, status, features, error) || !restore_queues(c, queues, error))
                return false;

        atomic_store(&c->status, status);
        atomic_store(&c->broken, is_broken);
        atomic_store(&c->generation, generation);
        atomic_store(&c->config_vector, virtio_common_valid_vector(c, config_vector));
        c->start_on_resume = active;
        return true;
}
