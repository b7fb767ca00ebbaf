/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <gio/gio.h>
#include <stdbool.h>

#include "daemon/chvd/socket.h"
#include "dbus/config.h"

/* What chvd and chv-open say to each other over a SOCK_SEQPACKET socket: a packet for each request, a packet for its reply, in turns. */

typedef enum {
        CHVD_OPEN_FILE,     /* and lock it, if it is a disk */
        CHVD_OPEN_SOCKET,   /* bind and listen */
        CHVD_OPEN_TERMINAL, /* the master of a new pseudo-terminal */
        CHVD_OPEN_REMOVE,   /* the file of a socket */
        CHVD_OPEN_CONNECT,  /* to a socket */
        CHVD_OPEN_VERB_MAX,
} ChvdOpenVerb;

typedef struct {
        ChvdOpenVerb verb;
        ChvResourceKind kind;
        bool readonly, direct, lock_full;
        char *path;
        ChvdSocketFile file; /* to remove */
} ChvdOpenRequest;

typedef struct {
        bool ok;
        int errnum; /* not ok: 0, or why beyond what */
        char *what;
        bool busy; /* not ok: opened, but locked by somebody else */
        ChvdSocketFile file;
        int fd; /* -1: none */
} ChvdOpenReply;

void chvd_open_request_clear(ChvdOpenRequest *request);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(ChvdOpenRequest, chvd_open_request_clear)
void chvd_open_reply_clear(ChvdOpenReply *reply);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(ChvdOpenReply, chvd_open_reply_clear)

/* False: errno; EPIPE: the other side has gone. */
bool chvd_open_request_send(int socket, const ChvdOpenRequest *request);
bool chvd_open_reply_send(int socket, const ChvdOpenReply *reply); /* keeps the descriptor */

/* Take one packet that is there; bad ones are EBADMSG, the end is EPIPE. What they fill in is to be cleared. */
bool chvd_open_request_receive(int socket, ChvdOpenRequest *ret_request);
/* The sender may be anybody: the descriptor can be anything, the text is printable and short. */
bool chvd_open_reply_receive(int socket, ChvdOpenReply *ret_reply);
