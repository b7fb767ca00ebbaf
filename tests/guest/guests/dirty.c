/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/* Writes one byte into every other page of [args[0], args[0] + args[1]) when the host says stop. */

#include "tests/guest/lib/guest.h"

void guest_main(void) {
        MAILBOX->ready = 1;
        while (!MAILBOX->stop)
                relax();
        for (uint64_t at = 0; at < MAILBOX->args[1]; at += 8192)
                write8(MAILBOX->args[0] + at, 1);
}
