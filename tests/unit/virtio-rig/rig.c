/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What stands in for the machine round a virtio device (rig.h). Waiting for a chain does what a driver does: look, ask for
 * an interrupt, look again, sleep. So a device that forgets an interrupt fails its test instead of being polled to success.
 */

#include "rig.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

static struct rig *rig_of(struct virtio_dev *vd) {
        return vd->transport_opaque;
}

static void rig_queue_interrupt(struct virtio_dev *vd, struct virtq *q) {
        struct rig *r = rig_of(vd);

        pthread_mutex_lock(&r->lock);
        r->interrupts[q - vd->queues]++;
        pthread_cond_broadcast(&r->changed);
        pthread_mutex_unlock(&r->lock);
}

static void rig_config_changed(struct virtio_dev *vd) {
        struct rig *r = rig_of(vd);

        pthread_mutex_lock(&r->lock);
        r->config_changes++;
        pthread_cond_broadcast(&r->changed);
        pthread_mutex_unlock(&r->lock);
}

static void rig_needs_reset(struct virtio_dev *vd, const char *why) {
        struct rig *r = rig_of(vd);

        g_assert_nonnull(why);
        pthread_mutex_lock(&r->lock);
        r->breaks++;
        pthread_cond_broadcast(&r->changed);
        pthread_mutex_unlock(&r->lock);
}

static const struct virtio_transport_ops rig_transport = {
        .queue_interrupt = rig_queue_interrupt,
        .config_changed = rig_config_changed,
        .needs_reset = rig_needs_reset,
};

static void init(struct rig *r, bool shared) {
        g_autoptr(GError) error = NULL;
        struct gmem_backing backing = { .shared = shared };

        *r = (struct rig){ .mem = gmem_new() };
        pthread_mutex_init(&r->lock, NULL);
        pthread_cond_init(&r->changed, NULL);
        (void) gmem_add(r->mem, GADDR(0), RIG_MEMORY, &backing, &error);
        g_assert_no_error(error);
}

void rig_init(struct rig *r) {
        init(r, /* shared= */ false);
}

void rig_init_shared(struct rig *r) {
        init(r, /* shared= */ true);
}

void rig_attach(struct rig *r, struct virtio_dev *vd, bool event_idx, uint16_t table_max) {
        g_assert_nonnull(vd);
        g_assert_cmpuint(vd->n_queues, <=, RIG_QUEUES_MAX);
        r->vd = vd;
        r->event_idx = event_idx;
        r->table_max = table_max;
        vd->transport = &rig_transport;
        vd->transport_opaque = r;
        for (unsigned i = 0; i < vd->n_queues; i++) {
                vd->queues[i].kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
                g_assert_cmpint(vd->queues[i].kick_fd, >=, 0);
        }
}

static void set_ring_up(struct rig *r, unsigned i, uint64_t base) {
        struct virtq *q = &r->vd->queues[i];
        struct drv_ring *d = &r->rings[i];

        bool packed = virtio_has(r->vd, VIRTIO_F_RING_PACKED);

        (packed ? drv_ring_init_packed
                : drv_ring_init)(d, r->mem, GADDR(base), q->max_size, r->table_max, r->event_idx);
        virtq_start_over(q, packed);
        q->size = q->max_size;
        q->desc = d->desc;
        q->avail = d->avail;
        q->used = d->used;
        q->event_idx = r->event_idx;
        q->indirect = r->table_max > 0;
        g_assert_cmpint(virtq_enable(q), ==, 0);
}

void rig_prepare(struct rig *r, uint64_t features) {
        uint64_t base = 0;

        if (g_getenv("CHV_TEST_PACKED"))
                features |= 1ull << VIRTIO_F_RING_PACKED;

        r->vd->features = features;
        if (r->vd->ops->negotiated)
                g_assert_true(r->vd->ops->negotiated(r->vd, features));
        for (unsigned i = 0; i < r->vd->n_queues; i++) {
                set_ring_up(r, i, base);
                base += (drv_ring_bytes(r->vd->queues[i].max_size, r->table_max) + 4095) & ~4095ull;
        }
        g_assert_cmpuint(base, <=, RIG_DATA);
}

void rig_activate(struct rig *r) {
        r->vd->active = true;
        g_assert_cmpint(r->vd->ops->activate(r->vd), ==, 0);
}

void rig_start(struct rig *r, uint64_t features) {
        rig_prepare(r, features);
        rig_activate(r);
}

void rig_stop(struct rig *r) {
        r->vd->ops->deactivate(r->vd);
        r->vd->active = false;
        r->vd->features = 0;
        for (unsigned i = 0; i < r->vd->n_queues; i++) {
                virtq_reset(&r->vd->queues[i]);
                drv_ring_clear(&r->rings[i]);
        }
}

void rig_clear(struct rig *r) {
        int kicks[RIG_QUEUES_MAX];
        unsigned n = 0;

        if (r->vd) {
                if (r->vd->active)
                        rig_stop(r);
                for (n = 0; n < r->vd->n_queues; n++)
                        kicks[n] = r->vd->queues[n].kick_fd;
                r->vd->ops->free(r->vd);
                while (n > 0)
                        (void) close(kicks[--n]);
        }
        r->mem = gmem_free(r->mem);
        pthread_cond_destroy(&r->changed);
        pthread_mutex_destroy(&r->lock);
}

void *rig_host(struct rig *r, uint64_t addr, uint64_t len) {
        void *host = gmem_map(r->mem, GADDR(addr), len, true);

        g_assert_nonnull(host);
        return host;
}

void rig_kick(struct rig *r, unsigned q) {
        (void) eventfd_write(r->vd->queues[q].kick_fd, 1);
}

void rig_publish(struct rig *r, unsigned q) {
        if (drv_publish(&r->rings[q]))
                rig_kick(r, q);
}

static struct timespec deadline(unsigned timeout_ms) {
        struct timespec ts;

        (void) clock_gettime(CLOCK_REALTIME, &ts);
        ts.tv_sec += timeout_ms / 1000;
        ts.tv_nsec += timeout_ms % 1000 * 1000000l;
        if (ts.tv_nsec >= 1000000000l) {
                ts.tv_sec++;
                ts.tv_nsec -= 1000000000l;
        }
        return ts;
}

/* Sleeps until *counter is not seen any more. */
static bool
wait_for_change(struct rig *r, const unsigned *counter, unsigned seen, const struct timespec *end) {
        bool changed;

        pthread_mutex_lock(&r->lock);
        while (*counter == seen)
                if (pthread_cond_timedwait(&r->changed, &r->lock, end) == ETIMEDOUT)
                        break;
        changed = *counter != seen;
        pthread_mutex_unlock(&r->lock);
        return changed;
}

unsigned rig_interrupts(struct rig *r, unsigned q) {
        unsigned n;

        pthread_mutex_lock(&r->lock);
        n = r->interrupts[q];
        pthread_mutex_unlock(&r->lock);
        return n;
}

bool rig_wait(struct rig *r,
              unsigned q,
              unsigned timeout_ms,
              void **ret_cookie,
              uint32_t *ret_len) {
        struct timespec end = deadline(timeout_ms);
        struct drv_ring *d = &r->rings[q];

        for (;;) {
                unsigned seen = rig_interrupts(r, q);

                if (drv_take(d, ret_cookie, ret_len))
                        return true;
                if (drv_enable_interrupts(d))
                        continue;
                if (!wait_for_change(r, &r->interrupts[q], seen, &end))
                        return false;
        }
}

bool rig_wait_broken(struct rig *r, unsigned timeout_ms) {
        struct timespec end = deadline(timeout_ms);

        return wait_for_change(r, &r->breaks, 0, &end);
}

bool rig_wait_config_change(struct rig *r, unsigned more_than, unsigned timeout_ms) {
        struct timespec end = deadline(timeout_ms);

        return wait_for_change(r, &r->config_changes, more_than, &end);
}

struct wanted {
        const char *name;
        uint64_t value;
        bool found;
};

static void match_counter(void *opaque, const char *name, uint64_t value) {
        struct wanted *w = opaque;

        if (strcmp(w->name, name) == 0) {
                w->value = value;
                w->found = true;
        }
}

uint64_t rig_counter(struct rig *r, const char *name) {
        struct wanted w = { .name = name };

        r->vd->ops->counters(r->vd, match_counter, &w);
        g_assert_true(w.found);
        return w.value;
}
