/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <glib.h>
#include <liburing.h>
#include <stdbool.h>

/* Makes a ring for so many requests, disabled; polls: one with IORING_SETUP_IOPOLL. 0 or negative errno. */
int ring_open(struct io_uring *ring, unsigned depth, bool polls);

/* Whether the host's io_uring can do what disks need. */
bool ring_probe(struct io_uring *ring, GError **error);

/* Once enabled it takes what disks need, or only reads and writes, and nothing else. Kernels before 5.10 know no restrictions: false. */
bool ring_restrict(struct io_uring *ring, bool transfers_only);

/* On the thread that is going to use it. 0 or negative errno. */
int ring_enable(struct io_uring *ring);

/* Reads the first RING_TRIAL_SIZE bytes of fd, which is O_DIRECT, into buf by polling, with a ring for that alone. 0 or negative
 * errno: it does not work. */
#define RING_TRIAL_SIZE (64u * 1024u) /* a multiple of every sector */
int ring_try_to_poll(int fd, void *buf);
