/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <gio/gio.h>
#include <gio/gunixfdlist.h>
#include <stdbool.h>

/* A client with bad manners: a socket to the bus on which it sends what it likes, whole or in part, and reads only when told to. */
typedef struct {
        int fd;
        guint32 serial; /* of the last call made */
} Raw;

/* Says Hello like everybody else; only then does it show its face. address: of a bus, "unix:path=…". */
Raw *raw_connect(const char *address);
/* Hangs up. */
void raw_free(Raw *raw);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Raw, raw_free)

/* A method call as bytes; destination NULL: none. params is consumed if floating; list may be NULL. */
GByteArray *
raw_call(Raw *raw,
         const char *destination,
         const char *path,
         const char *interface,
         const char *method,
         GVariant *params,
         bool no_reply,
         GUnixFDList *list);

/* Writes all of it, if the other end takes it: false when it has taken nothing for half a second, or hung up. */
bool raw_send(Raw *raw, const void *data, size_t size, GUnixFDList *list);
static inline bool raw_send_call(Raw *raw, const GByteArray *call, GUnixFDList *list) {
        return raw_send(raw, call->data, call->len, list);
}
/* Reads and forgets what is there, waiting for more for so long; false when the other end has hung up. */
bool raw_drain(Raw *raw, int timeout_ms);
