/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Interrupts from the host. args[0]: how many round trips; args[1]: 1 for x2APIC mode; args[2]: ports
 * instead of doorbells tell the host. Each round rings and waits for vector 0x40.
 */

#include "tests/guest/lib/guest.h"

#define BELL 0xd0001000u
#define STEP_PORT 0x5a0 /* a value asks the host to do its next step */

static uint64_t level_rounds;

/* Some hosts' APICs end an interrupt themselves when they deliver it; the host must know before it counts EOIs. */
static void on_message(struct irq_frame *frame) {
        if (!apic_in_service(0x41))
                outl(STEP_PORT, 0x101);
        apic_eoi();
}

static void on_level(struct irq_frame *frame) {
        level_rounds++;
        outl(STEP_PORT, 0x100); /* the source lowers its line, then the EOI goes out */
        apic_eoi();
}

void guest_main(void) {
        uint64_t n = MAILBOX->args[0];

        apic_enable(MAILBOX->args[1] != 0);
        CHECK_EQ(apic_id(), 0);
        irq_set(0x41, on_message);
        irq_set(0x50, on_level);
        MAILBOX->ready = 1;

        for (uint64_t i = 1; i <= n; i++) {
                write32(BELL, (uint32_t) i);
                irq_wait(0x40, i);
        }

        /* message sent at once, without a source */
        outl(STEP_PORT, 1);
        irq_wait(0x41, 1);

        /* disconnected: signals only count; connected again: they arrive as one */
        outl(STEP_PORT, 2);
        CHECK_EQ(irq_count(0x42), 0);
        outl(STEP_PORT, 3);
        irq_wait(0x42, 1);

        /* a message to another vector while connected */
        outl(STEP_PORT, 4);
        irq_wait(0x43, 1);

        /* level-triggered from a pin: the host hears of each EOI */
        for (uint64_t i = 1; i <= 3; i++) {
                outl(STEP_PORT, 5);
                irq_wait(0x50, i);
        }
        outl(STEP_PORT, 6);
        CHECK_EQ(level_rounds, 3);
        CHECK_EQ(irq_count(0x40), n);
}
