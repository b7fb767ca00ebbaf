/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/* The IDT: every vector has a stub and is counted; a handler is a matter of the guest. */

#include "tests/guest/lib/guest.h"

#define STUB_SIZE 16
#define GATE_INTERRUPT 0x8e00ull
#define CODE_SELECTOR 0x08ull

struct gate {
        uint64_t lo, hi;
};

extern char irq_stubs[];
void irq_entry(struct irq_frame *frame);

static struct gate idt[256];
static irq_handler handlers[256];
static volatile uint64_t counts[256];

void irq_load(void) {
        struct {
                uint16_t limit;
                uint64_t base;
        } __attribute__((packed)) pointer = { sizeof(idt) - 1, (uintptr_t) idt };

        asm volatile("lidt %0" : : "m"(pointer));
}

void irq_init(void) {
        for (unsigned i = 0; i < 256; i++) {
                uint64_t at = (uintptr_t) irq_stubs + (uint64_t) i * STUB_SIZE;

                idt[i].lo = (at & 0xffff) | CODE_SELECTOR << 16 | GATE_INTERRUPT << 32 |
                            (at >> 16 & 0xffff) << 48;
                idt[i].hi = at >> 32;
        }
        irq_load();
}

void irq_set(uint8_t vector, irq_handler handler) {
        handlers[vector] = handler;
}

uint64_t irq_count(uint8_t vector) {
        return counts[vector];
}

void irq_wait(uint8_t vector, uint64_t n) {
        while (counts[vector] < n)
                wait_interrupt();
}

void irq_entry(struct irq_frame *f) {
        counts[f->vector & 0xff]++;
        if (handlers[f->vector & 0xff]) {
                handlers[f->vector & 0xff](f);
                return;
        }
        if (f->vector >= 32) {
                apic_eoi();
                return;
        }
        print("exception ");
        print_hex(f->vector);
        print(" error ");
        print_hex(f->error);
        print(" at ");
        print_hex(f->rip);
        print("\n");
        guest_exit(2);
}
