/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What the tests of the block layer share: files with known content and requests that remember how they ended.
 */

#include "tests/unit/block/support.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

struct engine *test_engine_new(enum engine_kind kind, unsigned depth, int fd) {
        g_autoptr(GError) error = NULL;
        struct engine *e = engine_new(kind, depth, fd, &error);

        if (!e) {
                g_test_skip(error->message);
                return NULL;
        }
        g_assert_cmpint(engine_start(e), ==, 0);
        return e;
}

uint8_t test_file_byte(uint64_t offset) {
        return (uint8_t) (offset % 251);
}

int test_file_reopen(int fd, int flags) {
        g_autofree char *path = g_strdup_printf("/proc/self/fd/%d", fd);

        return open(path, flags | O_CLOEXEC);
}

int test_file_new(uint64_t size, int flags) {
        g_autofree char *path = g_build_filename(g_get_tmp_dir(), "chvd-block-XXXXXX", NULL);
        g_autofree uint8_t *content = g_malloc(size + 1);
        int fd = g_mkstemp_full(path, O_RDWR | O_CLOEXEC, 0600), again;

        g_assert_cmpint(fd, >=, 0);
        for (uint64_t i = 0; i < size; i++)
                content[i] = test_file_byte(i);
        g_assert_cmpint(pwrite(fd, content, size, 0), ==, (ssize_t) size);
        again = open(path, flags | O_CLOEXEC);
        (void) unlink(path);
        (void) close(fd);
        if (again < 0 && errno == EINVAL)
                g_test_skip("the file system of the temporary folder refuses O_DIRECT");
        else
                g_assert_cmpint(again, >=, 0);
        return again;
}

static void note_result(struct block_req *req, int result) {
        struct test_req *t = (struct test_req *) req;

        t->result = result;
        t->done++;
}

void test_req_init(struct test_req *t, enum block_op op, uint64_t offset, void *buf, uint64_t len) {
        *t = (struct test_req){ .iov = { buf, len }, .result = 1 };
        t->req.op = op;
        t->req.offset = offset;
        t->req.len = len;
        t->req.iov = &t->iov;
        t->req.n_iov = 1;
        t->req.done = note_result;
}

int test_engine_run(struct engine *e, int fd, struct test_req *t) {
        struct iovec before = t->iov;

        t->req.fd = fd;
        engine_queue(e, &t->req);
        g_assert_cmpint(engine_drain(e, -1), ==, 0);
        g_assert_cmpuint(t->done, ==, 1);
        g_assert_cmpuint(engine_in_flight(e), ==, 0);
        g_assert_true(t->iov.iov_base == before.iov_base);
        g_assert_cmpuint(t->iov.iov_len, ==, before.iov_len);
        return t->result;
}
