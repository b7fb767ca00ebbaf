/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "devices/chardev.h"
#include "devices/iothread.h"
#include "devices/virtio/virtio.h"

struct disk_image;

/*
 * Constructors of the virtio devices (virtio 1.2, 5.1-5.4; reference 4.1-4.3). Each takes over the descriptors it is given (also
 * on failure), starts the I/O threads it needs, and is then handed to a transport.
 */

/* First thing on every I/O thread (seccomp); may be all NULL. */
struct io_thread_hook {
        void (*thread_start)(void *opaque);
        void *opaque;
};

struct virtio_dev *
virtio_rng_new(const gmem *mem,
               const char *id,
               int source_fd /* -1: getrandom(2) */,
               iothread *thread /* shared, outlives the device */,
               GError **error);

/* One port. Output goes to chr; size changes reach the guest as config changes. */
struct virtio_dev *virtio_console_new(
                const gmem *mem,
                const char *id,
                struct chardev *chr,
                iothread *thread,
                GError **error);

struct virtio_queue_affinity {
        uint16_t queue;
        const uint16_t *host_cpus;
        size_t n_host_cpus;
};

struct virtio_blk_config {
        const char *id;
        struct disk_image
                        *image; /* taken over, also on failure; NULL: a raw one of the next three */
        int fd;                 /* regular file or block device, opened with the access it needs */
        bool readonly;
        bool direct; /* fd is O_DIRECT */
        uint16_t num_queues;
        uint16_t queue_size;
        const char *serial; /* at most 20 bytes; NULL: derived from device and inode */
        const struct virtio_queue_affinity *affinity;
        size_t n_affinity;
        bool no_io_uring;
        bool no_discard; /* the guest gives no space back */
        uint32_t poll_us; /* how long a queue's thread looks for work before it sleeps, at most; 0: not at all */
        bool iopoll; /* poll the device for completions; direct, and io_uring is a must then */
        bool registered_buffers; /* pin guest memory and register it with io_uring, which is a must then */
        bool in_order; /* offer VIRTIO_F_IN_ORDER: a fast request waits for slow ones before it */
        struct throttle_config limits;
        struct throttle *group; /* shared, in place of limits; outlives the device */
        struct io_thread_hook hook;
        /* An I/O error other than the guest's own fault; any thread. May be NULL. */
        void (*io_error)(void *opaque, const char *id, const char *operation, int errnum);
        void *io_error_opaque;
};

struct virtio_dev *
virtio_blk_new(const gmem *mem, const struct virtio_blk_config *config, GError **error);

struct virtio_net_config {
        const char *id;
        const int *tap_fds; /* one a queue pair: IFF_TAP | IFF_NO_PI | IFF_VNET_HDR (| IFF_MULTI_QUEUE) */
        uint16_t n_pairs;
        uint16_t queue_size;
        uint8_t mac[6];
        bool mac_filter; /* drop what the guest sends from another address */
        uint16_t mtu;    /* 0: not offered */
        bool offload_tso, offload_ufo, offload_csum;
        bool rss; /* offer RSS, with several pairs, and HASH_REPORT: not for the kernel's back ends */
        struct throttle_config limits; /* of each direction, over all pairs */
        struct io_thread_hook hook;
        /* Descriptors of /dev/vhost-net, one a queue pair or -1: the kernel moves frames as long as nothing is asked for that it
         * cannot do. NULL: none. Taken like tap_fds. */
        const int *vhost_fds;
        /* Files of numbers: bytes and frames that the interface has handed out, then those that it has been given. NULL: the kernel's
         * frames are not counted. Taken likewise. */
        const int *statistics_fds;
        /* The kernel's back end does not do what it should, and user space goes on; a pair's thread. May be NULL. */
        void (*kernel_failed)(void *opaque, const char *id, int errnum);
        void *kernel_failed_opaque;
};

#define VIRTIO_NET_STATISTICS 4u

struct virtio_dev *
virtio_net_new(const gmem *mem, const struct virtio_net_config *config, GError **error);

/* Copies the device's frames from now on, in place of an earlier capture; NULL: none any more. The capture ends with the device at
 * the latest. Main thread. */
struct capture_config;
bool virtio_net_capture(struct virtio_dev *vd, const struct capture_config *config, GError **error);

/* Link up or down, shown to the guest in the status field. Main thread. */
void virtio_net_set_link(struct virtio_dev *vd, bool up);
