/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "devices/block/engine.h"

/* A started engine for requests of this thread; NULL and the test is skipped where the host forbids it. */
struct engine *test_engine_new(enum engine_kind kind, unsigned depth, int fd);

/* An unlinked file of size bytes with content 0, 1, 2 … 250, 0, …; flags as for open(2). -1 and the test is skipped when the
 * file system refuses the flags. */
int test_file_new(uint64_t size, int flags);
uint8_t test_file_byte(uint64_t offset);

/* Another descriptor of the same file. */
int test_file_reopen(int fd, int flags);

/* A request that keeps its result. */
struct test_req {
        struct block_req req;
        struct iovec iov;
        int result;
        unsigned done;
};

void test_req_init(struct test_req *t, enum block_op op, uint64_t offset, void *buf, uint64_t len);

/* Does one request on fd from start to end and returns its result. */
int test_engine_run(struct engine *e, int fd, struct test_req *t);
