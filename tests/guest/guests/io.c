/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/* Port and memory-mapped accesses of every width, single and as strings; the host checks what it sees. */

#include "tests/guest/lib/guest.h"

#define PORT 0x500
#define MMIO 0xd0000000u

static void ports(void) {
        static uint8_t out[300], in[300];
        const uint8_t *from = out;
        uint8_t *to = in;
        size_t n;

        outb(PORT, 0x11);
        outw(PORT + 2, 0x2222);
        outl(PORT + 4, 0x33333333);
        CHECK_EQ(inb(PORT), 0xa0);
        CHECK_EQ(inw(PORT), 0xa1a0);
        CHECK_EQ(inl(PORT), 0xa3a2a1a0);
        CHECK_EQ(inl(0x9999), 0xffffffff);

        for (n = 0; n < sizeof(out); n++)
                out[n] = (uint8_t) n;
        n = sizeof(out);
        asm volatile("rep outsb" : "+S"(from), "+c"(n) : "d"(PORT + 8) : "memory");
        n = sizeof(in);
        asm volatile("rep insb" : "+D"(to), "+c"(n) : "d"(PORT + 9) : "memory");
        for (n = 0; n < sizeof(in); n++)
                CHECK_EQ(in[n], (uint8_t) (n * 3));
}

static void memory(void) {
        write8(MMIO, 0x11);
        write16(MMIO + 2, 0x2222);
        write32(MMIO + 4, 0x33333333);
        write64(MMIO + 8, 0x4444444455555555);
        CHECK_EQ(read8(MMIO), 0xa0);
        CHECK_EQ(read16(MMIO), 0xa1a0);
        CHECK_EQ(read32(MMIO), 0xa3a2a1a0);
        CHECK_EQ(read64(MMIO), 0xa7a6a5a4a3a2a1a0);
        CHECK_EQ(read32(0xd8000000), 0xffffffff);
}

void guest_main(void) {
        CHECK_EQ(boot_bits, MAILBOX->args[0]);
        CHECK_EQ(boot_info, MAILBOX->args[1]);
        ports();
        memory();
}
