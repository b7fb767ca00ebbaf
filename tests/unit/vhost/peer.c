/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The back end's half of the protocol (peer.h), written from its specification and sharing only the layouts with the front end. It
 * asserts that what it gets is well-formed.
 */

#include "peer.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define ALL_FEATURES (1ull << 32 | 1ull << 30 | 1ull << 29 | 1ull << 28 | 0x7e76)
#define ALL_PROTOCOL                                                                               \
        (1ull << VU_P_MQ | 1ull << VU_P_REPLY_ACK | 1ull << VU_P_CONFIG |                          \
         1ull << VU_P_INFLIGHT_SHMFD | 1ull << VU_P_NET_MTU)

struct request {
        struct vu_message m;
        int fds[VU_FDS_MAX];
        unsigned n_fds;
};

static bool read_some(struct peer *p, void *to, size_t len, struct request *r) {
        char control[CMSG_SPACE(VU_FDS_MAX * sizeof(int))];

        while (len > 0) {
                struct iovec iov = { to, len };
                struct msghdr h = {
                        .msg_iov = &iov,
                        .msg_iovlen = 1,
                        .msg_control = control,
                        .msg_controllen = sizeof(control),
                };
                ssize_t n = recvmsg(p->socket, &h, MSG_CMSG_CLOEXEC);
                struct cmsghdr *c;

                if (n <= 0)
                        return false;
                c = CMSG_FIRSTHDR(&h);
                if (c) {
                        r->n_fds = (unsigned) ((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
                        memcpy(r->fds, CMSG_DATA(c), r->n_fds * sizeof(int));
                }
                to = (char *) to + n;
                len -= (size_t) n;
        }
        return true;
}

static void keep(int *slot, int fd) {
        if (*slot >= 0)
                (void) close(*slot);
        *slot = fd;
}

static bool is_question(enum vu_request request) {
        return request == VU_GET_FEATURES || request == VU_GET_PROTOCOL_FEATURES ||
               request == VU_GET_QUEUE_NUM || request == VU_GET_CONFIG ||
               request == VU_GET_VRING_BASE || request == VU_GET_INFLIGHT_FD;
}

static void note_ring(struct peer *p, struct request *r) {
        unsigned i = r->m.header.request == VU_SET_VRING_KICK ||
                                                     r->m.header.request == VU_SET_VRING_CALL
                                     ? r->m.u64 & 0xff
                                     : r->m.state.index;

        g_assert_cmpuint(i, <, 16);
        switch (r->m.header.request) {
        case VU_SET_VRING_NUM:
                p->num[i] = r->m.state.num;
                break;
        case VU_SET_VRING_BASE:
                p->base[i] = r->m.state.num;
                break;
        case VU_SET_VRING_ENABLE:
                p->enabled[i] = r->m.state.num;
                break;
        case VU_SET_VRING_ADDR:
                p->addr[i] = r->m.addr;
                break;
        case VU_SET_VRING_KICK:
        case VU_SET_VRING_CALL:
                g_assert_cmpuint(r->n_fds, ==, 1);
                keep(r->m.header.request == VU_SET_VRING_KICK ? &p->kick[i] : &p->call[i],
                     r->fds[0]);
                r->n_fds = 0;
                break;
        }
}

static void note_memory(struct peer *p, struct request *r) {
        p->memory = r->m.memory;
        g_assert_cmpuint(r->n_fds, ==, p->memory.n_regions);
        for (unsigned i = 0; i < VU_FDS_MAX; i++)
                keep(&p->memory_fds[i], i < r->n_fds ? r->fds[i] : -1);
        r->n_fds = 0;
}

static void note(struct peer *p, struct request *r) {
        switch (r->m.header.request) {
        case VU_SET_FEATURES:
                p->features_set = r->m.u64;
                break;
        case VU_NET_SET_MTU:
                p->mtu = r->m.u64;
                break;
        case VU_SET_MEM_TABLE:
                note_memory(p, r);
                break;
        case VU_SET_VRING_NUM:
        case VU_SET_VRING_BASE:
        case VU_SET_VRING_ENABLE:
        case VU_SET_VRING_ADDR:
        case VU_SET_VRING_KICK:
        case VU_SET_VRING_CALL:
                note_ring(p, r);
                break;
        case VU_SET_CONFIG:
                memcpy(p->config_set + r->m.config.offset, r->m.config.bytes, r->m.config.size);
                break;
        case VU_SET_INFLIGHT_FD:
                g_assert_cmpuint(r->n_fds, ==, 1);
                keep(&p->inflight, r->fds[0]);
                r->n_fds = 0;
                break;
        }
        g_assert_cmpuint(r->n_fds, ==, 0);
}

/* The honest answer. */
static void answer(struct peer *p, struct vu_message *m, int *ret_fd) {
        switch (m->header.request) {
        case VU_GET_FEATURES:
                m->u64 = p->features;
                break;
        case VU_GET_PROTOCOL_FEATURES:
                m->u64 = p->protocol;
                break;
        case VU_GET_QUEUE_NUM:
                m->u64 = p->queues;
                break;
        case VU_GET_CONFIG:
                g_assert_cmpuint(m->config.offset + m->config.size, <=, sizeof(p->config));
                memcpy(m->config.bytes, p->config + m->config.offset, m->config.size);
                return;
        case VU_GET_VRING_BASE:
                m->state.num = p->next_base;
                return;
        case VU_GET_INFLIGHT_FD:
                m->inflight.size = 4096;
                *ret_fd = memfd_create("inflight", MFD_CLOEXEC);
                return;
        default: /* an acknowledgement */
                m->u64 = 0;
        }
        m->header.size = sizeof(m->u64);
}

static void
send_bytes(struct peer *p, const void *data, size_t len, const int *fds, unsigned n_fds) {
        union {
                struct cmsghdr align;
                char bytes[CMSG_SPACE(16 * sizeof(int))];
        } control = { 0 };
        struct iovec iov = { (void *) data, len };
        struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1 };

        if (n_fds > 0) {
                h.msg_control = &control;
                h.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
                control.align.cmsg_level = SOL_SOCKET;
                control.align.cmsg_type = SCM_RIGHTS;
                control.align.cmsg_len = CMSG_LEN(n_fds * sizeof(int));
                memcpy(CMSG_DATA(&control.align), fds, n_fds * sizeof(int));
        }
        (void) sendmsg(p->socket, &h, MSG_NOSIGNAL);
}

static void spoil_value(struct vu_message *m) {
        switch (m->header.request) {
        case VU_GET_CONFIG:
                m->config.size = 1 << 20;
                break;
        case VU_GET_VRING_BASE:
                m->state.index ^= 1;
                break;
        case VU_GET_FEATURES:
        case VU_GET_QUEUE_NUM:
                m->u64 = 0;
                break;
        default:
                m->u64 = 1;
        }
}

/* False: the connection ends. */
static bool reply(struct peer *p, struct vu_message *m, enum peer_fault fault) {
        int fds[16], fd = -1;
        size_t len;
        unsigned n_fds;

        answer(p, m, &fd);
        m->header.flags = VU_VERSION | VU_FLAG_REPLY;
        for (unsigned i = 0; i < G_N_ELEMENTS(fds); i++)
                fds[i] = fd >= 0 ? fd : p->socket;
        n_fds = fd >= 0 ? 1 : 0;
        len = sizeof(m->header) + m->header.size;
        switch (fault) {
        case PEER_SILENT:
                n_fds = 0;
                len = 0;
                break;
        case PEER_CLOSES:
                len = 0;
                break;
        case PEER_HALF_HEADER:
                len = 7;
                break;
        case PEER_HALF_BODY:
                len -= 3;
                break;
        case PEER_OTHER_REQUEST:
                m->header.request ^= 1;
                break;
        case PEER_NO_REPLY_FLAG:
                m->header.flags = VU_VERSION;
                break;
        case PEER_OTHER_VERSION:
                m->header.flags = VU_FLAG_REPLY | 2;
                break;
        case PEER_SHORT:
                m->header.size -= 4;
                len -= 4;
                break;
        case PEER_LONG:
                m->header.size += 4;
                len += 4;
                break;
        case PEER_HUGE:
                m->header.size = UINT32_MAX;
                break;
        case PEER_FDS:
                n_fds = 16;
                break;
        case PEER_NO_FD:
                n_fds = n_fds ? 0 : 1;
                break;
        case PEER_REFUSES:
                if (!is_question(m->header.request))
                        m->u64 = 1;
                else
                        m->header.request = 0;
                break;
        case PEER_WRONG_VALUE:
                spoil_value(m);
                break;
        default:
                break;
        }
        if (len > 0)
                send_bytes(p, m, len, fds, n_fds);
        if (fd >= 0)
                (void) close(fd);
        return fault != PEER_CLOSES && fault != PEER_HALF_HEADER && fault != PEER_HALF_BODY;
}

static bool serve_one(struct peer *p) {
        struct request r = { 0 };
        enum peer_fault fault;
        bool due;

        if (!read_some(p, &r.m, sizeof(r.m.header), &r))
                return false;
        g_assert_cmpuint(r.m.header.flags & VU_VERSION_MASK, ==, VU_VERSION);
        g_assert_cmpuint(r.m.header.size, <=, sizeof(r.m) - sizeof(r.m.header));
        g_assert_cmpuint(r.m.header.request, <, G_N_ELEMENTS(p->seen));
        if (!read_some(p, (char *) &r.m + sizeof(r.m.header), r.m.header.size, &r))
                return false;
        pthread_mutex_lock(&p->lock);
        note(p, &r);
        p->seen[r.m.header.request]++;
        fault = p->fault != PEER_HONEST && p->at == r.m.header.request ? p->fault : PEER_HONEST;
        pthread_cond_broadcast(&p->changed);
        pthread_mutex_unlock(&p->lock);
        if (r.m.header.request == VU_SET_MEM_TABLE)
                g_usleep(p->slow_ms * 1000ul);
        due = is_question(r.m.header.request) || (r.m.header.flags & VU_FLAG_NEED_REPLY) != 0;
        if (fault == PEER_CLOSES && !due)
                return false;
        return !due || reply(p, &r.m, fault);
}

static void *run(void *opaque) {
        struct peer *p = opaque;

        while (serve_one(p))
                ;
        (void) shutdown(p->socket, SHUT_RDWR);
        pthread_mutex_lock(&p->lock);
        p->gone = true;
        pthread_cond_broadcast(&p->changed);
        pthread_mutex_unlock(&p->lock);
        return NULL;
}

struct peer *peer_new(void) {
        struct peer *p = g_new0(struct peer, 1);
        int ends[2];

        g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), ==, 0);
        p->socket = ends[0];
        p->device = ends[1];
        p->features = ALL_FEATURES;
        p->protocol = ALL_PROTOCOL;
        p->queues = 16;
        p->config[1] = 8; /* 2048 sectors */
        p->inflight = -1;
        for (unsigned i = 0; i < 16; i++)
                p->kick[i] = p->call[i] = -1;
        for (unsigned i = 0; i < VU_FDS_MAX; i++)
                p->memory_fds[i] = -1;
        pthread_mutex_init(&p->lock, NULL);
        pthread_cond_init(&p->changed, NULL);
        return p;
}

void peer_start(struct peer *p) {
        g_assert_cmpint(pthread_create(&p->thread, NULL, run, p), ==, 0);
}

void peer_kill(struct peer *p) {
        (void) shutdown(p->socket, SHUT_RDWR);
}

struct peer *peer_free(struct peer *p) {
        peer_kill(p);
        (void) pthread_join(p->thread, NULL);
        (void) close(p->socket);
        keep(&p->inflight, -1);
        for (unsigned i = 0; i < 16; i++) {
                keep(&p->kick[i], -1);
                keep(&p->call[i], -1);
        }
        for (unsigned i = 0; i < VU_FDS_MAX; i++)
                keep(&p->memory_fds[i], -1);
        pthread_cond_destroy(&p->changed);
        pthread_mutex_destroy(&p->lock);
        g_free(p);
        return NULL;
}

bool peer_wait(struct peer *p, enum vu_request request, unsigned n) {
        struct timespec end;
        bool seen;

        (void) clock_gettime(CLOCK_REALTIME, &end);
        end.tv_sec += 20;
        pthread_mutex_lock(&p->lock);
        while (p->seen[request] < n)
                if (pthread_cond_timedwait(&p->changed, &p->lock, &end) == ETIMEDOUT)
                        break;
        seen = p->seen[request] >= n;
        pthread_mutex_unlock(&p->lock);
        return seen;
}
