/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/* Ends in a triple fault, on the processor that args[0] says. */

#include "tests/guest/lib/guest.h"

static void fault(void) {
        struct {
                uint16_t limit;
                uint64_t base;
        } __attribute__((packed)) none = { 0, 0 };

        asm volatile("lidt %0; ud2" : : "m"(none));
}

void guest_main(void) {
        if (MAILBOX->args[0] == 0)
                fault();
        apic_enable(/* x2apic= */ false);
        smp_start(1, fault);
        for (;;)
                relax();
}
