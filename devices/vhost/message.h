/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

/*
 * Messages of the vhost-user protocol, as the front end sends them and takes replies. Numbers and layouts: "Vhost-user Protocol",
 * part of QEMU's documentation; both sides are on one host, so values are in its byte order.
 */

#define VU_FDS_MAX 8
#define VU_CONFIG_MAX 256u

enum vu_request {
        VU_GET_FEATURES = 1,
        VU_SET_FEATURES = 2,
        VU_SET_OWNER = 3,
        VU_SET_MEM_TABLE = 5,
        VU_SET_VRING_NUM = 8,
        VU_SET_VRING_ADDR = 9,
        VU_SET_VRING_BASE = 10,
        VU_GET_VRING_BASE = 11,
        VU_SET_VRING_KICK = 12,
        VU_SET_VRING_CALL = 13,
        VU_GET_PROTOCOL_FEATURES = 15,
        VU_SET_PROTOCOL_FEATURES = 16,
        VU_GET_QUEUE_NUM = 17,
        VU_SET_VRING_ENABLE = 18,
        VU_NET_SET_MTU = 20,
        VU_GET_CONFIG = 24,
        VU_SET_CONFIG = 25,
        VU_GET_INFLIGHT_FD = 31,
        VU_SET_INFLIGHT_FD = 32,
};

/* Bits of protocol features. */
enum {
        VU_P_MQ = 0,
        VU_P_REPLY_ACK = 3,
        VU_P_NET_MTU = 4,
        VU_P_CONFIG = 9,
        VU_P_INFLIGHT_SHMFD = 12,
};

#define VU_F_PROTOCOL_FEATURES 30

struct vu_header {
        uint32_t request, flags, size;
};

#define VU_VERSION 1u
#define VU_VERSION_MASK 3u
#define VU_FLAG_REPLY 4u
#define VU_FLAG_NEED_REPLY 8u

struct vu_region {
        uint64_t guest_addr, size, user_addr, fd_offset;
};

struct vu_memory {
        uint32_t n_regions, padding;
        struct vu_region regions[VU_FDS_MAX];
};

struct vu_ring_state {
        uint32_t index, num;
};

struct vu_ring_addr {
        uint32_t index, flags;
        uint64_t desc, used, avail, log;
};

struct vu_config {
        uint32_t offset, size, flags;
        uint8_t bytes[VU_CONFIG_MAX];
};

struct vu_inflight {
        uint64_t size, offset;
        uint16_t n_queues, queue_size;
};

struct vu_message {
        struct vu_header header;
        union {
                uint64_t u64;
                struct vu_memory memory;
                struct vu_ring_state state;
                struct vu_ring_addr addr;
                struct vu_config config;
                struct vu_inflight inflight;
        };
} __attribute__((packed));

#define VU_HURRY_MS 1000

/* How long to wait: until end, a g_get_monotonic_time(), and for VU_HURRY_MS at most once hurry_fd can be read (-1: never). */
typedef struct {
        int64_t end;
        int hurry_fd;
} vu_patience;

/* Header and header.size bytes, with n_fds descriptors, which stay the caller's. 0; -ETIMEDOUT; -EPIPE: the other side has gone; or
 * what else sendmsg(2) says. */
int vu_send(int socket,
            const struct vu_message *message,
            const int *fds,
            unsigned n_fds,
            vu_patience patience);

/* The reply to `request`, which must have exactly size bytes of payload and n_fds descriptors: anything else is -EPROTO, and whatever
 * came along is closed. 0; -ETIMEDOUT; -EPIPE; or what else recvmsg(2) says. */
int vu_receive(int socket,
               enum vu_request request,
               uint32_t size,
               struct vu_message *ret,
               int *ret_fds,
               unsigned n_fds,
               vu_patience patience);
