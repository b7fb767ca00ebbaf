/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <glib.h>

#include "devices/vhost/vhost.h"

/*
 * The kernel's back end of one queue pair (Linux: drivers/vhost/net.c), behind a descriptor of /dev/vhost-net that somebody else
 * has opened. Ring 0 is what the guest receives, ring 1 what it sends; frames go to and come from a tap.
 *
 * The descriptor belongs to the process that first starts a ring, and works in its memory; it is given back when this ends. One thread
 * at a time.
 */

struct vhost_net {
        struct vhost vhost; /* first */
        int fd, tap_fd;     /* owned; borrowed */
        uint64_t features;  /* that the kernel knows */
        bool owned;         /* the kernel works in our memory */
};

/* Takes fd, also on failure: not a descriptor of that kind. */
bool vhost_net_open(struct vhost_net *n, int fd, int tap_fd, GError **error);
void vhost_net_close(struct vhost_net *n);

/* Of the ways to lay rings out and to tell of news, those that the kernel does not know. */
uint64_t vhost_net_lacks(const struct vhost_net *n);

/* Whether the kernel can serve rings with these features negotiated, of those that concern it and those that it does not know. */
bool vhost_net_can(const struct vhost_net *n, uint64_t features);
