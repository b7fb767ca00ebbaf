/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The guest side of virtio over PCI (guest.h), written from virtio 1.2, 3.1 and 4.1.
 */

#include "guest.h"

#include <string.h>

#define MMIO32_BASE 0xc0000000u
#define MMIO32_SIZE 0x10000000u
#define MMIO64_BASE 0x4000000000u
#define MMIO64_SIZE 0x4000000000u

#define PCI_COMMAND_REG 0x04
#define PCI_BAR0_REG 0x10
#define PCI_CAPS_REG 0x34
#define CAP_MSIX 0x11
#define CAP_VENDOR 0x09

struct guest *guest_new(void) {
        struct guest *g = g_new0(struct guest, 1);
        struct iothread_config thread = { .name = "virtio-test" };
        struct gmem_backing backing = { 0 };
        g_autoptr(GError) error = NULL;
        struct pci_segment_config config = { 0 };

        g->mem = gmem_new();
        gmem_add(g->mem, GADDR(0), GUEST_RAM, &backing, &error);
        g_assert_no_error(error);
        g->free_addr = 4096;
        g->mmio = bus_new("mmio", /* doorbells = */ NULL, /* opaque = */ NULL);
        g->intc = fake_intc_new();
        g->thread = iothread_new(&thread, &error);
        g_assert_no_error(error);

        config = (struct pci_segment_config){
                .layout = {
                        .ecam = { .base = GUEST_ECAM, .size = 1u << 20 },
                        .mmio32 = { .base = MMIO32_BASE, .size = MMIO32_SIZE },
                        .mmio64 = { .base = MMIO64_BASE, .size = MMIO64_SIZE },
                },
                .mmio = g->mmio,
                .intc = &g->intc->intc,
        };
        g->segment = pci_segment_new(&config, &error);
        g_assert_no_error(error);
        return g;
}

struct guest *guest_free(struct guest *g) {
        if (!g)
                return NULL;

        g->segment = pci_segment_free(g->segment);
        g->thread = iothread_free(g->thread);
        g->mmio = bus_free(g->mmio);
        g->intc = fake_intc_free(g->intc);
        g->mem = gmem_free(g->mem);
        g_free(g);
        return NULL;
}

gaddr guest_alloc(struct guest *g, uint64_t bytes, uint64_t align) {
        uint64_t at = (g->free_addr + align - 1) / align * align;

        g_assert_cmpuint(at + bytes, <=, GUEST_RAM);
        g->free_addr = at + bytes;
        return GADDR(at);
}

void *guest_at(struct guest *g, gaddr addr, uint64_t len) {
        void *host = gmem_map(g->mem, addr, len, true);

        g_assert_nonnull(host);
        return host;
}

uint64_t guest_read(struct guest *g, uint64_t addr, unsigned len) {
        uint64_t value = UINT64_MAX;

        bus_read(g->mmio, addr, &value, len);
        value = GUINT64_FROM_LE(value);
        return len == 8 ? value : value & ((1ull << 8 * len) - 1);
}

void guest_write(struct guest *g, uint64_t addr, uint64_t value, unsigned len) {
        value = GUINT64_TO_LE(value);
        bus_write(g->mmio, addr, &value, len);
}

static void on_event(void *opaque, const char *id, enum virtio_event event, const char *why) {
        struct guest *g = opaque;

        g_assert_nonnull(id);
        g_assert_true((event == VIRTIO_EVENT_BROKEN) == (why != NULL));
        switch (event) {
        case VIRTIO_EVENT_ACTIVATED:
                atomic_fetch_add(&g->n_activated, 1);
                break;
        case VIRTIO_EVENT_RESET:
                atomic_fetch_add(&g->n_reset, 1);
                break;
        case VIRTIO_EVENT_BROKEN:
                atomic_fetch_add(&g->n_broken, 1);
                break;
        }
}

static void take_vendor_cap(struct guest_dev *d, unsigned cap) {
        uint64_t at = d->ecam + cap;
        uint64_t offset = guest_read(d->g, at + 8, 4);

        switch (guest_read(d->g, at + 3, 1)) {
        case 1:
                d->common = d->bar + offset;
                g_assert_cmpuint(guest_read(d->g, at + 12, 4), >=, 56);
                break;
        case 2:
                d->notify = d->bar + offset;
                g_assert_cmpuint(guest_read(d->g, at + 2, 1), ==, 20);
                d->notify_multiplier = (uint32_t) guest_read(d->g, at + 16, 4);
                break;
        case 3:
                d->isr = d->bar + offset;
                break;
        case 4:
                d->config = d->bar + offset;
                break;
        case 5:
                d->window = (uint8_t) cap;
                break;
        }
}

static void probe(struct guest_dev *d, struct virtio_dev *vd) {
        uint64_t bar;

        g_assert_cmphex(guest_read(d->g, d->ecam, 2), ==, 0x1af4);
        g_assert_cmphex(guest_read(d->g, d->ecam + 2, 2), ==, 0x1040u + vd->type);
        g_assert_cmphex(guest_read(d->g, d->ecam + 8, 1), ==, 1);

        bar = guest_read(d->g, d->ecam + PCI_BAR0_REG, 4);
        d->bar = bar & ~0xfull;
        if ((bar & 6) == 4)
                d->bar |= guest_read(d->g, d->ecam + PCI_BAR0_REG + 4, 4) << 32;
        guest_write(d->g, d->ecam + PCI_COMMAND_REG, 6, 2);

        for (unsigned cap = (unsigned) guest_read(d->g, d->ecam + PCI_CAPS_REG, 1); cap != 0;
             cap = (unsigned) guest_read(d->g, d->ecam + cap + 1, 1))
                if (guest_read(d->g, d->ecam + cap, 1) == CAP_VENDOR)
                        take_vendor_cap(d, cap);
        g_assert_true(d->common && d->notify && d->isr && d->config && d->window);

        d->n_queues = (uint16_t) guest_get(d, REG_NUM_QUEUES, 2);
        g_assert_cmpuint(d->n_queues, ==, vd->n_queues);
        g_assert_cmpuint(d->n_queues, <=, GUEST_QUEUES);
}

struct guest_dev *guest_add(struct guest *g, struct virtio_dev *vd, bool bar32) {
        struct virtio_pci_config config = { .segment = g->segment, .slot = -1, .bar32 = bar32 };
        struct guest_dev *d = g_new0(struct guest_dev, 1);
        g_autoptr(GError) error = NULL;

        if (g_getenv("CHV_TEST_PACKED"))
                vd->device_features |= F_RING_PACKED;
        d->g = g;
        d->dev = virtio_pci_new(&config, vd, on_event, g, &error);
        g_assert_no_error(error);
        d->ecam = GUEST_ECAM + ((uint64_t) virtio_pci_function(d->dev)->slot << 15);
        d->msi_base = g->free_msi;
        g->free_msi += vd->n_queues + 1;
        g_assert_cmpuint(g->free_msi, <=, G_N_ELEMENTS(g->msi_counts));
        probe(d, vd);
        return d;
}

static void clear_rings(struct guest_dev *d) {
        for (unsigned i = 0; i < GUEST_QUEUES; i++)
                drv_ring_clear(&d->rings[i]);
}

struct guest_dev *guest_dev_free(struct guest_dev *d) {
        if (!d)
                return NULL;

        d->dev = device_free(d->dev);
        clear_rings(d);
        g_free(d);
        return NULL;
}

uint64_t guest_get(struct guest_dev *d, unsigned offset, unsigned len) {
        return guest_read(d->g, d->common + offset, len);
}

void guest_set(struct guest_dev *d, unsigned offset, uint64_t value, unsigned len) {
        guest_write(d->g, d->common + offset, value, len);
}

uint64_t guest_features(struct guest_dev *d) {
        uint64_t features = 0;

        for (unsigned i = 0; i < 2; i++) {
                guest_set(d, REG_DEVICE_FEATURE_SELECT, i, 4);
                features |= guest_get(d, REG_DEVICE_FEATURE, 4) << 32 * i;
        }
        return features;
}

void guest_reset(struct guest_dev *d) {
        guest_set(d, REG_STATUS, 0, 1);
        while (guest_get(d, REG_STATUS, 1) != 0)
                g_thread_yield();
        clear_rings(d);
}

bool guest_negotiate(struct guest_dev *d, uint64_t features) {
        uint8_t status = STATUS_ACKNOWLEDGE;

        guest_reset(d);
        guest_set(d, REG_STATUS, status, 1);
        status |= STATUS_DRIVER;
        guest_set(d, REG_STATUS, status, 1);
        for (unsigned i = 0; i < 2; i++) {
                guest_set(d, REG_DRIVER_FEATURE_SELECT, i, 4);
                guest_set(d, REG_DRIVER_FEATURE, features >> 32 * i & 0xffffffffu, 4);
        }
        status |= STATUS_FEATURES_OK;
        guest_set(d, REG_STATUS, status, 1);
        return guest_get(d, REG_STATUS, 1) == status;
}

static unsigned find_cap(struct guest_dev *d, uint8_t id) {
        for (unsigned cap = (unsigned) guest_read(d->g, d->ecam + PCI_CAPS_REG, 1); cap != 0;
             cap = (unsigned) guest_read(d->g, d->ecam + cap + 1, 1))
                if (guest_read(d->g, d->ecam + cap, 1) == id)
                        return cap;
        g_assert_not_reached();
}

void guest_msix(struct guest_dev *d) {
        uint64_t cap = d->ecam + find_cap(d, CAP_MSIX);
        uint64_t table = d->bar + (guest_read(d->g, cap + 4, 4) & ~7ull);

        guest_write(d->g, cap + 2, 0x8000, 2);
        for (unsigned v = 0; v <= d->n_queues; v++) {
                guest_write(d->g, table + 16 * v, GUEST_MSI_ADDR, 4);
                guest_write(d->g, table + 16 * v + 4, 0, 4);
                guest_write(d->g, table + 16 * v + 8, d->msi_base + v, 4);
                guest_write(d->g, table + 16 * v + 12, 0, 4);
        }

        guest_set(d, REG_CONFIG_VECTOR, 0, 2);
        g_assert_cmpuint(guest_get(d, REG_CONFIG_VECTOR, 2), ==, 0);
        for (unsigned i = 0; i < d->n_queues; i++) {
                guest_set(d, REG_QUEUE_SELECT, i, 2);
                guest_set(d, REG_QUEUE_VECTOR, i + 1, 2);
                g_assert_cmpuint(guest_get(d, REG_QUEUE_VECTOR, 2), ==, i + 1);
        }
}

static void set64(struct guest_dev *d, unsigned offset, uint64_t value) {
        guest_set(d, offset, value & 0xffffffffu, 4);
        guest_set(d, offset + 4, value >> 32, 4);
}

void guest_queue(
                struct guest_dev *d,
                unsigned i,
                uint16_t size,
                uint16_t table_max,
                uint64_t features) {
        struct drv_ring *ring = &d->rings[i];

        guest_set(d, REG_QUEUE_SELECT, i, 2);
        if (size == 0)
                size = (uint16_t) guest_get(d, REG_QUEUE_SIZE, 2);
        else
                guest_set(d, REG_QUEUE_SIZE, size, 2);

        drv_ring_clear(ring);
        (features & F_RING_PACKED ? drv_ring_init_packed : drv_ring_init)(
                        ring, d->g->mem, guest_alloc(d->g, drv_ring_bytes(size, table_max), 16),
                        size, table_max, features & F_EVENT_IDX);
        set64(d, REG_QUEUE_DESC, ring->desc.v);
        set64(d, REG_QUEUE_DRIVER, ring->avail.v);
        set64(d, REG_QUEUE_DEVICE, ring->used.v);
        guest_set(d, REG_QUEUE_ENABLE, 1, 2);
}

void guest_driver_ok(struct guest_dev *d) {
        guest_set(d, REG_STATUS, guest_get(d, REG_STATUS, 1) | STATUS_DRIVER_OK, 1);
}

void guest_start(struct guest_dev *d, uint64_t features) {
        features |= F_VERSION_1;
        if (g_getenv("CHV_TEST_PACKED"))
                features |= F_RING_PACKED;
        g_assert_true(guest_negotiate(d, features));
        guest_msix(d);
        for (unsigned i = 0; i < d->n_queues; i++)
                guest_queue(d, i, 0, features & F_INDIRECT ? 8 : 0, features);
        guest_driver_ok(d);
        g_assert_cmphex(guest_get(d, REG_STATUS, 1), ==, 0xf);
}

void guest_notify(struct guest_dev *d, unsigned i) {
        guest_set(d, REG_QUEUE_SELECT, i, 2);
        guest_write(d->g, d->notify + guest_get(d, REG_QUEUE_NOTIFY_OFF, 2) * d->notify_multiplier,
                    i, 2);
}

void guest_kick(struct guest_dev *d, unsigned i) {
        if (drv_publish(&d->rings[i]))
                guest_notify(d, i);
}

static void count(struct guest *g, const struct msi_msg *msg) {
        g_assert_cmphex(msg->addr, ==, GUEST_MSI_ADDR);
        g_assert_cmpuint(msg->data, <, G_N_ELEMENTS(g->msi_counts));
        g->msi_counts[msg->data]++;
}

unsigned guest_interrupts(struct guest_dev *d, unsigned v) {
        struct msi_msg msg;

        while (fake_intc_take(d->g->intc, &msg))
                count(d->g, &msg);
        return d->g->msi_counts[d->msi_base + v];
}

void guest_wait_interrupt(struct guest_dev *d, unsigned v, unsigned seen) {
        struct msi_msg msg;

        while (guest_interrupts(d, v) <= seen) {
                g_assert_true(fake_intc_wait(d->g->intc, GUEST_TIMEOUT_MS, &msg));
                count(d->g, &msg);
        }
}

void guest_wait_used(struct guest_dev *d, unsigned i, void **ret_cookie, uint32_t *ret_len) {
        for (;;) {
                unsigned seen = guest_interrupts(d, i + 1);

                drv_disable_interrupts(&d->rings[i]);
                if (drv_take(&d->rings[i], ret_cookie, ret_len))
                        return;
                if (!drv_enable_interrupts(&d->rings[i]))
                        guest_wait_interrupt(d, i + 1, seen);
        }
}

void guest_wait_status(struct guest_dev *d, uint8_t bits) {
        gint64 end = g_get_monotonic_time() + GUEST_TIMEOUT_MS * 1000ll;

        while ((guest_get(d, REG_STATUS, 1) & bits) != bits) {
                g_assert_cmpint(g_get_monotonic_time(), <, end);
                g_usleep(100);
        }
}
