/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <glib.h>
#include <linux/filter.h>
#include <stdbool.h>

/*
 * Where a network device's frames come from and go to: descriptors on which one readv(2) or writev(2) is one frame, led by a
 * virtio-net header of NET_HEADER_LEN bytes. A network interface has one for each queue pair.
 */

#define NET_HEADER_LEN 12
#define NET_NAME_LEN 16

/* What the receiver of a frame can finish by itself. */
enum {
        NET_OFFLOAD_CSUM = 1, /* partial checksums; the others need it */
        NET_OFFLOAD_TSO4 = 2,
        NET_OFFLOAD_TSO6 = 4,
        NET_OFFLOAD_ECN = 8, /* TSO of segments with ECN */
        NET_OFFLOAD_UFO = 16,
};

struct net_port_ops {
        /* Checks that fd is of this kind and can do what we need, makes it non-blocking, and says which interface it
         * belongs to. several: one of more than one. */
        bool (*adopt)(int fd, bool several, char ret_name[NET_NAME_LEN], GError **error);

        /* Which of NET_OFFLOAD_* frames to the guest may ask for. */
        unsigned (*offloads)(int fd);

        /* Frames from now on ask for no other. For all descriptors of the interface. 0 or negative errno. */
        int (*set_offloads)(int fd, unsigned offloads);

        /* Frames of the interface come to fd, too / no more. 0 or negative errno. */
        int (*attach)(int fd, bool on);

        /* Frames to the guest come only if the program says so, on all descriptors that are attached at the time; NULL: all come.
         * Before another descriptor is attached it is to be taken away, and it stays where it is in memory until then. NULL: cannot. 0 or
         * negative errno. */
        int (*set_program)(int fd, const struct sock_fprog *program);
};
