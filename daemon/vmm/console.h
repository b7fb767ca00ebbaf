/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "dbus/config.h"
#include "devices/chardev.h"

/*
 * A console of the machine: the back end of a character device. It keeps the last MiB of output, has at most one
 * endpoint (pty, terminal, file, listening socket) and any number of clients that each see everything; one of them may type.
 *
 * Output arrives from vCPU and I/O threads; everything else is the main thread's. A console outlives the machines of one worker: a
 * guest's reboot does not disturb who is watching.
 */

typedef struct Console Console;

/* fd: the endpoint's descriptor (pty master, terminal, file, listening socket) or -1; duplicated. */
Console *console_new(const char *name, ChvConsoleMode mode, int fd, GError **error);
void console_free(Console *console);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Console, console_free)

const char *console_name(const Console *console);

/* What a device is given. */
struct chardev *console_chardev(Console *console);

/* The device has gone (machine torn down): input waits for the next one. */
void console_detach_device(Console *console);

/* Where the endpoint can be found: the pty's slave path. NULL: nowhere. */
const char *console_path(const Console *console);

typedef enum {
        CONSOLE_CLIENT_WRITE = 1 << 0,  /* may type; refused as busy while another does */
        CONSOLE_CLIENT_FORCE = 1 << 1,  /* takes the right to type from whoever has it */
        CONSOLE_CLIENT_REPLAY = 1 << 2, /* first gets the earlier output */
} ConsoleClientFlags;

/* A stream socket for a new client; closing it is leaving. Owned by the caller. */
int console_open(Console *console, ConsoleClientFlags flags, GError **error);

void console_resize(Console *console, uint16_t columns, uint16_t rows);

/* Writes what is waiting to whoever can take it now: before the process ends. */
void console_flush(Console *console);

/* Bytes of output since creation, and bytes some client or endpoint was too slow to get. */
void console_counters(Console *console, uint64_t *ret_output, uint64_t *ret_lost);
