/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves of both I/O engines: errors of the host come back as what they are (bad descriptors, full file systems, files that were
 * cut), nothing is lost or done twice, random operations leave the file as a model of it in memory, requests can be started from
 * done() and ended by other threads, draining ends at its time limit, and a host that forbids io_uring gets the synchronous engine.
 */

#include "devices/block/engine-fixed.h"
#include "devices/block/engine-pieces.h"
#include "devices/block/pace.h"
#include "hypervisor/error.h"
#include "hypervisor/fd.h"
#include "tests/unit/block/support.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <seccomp.h>
#include <signal.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>

static void test_bad_descriptors(gconstpointer kind) {
        struct engine *e = test_engine_new(GPOINTER_TO_INT(kind), 4, -1);
        autofd fd = test_file_new(4096, O_RDWR);
        autofd write_only = test_file_reopen(fd, O_WRONLY);
        autofd read_only = test_file_reopen(fd, O_RDONLY);
        char buf[512] = { 0 };
        struct test_req t;

        if (!e)
                return;
        test_req_init(&t, BLOCK_READ, 0, buf, sizeof(buf));
        g_assert_cmpint(test_engine_run(e, write_only, &t), ==, -EBADF);
        test_req_init(&t, BLOCK_WRITE, 0, buf, sizeof(buf));
        g_assert_cmpint(test_engine_run(e, read_only, &t), ==, -EBADF);
        test_req_init(&t, BLOCK_FLUSH, 0, NULL, 0);
        g_assert_cmpint(test_engine_run(e, 987654, &t), ==, -EBADF);
        test_req_init(&t, BLOCK_ZERO, 0, NULL, 512);
        g_assert_cmpint(test_engine_run(e, read_only, &t), ==, -EBADF);
        engine_free(e);
}

/* Reads across and behind the end fail and leave the iovec as it was. */
static void test_cut_file(gconstpointer kind) {
        struct engine *e = test_engine_new(GPOINTER_TO_INT(kind), 4, -1);
        autofd fd = test_file_new(1000, O_RDWR);
        char buf[512];
        struct test_req t;

        if (!e)
                return;
        test_req_init(&t, BLOCK_READ, 488, buf, sizeof(buf));
        g_assert_cmpint(test_engine_run(e, fd, &t), ==, 0);
        test_req_init(&t, BLOCK_READ, 512, buf, sizeof(buf));
        g_assert_cmpint(test_engine_run(e, fd, &t), ==, -EIO);
        test_req_init(&t, BLOCK_READ, 1024, buf, sizeof(buf));
        g_assert_cmpint(test_engine_run(e, fd, &t), ==, -EIO);
        engine_free(e);
}

static void test_file_size_limit(gconstpointer kind) {
        struct engine *e = test_engine_new(GPOINTER_TO_INT(kind), 4, -1);
        autofd fd = test_file_new(1024, O_RDWR);
        struct rlimit before, limit;
        char buf[1024] = { 0 };
        struct test_req t;

        if (!e)
                return;
        g_assert_cmpint(getrlimit(RLIMIT_FSIZE, &before), ==, 0);
        limit = (struct rlimit){ 1536, before.rlim_max };
        g_assert_cmpint(setrlimit(RLIMIT_FSIZE, &limit), ==, 0);
        /* The first half fits, the rest does not: a short write, then the error. */
        test_req_init(&t, BLOCK_WRITE, 1024, buf, sizeof(buf));
        g_assert_cmpint(test_engine_run(e, fd, &t), ==, -EFBIG);
        g_assert_cmpint(setrlimit(RLIMIT_FSIZE, &before), ==, 0);
        engine_free(e);
}

static void test_no_space(gconstpointer kind) {
        const char *dir = g_getenv("CHVD_TEST_SMALL_FS");
        struct engine *e;
        g_autofree char *path = NULL;
        g_autofree char *buf = g_malloc0(256 * 1024);
        struct test_req t;

        if (!dir) {
                g_test_skip("no right to mount a small tmpfs in a namespace of our own");
                return;
        }
        e = test_engine_new(GPOINTER_TO_INT(kind), 4, -1);
        if (!e)
                return;
        path = g_build_filename(dir, "disk", NULL);

        autofd fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

        g_assert_cmpint(fd, >=, 0);
        g_assert_cmpint(ftruncate(fd, 1024 * 1024), ==, 0);
        test_req_init(&t, BLOCK_WRITE, 0, buf, 256 * 1024);
        g_assert_cmpint(test_engine_run(e, fd, &t), ==, -ENOSPC);
        test_req_init(&t, BLOCK_READ, 0, buf, 256 * 1024);
        g_assert_cmpint(test_engine_run(e, fd, &t), ==, 0);
        engine_free(e);
}

/* Splits requests of random iovecs at random places: every byte is handed out once, in order, and the iovecs end as they began. */
static void test_advance(void) {
        struct iovec iov[16], copy[16];
        static char memory[4096];

        for (int round = 0; round < 2000; round++) {
                struct block_req req = { .op = BLOCK_READ, .iov = iov };
                struct engine e = { 0 };
                char *at = memory;

                req.n_iov = (unsigned) g_test_rand_int_range(1, G_N_ELEMENTS(iov) + 1);
                for (unsigned i = 0; i < req.n_iov; i++) {
                        iov[i] = (struct iovec){ at, (size_t) g_test_rand_int_range(1, 256) };
                        at += iov[i].iov_len;
                        req.len += iov[i].iov_len;
                }
                memcpy(copy, iov, sizeof(iov));
                block_req_begin(&req);
                for (;;) {
                        uint64_t left = req.len - req.moved;
                        size_t n = (size_t) g_test_rand_int_range(1, (gint32) left + 1);

                        g_assert_true(iov[req.iov_at].iov_base == memory + req.moved);
                        if (block_req_advance(&req, n))
                                break;
                        /* Now and then it ends in the middle. */
                        if (g_test_rand_int_range(0, 8) == 0)
                                break;
                }
                engine_complete(&e, &req, 0);
                g_assert_true(e.finished.first == &req && e.finished.last == &req);
                g_assert_cmpint(memcmp(copy, iov, req.n_iov * sizeof(iov[0])), ==, 0);
        }
}

#define DISK (256u * 1024u)
#define BATCH 32u

struct random_op {
        struct test_req t;
        struct iovec iov[8];
        uint8_t *buf;
};

/* One operation in its own part of the disk, so that the order within the batch does not matter. */
static void random_op_start(struct random_op *op, struct engine *e, int fd, unsigned part) {
        static const enum block_op kinds[] = { BLOCK_READ,  BLOCK_READ,    BLOCK_WRITE, BLOCK_WRITE,
                                               BLOCK_FLUSH, BLOCK_DISCARD, BLOCK_ZERO };
        unsigned size = DISK / BATCH;
        unsigned first = (unsigned) g_test_rand_int_range(0, (gint32) size - 1);
        unsigned len = (unsigned) g_test_rand_int_range(1, (gint32) (size - first) + 1), used = 0;
        enum block_op kind = kinds[g_test_rand_int_range(0, G_N_ELEMENTS(kinds))];

        test_req_init(&op->t, kind, part * size + first, op->buf, len);
        op->t.req.fd = fd;
        op->t.req.dsync = g_test_rand_bit();
        op->t.req.cached = g_test_rand_bit();
        op->t.req.iov = op->iov;
        op->t.req.n_iov = 0;
        for (unsigned i = 0; i < G_N_ELEMENTS(op->iov) && used < len; i++) {
                unsigned n = (unsigned) g_test_rand_int_range(1, (gint32) (len - used) + 1);

                if (i == G_N_ELEMENTS(op->iov) - 1)
                        n = len - used;
                op->iov[i] = (struct iovec){ op->buf + used, n };
                op->t.req.n_iov = i + 1;
                used += n;
        }
        for (unsigned i = 0; kind == BLOCK_WRITE && i < len; i++)
                op->buf[i] = (uint8_t) g_test_rand_int();
        engine_queue(e, &op->t.req);
}

static void random_op_check(const struct random_op *op, uint8_t *model) {
        const struct block_req *req = &op->t.req;

        g_assert_cmpint(op->t.result, ==, 0);
        g_assert_cmpuint(op->t.done, ==, 1);
        if (req->op == BLOCK_WRITE)
                memcpy(model + req->offset, op->buf, req->len);
        else if (req->op == BLOCK_DISCARD || req->op == BLOCK_ZERO)
                memset(model + req->offset, 0, req->len);
        else if (req->op == BLOCK_READ)
                g_assert_cmpint(memcmp(model + req->offset, op->buf, req->len), ==, 0);
}

static void test_random(gconstpointer kind) {
        autofd fd = test_file_new(DISK, O_RDWR);
        struct engine *e = test_engine_new(GPOINTER_TO_INT(kind), BATCH, fd);
        g_autofree uint8_t *model = g_malloc(DISK), *memory = g_malloc(DISK);
        static struct random_op ops[BATCH];

        if (!e)
                return;
        for (unsigned i = 0; i < DISK; i++)
                model[i] = test_file_byte(i);
        for (int round = 0; round < 100; round++) {
                for (unsigned i = 0; i < BATCH; i++) {
                        ops[i].buf = memory + i * (DISK / BATCH);
                        random_op_start(&ops[i], e, fd, i);
                }
                g_assert_cmpuint(engine_in_flight(e), ==, BATCH);
                engine_submit(e);
                g_assert_cmpint(engine_drain(e, -1), ==, 0);
                for (unsigned i = 0; i < BATCH; i++)
                        random_op_check(&ops[i], model);
        }
        g_assert_cmpint(pread(fd, memory, DISK, 0), ==, DISK);
        g_assert_cmpint(memcmp(memory, model, DISK), ==, 0);
        engine_free(e);
}

struct chain {
        struct test_req t;
        struct engine *e;
        unsigned left;
        char buf[512];
};

static void chain_next(struct block_req *req, int result) {
        struct chain *c = (struct chain *) req;

        g_assert_cmpint(result, ==, 0);
        if (c->left-- > 0)
                engine_queue(c->e, req);
}

/* done() may start its own request again. */
static void test_restart_from_done(gconstpointer kind) {
        autofd fd = test_file_new(4096, O_RDWR);
        struct chain c = { .e = test_engine_new(GPOINTER_TO_INT(kind), 1, fd), .left = 1000 };

        if (!c.e)
                return;
        test_req_init(&c.t, BLOCK_READ, 512, c.buf, sizeof(c.buf));
        c.t.req.fd = fd;
        c.t.req.done = chain_next;
        engine_queue(c.e, &c.t.req);
        g_assert_cmpint(engine_drain(c.e, -1), ==, 0);
        g_assert_cmpuint(c.left, ==, UINT_MAX);
        g_assert_cmpint(c.buf[0], ==, test_file_byte(512));
        engine_free(c.e);
}

/* More requests than the engine was made for still all end. */
static void test_more_than_depth(gconstpointer kind) {
        autofd fd = test_file_new(4096, O_RDWR);
        struct engine *e = test_engine_new(GPOINTER_TO_INT(kind), 2, fd);
        struct test_req t[16];
        char buf[16][64];

        if (!e)
                return;
        for (unsigned i = 0; i < G_N_ELEMENTS(t); i++) {
                test_req_init(&t[i], BLOCK_READ, i * 64, buf[i], 64);
                t[i].req.fd = fd;
                engine_queue(e, &t[i].req);
        }
        g_assert_cmpint(engine_drain(e, -1), ==, 0);
        for (unsigned i = 0; i < G_N_ELEMENTS(t); i++) {
                g_assert_cmpint(t[i].result, ==, 0);
                g_assert_cmpuint(t[i].done, ==, 1);
                g_assert_cmpint((uint8_t) buf[i][1], ==, test_file_byte(i * 64 + 1));
        }
        engine_free(e);
}

/* Pieces are all of a request, in order, none longer than it may be, and none but a part of a buffer that is longer splits one. */
static void test_piece_walk(void) {
        static char memory[16 * 4096];
        struct iovec iov[16];

        for (int round = 0; round < 2000; round++) {
                struct block_req req = { .op = BLOCK_WRITE, .iov = iov, .offset = 7777 };
                uint64_t pos = 0;
                struct block_piece p = { 0 };
                unsigned n = 0;

                req.n_iov = (unsigned) g_test_rand_int_range(1, G_N_ELEMENTS(iov) + 1);
                req.piece_max = (uint32_t) g_test_rand_int_range(1, 5000);
                for (unsigned i = 0; i < req.n_iov; i++) {
                        iov[i] = (struct iovec){ memory + req.len,
                                                 (size_t) g_test_rand_int_range(0, 4096) };
                        req.len += iov[i].iov_len;
                }
                while (block_piece_next(&req, &p)) {
                        const struct iovec *first = p.iov + p.first;

                        g_assert_cmpuint(p.at, ==, req.offset + pos);
                        g_assert_cmpuint(p.len, <=, req.piece_max);
                        g_assert_cmpuint(p.len, >, 0);
                        g_assert_true((char *) first->iov_base + p.skip == memory + pos);
                        g_assert_true(p.plain == (first->iov_len > req.piece_max));
                        g_assert_cmpuint(p.first + p.n_iov, <=, req.n_iov);
                        for (uint64_t left = p.plain ? 0 : p.len, i = 0; left > 0; i++)
                                left -= first[i].iov_len;
                        pos += p.len;
                        n++;
                }
                g_assert_cmpuint(pos, ==, req.len);
                if (req.len > 0)
                        g_assert_cmpuint(
                                        block_req_count_pieces(&req), ==,
                                        req.len > req.piece_max ? n : 1);
                req.dsync = true;
                g_assert_cmpuint(block_req_count_pieces(&req), ==, 1);
        }
}

/* How the ends of pieces make one of the whole: an error of any is the whole's, what is only short is not. */
static void test_piece_sums(void) {
        static const struct {
                int res[3], error;
                uint64_t sum;
        } cases[] = {
                { { 100, 200, 50 }, 0, 350 },
                { { 100, -EIO, 50 }, -EIO, 150 },
                { { -ENOSPC, 7, -EIO }, -ENOSPC, 7 },
                { { -EAGAIN, 200, -EINTR }, 0, 200 },
                { { 0, 0, 0 }, 0, 0 },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
                struct block_req req = { .pieces = 3 };

                for (unsigned j = 0; j < 3; j++)
                        g_assert_true(block_req_piece_over(&req, cases[i].res[j]) == (j == 2));
                g_assert_cmpint(req.piece_error, ==, cases[i].error);
                g_assert_cmpuint(req.piece_sum, ==, cases[i].sum);
        }
}

#define PIECED (96u * 1024u)

/* Requests in more pieces than the queue has room for, more of them than fit, and some that find only a part of what they want. */
static void test_pieces(gconstpointer kind) {
        autofd fd = test_file_new(PIECED, O_RDWR);
        struct engine *e = test_engine_new(GPOINTER_TO_INT(kind), 8, fd);
        g_autofree uint8_t *memory = g_malloc(16 * PIECED);
        static struct random_op ops[16];

        if (!e)
                return;
        for (int round = 0; round < 100; round++) {
                for (unsigned i = 0; i < G_N_ELEMENTS(ops); i++) {
                        struct test_req *t = &ops[i].t;
                        uint8_t *buf = memory + i * PIECED;
                        unsigned cut = (unsigned) g_test_rand_int_range(0, PIECED / 2);

                        test_req_init(t, BLOCK_READ, i % 4 == 3 ? 512 : 0, buf, PIECED);
                        ops[i].iov[0] = (struct iovec){ buf, cut };
                        ops[i].iov[1] = (struct iovec){ buf + cut, PIECED / 2 - cut };
                        ops[i].iov[2] = (struct iovec){ buf + PIECED / 2, PIECED / 2 };
                        t->req.iov = ops[i].iov;
                        t->req.n_iov = 3;
                        t->req.fd = fd;
                        t->req.piece_max = (uint32_t) g_test_rand_int_range(4096, PIECED);
                        memset(buf, 0xff, PIECED);
                        engine_queue(e, &t->req);
                }
                g_assert_cmpint(engine_drain(e, -1), ==, 0);
                for (unsigned i = 0; i < G_N_ELEMENTS(ops); i++) {
                        const uint8_t *buf = memory + i * PIECED;

                        g_assert_cmpuint(ops[i].t.done, ==, 1);
                        g_assert_cmpint(ops[i].t.result, ==, i % 4 == 3 ? -EIO : 0);
                        for (unsigned at = 0; i % 4 != 3 && at < PIECED; at += 97)
                                g_assert_cmpuint(buf[at], ==, test_file_byte(at));
                }
        }
        engine_free(e);
}

/* What the kernel would hand to a thread of its own is over at once while it is short: a flush that nobody waits beside, and
 * writes to the page cache; a write that has to reach the disk is not. */
static void test_done_here(gconstpointer kind) {
        static const struct {
                enum block_op op;
                bool cached, dsync, over;
        } cases[] = {
                { BLOCK_FLUSH, false, false, true },
                { BLOCK_WRITE, true, false, true },
                { BLOCK_WRITE, true, true, false },
        };
        autofd fd = test_file_new(4096, O_RDWR);
        char buf[512] = "here";

        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
                struct engine *e = test_engine_new(GPOINTER_TO_INT(kind), 4, fd);
                struct test_req t;

                if (!e)
                        return;
                test_req_init(&t, cases[i].op, 0, buf, cases[i].op == BLOCK_FLUSH ? 0 : 512);
                t.req.fd = fd;
                t.req.cached = cases[i].cached;
                t.req.dsync = cases[i].dsync;
                engine_queue(e, &t.req);
                if (GPOINTER_TO_INT(kind) == ENGINE_URING)
                        g_assert_true(engine_is_ready(e) == cases[i].over);
                g_assert_cmpuint(t.done, ==, 0);
                g_assert_cmpint(engine_drain(e, -1), ==, 0);
                g_assert_cmpuint(t.done, ==, 1);
                g_assert_cmpint(t.result, ==, 0);
                engine_free(e);
        }
        g_assert_cmpint(pread(fd, buf, sizeof(buf), 0), ==, sizeof(buf));
        g_assert_cmpstr(buf, ==, "here");
}

static void test_pace(void) {
        struct pace p = { 0 };
        unsigned refused[3] = { 0 };

        for (int i = 0; i < 100; i++) {
                g_assert_true(pace_allows(&p));
                pace_note(&p, 20000, 0);
                if (i % 16 == 0)
                        pace_new_batch(&p);
        }
        for (int i = 0; i < 3; i++) {
                pace_note(&p, 5000000, 0);
                pace_new_batch(&p);
                while (!pace_allows(&p))
                        refused[i]++;
                g_assert_cmpuint(refused[i], ==, 16u << i);
        }
        for (int i = 0; i < 20; i++)
                pace_note(&p, 5000000, 0);
        pace_new_batch(&p);
        for (refused[0] = 0; !pace_allows(&p);)
                refused[0]++;
        g_assert_cmpuint(refused[0], ==, 4096);
        /* Long for what it moved, not for what it is. */
        pace_note(&p, 1000000, 1000000);
        g_assert_false(pace_allows(&p));
        pace_new_batch(&p);
        g_assert_true(pace_allows(&p));
        /* It was forgiven. */
        pace_note(&p, 1000, 0);
        pace_note(&p, 5000000, 0);
        pace_new_batch(&p);
        for (refused[0] = 0; !pace_allows(&p);)
                refused[0]++;
        g_assert_cmpuint(refused[0], ==, 16);
}

/* A read that has nothing to read yet keeps a drain waiting, to its limit and no longer. */
static void test_drain_limit(void) {
        struct engine *e = test_engine_new(ENGINE_URING, 4, -1);
        struct test_req t;
        char buf[4];
        int ends[2];

        if (!e)
                return;
        g_assert_cmpint(pipe(ends), ==, 0);
        test_req_init(&t, BLOCK_READ, 0, buf, sizeof(buf));
        t.req.fd = ends[0];
        engine_queue(e, &t.req);
        g_assert_cmpint(engine_drain(e, 20), ==, -ETIMEDOUT);
        g_assert_cmpuint(engine_in_flight(e), ==, 1);
        g_assert_cmpint(write(ends[1], "abcd", 4), ==, 4);
        g_assert_cmpint(engine_drain(e, -1), ==, 0);
        g_assert_cmpint(t.result, ==, 0);
        g_assert_cmpint(memcmp(buf, "abcd", 4), ==, 0);
        (void) close(ends[0]);
        (void) close(ends[1]);
        engine_free(e);
}

/* A thread that sleeps on the engine's descriptor is woken, also for what the kernel hands to its own workers. */
static void test_poll_fd(void) {
        autofd fd = test_file_new(4096, O_RDWR);
        struct engine *e = test_engine_new(ENGINE_URING, 4, fd);
        char buf[512] = { 0 };

        if (!e)
                return;
        for (int i = 0; i < 20; i++) {
                struct pollfd p = { engine_poll_fd(e), POLLIN, 0 };
                struct test_req t;
                int r;

                test_req_init(&t, BLOCK_WRITE, 0, buf, 512);
                t.req.fd = fd;
                t.req.dsync = true;
                engine_queue(e, &t.req);
                engine_submit(e);
                do
                        r = poll(&p, 1, 20000);
                while (r < 0 && errno == EINTR);
                g_assert_cmpint(r, ==, 1);
                g_assert_cmpuint(engine_reap(e), ==, 1);
                g_assert_cmpint(t.result, ==, 0);
        }
        engine_free(e);
}

/* A kernel that takes no more entries: requests are done all the same. The ring's descriptor is replaced by one that
 * io_uring_enter() refuses. */
static void test_refused_by_kernel(void) {
        autofd fd = test_file_new(4096, O_RDWR);
        struct engine *e = test_engine_new(ENGINE_URING, 4, -1);
        autofd ring = -1, null = open("/dev/null", O_RDWR | O_CLOEXEC);
        struct test_req t[3];
        char buf[3][512];

        if (!e)
                return;
        ring = dup(engine_poll_fd(e));
        g_assert_cmpint(dup2(null, engine_poll_fd(e)), >=, 0);
        for (unsigned i = 0; i < 3; i++) {
                test_req_init(&t[i], BLOCK_READ, i * 512, buf[i], 512);
                t[i].req.fd = fd;
                engine_queue(e, &t[i].req);
        }
        engine_submit(e);
        g_assert_cmpuint(engine_reap(e), ==, 3);
        for (unsigned i = 0; i < 3; i++) {
                g_assert_cmpint(t[i].result, ==, 0);
                g_assert_cmpint((uint8_t) buf[i][0], ==, test_file_byte(i * 512));
        }
        g_assert_cmpint(dup2(ring, engine_poll_fd(e)), >=, 0);
        engine_free(e);
}

#define FIXED_A (2u << 20)
#define FIXED_B (1u << 20)

static gmem *two_regions(void) {
        const struct gmem_backing backing = { 0 };
        gmem *mem = gmem_new();

        g_assert_true(gmem_add(mem, GADDR(0), FIXED_A, &backing, NULL));
        g_assert_true(gmem_add(mem, GADDR(FIXED_A * 2), FIXED_B, &backing, NULL));
        return mem;
}

/* Buffers of more than 1 GiB are cut; what is not whole in one is none. */
static void test_fixed_find(void) {
        const uint64_t gib = 1ull << 30;
        struct fixed_region regions[] = { { 0x10000, 0x3000, 0 },
                                          { gib * 4, gib * 2 + 0x1000, 1 } };
        struct fixed_memory f = { regions, 2, 4 };
        const struct {
                uint64_t at, len;
                int index;
        } tries[] = {
                { 0xffff, 1, -1 },           { 0x10000, 0, -1 },
                { 0x10000, 0x3000, 0 },      { 0x10000, 0x3001, -1 },
                { 0x12fff, 1, 0 },           { 0x13000, 1, -1 },
                { 0x12fff, UINT64_MAX, -1 }, { gib * 4, gib, 1 },
                { gib * 4, gib + 1, -1 },    { gib * 5 - 1, 1, 1 },
                { gib * 5 - 1, 2, -1 },      { gib * 5, 1, 2 },
                { gib * 6, 0x1000, 3 },      { gib * 6, 0x1001, -1 },
                { gib * 6 + 0x1000, 1, -1 }, { 0, 1, -1 },
                { UINT64_MAX, 1, -1 },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(tries); i++)
                g_assert_cmpint(fixed_memory_find(
                                                &f, (void *) (uintptr_t) tries[i].at, tries[i].len),
                                ==, tries[i].index);
}

struct fixed_try {
        char *buf;
        uint64_t len;
        bool fixed;
};

static void check_fixed_read(struct engine *e, int fd, const struct fixed_try *try) {
        struct test_req t;

        test_req_init(&t, BLOCK_READ, 4096, try->buf, try->len);
        g_assert_cmpint(test_engine_run(e, fd, &t), ==, 0);
        for (uint64_t i = 0; i < try->len; i++)
                g_assert_cmpuint((uint8_t) try->buf[i], ==, test_file_byte(4096 + i));
}

static void check_fixed_write(struct engine *e, int fd, const struct fixed_try *try, bool dsync) {
        struct test_req t;
        char byte;

        memset(try->buf, 'w' + dsync, try->len);
        test_req_init(&t, BLOCK_WRITE, 500000, try->buf, try->len);
        t.req.dsync = dsync;
        g_assert_cmpint(test_engine_run(e, fd, &t), ==, 0);
        g_assert_cmpint(pread(fd, &byte, 1, (off_t) (500000 + try->len - 1)), ==, 1);
        g_assert_cmpint(byte, ==, 'w' + dsync);
}

/* What lies in registered memory goes there as such, and everything else as ever; the same bytes arrive. */
static void test_fixed(void) {
        autofd fd = test_file_new(1u << 20, O_RDWR);
        g_autoptr(gmem) mem = two_regions();
        g_autofree char *outside = g_malloc0(8192);
        struct engine *e = engine_new(ENGINE_URING, 8, fd, NULL);
        char *a = gmem_map(mem, GADDR(0), FIXED_A, false),
             *b = gmem_map(mem, GADDR(FIXED_A * 2), FIXED_B, false);
        const struct fixed_try tries[] = {
                { a, 4096, true },
                { a + 511, 1, true },
                { a + FIXED_A - 512, 512, true },
                { b, 512, true },
                { b + FIXED_B - 65536, 65536, true },
                { outside, 8192, false },
        };
        struct iovec iov[2] = { { a, 512 }, { b, 512 } };
        uint64_t expected = 0;
        struct test_req t;

        if (!e) {
                g_test_skip("the host forbids io_uring");
                return;
        }
        g_assert_true(engine_register_memory(e, mem, NULL));
        g_assert_cmpint(engine_start(e), ==, 0);
        for (size_t i = 0; i < G_N_ELEMENTS(tries); i++) {
                check_fixed_read(e, fd, &tries[i]);
                expected += tries[i].fixed;
                g_assert_cmpuint(engine_count_fixed(e), ==, expected);
                check_fixed_write(e, fd, &tries[i], false);
                check_fixed_write(e, fd, &tries[i], true);
                expected += tries[i].fixed ? 2 : 0;
                g_assert_cmpuint(engine_count_fixed(e), ==, expected);
        }
        test_req_init(&t, BLOCK_READ, 0, NULL, 1024);
        t.req.iov = iov;
        t.req.n_iov = 2;
        g_assert_cmpint(test_engine_run(e, fd, &t), ==, 0);
        g_assert_cmpint((uint8_t) b[511], ==, test_file_byte(1023));
        g_assert_cmpuint(engine_count_fixed(e), ==, expected);
        /* Beyond the end. */
        test_req_init(&t, BLOCK_READ, 1u << 20, a, 512);
        g_assert_cmpint(test_engine_run(e, fd, &t), ==, -EIO);
        engine_free(e);
}

/* Without io_uring, and for a user that may lock less than that, it is an error that says so. */
static void test_fixed_refused(void) {
        struct rlimit limit = { 64 << 10, 64 << 10 };
        g_autoptr(GError) error = NULL;
        g_autoptr(gmem) mem = two_regions();
        struct engine *e;

        if (!g_test_subprocess()) {
                e = engine_new(ENGINE_SYNC, 4, -1, NULL);
                g_assert_false(engine_register_memory(e, mem, &error));
                g_assert_error(error, HV_ERROR, HV_ERROR_UNSUPPORTED);
                engine_free(e);
                g_test_trap_subprocess(NULL, 0, 0);
                g_test_trap_assert_passed();
                return;
        }
        g_assert_cmpint(setrlimit(RLIMIT_MEMLOCK, &limit), ==, 0);
        if (geteuid() == 0)
                g_assert_cmpint(setresuid(65534, 65534, 65534), ==, 0);
        e = engine_new(ENGINE_URING, 4, -1, NULL);
        if (!e) /* forbidden: the test before says so */
                return;
        g_assert_false(engine_register_memory(e, mem, &error));
        g_assert_nonnull(strstr(error->message, "RLIMIT_MEMLOCK"));
        /* It is as good as before. */
        g_assert_cmpint(engine_start(e), ==, 0);
        engine_free(e);
}

/* Transfers past the cache are polled for, everything else goes as ever, all in one engine; draining waits for both. */
static void test_iopoll(gconstpointer data) {
        bool registered = GPOINTER_TO_INT(data);
        autofd fd = test_file_new(1u << 20, O_RDWR | O_DIRECT);
        g_autoptr(GError) error = NULL;
        g_autoptr(gmem) mem = two_regions();
        struct engine *e = fd < 0 ? NULL : engine_new(ENGINE_URING, 8, fd, NULL);
        char *a = gmem_map(mem, GADDR(0), FIXED_A, false);
        struct test_req t[6];

        if (!e || !engine_poll_device(e, &error)) {
                g_test_skip("no queues for polling below the temporary folder, or no io_uring");
                engine_free(e);
                return;
        }
        g_assert_true(!registered || engine_register_memory(e, mem, NULL));
        g_assert_cmpint(engine_start(e), ==, 0);
        for (unsigned round = 0; round < 50; round++) {
                memset(a, 'A' + (int) round % 20, 16384);
                test_req_init(&t[0], BLOCK_WRITE, 0, a, 16384);
                test_req_init(&t[1], BLOCK_READ, 65536, a + 65536, 65536);
                test_req_init(&t[2], BLOCK_FLUSH, 0, NULL, 0);
                test_req_init(&t[3], BLOCK_WRITE, 32768, a, 4096);
                t[3].req.dsync = true;
                test_req_init(&t[4], BLOCK_ZERO, 131072, NULL, 4096);
                test_req_init(&t[5], BLOCK_READ, 196608, a + 262144, 131072);
                t[5].req.piece_max = 16384;
                for (unsigned i = 0; i < G_N_ELEMENTS(t); i++) {
                        t[i].req.fd = fd;
                        engine_queue(e, &t[i].req);
                }
                engine_submit(e);
                if (round % 2)
                        while (engine_in_flight(e) > 0)
                                (void) engine_reap(e);
                g_assert_cmpint(engine_drain(e, -1), ==, 0);
                g_assert_false(engine_must_look(e));
                for (unsigned i = 0; i < G_N_ELEMENTS(t); i++)
                        g_assert_cmpint(t[i].result, ==, 0);
                for (unsigned i = 0; i < 65536; i++)
                        g_assert_cmpuint((uint8_t) a[65536 + i], ==, test_file_byte(65536 + i));
                for (unsigned i = 0; i < 131072; i++)
                        g_assert_cmpuint((uint8_t) a[262144 + i], ==, test_file_byte(196608 + i));
                test_req_init(&t[0], BLOCK_READ, 0, a + 32768, 16384);
                g_assert_cmpint(test_engine_run(e, fd, &t[0]), ==, 0);
                g_assert_cmpint(memcmp(a, a + 32768, 16384), ==, 0);
                g_assert_cmpuint(engine_count_polled(e), ==, (round + 1) * 11);
        }
        g_assert_true((engine_count_fixed(e) > 0) == registered);
        engine_free(e);
}

/* A file that goes through the cache cannot be polled for, nor can anything without io_uring; the engine is as good as before. */
static void test_iopoll_refused(gconstpointer kind) {
        autofd fd = test_file_new(4096, O_RDWR);
        struct engine *e = engine_new(GPOINTER_TO_INT(kind), 4, fd, NULL);
        g_autoptr(GError) error = NULL;
        struct test_req t;
        char buf[512];

        if (!e) {
                g_test_skip("the host forbids io_uring");
                return;
        }
        g_assert_false(engine_poll_device(e, &error));
        g_assert_nonnull(error);
        g_assert_cmpint(engine_start(e), ==, 0);
        test_req_init(&t, BLOCK_READ, 0, buf, 512);
        g_assert_cmpint(test_engine_run(e, fd, &t), ==, 0);
        g_assert_false(engine_must_look(e));
        g_assert_cmpuint(engine_count_polled(e), ==, 0);
        engine_free(e);
}

struct poster {
        GAsyncQueue *work; /* struct test_req */
        struct engine *e;
};

static void *post_some(void *opaque) {
        struct poster *p = opaque;
        struct test_req *t;

        while ((t = g_async_queue_pop(p->work))->req.len > 0)
                engine_post(p->e, &t->req, -(int) t->req.len);
        return NULL;
}

/* Other threads end requests while the engine moves bytes for others: each ends once, with the result it was given. */
static void test_posts(gconstpointer kind) {
        autofd fd = test_file_new(4096, O_RDWR);
        struct engine *e = test_engine_new(GPOINTER_TO_INT(kind), 64, fd);
        struct poster p = { g_async_queue_new(), e };
        static struct test_req t[64], end[2];
        GThread *threads[2];
        char buf[512];

        if (!e) {
                g_async_queue_unref(p.work);
                return;
        }
        g_assert_cmpint(engine_post_fd(e), ==, -1);
        g_assert_cmpint(engine_accept_posts(e), ==, 0);
        g_assert_cmpint(engine_post_fd(e), >=, 0);
        for (unsigned i = 0; i < 2; i++)
                threads[i] = g_thread_new("poster", post_some, &p);
        for (unsigned round = 0; round < 200; round++) {
                for (unsigned i = 0; i < G_N_ELEMENTS(t); i++) {
                        test_req_init(&t[i], BLOCK_READ, 0, buf, i % 4 ? i : sizeof(buf));
                        t[i].req.fd = fd;
                        if (i % 4 == 0) {
                                engine_queue(e, &t[i].req);
                                continue;
                        }
                        engine_defer(e, &t[i].req);
                        g_async_queue_push(p.work, &t[i]);
                }
                g_assert_cmpint(engine_drain(e, -1), ==, 0);
                for (unsigned i = 0; i < G_N_ELEMENTS(t); i++) {
                        g_assert_cmpuint(t[i].done, ==, 1);
                        g_assert_cmpint(t[i].result, ==, i % 4 ? -(int) i : 0);
                }
        }
        for (unsigned i = 0; i < 2; i++) {
                test_req_init(&end[i], BLOCK_READ, 0, NULL, 0);
                g_async_queue_push(p.work, &end[i]);
        }
        for (unsigned i = 0; i < 2; i++)
                (void) g_thread_join(threads[i]);
        engine_free(e);
        g_async_queue_unref(p.work);
}

/* A drain waits for what others have, to its limit; a sleeper on the descriptor is woken by the first post. */
static void test_post_wakes(gconstpointer kind) {
        struct engine *e = test_engine_new(GPOINTER_TO_INT(kind), 4, -1);
        struct test_req t[2];
        struct pollfd fd = { .events = POLLIN };

        if (!e)
                return;
        g_assert_cmpint(engine_accept_posts(e), ==, 0);
        fd.fd = engine_post_fd(e);
        for (unsigned i = 0; i < 2; i++) {
                test_req_init(&t[i], BLOCK_FLUSH, 0, NULL, 0);
                engine_defer(e, &t[i].req);
        }
        g_assert_cmpint(engine_drain(e, 10), ==, -ETIMEDOUT);
        g_assert_cmpint(poll(&fd, 1, 0), ==, 0);
        engine_post(e, &t[0].req, -ENOSPC);
        engine_post(e, &t[1].req, 0);
        g_assert_cmpint(poll(&fd, 1, 0), ==, 1);
        engine_clear_posts(e);
        g_assert_cmpint(poll(&fd, 1, 0), ==, 0);
        g_assert_cmpuint(engine_reap(e), ==, 2);
        g_assert_cmpint(t[0].result, ==, -ENOSPC);
        g_assert_cmpint(t[1].result, ==, 0);
        g_assert_cmpuint(engine_in_flight(e), ==, 0);
        engine_free(e);
}

static void *forbidden_thread(void *fd) {
        scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
        g_autoptr(GError) error = NULL;
        struct engine *e;
        struct test_req t;
        char buf[16];

        g_assert_cmpint(seccomp_rule_add(
                                        filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(io_uring_setup), 0),
                        ==, 0);
        if (seccomp_load(filter) < 0) {
                g_test_skip("seccomp is not available");
                seccomp_release(filter);
                return NULL;
        }
        seccomp_release(filter);

        g_assert_null(engine_new(ENGINE_URING, 4, -1, &error));
        g_assert_nonnull(error);
        e = test_engine_new(ENGINE_AUTO, 4, -1);
        g_assert_cmpint(engine_poll_fd(e), ==, -1);
        test_req_init(&t, BLOCK_READ, 1, buf, sizeof(buf));
        g_assert_cmpint(test_engine_run(e, GPOINTER_TO_INT(fd), &t), ==, 0);
        g_assert_cmpint(buf[0], ==, 1);
        engine_free(e);
        return NULL;
}

static void test_uring_forbidden(void) {
        autofd fd = test_file_new(4096, O_RDWR);

        (void) g_thread_join(g_thread_new("forbidden", forbidden_thread, GINT_TO_POINTER(fd)));
}

static void test_names(void) {
        for (int i = 0; i < ENGINE_KIND_MAX; i++)
                g_assert_cmpint(engine_kind_from_string(engine_kind_to_string(i)), ==, i);
        for (int i = 0; i < BLOCK_OP_MAX; i++)
                g_assert_cmpint(block_op_from_string(block_op_to_string(i)), ==, i);
        g_assert_cmpint(engine_kind_from_string("aio"), ==, ENGINE_KIND_INVALID);
        g_assert_cmpint(block_op_from_string(""), ==, BLOCK_OP_INVALID);
        g_assert_null(engine_kind_to_string(ENGINE_KIND_MAX));
        g_assert_null(block_op_to_string(BLOCK_OP_INVALID));
}

/* Before any thread exists, because a namespace of one thread would be of no use to the others. */
static void mount_small_fs(void) {
        g_autofree char *dir = g_dir_make_tmp("chvd-block-XXXXXX", NULL);

        if (unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
            mount("tmpfs", dir, "tmpfs", 0, "size=64k") == 0) {
                g_setenv("CHVD_TEST_SMALL_FS", dir, TRUE);
                return;
        }
        (void) rmdir(dir);
}

static void add_for_both(const char *name, GTestDataFunc fn) {
        for (int kind = ENGINE_URING; kind <= ENGINE_SYNC; kind++) {
                g_autofree char *path =
                                g_strdup_printf("/engine/%s/%s", engine_kind_to_string(kind), name);

                g_test_add_data_func(path, GINT_TO_POINTER(kind), fn);
        }
}

int main(int argc, char **argv) {
        int r;

        mount_small_fs();
        (void) signal(SIGXFSZ, SIG_IGN);
        g_test_init(&argc, &argv, NULL);
        add_for_both("bad-descriptors", test_bad_descriptors);
        add_for_both("cut-file", test_cut_file);
        add_for_both("pieces", test_pieces);
        add_for_both("done-here", test_done_here);
        add_for_both("file-size-limit", test_file_size_limit);
        add_for_both("no-space", test_no_space);
        add_for_both("random", test_random);
        add_for_both("restart-from-done", test_restart_from_done);
        add_for_both("more-than-depth", test_more_than_depth);
        add_for_both("posts", test_posts);
        add_for_both("post-wakes", test_post_wakes);
        g_test_add_func("/engine/advance", test_advance);
        g_test_add_func("/engine/piece-walk", test_piece_walk);
        g_test_add_func("/engine/piece-sums", test_piece_sums);
        g_test_add_func("/engine/pace", test_pace);
        g_test_add_func("/engine/drain-limit", test_drain_limit);
        g_test_add_func("/engine/poll-fd", test_poll_fd);
        g_test_add_func("/engine/refused-by-kernel", test_refused_by_kernel);
        g_test_add_func("/engine/fixed/find", test_fixed_find);
        g_test_add_func("/engine/fixed/io", test_fixed);
        g_test_add_func("/engine/fixed/refused", test_fixed_refused);
        g_test_add_data_func("/engine/iopoll/io", GINT_TO_POINTER(0), test_iopoll);
        g_test_add_data_func("/engine/iopoll/registered", GINT_TO_POINTER(1), test_iopoll);
        g_test_add_data_func(
                        "/engine/iopoll/refused/io_uring", GINT_TO_POINTER(ENGINE_URING),
                        test_iopoll_refused);
        g_test_add_data_func(
                        "/engine/iopoll/refused/sync", GINT_TO_POINTER(ENGINE_SYNC),
                        test_iopoll_refused);
        g_test_add_func("/engine/uring-forbidden", test_uring_forbidden);
        g_test_add_func("/engine/names", test_names);
        r = g_test_run();
        if (g_getenv("CHVD_TEST_SMALL_FS")) {
                (void) umount2(g_getenv("CHVD_TEST_SMALL_FS"), MNT_DETACH);
                (void) rmdir(g_getenv("CHVD_TEST_SMALL_FS"));
        }
        return r;
}
