/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Starts args[0] - 1 more processors, one after the other, checks in each that its APIC id agrees
 * with CPUID, and sends it an interrupt. results: APIC ids in order. args[1]: distance of ids; args[2]: 1
 * when the host is to send the interrupts, as messages to the address written to its port.
 */

#include "tests/guest/lib/guest.h"

#define SEND_PORT 0x5a0

static volatile uint64_t up, answered;

static void ap_main(void) {
        uint32_t r[4], id = apic_id();

        cpuid(1, 0, r);
        CHECK_EQ(r[1] >> 24, id & 0xff);
        cpuid(0xb, 0, r);
        CHECK_EQ(r[3], id);
        MAILBOX->results[up % 64] = id;
        up++;
        irq_wait(0x60, answered + 1);
        answered++;
}

void guest_main(void) {
        uint64_t n = MAILBOX->args[0], stride = MAILBOX->args[1];

        apic_enable(/* x2apic= */ true);
        CHECK_EQ(apic_id(), 0);
        MAILBOX->results[0] = 0;
        up = 1;
        for (uint32_t i = 1; i < n; i++) {
                smp_start((uint32_t) (i * stride), ap_main);
                while (up != i + 1)
                        relax();
                if (MAILBOX->args[2])
                        outl(SEND_PORT, (uint32_t) msi_address((uint32_t) (i * stride)));
                else
                        apic_ipi((uint32_t) (i * stride), 0x60);
                while (answered != i)
                        relax();
        }
}
