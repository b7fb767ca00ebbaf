/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * IOAPIC (Intel 82093AA data sheet) in front of the hypervisor's local APICs: each pin has an entry that says
 * which message a raised line becomes.
 *
 * Edge pins send on each rise. Level pins send when the line is high and the entry's remote IRR clear, which
 * sending sets and the EOI of the vector clears. A rise that a mask hid is sent on unmasking if the line is
 * still high (where the 82093AA would forget it), so that no device whose line stays up until it is served is left
 * unheard.
 *
 * The hypervisor is told each pin's message, to know whose EOIs to report: while the pin is unmasked, and on
 * while its interrupt is in service, for a guest may mask it in between.
 *
 * The lock covers everything; messages are sent after it is dropped.
 */

#include <assert.h>
#include <string.h>

#include "devices/guard.h"
#include "devices/legacy/legacy.h"
#include "hypervisor/error.h"

#define STATE_VERSION 1
#define STATE_TYPE "(uyya(tbb))"

#define REGION_SIZE 0x20u
#define OFFSET_SELECT 0x00u
#define OFFSET_WINDOW 0x10u

enum {
        REG_ID = 0x00,
        REG_VERSION = 0x01,
        REG_ARBITRATION = 0x02,
        REG_ENTRIES = 0x10, /* two words each */
};

/* 24 entries, version 0x11: no EOI register. */
#define VERSION_VALUE ((ARCH_N_IOAPIC_PINS - 1u) << 16 | 0x11u)

#define ENTRY_VECTOR 0xffull
#define ENTRY_DELIVERY 0x700ull
#define ENTRY_LOGICAL (1ull << 11)
#define ENTRY_REMOTE_IRR (1ull << 14)
#define ENTRY_LEVEL (1ull << 15)
#define ENTRY_MASKED (1ull << 16)
/* All but delivery status and remote IRR; of the upper half, destination and extended destination. */
#define ENTRY_WRITABLE 0xfffe00000001afffull

struct ioapic;

struct pin {
        struct irq_line line; /* first: what devices hold */
        struct ioapic *owner;
        uint64_t entry;
        bool level;  /* of the line */
        bool missed; /* edge: rose while masked and is still high */
        bool routed;
        struct msi_msg route; /* as the hypervisor knows it; when routed */
};

struct ioapic {
        struct device dev;
        bus *mmio;
        bus_region *region;
        struct intc *intc;

        pthread_mutex_t lock; /* for what follows */
        uint8_t id;
        uint8_t select;
        struct pin pins[ARCH_N_IOAPIC_PINS];
};

/* Messages to be sent when the lock is dropped. */
struct outbox {
        struct {
                struct msi_msg msg;
                struct pin *pin;
        } items[ARCH_N_IOAPIC_PINS];
        unsigned n;
};

/* Entry bits 63 to 49 are address bits 19 to 5: destination, and its extension to 15 bits (KVM_FEATURE_MSI_EXT_DEST_ID). Bit 4,
 * the format of interrupt remapping, stays 0. */
static struct msi_msg message(uint64_t entry) {
        return (struct msi_msg){
                .addr = 0xfee00000u | (entry >> 49 << 5) | (entry & ENTRY_LOGICAL ? 1u << 2 : 0),
                .data = (uint32_t) (entry & (ENTRY_VECTOR | ENTRY_DELIVERY)) |
                        (entry & ENTRY_LEVEL ? 1u << 15 | 1u << 14 /* assert */ : 0),
        };
}

static void send_all(struct ioapic *io, struct outbox *out) {
        for (unsigned i = 0; i < out->n; i++) {
                if (io->intc->ops->msi_send(io->intc, &out->items[i].msg) >= 0)
                        continue;

                /* Nobody got it, so nobody will end it. */
                GUARD(&io->lock);
                out->items[i].pin->entry &= ~ENTRY_REMOTE_IRR;
        }
}

static void deliver(struct pin *p, struct outbox *out) {
        if (p->entry & ENTRY_LEVEL)
                p->entry |= ENTRY_REMOTE_IRR;
        p->missed = false;
        out->items[out->n].msg = message(p->entry);
        out->items[out->n++].pin = p;
}

/* Sends if the line's state and the entry call for it. */
static void evaluate(struct pin *p, struct outbox *out) {
        if (p->entry & ENTRY_MASKED || !p->level)
                return;
        if (p->entry & ENTRY_LEVEL ? !(p->entry & ENTRY_REMOTE_IRR) : p->missed)
                deliver(p, out);
}

static void update_route(struct ioapic *io, struct pin *p) {
        unsigned n = (unsigned) (p - io->pins);
        struct msi_msg msg = message(p->entry);
        bool want = !(p->entry & ENTRY_MASKED) || p->entry & ENTRY_REMOTE_IRR;

        if (!want && p->routed) {
                (void) io->intc->ops->pin_set(io->intc, n, NULL /* msg */);
                p->routed = false;
        } else if (want && (!p->routed || msg.addr != p->route.addr || msg.data != p->route.data)) {
                p->routed = io->intc->ops->pin_set(io->intc, n, &msg) >= 0;
                p->route = msg;
        }
}

static void line_set(struct irq_line *line, bool level) {
        struct pin *p = (struct pin *) line;
        struct ioapic *io = p->owner;
        struct outbox out = { .n = 0 };

        {
                GUARD(&io->lock);
                if (p->level == level)
                        return;
                p->level = level;
                p->missed = level && !(p->entry & ENTRY_LEVEL);
                evaluate(p, &out);
        }
        send_all(io, &out);
}

void ioapic_eoi(struct device *ioapic, unsigned vector) {
        struct ioapic *io = (struct ioapic *) ioapic;
        struct outbox out = { .n = 0 };

        {
                GUARD(&io->lock);
                for (unsigned i = 0; i < ARCH_N_IOAPIC_PINS; i++) {
                        struct pin *p = &io->pins[i];

                        if (!(p->entry & ENTRY_REMOTE_IRR) || (p->entry & ENTRY_VECTOR) != vector)
                                continue;
                        p->entry &= ~ENTRY_REMOTE_IRR;
                        evaluate(p, &out);
                        update_route(io, p);
                }
        }
        send_all(io, &out);
}

static uint32_t read_register(const struct ioapic *io, unsigned reg) {
        switch (reg) {
        case REG_ID:
        case REG_ARBITRATION:
                return (uint32_t) io->id << 24;
        case REG_VERSION:
                return VERSION_VALUE;
        default:
                if (reg < REG_ENTRIES || (reg - REG_ENTRIES) / 2 >= ARCH_N_IOAPIC_PINS)
                        return 0;
                return (uint32_t) (io->pins[(reg - REG_ENTRIES) / 2].entry >> reg % 2 * 32);
        }
}

static void
write_entry(struct ioapic *io, struct pin *p, bool upper, uint32_t v, struct outbox *out) {
        uint64_t half = upper ? 0xffffffff00000000ull : 0x00000000ffffffffull;
        uint64_t mask = ENTRY_WRITABLE & half;

        p->entry = (p->entry & ~mask) | ((upper ? (uint64_t) v << 32 : v) & mask);
        /* An edge entry has none; software without an EOI register clears it by way of this. */
        if (!(p->entry & ENTRY_LEVEL))
                p->entry &= ~ENTRY_REMOTE_IRR;
        else
                p->missed = false;

        /* The route first: an EOI could not be reported before the hypervisor knows the vector. */
        update_route(io, p);
        evaluate(p, out);
}

static void write_register(struct ioapic *io, unsigned reg, uint32_t v, struct outbox *out) {
        if (reg == REG_ID)
                io->id = v >> 24 & 0x0f;
        else if (reg >= REG_ENTRIES && (reg - REG_ENTRIES) / 2 < ARCH_N_IOAPIC_PINS)
                write_entry(io, &io->pins[(reg - REG_ENTRIES) / 2], reg % 2, v, out);
}

static void ioapic_read(void *opaque, uint64_t offset, void *data, unsigned len) {
        struct ioapic *io = opaque;
        uint32_t v = 0;

        GUARD(&io->lock);
        memset(data, 0, len);
        if (offset == OFFSET_SELECT)
                v = io->select;
        else if (offset == OFFSET_WINDOW)
                v = read_register(io, io->select);
        memcpy(data, &v, MIN(len, 4));
}

static void ioapic_write(void *opaque, uint64_t offset, const void *data, unsigned len) {
        struct ioapic *io = opaque;
        struct outbox out = { .n = 0 };
        uint32_t v = 0;

        memcpy(&v, data, MIN(len, 4));
        {
                GUARD(&io->lock);
                if (offset == OFFSET_SELECT)
                        io->select = (uint8_t) v;
                else if (offset == OFFSET_WINDOW && len >= 4)
                        write_register(io, io->select, v, &out);
        }
        send_all(io, &out);
}

static void ioapic_reset(struct device *dev) {
        struct ioapic *io = (struct ioapic *) dev;

        GUARD(&io->lock);
        io->id = 0;
        io->select = 0;
        for (unsigned i = 0; i < ARCH_N_IOAPIC_PINS; i++) {
                io->pins[i].entry = ENTRY_MASKED;
                io->pins[i].missed = false;
                update_route(io, &io->pins[i]);
        }
}

static bool ioapic_pause(struct device *dev, GError **error) {
        return true;
}

static void ioapic_resume(struct device *dev) {
}

static GVariant *ioapic_save(struct device *dev) {
        struct ioapic *io = (struct ioapic *) dev;
        GVariantBuilder pins;

        GUARD(&io->lock);
        g_variant_builder_init(&pins, G_VARIANT_TYPE("a(tbb)"));
        for (unsigned i = 0; i < ARCH_N_IOAPIC_PINS; i++)
                g_variant_builder_add(
                                &pins, "(tbb)", io->pins[i].entry, io->pins[i].level,
                                io->pins[i].missed);
        return g_variant_new("(uyya(tbb))", STATE_VERSION, io->id, io->select, &pins);
}

static bool pin_valid(uint64_t entry, bool level, bool missed) {
        return !(entry & ~(ENTRY_WRITABLE | ENTRY_REMOTE_IRR)) &&
               (entry & ENTRY_LEVEL || !(entry & ENTRY_REMOTE_IRR)) && (level || !missed);
}

static bool ioapic_restore(struct device *dev, GVariant *state, GError **error) {
        struct ioapic *io = (struct ioapic *) dev;
        g_autoptr(GVariant) pins = NULL;
        uint64_t entry;
        gboolean level, missed;
        uint8_t id, select;
        bool valid;

        if (!device_state_fits(dev, state, STATE_TYPE, STATE_VERSION, error))
                return false;

        g_variant_get(state, "(uyy@a(tbb))", NULL /* version */, &id, &select, &pins);
        valid = id <= 0x0f && g_variant_n_children(pins) == ARCH_N_IOAPIC_PINS;
        for (unsigned i = 0; valid && i < ARCH_N_IOAPIC_PINS; i++) {
                g_variant_get_child(pins, i, "(tbb)", &entry, &level, &missed);
                valid = pin_valid(entry, level, missed);
        }
        if (!valid) {
                g_set_error(error, HV_ERROR, HV_ERROR_STATE, "%s: state is damaged", dev->id);
                return false;
        }

        GUARD(&io->lock);
        io->id = id;
        io->select = select;
        for (unsigned i = 0; i < ARCH_N_IOAPIC_PINS; i++) {
                struct pin *p = &io->pins[i];

                g_variant_get_child(pins, i, "(tbb)", &p->entry, &level, &missed);
                p->level = level;
                p->missed = missed;
                update_route(io, p);
        }
        return true;
}

static void ioapic_free(struct device *dev) {
        struct ioapic *io = (struct ioapic *) dev;

        bus_remove(io->mmio, io->region);
        (void) pthread_mutex_destroy(&io->lock);
        device_release(dev);
        g_free(io);
}

struct device *ioapic_new(bus *mmio, uint64_t base, struct intc *intc, GError **error) {
        static const struct device_ops ops = {
                .kind = "ioapic",
                .reset = ioapic_reset,
                .pause = ioapic_pause,
                .resume = ioapic_resume,
                .save = ioapic_save,
                .restore = ioapic_restore,
                .free = ioapic_free,
        };
        static const struct io_ops io_ops = { .read = ioapic_read, .write = ioapic_write };
        struct ioapic *io;

        assert(mmio && intc);

        io = g_new0(struct ioapic, 1);
        device_init(&io->dev, &ops, "__ioapic");
        io->mmio = mmio;
        io->intc = intc;
        (void) pthread_mutex_init(&io->lock, NULL);
        for (unsigned i = 0; i < ARCH_N_IOAPIC_PINS; i++) {
                io->pins[i].line.set = line_set;
                io->pins[i].owner = io;
                io->pins[i].entry = ENTRY_MASKED;
        }

        io->region = bus_add(mmio, "ioapic", base, REGION_SIZE, &io_ops, io, error);
        if (!io->region) {
                ioapic_free(&io->dev);
                return NULL;
        }
        return &io->dev;
}

struct irq_line *ioapic_line(struct device *ioapic, unsigned pin) {
        struct ioapic *io = (struct ioapic *) ioapic;

        assert(pin < ARCH_N_IOAPIC_PINS);
        return &io->pins[pin].line;
}
