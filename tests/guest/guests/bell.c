/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/* Rings the doorbells that the host has set, args[0] times each, and some that are none. */

#include "tests/guest/lib/guest.h"

void guest_main(void) {
        for (uint64_t i = 0; i < MAILBOX->args[0]; i++) {
                write32(0xd0001000, (uint32_t) i);
                write16(0xd0001010, (uint16_t) i);
                outl(0x600, (uint32_t) i);
                write32(0xd0001020, i & 1 ? 7 : 8);
        }
}
