/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/* The machine around the CPU: boot information, power, timer, serial line. */

#include "tests/guest/lib/machine.h"

#include "tests/guest/lib/guest.h"

#define PVH_MAGIC 0x336ec578u
#define PVH_CMDLINE 24 /* offset in hvm_start_info */
#define PORT_ACPI 0x600
#define PORT_PM_TIMER 0x608
#define COM1 0x3f8

const char *boot_command_line(void) {
        if (read32(boot_info) != PVH_MAGIC)
                return "";
        return (const char *) (uintptr_t) read64(boot_info + PVH_CMDLINE);
}

static const char *find_word(const char *word) {
        const char *p = boot_command_line();

        while (*p) {
                const char *w = word;

                while (*w && *p == *w) {
                        p++;
                        w++;
                }
                if (!*w)
                        return p;
                while (*p && *p != ' ')
                        p++;
                while (*p == ' ')
                        p++;
        }
        return NULL;
}

bool boot_has_word(const char *word) {
        const char *end = find_word(word);

        return end && (*end == '\0' || *end == ' ');
}

uint64_t boot_number(const char *key) {
        const char *p = find_word(key);
        uint64_t n = 0;

        if (!p || *p++ != '=')
                return 0;
        while (*p >= '0' && *p <= '9')
                n = n * 10 + (uint64_t) (*p++ - '0');
        return n;
}

_Noreturn void power_off(void) {
        outb(PORT_ACPI, 5 << 2 | 1 << 5);
        for (;;)
                asm volatile("cli; hlt");
}

_Noreturn void power_reset(void) {
        outb(PORT_ACPI, 1);
        for (;;)
                asm volatile("cli; hlt");
}

uint32_t pm_timer(void) {
        return inl(PORT_PM_TIMER);
}

void serial_putc(char c) {
        while (!(inb(COM1 + 5) & 0x20))
                relax();
        outb(COM1, (uint8_t) c);
}

int serial_getc(void) {
        return inb(COM1 + 5) & 1 ? inb(COM1) : -1;
}
