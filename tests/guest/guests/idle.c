/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/* Sleeps for ever: what is measured is the machine. */

#include "tests/guest/lib/guest.h"

void guest_main(void) {
        for (;;)
                asm volatile("cli; hlt");
}
