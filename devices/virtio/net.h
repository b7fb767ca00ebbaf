/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "devices/io-timer.h"
#include "devices/net/capture.h"
#include "devices/net/port.h"
#include "devices/vhost/net.h"
#include "devices/virtio/devices.h"
#include "devices/virtio/net-program.h"
#include "devices/virtio/net-rss.h"
#include "devices/virtio/net-wire.h"

#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>

/* Between net.c (the device), net-pair.c (a queue pair's thread), net-rx.c, net-tx.c (its directions), net-steer.c,
 * net-kernel.c, net-counters.c and net-ctrl.c. */

#define VNET_MAX_PAIRS 511u
/* The largest frame a segmentation offload makes, with VLAN tag and header. */
#define VNET_FRAME_MAX (NET_HEADER_LEN + 14 + 4 + 65535)
#define VNET_FRAME_MIN (NET_HEADER_LEN + 14)
/* Frames moved in one direction before the other, and calls of other threads, get their turn. */
#define VNET_BUDGET 256

/* How often a frame looks for buffers of its queue, every 50 us, before it is dropped. */
#define VNET_PATIENCE 40u

/* Receive buffers taken ahead. With mergeable ones up to this many iovecs are kept, and one more chain. */
#define VNET_AHEAD_IOVS (IOV_MAX / 2)

struct vnet_buffer {
        uint32_t token;
        uint16_t n_iov;
        uint32_t len;
};

struct vnet_counters {
        atomic_uint_least64_t frames, bytes, drops;
        atomic_uint_least64_t
                        refused; /* from the guest: a wrong source address; to it: not wanted */
        atomic_uint_least64_t steered; /* of frames: to another pair's queue */
};

struct vnet_rx {
        struct virtq *q;
        struct io_watch kick;
        bool hungry;  /* waits for buffers, with notifications on and the port not watched */
        bool limited; /* waits for the timer, with the port not watched */
        struct io_timer timer;

        /* Buffers popped and not used yet, oldest first; their iovecs lie in iov in the same order. */
        unsigned n_buffers, n_iov;
        uint32_t room; /* bytes */
        struct vnet_buffer buffers[IOV_MAX];
        struct virtq_used done[IOV_MAX];
        struct iovec iov[IOV_MAX];

        /* A frame that was larger than the buffers there were: its first `placed` bytes are in them, the rest in spill. */
        uint32_t held, placed;
        uint8_t spill[VNET_FRAME_MAX + sizeof(struct vnet_header_hash) + 1];

        /* Of net-steer.c: the pair whose queue the frame goes to that is held, whole, in spill. The lock is for q, which other pairs'
         * threads use then, too, and for open: they may. */
        unsigned target;
        unsigned tries; /* to put a frame in the pair's own queue, in a row */
        pthread_mutex_t lock;
        bool open;

        struct vnet_counters n;
};

struct vnet_tx {
        struct virtq *q;
        struct io_watch kick;
        bool blocked; /* waits for the port to take frames again */
        bool limited; /* waits for the timer */
        struct io_timer timer;
        /* The start of the frame as the port is to have it: without the hash's part of the header, and with a MAC filter as it was
         * checked, because the guest can change its own any time. For it the first iovec is left free. */
        uint8_t start[VNET_FRAME_MIN + sizeof(struct vnet_header_hash)];
        struct iovec iov[IOV_MAX];
        struct vnet_counters n;
};

/* A pair's rings in the kernel's hands; all of it of the pair's thread. */
struct vnet_kernel {
        struct vhost_net back; /* its fd is -1: there is none */
        bool serving;
        struct io_watch faults; /* the driver has broken the rules */
        struct io_watch calls;  /* interrupts that have no way of their own to the guest */
};

/* Why user space moves the frames although there is a kernel's back end. */
enum vnet_reason {
        VNET_REASON_LIMITS = 1,
        VNET_REASON_CAPTURE = 2,
        VNET_REASON_LINK = 4,      /* is down: frames are dropped */
        VNET_REASON_SPOOFING = 8,  /* source addresses are checked */
        VNET_REASON_FILTER = 16,   /* the port cannot do what the driver wants */
        VNET_REASON_FEATURES = 32, /* were negotiated that the kernel does not know */
        VNET_REASON_FAILED = 64,   /* it was tried; until the driver's next start */
};

/* What the kernel has moved is seen from the interface's statistics, less what has been seen here meanwhile. */
struct vnet_statistics {
        int fds[VIRTIO_NET_STATISTICS];
        pthread_mutex_t lock; /* for what follows */
        unsigned n_kernel;    /* pairs that the kernel serves */
        uint64_t since_there[VIRTIO_NET_STATISTICS], since_here[VIRTIO_NET_STATISTICS];
        uint64_t moved[VIRTIO_NET_STATISTICS]; /* by the kernel, before */
};

struct vnet_pair {
        struct vnet *net;
        unsigned index;
        int fd;
        iothread *thread;
        struct vnet_kernel kernel;

        /* Of the pair's thread. */
        bool serving, dead, watched;
        struct io_watch port;
        uint32_t port_events;
        struct vnet_filter filter;
        struct vnet_rss rss;
        uint64_t touched[VNET_MAX_PAIRS / 64 + 1]; /* pairs in whose queues frames were put */
        capture *capture;                          /* NULL: none */
        struct vnet_rx rx;
        struct vnet_tx tx;
};

struct vnet_ctrl {
        struct virtq *q; /* NULL: not negotiated */
        struct io_watch kick;
        bool serving;
        struct iovec iov[IOV_MAX];
};

struct vnet_announce {
        atomic_bool pending; /* shown to the driver until it acknowledges */
        unsigned left;       /* rounds */
        struct io_timer timer;
        atomic_uint_least64_t frames, bytes; /* that the device itself has sent */
};

struct vnet {
        struct virtio_dev vd; /* first */
        const struct net_port_ops *port;
        char name[NET_NAME_LEN];
        uint8_t mac[6];  /* as configured */
        bool mac_filter; /* frames of the guest must be from it */
        uint16_t mtu;
        struct throttle rx_limits, tx_limits;
        atomic_bool link;                /* as configured */
        atomic_bool port_dead;           /* a descriptor failed */
        atomic_uint_least64_t shown_mac; /* in the configuration space: filter's, for any thread */

        /* Of whoever starts and stops the device, and of the control queue's thread in between. */
        unsigned active_pairs;
        unsigned offloads;
        struct vnet_filter filter;
        struct vnet_rss rss;

        unsigned n_pairs, patience;
        struct vnet_pair **pairs;
        struct vnet_ctrl ctrl;
        struct vnet_announce announce;
        capture *capture;     /* of whoever starts and stops the device; NULL: none */
        uint64_t captured[2]; /* frames and drops of earlier ones */
        bool restored;        /* to be announced when it is activated */

        bool has_kernel;        /* some pair has a back end */
        atomic_uint user;       /* enum vnet_reason */
        atomic_uint n_switches; /* of pairs, one way or the other */
        struct vnet_statistics statistics;
        void (*kernel_failed)(void *opaque, const char *id, int errnum);
        void *kernel_failed_opaque;
        /* Of whoever may change the filter. */
        struct sock_filter program[VNET_PROGRAM_MAX];
        bool programmed;
};

/* virtio_net_new() on any kind of port. */
struct virtio_dev *
vnet_new(const gmem *mem,
         const struct virtio_net_config *config,
         const struct net_port_ops *port,
         GError **error);

/* Of features, those that concern frames to the guest. */
unsigned vnet_offloads_of(uint64_t features);

/* The address in the filter is what the driver reads from now on. */
void vnet_show_mac(struct vnet *net);

/* The port of a pair is gone: shown to the guest as a link that is down. */
void vnet_port_died(struct vnet *net);
bool vnet_link_is_up(const struct vnet *net);

/* Frames are hashed, and any pair's thread may use any receive queue. */
static inline bool vnet_steers(const struct vnet *net) {
        return virtio_has(&net->vd, VNET_F_RSS) || virtio_has(&net->vd, VNET_F_HASH_REPORT);
}

/* There are queues of several pairs before the control queue (5.1.2). */
static inline bool vnet_has_several(const struct vnet *net) {
        return virtio_has(&net->vd, VNET_F_MQ) || virtio_has(&net->vd, VNET_F_RSS);
}

/* Of frames between driver and device; those of the port have NET_HEADER_LEN. */
static inline unsigned vnet_header_len(const struct vnet *net) {
        return virtio_has(&net->vd, VNET_F_HASH_REPORT)
                               ? NET_HEADER_LEN + (unsigned) sizeof(struct vnet_header_hash)
                               : NET_HEADER_LEN;
}

static inline void vnet_count(atomic_uint_least64_t *counter, uint64_t n) {
        /* One writer: a plain addition that readers see whole. */
        atomic_store_explicit(
                        counter, atomic_load_explicit(counter, memory_order_relaxed) + n,
                        memory_order_relaxed);
}

/* net-pair.c; start and stop from any other thread. stop returns with no frame on its way; drop is for good. */
struct vnet_pair *
vnet_pair_new(struct vnet *net,
              unsigned index,
              int fd,
              int vhost_fd,
              const struct virtio_net_config *config,
              GError **error);
struct vnet_pair *vnet_pair_free(struct vnet_pair *pair);
int vnet_pair_start(struct vnet_pair *pair);
void vnet_pair_stop(struct vnet_pair *pair);

/* The filter of the device is the pair's, too, from now on. From any other thread. */
void vnet_pair_set_filter(struct vnet_pair *pair);

/* So are its hashing and steering. Likewise. */
void vnet_pair_set_rss(struct vnet_pair *pair);

/* To the kernel or from it, if things are not as they should be. From any thread. */
void vnet_pair_switch(struct vnet_pair *pair);

/* A queue's interrupt may be another. From any other thread. */
void vnet_pair_rebind(struct vnet_pair *pair);

/* The pair's frames are copied there from now on; NULL: no more. From any other thread. */
void vnet_pair_set_capture(struct vnet_pair *pair, capture *c);

/* From any other thread. There will be limits: 0, or negative errno when there is no room for timers / they have changed, and what
 * waits tries again. */
int vnet_pair_expect_limits(struct vnet_pair *pair);
void vnet_pair_limits_changed(struct vnet_pair *pair);

/* On the pair's thread. */
void vnet_pair_broken(struct vnet_pair *pair, struct virtq *q, const char *why);
void vnet_pair_died(struct vnet_pair *pair);
/* The direction that timer belongs to waits for ns. */
void vnet_pair_wait(struct vnet_pair *pair, struct io_timer *timer, bool *limited, uint64_t ns);
void vnet_rx_run(struct vnet_pair *pair);
void vnet_rx_give_back(struct vnet_pair *pair);
void vnet_tx_run(struct vnet_pair *pair);

/* How much a frame is shows when it has been read: one may go over the limit, and those behind it wait for that. False: later. Then what
 * readv(2) has returned is charged. */
bool vnet_rx_may(struct vnet_pair *pair, uint64_t *ret_now);
void vnet_rx_charge(struct vnet_pair *pair, uint64_t now, ssize_t read);

/* net-steer.c: in place of the two of net-rx.c if vnet_steers(); open: the queue is served from now on / no more. */
void vnet_steer_run(struct vnet_pair *pair);
void vnet_steer_open(struct vnet_pair *pair, bool open);

/* net-kernel.c. init and clear: of a pair that is made or freed; take and release on the pair's thread: 0 or negative errno, and then
 * user space is to go on. */
bool vnet_kernel_init(struct vnet_pair *pair, int vhost_fd, GError **error);
void vnet_kernel_clear(struct vnet_pair *pair);
/* Ring features that a driver had better not be offered: with them, the kernel could not have the rings. */
uint64_t vnet_kernel_withheld(const struct vnet *net);
bool vnet_kernel_wanted(const struct vnet_pair *pair);
int vnet_kernel_take(struct vnet_pair *pair);
void vnet_kernel_release(struct vnet_pair *pair);

/* The driver has chosen features, and no pair serves yet. */
void vnet_kernel_prepare(struct vnet *net);

/* The reason is one / none any more, and pairs change hands accordingly before it returns. From any thread but other pairs' than the
 * first. */
void vnet_kernel_avoid(struct vnet *net, enum vnet_reason reason, bool on);

/* The filter is the port's, too, from now on / no more: before pairs change. By whoever may change the filter. */
void vnet_kernel_filter(struct vnet *net);
void vnet_kernel_unfilter(struct vnet *net);

/* net-counters.c. enter, leave: a pair goes to the kernel / comes back, on its thread. */
void vnet_statistics_init(struct vnet *net, const int *fds);
void vnet_statistics_clear(struct vnet *net);
void vnet_statistics_enter(struct vnet *net);
void vnet_statistics_leave(struct vnet *net);
void vnet_counters(struct virtio_dev *vd, device_counter_fn *fn, void *opaque);
void vnet_add_captured(struct vnet *net, uint64_t sums[2]);

/* net-announce.c; from any thread but the first pair's. Tells driver and network where the guest is / no more of that. */
void vnet_announce_init(struct vnet *net);
void vnet_announce(struct vnet *net);
void vnet_announce_stop(struct vnet *net);

/* net-ctrl.c; from any thread but the first pair's. */
int vnet_ctrl_start(struct vnet *net);
void vnet_ctrl_stop(struct vnet *net);

/* Serves the first n pairs and no others. On the control queue's thread, or while that is stopped. 0 or negative errno. */
int vnet_set_pairs(struct vnet *net, unsigned n);
