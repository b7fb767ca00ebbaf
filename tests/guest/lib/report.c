/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/* What a guest says to its host. */

#include "tests/guest/lib/guest.h"

void print(const char *text) {
        while (*text)
                outb(PORT_TEXT, (uint8_t) *text++);
}

void print_hex(uint64_t value) {
        char text[19] = "0x";

        for (int i = 0; i < 16; i++)
                text[2 + i] = "0123456789abcdef"[value >> (60 - 4 * i) & 15];
        text[18] = '\0';
        print(text);
}

_Noreturn void guest_exit(uint32_t status) {
        outl(PORT_EXIT, status);
        for (;;)
                asm volatile("cli; hlt");
}

_Noreturn void check_failed(const char *what, const char *file, int line, uint64_t value) {
        print(file);
        print(" line ");
        print_hex((uint64_t) line);
        print(": ");
        print(what);
        print(", value ");
        print_hex(value);
        print("\n");
        guest_exit(1);
}

void guest_start(void);

void guest_start(void) {
        irq_init();
        guest_main();
        guest_exit(0);
}
