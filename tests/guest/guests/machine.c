/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A guest of the whole machine: its command line says what to do. "tick" counts aloud, "echo" answers
 * on the serial line, the others end the machine in each way there is.
 */

#include "tests/guest/lib/machine.h"
#include "tests/guest/lib/guest.h"

static void triple_fault(void) {
        struct {
                uint16_t limit;
                uint64_t base;
        } __attribute__((packed)) none = { 0, 0 };

        asm volatile("lidt %0; ud2" : : "m"(none));
}

static void tick(void) {
        uint64_t n = 0;

        for (;;) {
                uint32_t start = pm_timer();

                while (pm_timer() - start < 3579545 / 20)
                        relax();
                print("tick ");
                print_hex(++n);
                print("\n");
        }
}

static void echo(void) {
        for (;;) {
                int c = serial_getc();

                if (c < 0)
                        continue;
                if (c == 'q')
                        return;
                serial_putc((char) (c >= 'a' && c <= 'z' ? c - 'a' + 'A' : c));
        }
}

void guest_main(void) {
        print("up: ");
        print(boot_command_line());
        print("\n");
        if (boot_has_word("tick"))
                tick();
        if (boot_has_word("echo"))
                echo();
        if (boot_has_word("reset"))
                power_reset();
        if (boot_has_word("reset-i8042"))
                outb(0x64, 0xfe);
        if (boot_has_word("reset-cmos")) {
                outb(0x70, 0x8f);
                outb(0x71, 0);
        }
        if (boot_has_word("triple-fault"))
                triple_fault();
        if (boot_has_word("run-registers")) /* no instruction can be fetched from device registers */
                asm volatile("jmp *%0" : : "r"(0xfec00000ul));
        if (boot_has_word("debug-flood"))
                for (unsigned i = 0; i < 2000; i++)
                        outb(0x80, (uint8_t) i);
        if (boot_has_word("hang"))
                for (;;)
                        relax();
        power_off();
}
