/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A virtio function on a PCI segment, driven by the input as a list of accesses: registers, the rest of the BAR,
 * configuration space, guest memory, notifications, and the machine's own pause, save, restore and reset in between. The
 * device copies what it reads to what it may write. One byte names the step, its operands follow; the input's end ends it.
 */

#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "devices/virtio/pci-transport.h"
#include "fake-intc.h"

#define RAM (1u << 20)
#define ECAM 0xe8000000u
#define QUEUES 3
#define CONFIG_LEN 13
#define LIVES_MAX 2

enum step {
        STEP_REGISTER,   /* offset (1), width (1), value (8) */
        STEP_BAR_READ,   /* offset (4), width (1) */
        STEP_BAR_WRITE,  /* offset (4), width (1), value (8) */
        STEP_ECAM_READ,  /* offset (2), width (1) */
        STEP_ECAM_WRITE, /* offset (2), width (1), value (8) */
        STEP_MEMORY,     /* address (4), length (1), bytes */
        STEP_NOTIFY,     /* queue (1) */
        STEP_LIFE,       /* which (1) */
        STEP_MAX,
};

struct input {
        const uint8_t *data;
        size_t left;
        unsigned lives; /* steps of the machine so far: they are slow, and few are as good as many */
};

static uint64_t take(struct input *in, size_t n) {
        uint64_t v = 0;

        n = MIN(n, in->left);
        memcpy(&v, in->data, n);
        in->data += n;
        in->left -= n;
        return GUINT64_FROM_LE(v);
}

/* The device: no thread, served between steps. */

struct echo {
        struct virtio_dev vd;
        bool running;
        uint8_t config[CONFIG_LEN];
        uint32_t own;
};

static struct echo *of_vd(struct virtio_dev *vd) {
        return (struct echo *) vd;
}

static bool echo_negotiated(struct virtio_dev *vd, uint64_t features) {
        return (features & 3) != 3;
}

static void echo_config_read(struct virtio_dev *vd, unsigned offset, void *data, unsigned len) {
        g_assert_cmpuint(offset + len, <=, CONFIG_LEN);
        memcpy(data, of_vd(vd)->config + offset, len);
}

static void
echo_config_write(struct virtio_dev *vd, unsigned offset, const void *data, unsigned len) {
        g_assert_cmpuint(offset + len, <=, CONFIG_LEN);
        memcpy(of_vd(vd)->config + offset, data, len);
        vd->transport->config_changed(vd);
}

static int echo_activate(struct virtio_dev *vd) {
        g_assert_false(of_vd(vd)->running);
        if (of_vd(vd)->config[0] == 0xee)
                return -1;
        of_vd(vd)->running = true;
        return 0;
}

static void echo_deactivate(struct virtio_dev *vd) {
        of_vd(vd)->running = false;
}

static bool echo_pause(struct virtio_dev *vd, GError **error) {
        g_assert_true(of_vd(vd)->running);
        of_vd(vd)->running = false;
        return true;
}

static void echo_resume(struct virtio_dev *vd) {
        g_assert_false(of_vd(vd)->running);
        of_vd(vd)->running = true;
}

static GVariant *echo_save(struct virtio_dev *vd) {
        return g_variant_new("(uu)", 1, of_vd(vd)->own);
}

static bool echo_restore(struct virtio_dev *vd, GVariant *state, GError **error) {
        uint32_t version;

        g_variant_get(state, "(uu)", &version, &of_vd(vd)->own);
        return true;
}

static void echo_free(struct virtio_dev *vd) {
        virtio_dev_release(vd);
        g_free(vd);
}

static const struct virtio_dev_ops echo_ops = {
        .negotiated = echo_negotiated,
        .config_read = echo_config_read,
        .config_write = echo_config_write,
        .activate = echo_activate,
        .deactivate = echo_deactivate,
        .pause = echo_pause,
        .resume = echo_resume,
        .save = echo_save,
        .restore = echo_restore,
        .free = echo_free,
};

static int64_t echo_chain(struct virtio_dev *vd, struct virtq *q, struct virtq_chain *c) {
        uint8_t buf[256];
        size_t n = iov_copy_out(c->iov, c->n_read, 0, buf, sizeof(buf));

        n = iov_copy_in(c->iov + c->n_read, c->n_write, 0, buf, n);
        virtq_mark_written(q, c, (uint32_t) n);
        virtq_push(q, c->token, (uint32_t) n);
        of_vd(vd)->own++;
        return c->read_len;
}

static void echo_serve(struct echo *e) {
        struct iovec iov[32];
        struct virtq_chain c = { .iov = iov, .iov_max = G_N_ELEMENTS(iov) };

        for (unsigned i = 0; e->running && i < QUEUES; i++) {
                virtio_queue_clear_kick(&e->vd.queues[i]);
                virtio_queue_serve(&e->vd, &e->vd.queues[i], &c, echo_chain);
        }
}

/* The machine */

static struct {
        gmem *mem;
        bus *mmio;
        struct fake_intc *intc;
        pci_segment *segment;
        struct echo *echo;
        struct device *dev;
        unsigned n_broken;
} m;

static void on_event(void *opaque, const char *id, enum virtio_event event, const char *why) {
        if (event == VIRTIO_EVENT_BROKEN)
                m.n_broken++;
}

static void up(void) {
        const struct gmem_backing backing = {};
        struct pci_segment_config config;
        struct virtio_pci_config vpci = { .slot = -1 };

        m.mem = gmem_new();
        if (!gmem_add(m.mem, GADDR(0), RAM, &backing, /* error= */ NULL))
                abort();
        m.mmio = bus_new("mmio", /* doorbells= */ NULL, /* opaque= */ NULL);
        m.intc = fake_intc_new();
        config = (struct pci_segment_config){
                .layout = {
                        .ecam = { .base = ECAM, .size = 1u << 20 },
                        .mmio32 = { .base = 0xc0000000u, .size = 0x10000000u },
                        .mmio64 = { .base = 0x4000000000u, .size = 0x1000000000u },
                },
                .mmio = m.mmio,
                .intc = &m.intc->intc,
        };
        m.segment = pci_segment_new(&config, /* error= */ NULL);

        m.echo = g_new0(struct echo, 1);
        virtio_dev_init(&m.echo->vd, &echo_ops, "echo", "_echo0", 30, m.mem, QUEUES, 16);
        m.echo->vd.device_features = 0x13;
        m.echo->vd.config_len = CONFIG_LEN;
        vpci.segment = m.segment;
        m.dev = virtio_pci_new(
                        &vpci, &m.echo->vd, on_event, /* event_opaque= */ NULL, /* error= */ NULL);
        if (!m.dev)
                abort();
}

/* Power on: whatever the last input did is gone. */
static void begin(void) {
        if (!m.dev)
                up();
        m.dev->ops->reset(m.dev);
        g_assert_false(m.echo->running);
        memset(m.echo->config, 0, CONFIG_LEN);
        m.echo->own = 0;
        gmem_zero(m.mem, GADDR(0), RAM);
}

static void life(unsigned which) {
        g_autoptr(GError) error = NULL;
        g_autoptr(GVariant) state = NULL;
        g_autoptr(GVariant) again = NULL;

        if (which % 4 == 0) {
                m.dev->ops->reset(m.dev);
                return;
        }

        g_assert_true(m.dev->ops->pause(m.dev, &error));
        if (which % 4 == 1) {
                state = g_variant_ref_sink(m.dev->ops->save(m.dev));
                m.dev->ops->reset(m.dev);
                /* Whatever state a guest gets us into can be saved, and is the same after. */
                if (!m.dev->ops->restore(m.dev, state, &error))
                        g_error("%s", error->message);
                again = g_variant_ref_sink(m.dev->ops->save(m.dev));
                g_assert_cmpmem(g_variant_get_data(state), g_variant_get_size(state),
                                g_variant_get_data(again), g_variant_get_size(again));
        }
        m.dev->ops->resume(m.dev);
}

static uint64_t bar(void) {
        return virtio_pci_function(m.dev)->bars[0].addr;
}

static uint64_t ecam(uint64_t offset) {
        return ECAM + ((uint64_t) virtio_pci_function(m.dev)->slot << 15) + offset % 4096;
}

static void touch(uint64_t addr, unsigned width, bool write, uint64_t value) {
        unsigned len = 1u << width % 4;

        value = GUINT64_TO_LE(value);
        if (write)
                bus_write(m.mmio, addr, &value, len);
        else
                bus_read(m.mmio, addr, &value, len);
}

static void memory(struct input *in) {
        uint64_t addr = take(in, 4);
        size_t n = (size_t) take(in, 1);

        n = MIN(n, in->left);
        (void) gmem_write(m.mem, GADDR(addr % RAM), in->data, n);
        in->data += n;
        in->left -= n;
}

static void step(struct input *in) {
        uint64_t offset;
        unsigned width;

        switch ((enum step)(take(in, 1) % STEP_MAX)) {
        case STEP_REGISTER:
                offset = take(in, 1) % 64;
                width = (unsigned) take(in, 1);
                touch(bar() + offset, width, true, take(in, 8));
                touch(bar() + offset, width, false, 0);
                break;
        case STEP_BAR_READ:
                offset = take(in, 4) % 0x80000;
                touch(bar() + offset, (unsigned) take(in, 1), false, 0);
                break;
        case STEP_BAR_WRITE:
                offset = take(in, 4) % 0x80000;
                width = (unsigned) take(in, 1);
                touch(bar() + offset, width, true, take(in, 8));
                break;
        case STEP_ECAM_READ:
                offset = take(in, 2);
                touch(ecam(offset), (unsigned) take(in, 1), false, 0);
                break;
        case STEP_ECAM_WRITE:
                offset = take(in, 2);
                width = (unsigned) take(in, 1);
                touch(ecam(offset), width, true, take(in, 8));
                break;
        case STEP_MEMORY:
                memory(in);
                break;
        case STEP_NOTIFY:
                touch(bar() + 0x6000 + 4 * (take(in, 1) % (QUEUES + 1)), 1, true, 0);
                echo_serve(m.echo);
                break;
        case STEP_LIFE:
                width = (unsigned) take(in, 1);
                if (in->lives++ < LIVES_MAX)
                        life(width);
                break;
        case STEP_MAX:
                break;
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        struct input in = { .data = data, .left = size };
        struct msi_msg msg;

        begin();
        while (in.left > 0)
                step(&in);
        while (fake_intc_take(m.intc, &msg))
                ;
        return 0;
}
