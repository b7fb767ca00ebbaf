/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "chvctl/bus.h"

#define CONSOLE_ESCAPE 0x1d /* Ctrl-] */

typedef enum {
        CONSOLE_LEFT,        /* the user typed the escape */
        CONSOLE_CLOSED,      /* the other side closed it */
        CONSOLE_INTERRUPTED, /* a signal, or our output has gone */
} ConsoleEnd;

/* Carries standard input and output to and from a console until one side ends it. Takes fd. name: "serial", "console" …, whose
 * size follows the terminal's. On a terminal it is raw meanwhile and the escape leaves; in pipes every byte goes through, and
 * the end of the input does not end the output. */
ConsoleEnd console_attach(Bus *bus, const char *path, const char *name, int fd, bool read_only);

/* The console the guest most likely talks to: the last "console=" of its command line. "serial" or "console". */
const char *console_guess(GVariant *config);
