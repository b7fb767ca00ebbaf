/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The io_uring of an engine, as a thing: made, restricted, enabled. It is born disabled on the control side and enabled on the thread that
 * uses it, because a ring with a single issuer binds itself to the task that enables it.
 */

#include "devices/block/engine-ring.h"
#include "hypervisor/error.h"

#include <errno.h>

/* Best first: completions do not interrupt the thread but wait for its next system call (5.19, 6.0). DEFER_TASKRUN would batch
 * them further, but then nothing makes the ring's descriptor readable; an eventfd would cost more than it saves. */
static const unsigned setup_flags[] = {
        IORING_SETUP_R_DISABLED | IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG |
                        IORING_SETUP_SINGLE_ISSUER,
        IORING_SETUP_R_DISABLED | IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
        IORING_SETUP_R_DISABLED,
};

/* Transfers first: there is nothing else on the polled lane. */
static const int needed_ops[] = {
        IORING_OP_READV,      IORING_OP_WRITEV,      IORING_OP_READ,  IORING_OP_WRITE,
        IORING_OP_READ_FIXED, IORING_OP_WRITE_FIXED, IORING_OP_FSYNC, IORING_OP_FALLOCATE,
};
#define N_TRANSFER_OPS 6

int ring_open(struct io_uring *ring, unsigned depth, bool polls) {
        int r = -EINVAL;

        for (size_t i = 0; r == -EINVAL && i < G_N_ELEMENTS(setup_flags); i++)
                r = io_uring_queue_init(
                                depth, ring, setup_flags[i] | (polls ? IORING_SETUP_IOPOLL : 0));
        return r;
}

bool ring_probe(struct io_uring *ring, GError **error) {
        struct io_uring_probe *p = io_uring_get_probe_ring(ring);
        /* Waiting with a timeout takes no entry of its own (5.11). */
        bool ok = p && ring->features & IORING_FEAT_EXT_ARG;

        for (size_t i = 0; ok && i < G_N_ELEMENTS(needed_ops); i++)
                ok = io_uring_opcode_supported(p, needed_ops[i]);
        io_uring_free_probe(p);
        if (!ok)
                g_set_error_literal(
                                error, HV_ERROR, HV_ERROR_UNSUPPORTED,
                                "io_uring of this host lacks an operation disks need");
        return ok;
}

/* The ring does what disks need and nothing else, whatever is written into it: its requests pass by a filter of system calls.
 * Kernels before 5.10 know no restrictions. */
bool ring_restrict(struct io_uring *ring, bool transfers_only) {
        size_t n_ops = transfers_only ? N_TRANSFER_OPS : G_N_ELEMENTS(needed_ops);
        struct io_uring_restriction r[G_N_ELEMENTS(needed_ops) + 2] = {
                { .opcode = IORING_RESTRICTION_SQE_FLAGS_ALLOWED, .sqe_flags = IOSQE_FIXED_FILE },
                { .opcode = IORING_RESTRICTION_REGISTER_OP,
                  .register_op = IORING_REGISTER_ENABLE_RINGS },
        };

        for (size_t i = 0; i < n_ops; i++)
                r[i + 2] = (struct io_uring_restriction){
                        .opcode = IORING_RESTRICTION_SQE_OP,
                        .sqe_op = (uint8_t) needed_ops[i],
                };
        /* Another one that liburing 2.3 forgets to export. */
        return io_uring_register(
                               (unsigned) ring->ring_fd, IORING_REGISTER_RESTRICTIONS, r,
                               (unsigned) (n_ops + 2)) == 0;
}

/* liburing 2.3 forgets to export io_uring_enable_rings(). */
int ring_enable(struct io_uring *ring) {
        return io_uring_register((unsigned) ring->ring_fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0);
}

int ring_try_to_poll(int fd, void *buf) {
        struct io_uring ring;
        struct io_uring_cqe *cqe;
        struct io_uring_sqe *sqe;
        int r = io_uring_queue_init(1, &ring, IORING_SETUP_IOPOLL);

        if (r < 0)
                return r;
        do {
                sqe = io_uring_get_sqe(&ring);
                io_uring_prep_read(sqe, fd, buf, RING_TRIAL_SIZE, 0);
                r = io_uring_submit_and_wait(&ring, 1);
                if (r >= 0)
                        r = io_uring_wait_cqe(&ring, &cqe);
                if (r < 0)
                        break;
                r = cqe->res;
                io_uring_cqe_seen(&ring, cqe);
        } while (r == -EINTR || r == -EAGAIN);
        io_uring_queue_exit(&ring);
        return MIN(r, 0);
}
