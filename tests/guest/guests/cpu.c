/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What the processor says of itself: leaves that the machine promises, timer and clock. args[0]: the
 * width of physical addresses; args[1]: 1 when nested guests are allowed.
 */

#include "tests/guest/lib/guest.h"

#define LVT_TIMER 0x320
#define TIMER_TSC_DEADLINE 0x40000u
#define MSR_TSC_DEADLINE 0x6e0u
#define MSR_MTRR_DEF 0x2ffu

void guest_main(void) {
        uint32_t r[4];
        uint64_t then;

        cpuid(1, 0, r);
        CHECK(r[2] & 1u << 31);
        CHECK(r[2] & 1u << 24);
        CHECK(r[2] & 1u << 21);
        if (!MAILBOX->args[1])
                CHECK(!(r[2] & 1u << 5));
        cpuid(0x80000001, 0, r);
        if (!MAILBOX->args[1])
                CHECK(!(r[2] & 1u << 2));
        cpuid(0x80000008, 0, r);
        CHECK_EQ(r[0] & 0xff, MAILBOX->args[0]);
        cpuid(0x40000000, 0, r);
        CHECK_EQ(r[1], 0x4b4d564b);
        cpuid(0x40000001, 0, r);
        CHECK(r[0] & 1u << 15);
        cpuid(0xb, 1, r);
        CHECK_EQ(r[2] >> 8 & 0xff, 2);
        CHECK_EQ(rdmsr(MSR_MTRR_DEF) & 0xfff, 0x806);

        apic_enable(/* x2apic= */ true);
        apic_write(LVT_TIMER, TIMER_TSC_DEADLINE | 0x44);
        then = rdtsc() + 1000000;
        wrmsr(MSR_TSC_DEADLINE, then);
        irq_wait(0x44, 1);
        CHECK(rdtsc() >= then);
}
