/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "devices/vhost/message.h"
#include "devices/vhost/vhost.h"

/*
 * The connection to a vhost-user back end: another process that serves rings, and has all of the guest's memory for it. Of one
 * thread, which it may keep waiting for VHOST_USER_TIMEOUT_MS a message, or for VHOST_USER_MEMORY_TIMEOUT_MS while it maps the guest's
 * memory, which may mean to have all of it populated; but not for more than a second when somebody is in a hurry. Whatever fails ends the connection, as there is no
 * telling what the other side has made of it; another one can be opened in its place.
 */

#define VHOST_USER_TIMEOUT_MS 5000
#define VHOST_USER_MEMORY_TIMEOUT_MS 60000
#define VHOST_USER_STOP_TIMEOUT_MS VU_HURRY_MS /* a reset may be waiting */

struct vhost_user {
        struct vhost vhost; /* first */
        int socket;         /* -1: not connected */
        unsigned timeout_ms;
        int hurry_fd;       /* can be read: somebody waits for the thread; borrowed; -1 */
        const char *fault;  /* why the connection ended; NULL: it did not */
        uint64_t user_base; /* what its "user addresses" are beyond the guest's */

        /* What the back end offers, and what of the protocol is used. */
        uint64_t features, protocol;

        /* Keeps what is being worked on, for the next back end to go on with; -1: nothing. We do not look into it. */
        int inflight_fd;
        struct vu_inflight inflight;
};

void vhost_user_init(struct vhost_user *u);
void vhost_user_clear(struct vhost_user *u);

/* Takes the socket and agrees on features. n_queues: how many it must be able to serve, of a network: pairs; config_len: bytes of
 * device configuration that it must have, up to VU_CONFIG_MAX. 0 or negative errno: not connected. */
int vhost_user_open(struct vhost_user *u, int socket, unsigned n_queues, unsigned config_len);

/* Ends the connection; why is a static text. Keeps what is in flight. */
void vhost_user_close(struct vhost_user *u, const char *why);

/* The device's configuration; 0 or negative errno. Within config_len of vhost_user_open(). */
int vhost_user_get_config(struct vhost_user *u, void *data, unsigned len);
int vhost_user_set_config(struct vhost_user *u, unsigned offset, const void *data, unsigned len);

/* A ring that was started serves / waits. 0 or negative errno. */
int vhost_user_enable(struct vhost_user *u, unsigned index, bool on);

/* Of networks: whether the back end takes an MTU; which it is, in bytes: 0 or negative errno. */
bool vhost_user_takes_mtu(const struct vhost_user *u);
int vhost_user_set_mtu(struct vhost_user *u, uint16_t mtu);

/* Has the back end note what it is working on, so that nothing is lost when another takes over: after features and memory, before the
 * first ring. Does nothing with one that cannot. */
int vhost_user_keep_inflight(struct vhost_user *u, uint16_t n_queues, uint16_t queue_size);
/* All of it is done. */
void vhost_user_forget_inflight(struct vhost_user *u);
