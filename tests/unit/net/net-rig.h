/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "devices/virtio/net.h"
#include "rig.h"

/*
 * A network device in a test, with packet sockets in the tap's place: what the test sends on host[i] comes to pair i's receive
 * queue (2 * i), and what the driver sends on queue 2 * i + 1 can be read there. The control queue is behind the pairs.
 */

#define TIMEOUT_MS 20000
#define MAX_PAIRS 4
#define BIT(f) (1ull << VNET_F_##f)
#define BUFFERS RIG_DATA               /* receive buffers */
#define FRAMES (RIG_DATA + (8u << 20)) /* frames to send */
#define COMMAND (RIG_DATA + (24u << 20))

struct net_rig {
        struct rig r;
        int host[MAX_PAIRS], device[MAX_PAIRS];
        unsigned n_pairs;
};

/* What the device did to its port. */
struct nrig_port {
        unsigned offloads;
        bool attached[1024]; /* by descriptor */
        int attach_error;    /* for the next ones to attach */
        unsigned program_len;
        int program_error; /* for the next programs */
        bool keep_rarp;    /* what the device says of itself is received like other frames */
};
extern struct nrig_port nrig_port;

/* A good configuration of these ports / with ports of its own, which the device takes. */
struct virtio_net_config nrig_config(const int *fds, unsigned n_pairs);
struct virtio_net_config nrig_ports(struct net_rig *n, unsigned n_pairs);

/* A device on such ports. */
struct virtio_dev *
nrig_new(const gmem *mem, const struct virtio_net_config *config, GError **error);

/* A running device. */
void nrig_start_with(
                struct net_rig *n,
                const struct virtio_net_config *config,
                bool event_idx,
                uint64_t features);
void nrig_start_sized(
                struct net_rig *n,
                unsigned n_pairs,
                bool event_idx,
                uint64_t features,
                uint16_t queue_size);
void nrig_start(struct net_rig *n, unsigned n_pairs, bool event_idx, uint64_t features);
void nrig_stop(struct net_rig *n);

void nrig_fill(uint8_t *p, size_t len);

/* Queue q is a transmit queue. Adds len bytes at addr (header included) cut into pieces / takes a chain back. */
void nrig_add_frame(struct net_rig *n, unsigned q, uint64_t addr, uint32_t len);
void nrig_take(struct net_rig *n, unsigned q, uint32_t *ret_len);
ssize_t nrig_host_receive(int fd, void *buf, size_t len);

/* Queue q is a receive queue. A frame that is taken may lie in several buffers, which are counted; the length comes back. */
void nrig_add_buffer(struct net_rig *n, unsigned q, uint64_t addr, uint32_t len);
uint32_t nrig_take_frame(struct net_rig *n, unsigned q, uint8_t *out, unsigned *ret_buffers);
void nrig_host_send(int fd, const uint8_t *frame, uint32_t len);

/* Equal but for the number of buffers. */
void nrig_check_frame(const uint8_t *got, const uint8_t *sent, uint32_t len);

/* A command on control queue q; its answer. */
uint8_t
nrig_command(struct net_rig *n,
             unsigned q,
             uint8_t class,
             uint8_t number,
             const void *data,
             uint32_t data_len);

/* A frame each way through a pair. */
void nrig_round_trip(struct net_rig *n, unsigned pair);

/* Of a device with three pairs and MQ: VQ_PAIRS_SET, which answers so. */
void nrig_set_pairs(struct net_rig *n, uint16_t pairs, uint8_t expected);
void nrig_expect_attached(const struct net_rig *n, unsigned pairs);
