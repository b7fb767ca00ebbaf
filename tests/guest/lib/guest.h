/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/guest/lib/cpu.h"
#include "tests/guest/lib/mailbox.h"

/*
 * The library of the test guests: freestanding code in ring 0 of a 64-bit machine whose first 4 GiB
 * are mapped one to one. A guest is a file with guest_main(); returning from it is success.
 */

void guest_main(void);

#define MAILBOX ((struct mailbox *) (uintptr_t) MAILBOX_ADDR)

/* Start information or zero page as the loader gave it, and the width of the entry taken (32: PVH). */
extern uint64_t boot_info;
extern uint32_t boot_bits;

/* report.c: text for the host's log, and the end of the run. */
void print(const char *text);
void print_hex(uint64_t value);
_Noreturn void guest_exit(uint32_t status);
_Noreturn void check_failed(const char *what, const char *file, int line, uint64_t value);

#define CHECK(claim) ((claim) ? (void) 0 : check_failed(#claim, __FILE__, __LINE__, 0))
#define CHECK_EQ(value, wanted)                                                                    \
        do {                                                                                       \
                uint64_t value_ = (uint64_t) (value);                                              \
                if (value_ != (uint64_t) (wanted))                                                 \
                        check_failed(#value " == " #wanted, __FILE__, __LINE__, value_);           \
        } while (0)

/* memory.c. */
void *memcpy(void *to, const void *from, size_t n);
void *memset(void *to, int byte, size_t n);
int memcmp(const void *a, const void *b, size_t n);

/* Zeroed memory after the image, align a power of 2; never freed. */
void *alloc(size_t size, size_t align);

/* Maps device registers above 4 GiB one to one. */
void map_device(uint64_t addr, uint64_t size);

/* irq.c: the IDT. Exceptions nobody handles end the run. */
struct irq_frame {
        uint64_t r15, r14, r13, r12, r11, r10, r9, r8, rbp, rdi, rsi, rdx, rcx, rbx, rax;
        uint64_t vector, error, rip, cs, rflags, rsp, ss;
};

typedef void (*irq_handler)(struct irq_frame *frame);

void irq_init(void); /* done by the start code */
void irq_load(void); /* on another processor */
void irq_set(uint8_t vector, irq_handler handler);
uint64_t irq_count(uint8_t vector); /* how often it came, with a handler or without */

/* Waits until the vector came n times in all. Interrupts are off before and after. */
void irq_wait(uint8_t vector, uint64_t n);

/* apic.c: the local APIC, in either mode. */
void apic_enable(bool x2apic);
bool apic_is_x2apic(void);
void apic_eoi(void);
bool apic_in_service(uint8_t vector);
uint32_t apic_id(void);
uint32_t apic_read(uint32_t reg); /* offset in the register page, such as 0x390 */
void apic_write(uint32_t reg, uint32_t value);
void apic_ipi(uint32_t id, uint32_t command); /* low half of the command register */

/* Address and data of a message for this vector, fixed, edge, to the processor with this APIC id (up to 32767). */
uint64_t msi_address(uint32_t id);
uint32_t msi_data(uint8_t vector);

/* smp.c: INIT, SIPI; fn runs on the other processor, which halts when it returns. Returns when fn is about to run.
 * One at a time. */
void smp_start(uint32_t id, void (*fn)(void));
