/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdint.h>

/*
 * What a test guest and its host agree on. The mailbox is a page of guest memory that both sides read and
 * write while the guest runs; the ports end the run and carry text.
 */

#define MAILBOX_ADDR 0x10000u

struct mailbox {
        volatile uint64_t args[16];    /* set by the host before the start */
        volatile uint64_t results[64]; /* the guest's findings */
        volatile uint64_t ready;       /* set by the guest: go ahead */
        volatile uint64_t stop;        /* set by the host: finish */
};

#define PORT_TEXT 0xe9  /* a byte of text for the log */
#define PORT_EXIT 0x5f4 /* a 32-bit status ends the run: 0 is success */
