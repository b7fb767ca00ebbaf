/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Transport of vhost-user messages over a stream socket. The other side is as trustworthy as a guest: it may send half a message,
 * a length of its choice, descriptors nobody asked for, or nothing at all. So a header is read alone, its length is compared with
 * the one length that is right before a byte of payload is read, no read waits beyond what the caller allows, and every descriptor that
 * arrives is either the one that was expected or closed.
 *
 * The socket's own mode does not matter: every call is told not to wait, and poll(2) does.
 */

#include "devices/vhost/message.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

typedef union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(VU_FDS_MAX * sizeof(int))];
} Control;

/* Descriptors that have come with a message. */
struct arrived {
        int fds[VU_FDS_MAX];
        unsigned n;
        bool excess;
};

static void arrived_clear(struct arrived *a) {
        for (unsigned i = 0; i < a->n; i++)
                (void) close(a->fds[i]);
        a->n = 0;
}

static int await(int socket, short events, vu_patience *patience) {
        for (;;) {
                struct pollfd p[] = { { .fd = socket, .events = events },
                                      { .fd = patience->hurry_fd, .events = POLLIN } };
                int64_t now = g_get_monotonic_time(), left = patience->end - now;
                int n;

                if (left <= 0)
                        return -ETIMEDOUT;
                n = poll(p, G_N_ELEMENTS(p), (int) MIN(left / 1000 + 1, INT32_MAX));
                if (n < 0 && errno != EINTR)
                        return -errno;
                if (n > 0 && p[0].revents)
                        return 0;
                if (n > 0) {
                        now = g_get_monotonic_time();
                        patience->end = MIN(patience->end, now + VU_HURRY_MS * 1000);
                        patience->hurry_fd = -1;
                }
        }
}

/* After a call that failed: 0 to try again. */
static int retry(int socket, short events, vu_patience *patience) {
        if (errno == EINTR)
                return 0;
        if (errno == EAGAIN)
                return await(socket, events, patience);
        return errno == ECONNRESET ? -EPIPE : -errno;
}

static void attach(struct msghdr *m, Control *control, const int *fds, unsigned n_fds) {
        struct cmsghdr *header = &control->align;

        memset(control, 0, sizeof(*control));
        m->msg_control = control;
        m->msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
        memcpy(CMSG_DATA(header), fds, n_fds * sizeof(int));
}

int vu_send(int socket,
            const struct vu_message *message,
            const int *fds,
            unsigned n_fds,
            vu_patience patience) {
        const char *at = (const char *) message;
        size_t left = sizeof(message->header) + message->header.size;
        Control control;
        int r;

        assert(left <= sizeof(*message) && n_fds <= VU_FDS_MAX);
        while (left > 0) {
                struct iovec iov = { (void *) at, left };
                struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
                ssize_t n;

                /* Descriptors go with the first byte. */
                if (n_fds > 0 && at == (const char *) message)
                        attach(&m, &control, fds, n_fds);
                n = sendmsg(socket, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
                if (n < 0) {
                        r = retry(socket, POLLOUT, &patience);
                        if (r < 0)
                                return r;
                        continue;
                }
                at += n;
                left -= (size_t) n;
        }
        return 0;
}

static void collect(struct msghdr *m, struct arrived *a) {
        for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
                size_t n;

                if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
                        continue;
                n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
                for (size_t i = 0; i < n; i++) {
                        int fd;

                        memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
                        if (a->n < VU_FDS_MAX) {
                                a->fds[a->n++] = fd;
                                continue;
                        }
                        (void) close(fd);
                        a->excess = true;
                }
        }
        a->excess |= (m->msg_flags & MSG_CTRUNC) != 0;
}

static int
read_all(int socket, void *buffer, size_t left, struct arrived *a, vu_patience *patience) {
        char *at = buffer;

        while (left > 0) {
                Control control;
                struct iovec iov = { at, left };
                struct msghdr m = {
                        .msg_iov = &iov,
                        .msg_iovlen = 1,
                        .msg_control = &control,
                        .msg_controllen = sizeof(control),
                };
                ssize_t n = recvmsg(socket, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
                int r;

                if (n == 0)
                        return -EPIPE;
                if (n < 0) {
                        r = retry(socket, POLLIN, patience);
                        if (r < 0)
                                return r;
                        continue;
                }
                collect(&m, a);
                at += n;
                left -= (size_t) n;
        }
        return 0;
}

static int
receive(int socket,
        enum vu_request request,
        uint32_t size,
        struct vu_message *ret,
        struct arrived *a,
        vu_patience *patience) {
        struct vu_header h;
        int r;

        r = read_all(socket, &h, sizeof(h), a, patience);
        if (r < 0)
                return r;
        if (h.request != (uint32_t) request || h.size != size ||
            (h.flags & (VU_VERSION_MASK | VU_FLAG_REPLY)) != (VU_VERSION | VU_FLAG_REPLY))
                return -EPROTO;
        ret->header = h;
        return read_all(socket, (char *) ret + sizeof(h), size, a, patience);
}

int vu_receive(int socket,
               enum vu_request request,
               uint32_t size,
               struct vu_message *ret,
               int *ret_fds,
               unsigned n_fds,
               vu_patience patience) {
        struct arrived a = { 0 };
        int r;

        assert(size <= sizeof(*ret) - sizeof(ret->header) && n_fds <= VU_FDS_MAX);
        *ret = (struct vu_message){ 0 };
        r = receive(socket, request, size, ret, &a, &patience);
        if (r == 0 && (a.excess || a.n != n_fds))
                r = -EPROTO;
        if (r < 0) {
                arrived_clear(&a);
                return r;
        }
        for (unsigned i = 0; i < n_fds; i++)
                ret_fds[i] = a.fds[i];
        return 0;
}
