/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "devices/vhost/message.h"

#include <pthread.h>
#include <stdatomic.h>

/*
 * A vhost-user back end in a thread: it answers as the protocol says, notes what it was told, and does one thing wrong if
 * that is wanted.
 */

enum peer_fault {
        PEER_HONEST,
        PEER_SILENT,      /* no answer */
        PEER_CLOSES,      /* instead of answering */
        PEER_HALF_HEADER, /* and closes */
        PEER_HALF_BODY,
        PEER_OTHER_REQUEST,
        PEER_NO_REPLY_FLAG,
        PEER_OTHER_VERSION,
        PEER_SHORT,
        PEER_LONG,
        PEER_HUGE,    /* says that 4 GiB follow */
        PEER_FDS,     /* more descriptors than are due */
        PEER_NO_FD,   /* none where one is due; the same as FDS elsewhere */
        PEER_REFUSES, /* an acknowledgement that is none */
        PEER_WRONG_VALUE,
        PEER_FAULTS,
};

struct peer {
        int socket; /* ours */
        int device; /* the device's end */
        pthread_t thread;
        uint64_t features, protocol, queues;
        uint8_t config[60];

        /* The fault, and the request at which it happens. */
        enum peer_fault fault;
        enum vu_request at;
        unsigned slow_ms; /* that it takes for the guest's memory */

        pthread_mutex_t lock;
        pthread_cond_t changed;
        unsigned seen[64]; /* requests, by number */
        bool gone;         /* the device has closed */
        struct vu_memory memory;
        int memory_fds[VU_FDS_MAX];
        struct vu_ring_addr addr[16];
        uint32_t num[16], base[16], enabled[16];
        int kick[16], call[16];
        uint64_t features_set, mtu;
        uint8_t config_set[60];
        int inflight; /* descriptor that was given back */
        uint32_t next_base;
};

struct peer *peer_new(void); /* not started: a test may change it */
void peer_start(struct peer *p);
struct peer *peer_free(struct peer *p); /* closes its end */

/* Waits until the request has come n times; false after 20 s. */
bool peer_wait(struct peer *p, enum vu_request request, unsigned n);
/* Ends the connection from this side, as a process that dies. */
void peer_kill(struct peer *p);
