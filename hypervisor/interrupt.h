/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * What a device sees of interrupts: a line to raise and lower, or a message to signal. The machine
 * implements it over the hypervisor (hypervisor/vm.h: hv_vm_intc()), tests over plain eventfds.
 */

/* A wire into an interrupt controller. Any thread. The controller embeds it and decides edge or level. */
struct irq_line {
        void (*set)(struct irq_line *line, bool level);
};

static inline void irq_line_set(struct irq_line *line, bool level) {
        line->set(line, level);
}

/* Raises and lowers: what an edge-triggered source does. */
static inline void irq_line_pulse(struct irq_line *line) {
        line->set(line, true);
        line->set(line, false);
}

/* A message-signalled interrupt as the device writes it (PCI Local Bus 3.0, 6.8). */
struct msi_msg {
        uint64_t addr;
        uint32_t data;
        uint32_t devid; /* requester id: segment << 16 | bus << 8 | devfn */
};

/* One source of messages: writing to eventfd (8 bytes, value 1) delivers the message last set. */
struct msi_source {
        int eventfd;  /* owned by the controller */
        uint32_t gsi; /* the controller's own handle */
};

struct intc;

struct intc_ops {
        /* Reserves n sources. 0 or negative errno; nothing stays reserved on failure. */
        int (*msi_alloc)(struct intc *c, struct msi_source *sources, size_t n);
        void (*msi_free)(struct intc *c, struct msi_source *sources, size_t n);

        /* Connects (msg) or disconnects (NULL: masked, unused) the source's message. While it is disconnected the
         * eventfd (non-blocking) only counts, and the caller may read it to learn what is pending; what is left in it is
         * delivered when the source is connected again. -EINVAL: the guest's address is none of an interrupt
         * controller; the source is then disconnected. */
        int (*msi_set)(struct intc *c, struct msi_source *source, const struct msi_msg *msg);

        /* Delivers a message at once, without a source. 0 or negative errno. */
        int (*msi_send)(struct intc *c, const struct msi_msg *msg);

        /* Tells the hypervisor what an IOAPIC pin sends, so that it reports the EOI of level-triggered vectors
         * (split irqchip). msg NULL: pin masked. */
        int (*pin_set)(struct intc *c, unsigned pin, const struct msi_msg *msg);
};

struct intc {
        const struct intc_ops *ops;
};
