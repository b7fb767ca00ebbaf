/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "devices/virtio/virtq.h"

/*
 * /dev/vhost-net, for tests on hosts without it: requests to the descriptors that fake_vhost_open() gives are answered here and not by
 * the kernel. Rings are served by threads, as the kernel serves them: it takes what the ring has in its order, looks at doorbells but does not
 * clear them, and starts at the used ring's index.
 */

#define FAKE_VHOST_MAX 8

struct fake_vhost {
        uint64_t features;     /* that it offers */
        unsigned long failing; /* a request that fails from now on; 0: none */
        unsigned owners;       /* times it was owned */
        bool owned;
        bool others; /* another process' */
        unsigned starts;
};

/* Rings are in mem; what is moved is counted in the four files of statistics (devices.h), which the caller closes: NULL: nowhere. */
int fake_vhost_open(const gmem *mem, const int *statistics);
struct fake_vhost *fake_vhost_of(int fd);

/* Tells of a driver that has broken the rules. */
void fake_vhost_fault(int fd, unsigned ring);

/* No descriptor of the device's is held by a ring that is not served. */
bool fake_vhost_is_clean(int fd);

/* All are gone: devices have closed theirs. */
void fake_vhost_forget(void);
