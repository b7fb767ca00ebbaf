/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The front end of vhost-user with a back end that says what the input has. The input is a row of pieces: how many bytes, how many
 * descriptors come with them (modulo 12, which is more than anybody may send), the bytes. After the last the back end has gone, so
 * nothing is waited for.
 */

#include "fuzz.h"

#include "devices/vhost/user.h"

#include <assert.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define FDS 12

static gmem *memory;
static struct virtq queue;
static int spare = -1;

static void set_up(void) {
        struct gmem_backing backing = { .shared = true };

        memory = gmem_new();
        if (!gmem_add(memory, GADDR(0), 1 << 20, &backing, NULL))
                abort();
        queue = (struct virtq){ .mem = memory, .size = 16, .max_size = 16 };
        spare = dup(0);
        if (spare < 0)
                abort();
}

static void send_piece(int socket, const uint8_t *data, size_t size, unsigned n_fds) {
        union {
                struct cmsghdr align;
                char bytes[CMSG_SPACE(FDS * sizeof(int))];
        } control = { 0 };
        struct iovec iov = { (void *) data, size };
        struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };

        if (n_fds > 0) {
                m.msg_control = &control;
                m.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
                control.align.cmsg_level = SOL_SOCKET;
                control.align.cmsg_type = SCM_RIGHTS;
                control.align.cmsg_len = CMSG_LEN(n_fds * sizeof(int));
                for (unsigned i = 0; i < n_fds; i++)
                        memcpy(CMSG_DATA(&control.align) + i * sizeof(int), &spare, sizeof(int));
        }
        (void) sendmsg(socket, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void send_all(int socket, const uint8_t *data, size_t size) {
        while (size >= 3) {
                size_t n = MIN((size_t) data[0], size - 2);

                if (n > 0)
                        send_piece(socket, data + 2, n, data[1] % FDS);
                data += 2 + n;
                size -= 2 + n;
        }
        (void) shutdown(socket, SHUT_WR);
}

static void drive(struct vhost_user *u, int socket) {
        struct vhost *v = &u->vhost;
        struct vhost_ring ring = { 0, &queue, spare, spare };
        uint8_t config[60];
        uint16_t next;

        if (vhost_user_open(u, socket, 2, sizeof(config)) < 0 ||
            vhost_user_get_config(u, config, sizeof(config)) < 0)
                return;
        if (v->ops->set_features(v, 1ull << 32) < 0 || v->ops->set_memory(v, memory) < 0 ||
            vhost_user_set_config(u, 32, config, 1) < 0 || vhost_user_keep_inflight(u, 2, 16) < 0)
                return;
        if (v->ops->start(v, &ring) < 0 || v->ops->stop(v, 0, &next) < 0 ||
            vhost_user_enable(u, 0, true) < 0)
                return;
        if (vhost_user_takes_mtu(u))
                (void) vhost_user_set_mtu(u, 1500);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        struct vhost_user u;
        int ends[2], probe;

        if (!memory)
                set_up();
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
                abort();
        send_all(ends[1], data, size);
        vhost_user_init(&u);
        drive(&u, ends[0]);
        /* Whatever was wrong has ended the connection, and said so. */
        assert((u.socket < 0) == (u.fault != NULL));
        vhost_user_clear(&u);
        (void) close(ends[1]);
        /* Every descriptor that came is closed again. */
        probe = dup(spare);
        assert(probe >= 0 && probe <= spare + 8);
        (void) close(probe);
        return 0;
}
