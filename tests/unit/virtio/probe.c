/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/* The recording device and its rig (probe.h). */

#include "probe.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "hypervisor/error.h"

static bool probe_negotiated(struct virtio_dev *vd, uint64_t features) {
        return (features & PROBE_REFUSED) != PROBE_REFUSED;
}

static void probe_config_read(struct virtio_dev *vd, unsigned offset, void *data, unsigned len) {
        g_assert_cmpuint(offset + len, <=, PROBE_CONFIG_LEN);
        g_assert_cmpuint(len, >, 0);
        memcpy(data, ((struct probe_dev *) vd)->config + offset, len);
}

static void
probe_config_write(struct virtio_dev *vd, unsigned offset, const void *data, unsigned len) {
        g_assert_cmpuint(offset + len, <=, PROBE_CONFIG_LEN);
        memcpy(((struct probe_dev *) vd)->config + offset, data, len);
}

static int probe_activate(struct virtio_dev *vd) {
        struct probe_dev *p = (struct probe_dev *) vd;

        g_assert_false(p->running);
        p->n_activate++;
        if (p->activate_result < 0)
                return p->activate_result;
        p->running = true;
        return 0;
}

static void probe_deactivate(struct virtio_dev *vd) {
        struct probe_dev *p = (struct probe_dev *) vd;

        p->n_deactivate++;
        p->running = false;
}

static bool probe_pause(struct virtio_dev *vd, GError **error) {
        struct probe_dev *p = (struct probe_dev *) vd;

        g_assert_true(p->running);
        if (p->pause_fails)
                return hv_error_errno(error, EBUSY, "%s: draining requests", vd->id);
        p->n_pause++;
        p->running = false;
        return true;
}

static void probe_resume(struct virtio_dev *vd) {
        struct probe_dev *p = (struct probe_dev *) vd;

        g_assert_false(p->running);
        p->n_resume++;
        p->running = true;
}

static GVariant *probe_save(struct virtio_dev *vd) {
        return g_variant_new("(uu)", 1, ((struct probe_dev *) vd)->own);
}

static bool probe_restore(struct virtio_dev *vd, GVariant *state, GError **error) {
        uint32_t version;

        if (!state_fits(vd->id, state, "(uu)", 1, error))
                return false;
        g_variant_get(state, "(uu)", &version, &((struct probe_dev *) vd)->own);
        return true;
}

static void probe_counters(struct virtio_dev *vd, device_counter_fn *fn, void *opaque) {
        fn(opaque, "activations", ((struct probe_dev *) vd)->n_activate);
}

static void probe_free(struct virtio_dev *vd) {
        struct probe_dev *p = (struct probe_dev *) vd;

        g_assert_false(p->running);
        if (p->freed)
                *p->freed = true;
        virtio_dev_release(vd);
        g_free(p);
}

static const struct virtio_dev_ops probe_ops = {
        .negotiated = probe_negotiated,
        .config_read = probe_config_read,
        .config_write = probe_config_write,
        .activate = probe_activate,
        .deactivate = probe_deactivate,
        .pause = probe_pause,
        .resume = probe_resume,
        .save = probe_save,
        .restore = probe_restore,
        .counters = probe_counters,
        .free = probe_free,
};

struct probe_dev *probe_new(struct guest *g, uint16_t type) {
        struct probe_dev *p = g_new0(struct probe_dev, 1);

        virtio_dev_init(&p->vd, &probe_ops, "probe", "_probe0", type, g->mem, 2, 64);
        p->vd.device_features = PROBE_FEATURES;
        p->vd.config_len = PROBE_CONFIG_LEN;
        for (unsigned i = 0; i < PROBE_CONFIG_LEN; i++)
                p->config[i] = (uint8_t) (0xc0 + i);
        return p;
}

void probe_rig_up(struct probe_rig *r) {
        r->g = guest_new();
        r->p = probe_new(r->g, 30);
        r->d = guest_add(r->g, &r->p->vd, /* bar32 = */ false);
}

void probe_rig_down(struct probe_rig *r) {
        r->d = guest_dev_free(r->d);
        r->g = guest_free(r->g);
}

uint8_t probe_status(struct probe_rig *r) {
        return (uint8_t) guest_get(r->d, REG_STATUS, 1);
}

void probe_set_status(struct probe_rig *r, uint8_t v) {
        guest_set(r->d, REG_STATUS, v, 1);
}

uint64_t probe_kicks(struct probe_rig *r, unsigned i) {
        uint64_t n = 0;

        (void) !read(r->p->vd.queues[i].kick_fd, &n, sizeof(n));
        return n;
}

void probe_window(struct probe_rig *r, uint8_t bar, uint32_t offset, uint32_t len) {
        guest_write(r->g, r->d->ecam + r->d->window + 4, bar, 1);
        guest_write(r->g, r->d->ecam + r->d->window + 8, offset, 4);
        guest_write(r->g, r->d->ecam + r->d->window + 12, len, 4);
}
