/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves of mapped images: requests beyond the disk, of the wrong kind or on a full or broken host fail alone; what was learned once is not
 * asked again and is forgotten when it changes; a flush is as much of one as it must be; space that a request may still be writing to is not
 * given to anybody else; and several queues at once leave the disk as a model of it in memory, on every format there is.
 */

#include "devices/block/image/image.h"
#include "devices/block/mapped.h"
#include "hypervisor/error.h"
#include "hypervisor/fd.h"
#include "tests/unit/block/host-file.h"
#include "tests/unit/block/support.h"
#include "tests/unit/block/toy-image.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define DISK (1024u * 1024u)

static struct image *raw_new(uint64_t size) {
        g_autoptr(GError) error = NULL;
        struct image *img = image_open(host_file_new(size), &(struct image_open){ "raw" }, &error);

        g_assert_no_error(error);
        return img;
}

static struct disk_image *mapped_new(struct image *img) {
        g_autoptr(GError) error = NULL;
        struct disk_image_mapped_config config = { .name = "test" };
        struct disk_image *d = disk_image_open_mapped(img, &config, &error);

        g_assert_no_error(error);
        g_assert_nonnull(d);
        return d;
}

static struct engine *engine_for(struct disk_image *d, enum engine_kind kind) {
        struct engine *e = test_engine_new(kind, 64, d->main_fd);

        if (e)
                g_assert_cmpint(engine_accept_posts(e), ==, 0);
        return e;
}

static int run(struct disk_image *d,
               struct engine *e,
               enum block_op op,
               uint64_t offset,
               void *buf,
               uint64_t len) {
        bool moves = op == BLOCK_READ || op == BLOCK_WRITE;
        struct test_req t;

        test_req_init(&t, op, offset, buf, len);
        t.req.n_iov = moves;
        disk_image_start(d, e, &t.req);
        g_assert_cmpuint(t.done, ==, 0);
        engine_submit(e);
        g_assert_cmpint(engine_drain(e, -1), ==, 0);
        g_assert_cmpuint(t.done, ==, 1);
        g_assert_cmpuint(t.req.offset, ==, offset);
        return t.result;
}

static void assert_bytes(const uint8_t *buf, size_t len, uint8_t byte) {
        for (size_t i = 0; i < len; i++)
                g_assert_cmphex(buf[i], ==, byte);
}

static void test_refused(void) {
        struct disk_image *d = mapped_new(&toy_image_new(host_file_new(DISK), DISK, NULL)->img);
        struct engine *e = engine_for(d, ENGINE_SYNC);
        char buf[512] = { 0 };

        g_assert_cmpint(run(d, e, BLOCK_READ, DISK, buf, 512), ==, -EINVAL);
        g_assert_cmpint(run(d, e, BLOCK_WRITE, DISK - 511, buf, 512), ==, -EINVAL);
        g_assert_cmpint(run(d, e, BLOCK_READ, UINT64_MAX, buf, 512), ==, -EINVAL);
        g_assert_cmpint(run(d, e, BLOCK_DISCARD, 512, NULL, DISK), ==, -EINVAL);
        g_assert_cmpint(run(d, e, BLOCK_ZERO, 512, NULL, UINT64_MAX), ==, -EINVAL);
        g_assert_cmpint(run(d, e, BLOCK_READ, 1, buf, 511), ==, -EINVAL);
        g_assert_cmpint(run(d, e, BLOCK_READ, 0, buf, 0), ==, 0);
        g_assert_cmpint(run(d, e, BLOCK_READ, DISK, buf, 0), ==, 0);
        engine_free(e);
        disk_image_free(d);
}

static void test_readonly(void) {
        struct toy_image *toy = toy_image_new(host_file_new(DISK), DISK, NULL);
        struct disk_image *d;
        struct engine *e;
        char buf[512] = { 0 };

        toy->img.readonly = true;
        toy->map[0] = 3;
        d = mapped_new(&toy->img);
        e = engine_for(d, ENGINE_SYNC);
        g_assert_true(d->readonly);
        for (int i = 0; i < 2; i++) {
                g_assert_cmpint(run(d, e, BLOCK_READ, 0, buf, 512), ==, 0);
                g_assert_cmpint((uint8_t) buf[1], ==, test_file_byte(3 * TOY_CLUSTER + 1));
                g_assert_cmpint(run(d, e, BLOCK_WRITE, 0, buf, 512), ==, -EROFS);
                g_assert_cmpint(run(d, e, BLOCK_ZERO, 0, NULL, 512), ==, -EROFS);
                g_assert_cmpint(run(d, e, BLOCK_FLUSH, 0, NULL, 0), ==, 0);
        }
        engine_free(e);
        disk_image_free(d);
}

/* Each kind of cluster reads as what it is, known or not. */
static void test_kinds(void) {
        struct image *below = raw_new(2 * TOY_CLUSTER + 512);
        struct toy_image *toy = toy_image_new(host_file_new(DISK), DISK, below);
        struct disk_image *d;
        struct engine *e;
        uint8_t buf[TOY_CLUSTER];

        toy->map[3] = TOY_ZERO;
        toy->map[4] = TOY_PACKED;
        toy->map[5] = 9;
        toy->shared[5] = true;
        d = mapped_new(&toy->img);
        e = engine_for(d, ENGINE_SYNC);
        for (int round = 0; round < 3; round++) {
                g_assert_cmpint(run(d, e, BLOCK_READ, 512, buf, 512), ==, 0);
                g_assert_cmphex(buf[7], ==, test_file_byte(512 + 7));
                /* Across the backing image's end. */
                g_assert_cmpint(run(d, e, BLOCK_READ, 2 * TOY_CLUSTER, buf, 1024), ==, 0);
                g_assert_cmphex(buf[511], ==, test_file_byte(2 * TOY_CLUSTER + 511));
                assert_bytes(buf + 512, 512, 0);
                g_assert_cmpint(run(d, e, BLOCK_READ, 3 * TOY_CLUSTER, buf, 4096), ==, 0);
                assert_bytes(buf, 4096, 0);
                g_assert_cmpint(run(d, e, BLOCK_READ, 4 * TOY_CLUSTER, buf, 4096), ==, 0);
                assert_bytes(buf, 4096, TOY_PACKED_BYTE);
                g_assert_cmpint(run(d, e, BLOCK_READ, 5 * TOY_CLUSTER, buf, 512), ==, 0);
                g_assert_cmphex(buf[1], ==, test_file_byte(9 * TOY_CLUSTER + 1));
        }
        /* Writing to part of each leaves the rest. */
        for (unsigned c = 0; c < 6; c++) {
                uint8_t before[TOY_CLUSTER], data[512];

                memset(data, (int) c + 100, sizeof(data));
                g_assert_cmpint(run(d, e, BLOCK_READ, c * TOY_CLUSTER, before, 4096), ==, 0);
                g_assert_cmpint(run(d, e, BLOCK_WRITE, c * TOY_CLUSTER + 1024, data, 512), ==, 0);
                memcpy(before + 1024, data, 512);
                for (int round = 0; round < 2; round++) {
                        g_assert_cmpint(run(d, e, BLOCK_READ, c * TOY_CLUSTER, buf, 4096), ==, 0);
                        g_assert_cmpint(memcmp(buf, before, 4096), ==, 0);
                }
        }
        engine_free(e);
        disk_image_free(d);
}

/* What is known goes past the image: its functions could not do it. */
static void test_fast_path(void) {
        struct toy_image *toy = toy_image_new(host_file_new(DISK), DISK, NULL);
        struct disk_image *d = mapped_new(&toy->img);
        struct engine *e = engine_for(d, ENGINE_SYNC);
        uint8_t buf[8192];
        unsigned maps;

        memset(buf, 1, sizeof(buf));
        g_assert_cmpint(run(d, e, BLOCK_WRITE, 0, buf, 512), ==, 0);
        maps = atomic_load(&toy->maps);
        host.read_error = host.write_error = EIO;
        memset(buf, 2, sizeof(buf));
        g_assert_cmpint(run(d, e, BLOCK_WRITE, 512, buf, 1024), ==, 0);
        g_assert_cmpint(run(d, e, BLOCK_READ, 0, buf, 4096), ==, 0);
        assert_bytes(buf, 512, 1);
        assert_bytes(buf + 512, 1024, 2);
        assert_bytes(buf + 1536, 4096 - 1536, 0);
        g_assert_cmpuint(atomic_load(&toy->maps), ==, maps);
        /* Half of it is not known: the image's thread is asked, and may fail. */
        g_assert_cmpint(run(d, e, BLOCK_READ, 0, buf, 8192), ==, -EIO);
        host.read_error = host.write_error = 0;
        g_assert_cmpint(run(d, e, BLOCK_READ, 0, buf, 8192), ==, 0);
        g_assert_cmpint(run(d, e, BLOCK_DISCARD, 0, NULL, 4096), ==, 0);
        g_assert_cmpint(run(d, e, BLOCK_READ, 0, buf, 8192), ==, 0);
        assert_bytes(buf, 8192, 0);
        /* Zeros are known, too. */
        maps = atomic_load(&toy->maps);
        g_assert_cmpint(run(d, e, BLOCK_READ, 512, buf, 512), ==, 0);
        g_assert_cmpuint(atomic_load(&toy->maps), ==, maps);
        engine_free(e);
        disk_image_free(d);
}

static void test_flush(void) {
        struct toy_image *toy = toy_image_new(host_file_new(DISK), DISK, NULL);
        struct disk_image *d = mapped_new(&toy->img);
        struct engine *e = engine_for(d, ENGINE_SYNC);
        struct test_req t;
        uint8_t buf[512] = { 0 };

        g_assert_cmpint(run(d, e, BLOCK_WRITE, 0, buf, 512), ==, 0);
        g_assert_cmpuint(toy->flushes, ==, 0);
        g_assert_cmpint(run(d, e, BLOCK_FLUSH, 0, NULL, 0), ==, 0);
        g_assert_cmpuint(toy->flushes, ==, 1);
        /* Nothing but data since: a sync of the file, on the queue's thread. */
        g_assert_cmpint(run(d, e, BLOCK_WRITE, 512, buf, 512), ==, 0);
        g_assert_cmpint(run(d, e, BLOCK_FLUSH, 0, NULL, 0), ==, 0);
        g_assert_cmpuint(toy->flushes, ==, 1);

        /* A write through the cache that makes room is not done before the tables are. */
        test_req_init(&t, BLOCK_WRITE, 64 * 1024, buf, 512);
        t.req.dsync = true;
        disk_image_start(d, e, &t.req);
        g_assert_cmpint(engine_drain(e, -1), ==, 0);
        g_assert_cmpuint(toy->flushes, ==, 2);
        /* Nor one that does not, while they are not. */
        g_assert_cmpint(run(d, e, BLOCK_WRITE, 128 * 1024, buf, 512), ==, 0);
        disk_image_start(d, e, &t.req);
        g_assert_cmpint(engine_drain(e, -1), ==, 0);
        g_assert_cmpuint(toy->flushes, ==, 3);
        disk_image_start(d, e, &t.req);
        g_assert_cmpint(engine_drain(e, -1), ==, 0);
        g_assert_cmpuint(toy->flushes, ==, 3);
        engine_free(e);
        disk_image_free(d);
}

static void test_errors(void) {
        struct toy_image *toy = toy_image_new(host_file_new(DISK), DISK, raw_new(DISK));
        struct disk_image *d = mapped_new(&toy->img);
        struct engine *e = engine_for(d, ENGINE_SYNC);
        uint8_t buf[512] = { 0 };

        host.write_error = ENOSPC;
        g_assert_cmpint(run(d, e, BLOCK_WRITE, 0, buf, 512), ==, -ENOSPC);
        g_assert_cmpint(run(d, e, BLOCK_READ, 0, buf, 512), ==, 0);
        g_assert_cmphex(buf[3], ==, test_file_byte(3));
        host.write_error = 0;
        host.read_error = EIO;
        g_assert_cmpint(run(d, e, BLOCK_WRITE, TOY_CLUSTER, buf, 512), ==, -EIO);
        host.read_error = 0;
        g_assert_cmpint(run(d, e, BLOCK_WRITE, TOY_CLUSTER, buf, 512), ==, 0);
        host.sync_error = EIO;
        g_assert_cmpint(run(d, e, BLOCK_FLUSH, 0, NULL, 0), ==, -EIO);
        g_assert_cmpint(run(d, e, BLOCK_FLUSH, 0, NULL, 0), ==, -EIO);
        host.sync_error = 0;
        g_assert_cmpint(run(d, e, BLOCK_FLUSH, 0, NULL, 0), ==, 0);
        engine_free(e);
        disk_image_free(d);
}

/* A file that cannot be reached by a descriptor is served by the image's thread alone. */
static void test_no_descriptor(void) {
        struct image_file *f = host_file_new(DISK);
        struct toy_image *toy = toy_image_new(f, DISK, NULL);
        int fd = f->fd;
        struct disk_image *d;
        struct engine *e;

        f->fd = -1;
        d = mapped_new(&toy->img);
        f->fd = fd;
        e = engine_for(d, ENGINE_SYNC);
        g_assert_cmpint(run(d, e, BLOCK_FLUSH, 0, NULL, 0), ==, 0);
        g_assert_cmpuint(toy->flushes, ==, 1);
        engine_free(e);
        disk_image_free(d);
}

/* Space under a request that has not ended is nobody else's, and the image's thread waits for it in the end. */
static void test_hold(void) {
        struct toy_image *toy = toy_image_new(host_file_new(DISK), DISK, NULL);
        struct disk_image *d = mapped_new(&toy->img);
        struct engine *a = engine_for(d, ENGINE_SYNC), *b = engine_for(d, ENGINE_SYNC);
        uint8_t mine[512], theirs[512], buf[512];
        struct test_req late, t;

        memset(mine, 1, sizeof(mine));
        memset(theirs, 2, sizeof(theirs));
        g_assert_cmpint(run(d, a, BLOCK_WRITE, 0, mine, 512), ==, 0);
        /* Under way: translated, not handed to the host. */
        test_req_init(&late, BLOCK_WRITE, 0, mine, 512);
        disk_image_start(d, a, &late.req);
        g_assert_cmpint(run(d, b, BLOCK_DISCARD, 0, NULL, TOY_CLUSTER), ==, 0);
        g_assert_cmpint(run(d, b, BLOCK_WRITE, 5 * TOY_CLUSTER, theirs, 512), ==, 0);
        g_assert_cmpuint(toy->releases, ==, 0);
        for (unsigned i = 6; i < 16; i++) {
                test_req_init(&t, BLOCK_WRITE, i * TOY_CLUSTER, theirs, 512);
                disk_image_start(d, b, &t.req);
                if (engine_drain(b, 100) < 0)
                        break;
        }
        g_assert_cmpuint(toy->releases, ==, 0);
        engine_submit(a);
        g_assert_cmpint(engine_drain(a, -1), ==, 0);
        g_assert_cmpint(late.result, ==, 0);
        /* Whoever waited goes on, and space is used again. */
        g_assert_cmpint(engine_drain(b, -1), ==, 0);
        for (unsigned i = 0; atomic_load(&toy->releases) == 0; i++)
                g_assert_cmpint(run(d, b, BLOCK_WRITE, (16 + i % 200) * TOY_CLUSTER, theirs, 512),
                                ==, 0);
        g_assert_cmpint(run(d, b, BLOCK_READ, 5 * TOY_CLUSTER, buf, 512), ==, 0);
        g_assert_cmpint(memcmp(buf, theirs, 512), ==, 0);
        g_assert_cmpint(run(d, a, BLOCK_READ, 0, buf, 512), ==, 0);
        assert_bytes(buf, 512, 0);
        engine_free(a);
        engine_free(b);
        disk_image_free(d);
}

/* Of space that waits for a flush, and then for requests, nothing is lost in the end. */
static void test_gives_back(void) {
        g_autoptr(image_options) o = image_options_new();
        g_autoptr(GError) error = NULL;
        struct image_check check = { 0 };
        struct image_file *file = host_file_new(0), *again;
        g_autofree uint8_t *buf = g_malloc0(DISK);
        struct disk_image *d;
        struct image *img;
        struct engine *e;
        int fd = fcntl(file->fd, F_DUPFD_CLOEXEC, 3);

        g_assert_true(image_qcow2.create(file, 64ull * DISK, o, &error));
        img = image_open(file, &(struct image_open){ "qcow2" }, &error);
        g_assert_no_error(error);
        d = mapped_new(img);
        e = engine_for(d, ENGINE_SYNC);
        memset(buf, 3, DISK);
        for (unsigned i = 0; i < 40; i++) {
                g_assert_cmpint(run(d, e, BLOCK_WRITE, i * DISK, buf, DISK), ==, 0);
                g_assert_cmpint(run(d, e, BLOCK_FLUSH, 0, NULL, 0), ==, 0);
                g_assert_cmpint(run(d, e, BLOCK_DISCARD, i * DISK, NULL, DISK), ==, 0);
                g_assert_cmpint(run(d, e, BLOCK_FLUSH, 0, NULL, 0), ==, 0);
        }
        for (unsigned i = 0; i < 16; i++)
                g_assert_cmpint(run(d, e, BLOCK_WRITE, i * DISK, buf, DISK), ==, 0);
        g_assert_cmpint(run(d, e, BLOCK_FLUSH, 0, NULL, 0), ==, 0);
        g_assert_cmpint(run(d, e, BLOCK_DISCARD, 0, NULL, 16 * DISK), ==, 0);
        g_assert_cmpint(run(d, e, BLOCK_FLUSH, 0, NULL, 0), ==, 0);
        engine_free(e);
        disk_image_free(d);
        again = image_file_new(fd, /* readonly= */ true, &error);
        g_assert_no_error(error);
        img = image_open(
                        again, &(struct image_open){ "qcow2", .readonly = true, .for_check = true },
                        &error);
        g_assert_no_error(error);
        g_assert_true(img->format->check(img, &check, &error));
        g_assert_cmpuint(check.corruptions, ==, 0);
        g_assert_cmpuint(check.leaks, ==, 0);
        image_free(img);
}

/* Queues at once. Each has a part of the disk, whose ends share clusters with its neighbours', with a model of it; and a cluster in which its
 * own requests get in each other's way, so that what they leave there is not looked at. */

#define QUEUES 3u
#define PART (96u * 1024u + 1536u)
#define OPS 12u
#define PER_OP (PART / OPS / 512u * 512u)
#define CHAOS (QUEUES * PART / TOY_CLUSTER + 1)

struct queue {
        struct disk_image *d;
        struct engine *e;
        uint64_t start;
        uint64_t chaos;
        uint32_t cluster;
        GRand *rand;
        uint8_t *model, *memory;
        struct random_op {
                struct test_req t;
                struct iovec iov[4];
                uint8_t *buf;
        } ops[OPS], clash[2];
        uint8_t junk[2][TOY_CLUSTER];
};

static void start_random(struct queue *q, unsigned part) {
        static const enum block_op kinds[] = { BLOCK_READ,  BLOCK_READ,    BLOCK_WRITE, BLOCK_WRITE,
                                               BLOCK_FLUSH, BLOCK_DISCARD, BLOCK_ZERO };
        struct random_op *op = &q->ops[part];
        unsigned size = PER_OP / 512;
        unsigned first = (unsigned) g_rand_int_range(q->rand, 0, (gint32) size - 1),
                 n = (unsigned) g_rand_int_range(q->rand, 1, (gint32) (size - first) + 1);
        enum block_op kind = kinds[g_rand_int_range(q->rand, 0, G_N_ELEMENTS(kinds))];
        uint64_t len = n * 512ull, used = 0;

        test_req_init(&op->t, kind, q->start + part * PER_OP + first * 512ull, op->buf, len);
        op->t.req.dsync = kind == BLOCK_WRITE && g_rand_int_range(q->rand, 0, 16) == 0;
        op->t.req.unmap = g_rand_boolean(q->rand);
        op->t.req.iov = op->iov;
        op->t.req.n_iov = 0;
        for (unsigned i = 0; (kind == BLOCK_READ || kind == BLOCK_WRITE) && used < len; i++) {
                uint64_t size_here = i == 3 ? len - used : MIN(len - used, 512 + used);

                op->iov[i] = (struct iovec){ op->buf + used, size_here };
                op->t.req.n_iov = i + 1;
                used += size_here;
        }
        for (uint64_t i = 0; kind == BLOCK_WRITE && i < len; i += 4)
                *(uint32_t *) (void *) (op->buf + i) = g_rand_int(q->rand);
        disk_image_start(q->d, q->e, &op->t.req);
}

static void start_clash(struct queue *q) {
        struct random_op *w = &q->clash[0], *d = &q->clash[1];

        test_req_init(&w->t, BLOCK_WRITE, q->chaos, q->junk[0], TOY_CLUSTER);
        test_req_init(&d->t, BLOCK_DISCARD, q->chaos, NULL, TOY_CLUSTER);
        d->t.req.n_iov = 0;
        disk_image_start(q->d, q->e, &d->t.req);
        disk_image_start(q->d, q->e, &w->t.req);
}

static void check_random(struct queue *q, struct random_op *op) {
        struct block_req *req = &op->t.req;
        uint8_t *at = q->model + (req->offset - q->start);

        g_assert_cmpint(op->t.result, ==, 0);
        g_assert_cmpuint(op->t.done, ==, 1);
        if (req->op == BLOCK_WRITE) {
                memcpy(at, op->buf, req->len);
        } else if (req->op == BLOCK_READ) {
                g_assert_cmpint(memcmp(at, op->buf, req->len), ==, 0);
        } else if (req->op == BLOCK_ZERO) {
                memset(at, 0, req->len);
        } else if (req->op == BLOCK_DISCARD) {
                uint64_t from = (req->offset + q->cluster - 1) / q->cluster * q->cluster,
                         to = (req->offset + req->len) / q->cluster * q->cluster;

                if (to > from)
                        memset(q->model + (from - q->start), 0, to - from);
        }
}

static void *queue_thread(void *opaque) {
        struct queue *q = opaque;

        g_assert_cmpint(engine_start(q->e), ==, 0);
        for (unsigned round = 0; round < 150; round++) {
                start_clash(q);
                for (unsigned i = 0; i < OPS; i++)
                        start_random(q, i);
                engine_submit(q->e);
                g_assert_cmpint(engine_drain(q->e, -1), ==, 0);
                for (unsigned i = 0; i < OPS; i++)
                        check_random(q, &q->ops[i]);
        }
        return NULL;
}

static void queues_start(struct queue *queues, struct disk_image *d, enum engine_kind kind) {
        for (unsigned i = 0; i < QUEUES; i++) {
                struct queue *q = &queues[i];
                struct engine *e = engine_for(d, ENGINE_SYNC);

                *q = (struct queue){
                        .d = d,
                        .start = i * PART,
                        .chaos = (CHAOS + i) * TOY_CLUSTER,
                        .cluster = d->topology.discard_align,
                        .rand = g_rand_new_with_seed((guint32) g_test_rand_int()),
                        .model = g_malloc(PART),
                        .memory = g_malloc(OPS * PER_OP),
                };
                g_assert_cmpint(run(d, e, BLOCK_READ, q->start, q->model, PART), ==, 0);
                engine_free(e);
                for (unsigned j = 0; j < OPS; j++)
                        q->ops[j].buf = q->memory + j * PER_OP;
                q->e = engine_new(kind, 64, d->main_fd, NULL);
                g_assert_cmpint(engine_accept_posts(q->e), ==, 0);
        }
}

static void queues_end(struct queue *queues) {
        for (unsigned i = 0; i < QUEUES; i++) {
                g_rand_free(queues[i].rand);
                g_free(queues[i].model);
                g_free(queues[i].memory);
                engine_free(queues[i].e);
        }
}

static void random_on(struct image *img, enum engine_kind kind) {
        struct disk_image *d = mapped_new(img);
        static struct queue queues[QUEUES];
        GThread *threads[QUEUES];
        g_autofree uint8_t *all = g_malloc(PART);
        struct engine *e;

        queues_start(queues, d, kind);
        for (unsigned i = 0; i < QUEUES; i++)
                threads[i] = g_thread_new("queue", queue_thread, &queues[i]);
        for (unsigned i = 0; i < QUEUES; i++)
                (void) g_thread_join(threads[i]);
        /* All of it at once, from a queue that knows nothing of the others. */
        e = engine_for(d, ENGINE_SYNC);
        for (unsigned i = 0; i < QUEUES; i++) {
                g_assert_cmpint(run(d, e, BLOCK_READ, i * PART, all, PART), ==, 0);
                g_assert_cmpint(memcmp(all, queues[i].model, PART), ==, 0);
        }
        engine_free(e);
        queues_end(queues);
        disk_image_free(d);
}

static void test_random_raw(gconstpointer kind) {
        random_on(raw_new(DISK), GPOINTER_TO_INT(kind));
}

static void test_random_toy(gconstpointer kind) {
        struct toy_image *toy = toy_image_new(host_file_new(64 * TOY_CLUSTER), DISK, NULL);

        random_on(&toy->img, GPOINTER_TO_INT(kind));
}

static void test_random_chain(gconstpointer kind) {
        struct toy_image *toy = toy_image_new(
                        host_file_new(64 * TOY_CLUSTER), DISK, raw_new(DISK / 2 + 512));

        for (unsigned c = 0; c < 32; c++) {
                toy->map[c] = c % 4 == 0 ? TOY_PACKED : c % 4 == 1 ? (int64_t) c : TOY_ABSENT;
                toy->shared[c] = true;
        }
        g_array_set_size(toy->free, 0);
        random_on(&toy->img, GPOINTER_TO_INT(kind));
}

/* Of 2 MiB blocks, so that queues meet in them. */
static void test_random_vhd(gconstpointer kind) {
        g_autoptr(image_options) o = image_options_new();
        g_autoptr(GError) error = NULL;
        struct image_file *file = host_file_new(0);
        struct image *img;

        g_assert_true(image_vhd.create(file, DISK, o, &error));
        img = image_open(file, &(struct image_open){ "vhd" }, &error);
        g_assert_no_error(error);
        random_on(img, GPOINTER_TO_INT(kind));
}

static void add_for_both(const char *name, GTestDataFunc fn) {
        for (int kind = ENGINE_AUTO; kind <= ENGINE_SYNC; kind += 2) {
                g_autofree char *path = g_strdup_printf(
                                "/mapped/random/%s/%s", name, engine_kind_to_string(kind));

                g_test_add_data_func(path, GINT_TO_POINTER(kind), fn);
        }
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/mapped/refused", test_refused);
        g_test_add_func("/mapped/readonly", test_readonly);
        g_test_add_func("/mapped/kinds", test_kinds);
        g_test_add_func("/mapped/fast-path", test_fast_path);
        g_test_add_func("/mapped/flush", test_flush);
        g_test_add_func("/mapped/errors", test_errors);
        g_test_add_func("/mapped/no-descriptor", test_no_descriptor);
        g_test_add_func("/mapped/hold", test_hold);
        g_test_add_func("/mapped/gives-back", test_gives_back);
        add_for_both("raw", test_random_raw);
        add_for_both("toy", test_random_toy);
        add_for_both("chain", test_random_chain);
        add_for_both("vhd", test_random_vhd);
        return g_test_run();
}
