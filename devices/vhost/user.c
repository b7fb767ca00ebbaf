/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The front end's half of the vhost-user protocol.
 *
 *   open: features, protocol features, owner, number of queues → set_features, set_memory, in-flight → start … stop
 *
 * The back end gets guest memory by descriptor. Addresses of our own it has no use for, so the "user addresses" in which the protocol
 * speaks of rings are guest addresses with an offset, and nothing of our address space is given away. Each device has another offset: a
 * back end may take memory that has its old addresses for the old memory (DPDK does), and a guest that is reset gets new memory.
 *
 * With REPLY_ACK each message is answered, so an error shows where it is made; without it the connection ends some time later.
 */

#include "devices/vhost/user.h"
#include "hypervisor/fd.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>

#define USER_ADDR_BASE (1ull << 46)
#define USER_ADDR_STEP (1ull << 30)
#define F_VERSION_1 32
#define NO_FD 0x100u /* in the number of a ring */

static bool has(const struct vhost_user *u, unsigned bit) {
        return u->protocol >> bit & 1;
}

static uint64_t user_addr(const struct vhost_user *u, gaddr addr) {
        return addr.v + u->user_base;
}

static vu_patience soon(const struct vhost_user *u) {
        return (vu_patience){ g_get_monotonic_time() + (int64_t) u->timeout_ms * 1000,
                              u->hurry_fd };
}

void vhost_user_close(struct vhost_user *u, const char *why) {
        chv_closep(&u->socket);
        u->socket = -1;
        u->fault = why;
}

static int fail(struct vhost_user *u, int r) {
        vhost_user_close(
                        u, r == -EPIPE        ? "the back end has closed the connection"
                           : r == -ETIMEDOUT  ? "the back end does not answer"
                           : r == -EPROTO     ? "the back end breaks the protocol"
                           : r == -EREMOTEIO  ? "the back end has refused a message"
                           : r == -EOPNOTSUPP ? "the back end lacks a feature that is needed"
                                              : "the connection is broken");
        return r;
}

static int
send_message(struct vhost_user *u,
             enum vu_request request,
             uint32_t size,
             struct vu_message *m,
             const int *fds,
             unsigned n_fds,
             bool need_reply) {
        int r;

        if (u->socket < 0)
                return -ENOTCONN;
        m->header = (struct vu_header){
                .request = request,
                .flags = VU_VERSION | (need_reply ? VU_FLAG_NEED_REPLY : 0),
                .size = size,
        };
        r = vu_send(u->socket, m, fds, n_fds, soon(u));
        return r < 0 ? fail(u, r) : 0;
}

/* A message that has no answer of its own. */
static int tell(struct vhost_user *u,
                enum vu_request request,
                uint32_t size,
                struct vu_message *m,
                const int *fds,
                unsigned n_fds) {
        bool ack = has(u, VU_P_REPLY_ACK);
        struct vu_message reply;
        int r;

        r = send_message(u, request, size, m, fds, n_fds, ack);
        if (r < 0 || !ack)
                return r;
        r = vu_receive(u->socket, request, sizeof(reply.u64), &reply, /* ret_fds= */ NULL,
                       /* n_fds= */ 0, soon(u));
        if (r == 0 && reply.u64 != 0)
                r = -EREMOTEIO;
        return r < 0 ? fail(u, r) : 0;
}

/* One that has. The answer is as long as the question. */
static int ask(struct vhost_user *u,
               enum vu_request request,
               uint32_t size,
               uint32_t reply_size,
               struct vu_message *m,
               int *ret_fd) {
        int r;

        r =
                        send_message(u, request, size, m, /* fds= */ NULL, /* n_fds= */ 0,
                                     /* need_reply= */ false);
        if (r < 0)
                return r;
        r = vu_receive(u->socket, request, reply_size, m, ret_fd, ret_fd ? 1 : 0, soon(u));
        return r < 0 ? fail(u, r) : 0;
}

static int ask_u64(struct vhost_user *u, enum vu_request request, uint64_t *ret) {
        struct vu_message m = { 0 };
        int r = ask(u, request, 0, sizeof(m.u64), &m, /* ret_fd= */ NULL);

        *ret = m.u64;
        return r;
}

static int tell_u64(struct vhost_user *u, enum vu_request request, uint64_t value) {
        struct vu_message m = { .u64 = value };

        return tell(u, request, sizeof(m.u64), &m, /* fds= */ NULL, /* n_fds= */ 0);
}

static int
tell_state(struct vhost_user *u, enum vu_request request, unsigned index, uint32_t value) {
        struct vu_message m = { .state = { index, value } };

        return tell(u, request, sizeof(m.state), &m, /* fds= */ NULL, /* n_fds= */ 0);
}

static int tell_fd(struct vhost_user *u, enum vu_request request, unsigned index, int fd) {
        struct vu_message m = { .u64 = index | (fd < 0 ? NO_FD : 0) };

        return tell(u, request, sizeof(m.u64), &m, &fd, fd < 0 ? 0 : 1);
}

/* vhost */

static struct vhost_user *of(struct vhost *v) {
        return (struct vhost_user *) v;
}

static int user_set_features(struct vhost *v, uint64_t features) {
        if ((features & ~of(v)->features) != 0)
                return fail(of(v), -EOPNOTSUPP);
        return tell_u64(of(v), VU_SET_FEATURES, features | 1ull << VU_F_PROTOCOL_FEATURES);
}

static int user_set_memory(struct vhost *v, const gmem *mem) {
        struct vu_message m = { 0 };
        size_t n = gmem_n_regions(mem);
        struct vhost_user *u = of(v);
        int fds[VU_FDS_MAX], r;

        if (n > VU_FDS_MAX)
                return -E2BIG;
        for (size_t i = 0; i < n; i++) {
                const struct gmem_region *region = gmem_region(mem, i);

                if (region->fd < 0)
                        return -EINVAL;
                m.memory.regions[i] = (struct vu_region){
                        .guest_addr = region->base.v,
                        .size = region->size,
                        .user_addr = user_addr(u, region->base),
                        .fd_offset = region->fd_offset,
                };
                fds[i] = region->fd;
        }
        m.memory.n_regions = (uint32_t) n;
        u->timeout_ms = VHOST_USER_MEMORY_TIMEOUT_MS;
        r = tell(u, VU_SET_MEM_TABLE,
                 (uint32_t) (offsetof(struct vu_memory, regions) + n * sizeof(struct vu_region)),
                 &m, fds, (unsigned) n);
        u->timeout_ms = VHOST_USER_TIMEOUT_MS;
        return r;
}

static int user_start(struct vhost *v, const struct vhost_ring *ring) {
        struct vhost_user *u = of(v);
        const struct virtq *q = ring->q;
        struct vu_message addr = {
                .addr = {
                        .index = ring->index,
                        .desc = user_addr(u, q->desc),
                        .used = user_addr(u, q->used),
                        .avail = user_addr(u, q->avail),
                },
        };
        int r;

        r = tell_state(u, VU_SET_VRING_NUM, ring->index, q->size);
        if (r == 0)
                r = tell_state(u, VU_SET_VRING_BASE, ring->index, q->last_avail);
        if (r == 0)
                r = tell(u, VU_SET_VRING_ADDR, sizeof(addr.addr), &addr, /* fds= */ NULL,
                         /* n_fds= */ 0);
        if (r == 0)
                r = tell_fd(u, VU_SET_VRING_CALL, ring->index, ring->call_fd);
        if (r == 0)
                r = tell_fd(u, VU_SET_VRING_KICK, ring->index, ring->kick_fd);
        if (r == 0)
                r = tell_state(u, VU_SET_VRING_ENABLE, ring->index, ring->off ? 0 : 1);
        return r;
}

static int user_stop(struct vhost *v, unsigned index, uint16_t *ret_next) {
        struct vu_message m = { .state = { .index = index } };
        int r;

        r = ask(of(v), VU_GET_VRING_BASE, sizeof(m.state), sizeof(m.state), &m,
                /* ret_fd= */ NULL);
        if (r == 0 && m.state.index != index)
                r = fail(of(v), -EPROTO);
        if (r == 0)
                *ret_next = (uint16_t) m.state.num;
        return r;
}

static const struct vhost_ops user_ops = {
        .set_features = user_set_features,
        .set_memory = user_set_memory,
        .start = user_start,
        .stop = user_stop,
};

/* Life */

void vhost_user_init(struct vhost_user *u) {
        static atomic_uint n;

        *u = (struct vhost_user){
                .vhost = { &user_ops },
                .socket = -1,
                .timeout_ms = VHOST_USER_TIMEOUT_MS,
                .hurry_fd = -1,
                .inflight_fd = -1,
                .user_base = USER_ADDR_BASE + atomic_fetch_add(&n, 1) * USER_ADDR_STEP,
        };
}

void vhost_user_clear(struct vhost_user *u) {
        vhost_user_close(u, /* why= */ NULL);
        vhost_user_forget_inflight(u);
}

static int agree(struct vhost_user *u, unsigned n_queues, unsigned config_len) {
        uint64_t wanted = 1ull << VU_P_MQ | 1ull << VU_P_REPLY_ACK | 1ull << VU_P_CONFIG |
                          1ull << VU_P_INFLIGHT_SHMFD | 1ull << VU_P_NET_MTU;
        uint64_t protocol, queues;
        int r;

        r = ask_u64(u, VU_GET_FEATURES, &u->features);
        if (r < 0)
                return r;
        if (!(u->features >> F_VERSION_1 & 1) || !(u->features >> VU_F_PROTOCOL_FEATURES & 1))
                return fail(u, -EOPNOTSUPP);
        r = ask_u64(u, VU_GET_PROTOCOL_FEATURES, &protocol);
        if (r < 0)
                return r;
        protocol &= wanted;
        r = tell_u64(u, VU_SET_PROTOCOL_FEATURES, protocol);
        if (r < 0)
                return r;
        u->protocol = protocol;
        if (config_len > 0 && !has(u, VU_P_CONFIG))
                return fail(u, -EOPNOTSUPP);
        r = tell(u, VU_SET_OWNER, 0, &(struct vu_message){ 0 }, /* fds= */ NULL, /* n_fds= */ 0);
        if (r < 0 || n_queues <= 1)
                return r;
        if (!has(u, VU_P_MQ))
                return fail(u, -EOPNOTSUPP);
        r = ask_u64(u, VU_GET_QUEUE_NUM, &queues);
        return r == 0 && queues < n_queues ? fail(u, -EOPNOTSUPP) : r;
}

int vhost_user_open(struct vhost_user *u, int socket, unsigned n_queues, unsigned config_len) {
        vhost_user_close(u, /* why= */ NULL);
        u->socket = socket;
        u->features = u->protocol = 0;
        return agree(u, n_queues, config_len);
}

int vhost_user_get_config(struct vhost_user *u, void *data, unsigned len) {
        uint32_t size = (uint32_t) (offsetof(struct vu_config, bytes) + len);
        struct vu_message m = { .config = { .size = len } };
        int r;

        r = ask(u, VU_GET_CONFIG, size, size, &m, /* ret_fd= */ NULL);
        if (r < 0)
                return r;
        if (m.config.offset != 0 || m.config.size != len)
                return fail(u, -EPROTO);
        memcpy(data, m.config.bytes, len);
        return 0;
}

int vhost_user_set_config(struct vhost_user *u, unsigned offset, const void *data, unsigned len) {
        struct vu_message m = { .config = { .offset = offset, .size = len } };

        memcpy(m.config.bytes, data, len);
        return tell(u, VU_SET_CONFIG, (uint32_t) (offsetof(struct vu_config, bytes) + len), &m,
                    /* fds= */ NULL, /* n_fds= */ 0);
}

int vhost_user_enable(struct vhost_user *u, unsigned index, bool on) {
        return tell_state(u, VU_SET_VRING_ENABLE, index, on ? 1 : 0);
}

bool vhost_user_takes_mtu(const struct vhost_user *u) {
        return has(u, VU_P_NET_MTU);
}

int vhost_user_set_mtu(struct vhost_user *u, uint16_t mtu) {
        return tell_u64(u, VU_NET_SET_MTU, mtu);
}

int vhost_user_keep_inflight(struct vhost_user *u, uint16_t n_queues, uint16_t queue_size) {
        struct vu_message m = { .inflight = { .n_queues = n_queues, .queue_size = queue_size } };
        int r;

        if (!has(u, VU_P_INFLIGHT_SHMFD))
                return 0;
        if (u->inflight_fd < 0) {
                r = ask(u, VU_GET_INFLIGHT_FD, sizeof(m.inflight), sizeof(m.inflight), &m,
                        &u->inflight_fd);
                if (r < 0)
                        return r;
                u->inflight = m.inflight;
                u->inflight.n_queues = n_queues;
                u->inflight.queue_size = queue_size;
        }
        m = (struct vu_message){ .inflight = u->inflight };
        return tell(u, VU_SET_INFLIGHT_FD, sizeof(m.inflight), &m, &u->inflight_fd, 1);
}

void vhost_user_forget_inflight(struct vhost_user *u) {
        chv_closep(&u->inflight_fd);
        u->inflight_fd = -1;
}
