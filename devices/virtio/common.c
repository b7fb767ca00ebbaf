/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The common configuration registers and the status machine (virtio 1.2, 2.1, 2.2, 3.1, 4.1.4.3).
 *
 * The status only grows, in the order ACKNOWLEDGE, DRIVER, FEATURES_OK, DRIVER_OK; a write that would take a
 * bit away is ignored, and 0 resets from anywhere. FEATURES_OK is refused (not set) for features that were not offered, or
 * without VERSION_1. DRIVER_OK starts the device, once. Queues are set up before that and frozen when enabled. A
 * guest that breaks the rules from then on, or whose queues cannot be used, sees NEEDS_RESET until it resets.
 *
 * A reset stops the device before it returns, under the lock: a driver that reads the status as
 * 0 knows that the device is quiet (2.1.2, 4.1.4.3.1).
 */

#include "devices/virtio/common.h"

#include <assert.h>
#include <string.h>

#include "devices/guard.h"

/* Offsets; virtio 1.2, 4.1.4.3 */
enum {
        DEVICE_FEATURE_SELECT = 0x00,
        DEVICE_FEATURE = 0x04,
        DRIVER_FEATURE_SELECT = 0x08,
        DRIVER_FEATURE = 0x0c,
        CONFIG_MSIX_VECTOR = 0x10,
        NUM_QUEUES = 0x12,
        DEVICE_STATUS = 0x14,
        CONFIG_GENERATION = 0x15,
        QUEUE_SELECT = 0x16,
        QUEUE_SIZE = 0x18,
        QUEUE_MSIX_VECTOR = 0x1a,
        QUEUE_ENABLE = 0x1c,
        QUEUE_NOTIFY_OFF = 0x1e,
        QUEUE_DESC = 0x20,
        QUEUE_DRIVER = 0x28,
        QUEUE_DEVICE = 0x30,
};

#define FEATURE_INDIRECT_DESC (1ull << 28)
#define FEATURE_EVENT_IDX (1ull << 29)
#define FEATURE_VERSION_1 (1ull << 32)

uint64_t virtio_common_offered(const struct virtio_common *c) {
        return (c->vd->device_features | FEATURE_INDIRECT_DESC | FEATURE_EVENT_IDX |
                FEATURE_VERSION_1) &
               ~c->vd->withheld;
}

static void emit(struct virtio_common *c, enum virtio_event event, const char *why) {
        if (c->event)
                c->event(c->event_opaque, c->vd->id, event, why);
}

static void fail(struct virtio_common *c, const char *why) {
        c->vd->transport->needs_reset(c->vd, why);
}

static struct virtq *selected(struct virtio_common *c) {
        return c->queue_select < c->vd->n_queues ? &c->vd->queues[c->queue_select] : NULL;
}

/* The interrupt path reads the vector without the lock. */
static void set_vector(struct virtq *q, uint16_t vector) {
        __atomic_store_n(&q->vector, vector, __ATOMIC_RELAXED);
}

uint16_t virtio_common_valid_vector(const struct virtio_common *c, uint16_t vector) {
        return vector < c->n_vectors ? vector : VIRTQ_NO_VECTOR;
}

/* Back to power-on; the device is stopped. */
void virtio_common_power_on(struct virtio_common *c) {
        for (unsigned i = 0; i < c->vd->n_queues; i++) {
                virtq_reset(&c->vd->queues[i]);
                /* A kick from before is no news for the next driver. */
                virtio_queue_clear_kick(&c->vd->queues[i]);
        }
        c->vd->features = 0;
        c->device_feature_select = c->driver_feature_select = 0;
        c->driver_features = 0;
        c->queue_select = 0;
        c->start_on_resume = false;
        atomic_store(&c->config_vector, VIRTQ_NO_VECTOR);
        atomic_store(&c->broken, false);
        atomic_store(&c->status, 0);
}

static void stop(struct virtio_common *c) {
        if (!c->vd->active)
                return;

        c->vd->ops->deactivate(c->vd);
        c->vd->active = false;
        c->paused = false;
}

static void reset(struct virtio_common *c) {
        bool used = atomic_load(&c->status) != 0;

        stop(c);
        virtio_common_power_on(c);
        if (used)
                emit(c, VIRTIO_EVENT_RESET, /* why = */ NULL);
}

void virtio_common_set_ring_features(struct virtio_common *c) {
        for (unsigned i = 0; i < c->vd->n_queues; i++) {
                struct virtq *q = &c->vd->queues[i];

                q->indirect = c->vd->features & FEATURE_INDIRECT_DESC;
                q->event_idx = c->vd->features & FEATURE_EVENT_IDX;
                if (!q->ready)
                        virtq_start_over(q, virtio_has(c->vd, VIRTIO_F_RING_PACKED));
        }
}

/* Too early (3.1.1), but split rings do not mind. */
static bool has_ready_queue(const struct virtio_common *c) {
        for (unsigned i = 0; i < c->vd->n_queues; i++)
                if (c->vd->queues[i].ready)
                        return true;
        return false;
}

static bool negotiate(struct virtio_common *c) {
        uint64_t features = c->driver_features;

        if ((features & ~virtio_common_offered(c)) != 0 || !(features & FEATURE_VERSION_1))
                return false;
        if (features & 1ull << VIRTIO_F_RING_PACKED && has_ready_queue(c))
                return false;
        if (c->vd->ops->negotiated && !c->vd->ops->negotiated(c->vd, features))
                return false;

        c->vd->features = features;
        virtio_common_set_ring_features(c);
        return true;
}

static void kick_all(struct virtio_common *c) {
        for (unsigned i = 0; i < c->vd->n_queues; i++)
                if (c->vd->queues[i].ready)
                        virtio_queue_kick(&c->vd->queues[i]);
}

static void start(struct virtio_common *c) {
        /* Set first: the device may find its queues broken before activate() returns. */
        c->vd->active = true;
        if (c->vd->ops->activate(c->vd) < 0) {
                c->vd->active = false;
                fail(c, "activation failed");
                return;
        }

        /* What the driver queued before DRIVER_OK, or before it was saved, it need not announce again. */
        kick_all(c);
}

static void write_status(struct virtio_common *c, uint8_t value) {
        uint8_t status = atomic_load(&c->status), added;

        if (value == 0) {
                reset(c);
                return;
        }

        value &= VSTATUS_OF_DRIVER;
        if ((status & ~value) != 0)
                return;

        added = value & ~status;
        status |= added & (VSTATUS_ACKNOWLEDGE | VSTATUS_DRIVER | VSTATUS_FAILED);
        if ((added & VSTATUS_FEATURES_OK) && (status & VSTATUS_DRIVER) && negotiate(c))
                status |= VSTATUS_FEATURES_OK;
        if (!(added & VSTATUS_DRIVER_OK) || !(status & VSTATUS_FEATURES_OK)) {
                atomic_store(&c->status, status);
                return;
        }

        atomic_store(&c->status, status | VSTATUS_DRIVER_OK);
        if (atomic_load(&c->broken))
                return;

        start(c);
        if (c->vd->active)
                emit(c, VIRTIO_EVENT_ACTIVATED, /* why = */ NULL);
}

static uint8_t read_status(struct virtio_common *c) {
        return atomic_load(&c->status) | (atomic_load(&c->broken) ? VSTATUS_NEEDS_RESET : 0);
}

static uint64_t read_queue(const struct virtq *q, unsigned offset) {
        switch (offset) {
        case QUEUE_SIZE:
                return q->size;
        case QUEUE_MSIX_VECTOR:
                return q->vector;
        case QUEUE_ENABLE:
                return q->ready;
        case QUEUE_DESC:
                return q->desc.v;
        case QUEUE_DRIVER:
                return q->avail.v;
        case QUEUE_DEVICE:
                return q->used.v;
        default:
                return 0;
        }
}

static uint64_t read_register(struct virtio_common *c, unsigned offset) {
        const struct virtq *q = selected(c);

        switch (offset) {
        case DEVICE_FEATURE_SELECT:
                return c->device_feature_select;
        case DEVICE_FEATURE:
                return c->device_feature_select < 2
                                       ? virtio_common_offered(c) >> (32 * c->device_feature_select)
                                       : 0;
        case DRIVER_FEATURE_SELECT:
                return c->driver_feature_select;
        case DRIVER_FEATURE:
                return c->driver_feature_select < 2
                                       ? c->driver_features >> (32 * c->driver_feature_select)
                                       : 0;
        case CONFIG_MSIX_VECTOR:
                return atomic_load(&c->config_vector);
        case NUM_QUEUES:
                return c->vd->n_queues;
        case DEVICE_STATUS:
                return read_status(c);
        case CONFIG_GENERATION:
                return atomic_load(&c->generation);
        case QUEUE_SELECT:
                return c->queue_select;
        case QUEUE_NOTIFY_OFF:
                return q ? c->queue_select : 0;
        case QUEUE_MSIX_VECTOR:
                return q ? q->vector : VIRTQ_NO_VECTOR;
        default:
                return q ? read_queue(q, offset) : 0;
        }
}

static void set_half(gaddr *addr, unsigned offset, uint64_t value, unsigned len) {
        if (len == 8)
                addr->v = value;
        else if (offset % 8 == 0)
                addr->v = (addr->v & ~0xffffffffull) | value;
        else
                addr->v = (addr->v & 0xffffffffull) | value << 32;
}

static void
write_queue(struct virtio_common *c,
            struct virtq *q,
            unsigned offset,
            uint64_t value,
            unsigned len) {
        if (offset == QUEUE_MSIX_VECTOR) {
                set_vector(q, virtio_common_valid_vector(c, (uint16_t) value));
                if (c->vd->active && c->vd->ops->vector_changed)
                        c->vd->ops->vector_changed(c->vd, q);
                return;
        }

        /* The rest belongs to whoever serves the queue from here on. */
        if (q->ready || (atomic_load(&c->status) & VSTATUS_DRIVER_OK))
                return;

        switch (offset) {
        case QUEUE_SIZE:
                /* Any value: virtq_enable() is the judge. */
                q->size = (uint16_t) value;
                break;
        case QUEUE_ENABLE:
                if (value == 1 && virtq_enable(q) < 0)
                        fail(c, "a queue has a bad size or address");
                break;
        case QUEUE_DESC:
        case QUEUE_DESC + 4:
                set_half(&q->desc, offset, value, len);
                break;
        case QUEUE_DRIVER:
        case QUEUE_DRIVER + 4:
                set_half(&q->avail, offset, value, len);
                break;
        case QUEUE_DEVICE:
        case QUEUE_DEVICE + 4:
                set_half(&q->used, offset, value, len);
                break;
        }
}

static void write_features(struct virtio_common *c, uint32_t value) {
        unsigned shift = 32 * c->driver_feature_select;

        /* 2.2.1: nothing new is accepted after FEATURES_OK. */
        if (c->driver_feature_select >= 2 || (atomic_load(&c->status) & VSTATUS_FEATURES_OK))
                return;

        c->driver_features &= ~(0xffffffffull << shift);
        c->driver_features |= (uint64_t) value << shift;
}

static void write_register(struct virtio_common *c, unsigned offset, uint64_t value, unsigned len) {
        struct virtq *q = selected(c);

        switch (offset) {
        case DEVICE_FEATURE_SELECT:
                c->device_feature_select = (uint32_t) value;
                break;
        case DRIVER_FEATURE_SELECT:
                c->driver_feature_select = (uint32_t) value;
                break;
        case DRIVER_FEATURE:
                write_features(c, (uint32_t) value);
                break;
        case CONFIG_MSIX_VECTOR:
                atomic_store(&c->config_vector, virtio_common_valid_vector(c, (uint16_t) value));
                break;
        case DEVICE_STATUS:
                write_status(c, (uint8_t) value);
                break;
        case QUEUE_SELECT:
                c->queue_select = (uint16_t) value;
                break;
        default:
                if (q)
                        write_queue(c, q, offset, value, len);
        }
}

/* 4.1.3.1: each field with its own width; 64-bit ones in halves, and whole because nothing speaks against it. */
static bool fits(unsigned offset, unsigned len) {
        if (offset >= VIRTIO_COMMON_BYTES || offset % len != 0)
                return false;
        if (offset >= QUEUE_DESC)
                return len == 4 || len == 8;
        if (offset == DEVICE_STATUS || offset == CONFIG_GENERATION)
                return len == 1;
        return len == (offset < CONFIG_MSIX_VECTOR ? 4 : 2);
}

void virtio_common_read(struct virtio_common *c, unsigned offset, void *data, unsigned len) {
        uint64_t value = 0;

        if (fits(offset, len)) {
                bool high = offset >= QUEUE_DESC && offset % 8 == 4;
                GUARD(&c->lock);

                value = read_register(c, high ? offset - 4 : offset);
                if (high)
                        value >>= 32;
        }

        value = GUINT64_TO_LE(value);
        memcpy(data, &value, len);
}

void virtio_common_write(struct virtio_common *c, unsigned offset, const void *data, unsigned len) {
        uint64_t value = 0;
        GUARD(&c->lock);

        if (!fits(offset, len))
                return;

        memcpy(&value, data, len);
        write_register(c, offset, GUINT64_FROM_LE(value), len);
}

void virtio_common_config_read(struct virtio_common *c, uint64_t offset, void *data, unsigned len) {
        unsigned have = 0;
        GUARD(&c->lock);

        if (offset < c->vd->config_len)
                have = MIN(len, c->vd->config_len - (unsigned) offset);

        memset(data, 0, len);
        if (have > 0)
                c->vd->ops->config_read(c->vd, (unsigned) offset, data, have);
}

void virtio_common_config_write(
                struct virtio_common *c, uint64_t offset, const void *data, unsigned len) {
        GUARD(&c->lock);

        if (!c->vd->ops->config_write || offset >= c->vd->config_len ||
            len > c->vd->config_len - offset)
                return;

        c->vd->ops->config_write(c->vd, (unsigned) offset, data, len);
}

void virtio_common_init(
                struct virtio_common *c,
                struct virtio_dev *vd,
                uint16_t n_vectors,
                virtio_event_fn *event,
                void *event_opaque) {
        c->vd = vd;
        c->n_vectors = n_vectors;
        c->event = event;
        c->event_opaque = event_opaque;
        pthread_mutex_init(&c->lock, NULL);
        virtio_common_power_on(c);
}

void virtio_common_clear(struct virtio_common *c) {
        stop(c);
        pthread_mutex_destroy(&c->lock);
}

void virtio_common_reset(struct virtio_common *c) {
        GUARD(&c->lock);

        reset(c);
        atomic_store(&c->generation, 0);
}

bool virtio_common_pause(struct virtio_common *c, GError **error) {
        GUARD(&c->lock);

        if (c->vd->active && !c->paused)
                c->paused = c->vd->ops->pause(c->vd, error);
        return c->paused || !c->vd->active;
}

void virtio_common_resume(struct virtio_common *c) {
        GUARD(&c->lock);

        if (c->start_on_resume) {
                c->start_on_resume = false;
                start(c);
        } else if (c->paused) {
                c->paused = false;
                c->vd->ops->resume(c->vd);
                /* Doorbells that rang in between may have been taken by the pause. */
                kick_all(c);
        }
}
