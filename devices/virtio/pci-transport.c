/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * virtio over PCI (virtio 1.2, 4.1): one function with one BAR that holds the register blocks, the doorbells
 * and the MSI-X table, and the vendor capabilities that say where each is. Also the window through
 * configuration space (PCI_CFG, 4.1.4.9).
 *
 * Each queue has an eventfd that the hypervisor signals for the driver's write to its doorbell, so
 * no vCPU comes here for it. Interrupts go out through MSI-X from whichever thread has one; a
 * function without MSI-X switched on can be polled through the ISR byte, as there is no INTx.
 *
 * Locks: segment (configuration space), then common (registers). I/O threads take neither.
 */

#include "devices/virtio/pci-transport.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>

#include "devices/virtio/common.h"
#include "hypervisor/error.h"
#include "hypervisor/fd.h"

/* Layout of BAR0 (reference 3.2). */
#define BAR 0
#define BAR_BYTES 0x80000u
#define COMMON_AT 0x0u
#define ISR_AT 0x2000u
#define CONFIG_AT 0x4000u
#define CONFIG_BYTES 0x1000u
#define NOTIFY_AT 0x6000u
#define NOTIFY_BYTES 0x1000u
#define NOTIFY_MULTIPLIER 4u
#define TABLE_AT 0x8000u
#define PBA_AT 0x48000u

#define QUEUES_MAX (NOTIFY_BYTES / NOTIFY_MULTIPLIER)

#define CAP_VENDOR 0x09

/* virtio 1.2, 4.1.4 */
enum {
        CFG_COMMON = 1,
        CFG_NOTIFY = 2,
        CFG_ISR = 3,
        CFG_DEVICE = 4,
        CFG_PCI = 5,
};

enum {
        ISR_QUEUE = 1,
        ISR_CONFIG = 2,
};

/* A vendor capability after its id and next bytes. */
struct cap_body {
        uint8_t len, type, bar, id, padding[2];
        uint32_t offset, length;
        uint32_t more; /* notify: multiplier; PCI_CFG: data */
} __attribute__((packed));

#define CAP_BYTES 16u
#define CAP_BYTES_MORE 20u

/* Offsets in the PCI_CFG capability. */
enum {
        WINDOW_BAR = 4,
        WINDOW_OFFSET = 8,
        WINDOW_LENGTH = 12,
        WINDOW_DATA = 16,
};

struct virtio_pci {
        struct device dev;
        struct pci_device pci;
        struct virtio_dev *vd;
        struct virtio_common common;
        uint8_t window; /* offset of the PCI_CFG capability */
        _Atomic uint8_t isr;
};

static struct virtio_pci *of_device(struct device *dev) {
        return (struct virtio_pci *) dev;
}

static struct virtio_pci *of_pci(struct pci_device *pci) {
        return (struct virtio_pci *) ((char *) pci - G_STRUCT_OFFSET(struct virtio_pci, pci));
}

/* Interrupts */

static void interrupt(struct virtio_pci *t, uint16_t vector, uint8_t isr) {
        if (!msix_enabled(t->pci.msix))
                atomic_fetch_or(&t->isr, isr);
        else if (vector != VIRTQ_NO_VECTOR)
                msix_signal(t->pci.msix, vector);
}

static void on_queue_interrupt(struct virtio_dev *vd, struct virtq *q) {
        interrupt(vd->transport_opaque, __atomic_load_n(&q->vector, __ATOMIC_RELAXED), ISR_QUEUE);
}

static void config_interrupt(struct virtio_pci *t) {
        /* 2.1.2: not a word before DRIVER_OK. */
        if (atomic_load(&t->common.status) & VSTATUS_DRIVER_OK)
                interrupt(t, atomic_load(&t->common.config_vector), ISR_CONFIG);
}

static void on_config_changed(struct virtio_dev *vd) {
        struct virtio_pci *t = vd->transport_opaque;

        atomic_fetch_add(&t->common.generation, 1);
        config_interrupt(t);
}

static void on_needs_reset(struct virtio_dev *vd, const char *why) {
        struct virtio_pci *t = vd->transport_opaque;

        if (atomic_exchange(&t->common.broken, true))
                return;

        config_interrupt(t);
        if (t->common.event)
                t->common.event(t->common.event_opaque, vd->id, VIRTIO_EVENT_BROKEN, why);
}

static int on_queue_interrupt_fd(struct virtio_dev *vd, struct virtq *q) {
        struct virtio_pci *t = vd->transport_opaque;

        return msix_eventfd(t->pci.msix, __atomic_load_n(&q->vector, __ATOMIC_RELAXED));
}

static const struct virtio_transport_ops transport_ops = {
        .queue_interrupt = on_queue_interrupt,
        .config_changed = on_config_changed,
        .needs_reset = on_needs_reset,
        .queue_interrupt_fd = on_queue_interrupt_fd,
};

/* BAR0 */

static bool within(uint64_t offset, unsigned len, uint64_t start, uint64_t size) {
        return offset >= start && offset - start < size && len <= size - (offset - start);
}

/* Only where no doorbell took the write: another width, the window, or no more doorbells to be had. */
static void notify(struct virtio_pci *t, uint64_t offset) {
        uint64_t i = offset / NOTIFY_MULTIPLIER;

        if (offset % NOTIFY_MULTIPLIER == 0 && i < t->vd->n_queues)
                virtio_queue_kick(&t->vd->queues[i]);
}

static void bar_read(void *opaque, uint64_t offset, void *data, unsigned len) {
        struct virtio_pci *t = opaque;

        if (within(offset, len, COMMON_AT, VIRTIO_COMMON_BYTES))
                virtio_common_read(&t->common, (unsigned) (offset - COMMON_AT), data, len);
        else if (within(offset, len, CONFIG_AT, CONFIG_BYTES))
                virtio_common_config_read(&t->common, offset - CONFIG_AT, data, len);
        else if (msix_contains(t->pci.msix, offset))
                msix_read(t->pci.msix, offset, data, len);
        else {
                memset(data, 0, len);
                /* 4.1.4.5.1: reading takes it. */
                if (offset == ISR_AT && len == 1)
                        *(uint8_t *) data = atomic_exchange(&t->isr, 0);
        }
}

static void bar_write(void *opaque, uint64_t offset, const void *data, unsigned len) {
        struct virtio_pci *t = opaque;

        if (within(offset, len, COMMON_AT, VIRTIO_COMMON_BYTES))
                virtio_common_write(&t->common, (unsigned) (offset - COMMON_AT), data, len);
        else if (within(offset, len, CONFIG_AT, CONFIG_BYTES))
                virtio_common_config_write(&t->common, offset - CONFIG_AT, data, len);
        else if (within(offset, len, NOTIFY_AT, NOTIFY_BYTES))
                notify(t, offset - NOTIFY_AT);
        else if (msix_contains(t->pci.msix, offset))
                msix_write(t->pci.msix, offset, data, len);
}

static const struct io_ops bar_ops = {
        .read = bar_read,
        .write = bar_write,
};

/* The window: an access to its data register is one to the BAR (4.1.4.9). */

static uint32_t config32(const struct virtio_pci *t, unsigned offset) {
        uint32_t v;

        memcpy(&v, t->pci.config + t->window + offset, sizeof(v));
        return GUINT32_FROM_LE(v);
}

static unsigned window_data(const struct virtio_pci *t) {
        return (unsigned) t->window + WINDOW_DATA;
}

/* Where the window points; false when that is nowhere. */
static bool window_target(const struct virtio_pci *t, uint32_t *ret_offset, unsigned *ret_len) {
        uint32_t offset = config32(t, WINDOW_OFFSET), len = config32(t, WINDOW_LENGTH);

        if (t->pci.config[t->window + WINDOW_BAR] != BAR)
                return false;
        if ((len != 1 && len != 2 && len != 4) || offset % len != 0 || offset >= BAR_BYTES)
                return false;

        *ret_offset = offset;
        *ret_len = len;
        return true;
}

static void on_config_reading(struct pci_device *pci, unsigned offset, unsigned len) {
        struct virtio_pci *t = of_pci(pci);
        uint32_t target;
        unsigned target_len;

        if (offset == window_data(t) && window_target(t, &target, &target_len))
                bar_read(t, target, pci->config + offset, target_len);
}

static void on_config_written(struct pci_device *pci, unsigned offset, unsigned len) {
        struct virtio_pci *t = of_pci(pci);
        uint32_t target;
        unsigned target_len;

        if (offset == window_data(t) && window_target(t, &target, &target_len))
                bar_write(t, target, pci->config + offset, target_len);
}

static const struct pci_device_ops pci_ops = {
        .config_reading = on_config_reading,
        .config_written = on_config_written,
};

/* Set-up */

static uint8_t add_cap(struct virtio_pci *t, uint8_t type, uint32_t offset, uint32_t length) {
        struct cap_body body = {
                .len = CAP_BYTES,
                .type = type,
                .bar = BAR,
                .offset = GUINT32_TO_LE(offset),
                .length = GUINT32_TO_LE(length),
        };

        if (type == CFG_NOTIFY)
                body.more = GUINT32_TO_LE(NOTIFY_MULTIPLIER);
        if (type == CFG_NOTIFY || type == CFG_PCI)
                body.len = CAP_BYTES_MORE;

        return pci_add_capability(&t->pci, CAP_VENDOR, &body, body.len - 2);
}

static void add_caps(struct virtio_pci *t) {
        (void) add_cap(t, CFG_COMMON, COMMON_AT, VIRTIO_COMMON_BYTES);
        (void) add_cap(t, CFG_NOTIFY, NOTIFY_AT, NOTIFY_BYTES);
        (void) add_cap(t, CFG_ISR, ISR_AT, 1);
        (void) add_cap(t, CFG_DEVICE, CONFIG_AT, CONFIG_BYTES);
        t->window = add_cap(t, CFG_PCI, 0, 0);

        t->pci.wmask[t->window + WINDOW_BAR] = 0xff;
        memset(t->pci.wmask + t->window + WINDOW_OFFSET, 0xff, 12);
}

static void init_function(struct virtio_pci *t, bool bar32) {
        struct pci_ids ids = {
                .vendor = 0x1af4,
                .device = 0x1040 + t->vd->type,
                .subsystem_vendor = 0x1af4,
                .subsystem = 0x1040 + t->vd->type,
                .revision = 1,
                .class = 0xff,
                .subclass = 0xff,
        };

        if (t->vd->type == 1) {
                ids.class = 0x02; /* network, Ethernet */
                ids.subclass = 0x00;
        } else if (t->vd->type == 2) {
                ids.class = 0x01; /* storage, other */
                ids.subclass = 0x80;
        }

        pci_device_init(&t->pci, &pci_ops, &ids);
        pci_add_bar(&t->pci, BAR, bar32 ? PCI_BAR_MEM32 : PCI_BAR_MEM64, BAR_BYTES, &bar_ops, t);
        pci_add_msix(&t->pci, (uint16_t) (t->vd->n_queues + 1), BAR, TABLE_AT, PBA_AT);
        add_caps(t);
}

static bool make_kicks(struct virtio_dev *vd, GError **error) {
        for (unsigned i = 0; i < vd->n_queues; i++) {
                vd->queues[i].kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
                if (vd->queues[i].kick_fd < 0)
                        return hv_error_errno(error, errno, "%s: creating a doorbell", vd->id);
        }

        return true;
}

/* A doorbell that cannot be had costs time, not function: then the write comes to notify(). */
static void connect_doorbells(struct virtio_pci *t) {
        for (unsigned i = 0; i < t->vd->n_queues; i++)
                (void) pci_bar_add_doorbell(
                                &t->pci, BAR, NOTIFY_AT + i * NOTIFY_MULTIPLIER, 2,
                                t->vd->queues[i].kick_fd);
}

/* Life */

static void vpci_reset(struct device *dev) {
        struct virtio_pci *t = of_device(dev);

        virtio_common_reset(&t->common);
        atomic_store(&t->isr, 0);
        pci_reset(&t->pci);
}

static bool vpci_pause(struct device *dev, GError **error) {
        return virtio_common_pause(&of_device(dev)->common, error);
}

static void vpci_resume(struct device *dev) {
        virtio_common_resume(&of_device(dev)->common);
}

/* Version, ISR, function, common registers, the device's own part or an empty tuple. */
#define STATE_VERSION 1
#define STATE_TYPE "(uyvvv)"

static GVariant *vpci_save(struct device *dev) {
        struct virtio_pci *t = of_device(dev);
        GVariant *own = t->vd->ops->save ? t->vd->ops->save(t->vd) : g_variant_new("()");

        return g_variant_new(
                        STATE_TYPE, STATE_VERSION, atomic_load(&t->isr), pci_save(&t->pci),
                        virtio_common_save(&t->common), own);
}

static bool vpci_restore(struct device *dev, GVariant *state, GError **error) {
        struct virtio_pci *t = of_device(dev);
        g_autoptr(GVariant) pci = NULL, common = NULL, own = NULL;
        uint32_t version;
        uint8_t isr;

        if (!device_state_fits(dev, state, STATE_TYPE, STATE_VERSION, error))
                return false;

        g_variant_get(state, STATE_TYPE, &version, &isr, &pci, &common, &own);
        if (!pci_restore(&t->pci, pci, error)) {
                g_prefix_error(error, "%s: ", dev->id);
                return false;
        }
        if (!virtio_common_restore(&t->common, common, error))
                return false;
        if (t->vd->ops->restore && !t->vd->ops->restore(t->vd, own, error))
                return false;

        atomic_store(&t->isr, isr);
        return true;
}

static void vpci_counters(struct device *dev, device_counter_fn *fn, void *opaque) {
        struct virtio_dev *vd = of_device(dev)->vd;

        if (vd->ops->counters)
                vd->ops->counters(vd, fn, opaque);
}

static void vpci_free(struct device *dev) {
        struct virtio_pci *t = of_device(dev);

        /* Silent before its vectors go. */
        virtio_common_clear(&t->common);
        pci_detach(&t->pci);
        pci_device_release(&t->pci);
        for (unsigned i = 0; i < t->vd->n_queues; i++)
                chv_closep(&t->vd->queues[i].kick_fd);
        t->vd->ops->free(t->vd);
        device_release(dev);
        g_free(t);
}

static const struct device_ops device_ops = {
        .kind = "virtio-pci",
        .reset = vpci_reset,
        .pause = vpci_pause,
        .resume = vpci_resume,
        .save = vpci_save,
        .restore = vpci_restore,
        .counters = vpci_counters,
        .free = vpci_free,
};

struct device *
virtio_pci_new(const struct virtio_pci_config *config,
               struct virtio_dev *vd,
               virtio_event_fn *event,
               void *event_opaque,
               GError **error) {
        struct virtio_pci *t = g_new0(struct virtio_pci, 1);

        assert(config && config->segment && vd);
        assert(vd->n_queues <= QUEUES_MAX && vd->config_len <= CONFIG_BYTES);

        device_init(&t->dev, &device_ops, vd->id);
        t->vd = vd;
        vd->transport = &transport_ops;
        vd->transport_opaque = t;
        virtio_common_init(&t->common, vd, (uint16_t) (vd->n_queues + 1), event, event_opaque);
        init_function(t, config->bar32);

        if (!make_kicks(vd, error) || !pci_attach(config->segment, &t->pci, config->slot, error)) {
                device_free(&t->dev);
                return NULL;
        }

        connect_doorbells(t);
        return &t->dev;
}

struct pci_device *virtio_pci_function(struct device *dev) {
        return &of_device(dev)->pci;
}
