/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/* Starting other processors: INIT, SIPI to a page below 1 MiB, and a stack for each. */

#include "tests/guest/lib/guest.h"

#define TRAMPOLINE 0x9000u
#define AP_STACK 16384
#define ICR_INIT 0x4500u
#define ICR_STARTUP 0x4600u

extern char ap_trampoline[], ap_trampoline_end[], ap_trampoline_cr3[];
extern uint64_t ap_stack_top;
void ap_start(void);

uint64_t ap_stack_top;
static void (*ap_fn)(void);
static volatile bool ap_up;

void ap_start(void) {
        void (*fn)(void) = ap_fn;

        irq_load();
        apic_enable(apic_is_x2apic());
        ap_up = true;
        fn();
        for (;;)
                asm volatile("cli; hlt");
}

void smp_start(uint32_t id, void (*fn)(void)) {
        size_t size = (uintptr_t) ap_trampoline_end - (uintptr_t) ap_trampoline;
        size_t at_cr3 = (uintptr_t) ap_trampoline_cr3 - (uintptr_t) ap_trampoline;
        uint8_t *page = (uint8_t *) (uintptr_t) TRAMPOLINE;
        uint64_t cr3 = read_cr3();

        asm("" : "+r"(page)); /* a page that the compiler knows nothing of */
        memcpy(page, ap_trampoline, size);
        memcpy(page + at_cr3, &cr3, sizeof(cr3));
        ap_stack_top = (uintptr_t) alloc(AP_STACK, 16) + AP_STACK;
        ap_fn = fn;
        ap_up = false;
        barrier();

        apic_ipi(id, ICR_INIT);
        apic_ipi(id, ICR_STARTUP | TRAMPOLINE >> 12);
        while (!ap_up)
                relax();
}
