/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Counts in results[0] until it is told to stop, keeping a value in every register that a save and
 * restore could lose: results[1] is how often one was wrong. A handler counts NMIs in results[2].
 */

#include "tests/guest/lib/guest.h"

#define MSR_LSTAR 0xc0000082u
#define MSR_KERNEL_GS_BASE 0xc0000102u

static void on_nmi(struct irq_frame *frame) {
        MAILBOX->results[2]++;
}

static uint64_t lost(void) {
        uint64_t r8 = 8, r15 = 15, bad = 0;

        asm volatile("" : "+r"(r8), "+r"(r15));
        bad += rdmsr(MSR_LSTAR) != 0xffff800000001000;
        bad += rdmsr(MSR_KERNEL_GS_BASE) != 0xffff800000002000;
        bad += apic_read(0x3e0) != 0xb;
        asm volatile("" : "+r"(r8), "+r"(r15));
        return bad + (r8 != 8) + (r15 != 15);
}

void guest_main(void) {
        uint64_t last = 0;

        apic_enable(/* x2apic= */ false);
        irq_set(2, on_nmi);
        wrmsr(MSR_LSTAR, 0xffff800000001000);
        wrmsr(MSR_KERNEL_GS_BASE, 0xffff800000002000);
        apic_write(0x3e0, 0xb); /* timer divides by 1 */
        MAILBOX->ready = 1;
        while (!MAILBOX->stop) {
                uint64_t now = rdtsc();

                MAILBOX->results[0]++;
                MAILBOX->results[1] += lost();
                MAILBOX->results[3] += now < last; /* the TSC went backwards */
                last = now;
        }
}
