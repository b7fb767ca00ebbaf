/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Measures 4 KiB random reads and writes of a file in the page cache: what the engines cost by themselves, and the whole way
 * through a virtio queue, at several depths; then flushes, and large requests, whole and in pieces. Prints operations a second; compare
 * runs of one machine only.
 */

#include "devices/virtio/blk-wire.h"
#include "devices/virtio/devices.h"
#include "hypervisor/fd.h"
#include "rig.h"
#include "tests/unit/block/support.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#define FILE_SIZE (64u << 20)
#define BLOCK 4096u
#define OPERATIONS 30000u
#define DEPTH_MAX 64u
#define LARGE (128u * 1024u)
#define LARGE_OPERATIONS 4000u

static void
print_rate(const char *what, const char *engine, unsigned depth, unsigned n, gint64 start_us) {
        double seconds = (double) (g_get_monotonic_time() - start_us) / 1e6;

        (void) printf("# %-12s %-8s depth %2u: %8.0f operations/s\n", what, engine, depth,
                      n / seconds);
}

static void bench_engine(enum engine_kind kind, enum block_op op, int fd, unsigned depth) {
        static char memory[DEPTH_MAX][BLOCK] __attribute__((aligned(4096)));
        static struct test_req reqs[DEPTH_MAX];
        struct engine *e = test_engine_new(kind, depth, fd);
        gint64 start = g_get_monotonic_time();

        if (!e)
                return;
        for (unsigned done = 0; done < OPERATIONS; done += depth) {
                for (unsigned i = 0; i < depth; i++) {
                        uint64_t block = (uint64_t) (done + i) * 7919 % (FILE_SIZE / BLOCK);

                        test_req_init(&reqs[i], op, block * BLOCK, memory[i], BLOCK);
                        reqs[i].req.fd = fd;
                        reqs[i].req.cached = true;
                        engine_queue(e, &reqs[i].req);
                }
                (void) engine_drain(e, -1);
        }
        print_rate(op == BLOCK_READ ? "engine read" : "engine write", engine_kind_to_string(kind),
                   depth, OPERATIONS, start);
        engine_free(e);
}

/* A write and a flush of it, one after the other, as a database does, where flushing is nothing: what is left are the ways there. */
static void bench_flush(enum engine_kind kind) {
        static char memory[BLOCK] __attribute__((aligned(4096)));
        autofd fd = memfd_create("flushed", MFD_CLOEXEC);
        struct engine *e = test_engine_new(kind, 4, fd);
        gint64 start = g_get_monotonic_time();
        struct test_req t;

        if (!e)
                return;
        for (unsigned i = 0; i < OPERATIONS; i++) {
                test_req_init(&t, i % 2 ? BLOCK_FLUSH : BLOCK_WRITE, 0, memory, i % 2 ? 0 : BLOCK);
                (void) test_engine_run(e, fd, &t);
        }
        print_rate("write+flush", engine_kind_to_string(kind), 1, OPERATIONS / 2, start);
        engine_free(e);
}

/* Large requests of pages that lie anywhere, whole and in pieces. */
static void bench_large(enum engine_kind kind, enum block_op op, int fd, uint32_t piece_max) {
        static char memory[32][LARGE] __attribute__((aligned(4096)));
        static struct iovec iov[32][LARGE / BLOCK];
        static struct test_req reqs[32];
        struct engine *e = test_engine_new(kind, 256, fd);
        g_autofree char *what =
                        g_strdup_printf("128k %s/%uk", op == BLOCK_READ ? "read" : "write",
                                        (piece_max ? piece_max : LARGE) / 1024);
        gint64 start = g_get_monotonic_time();

        if (!e)
                return;
        for (unsigned done = 0; done < LARGE_OPERATIONS; done += 32) {
                for (unsigned i = 0; i < 32; i++) {
                        uint64_t at = (uint64_t) (done + i) % (FILE_SIZE / LARGE) * LARGE;

                        test_req_init(&reqs[i], op, at, memory[i], LARGE);
                        for (unsigned j = 0; j < LARGE / BLOCK; j++)
                                iov[i][j] = (struct iovec){
                                        memory[i] + (j * 7 % (LARGE / BLOCK)) * BLOCK, BLOCK
                                };
                        reqs[i].req.iov = iov[i];
                        reqs[i].req.n_iov = LARGE / BLOCK;
                        reqs[i].req.piece_max = piece_max;
                        reqs[i].req.fd = fd;
                        engine_queue(e, &reqs[i].req);
                }
                (void) engine_drain(e, -1);
        }
        print_rate(what, engine_kind_to_string(kind), 32, LARGE_OPERATIONS, start);
        engine_free(e);
}

static void add_request(struct rig *r, unsigned slot, uint32_t type, unsigned n) {
        uint64_t at = RIG_DATA + slot * 8192ull;
        struct vblk_header h = { GUINT32_TO_LE(type), 0,
                                 GUINT64_TO_LE((uint64_t) n * 7919 % (FILE_SIZE / BLOCK) *
                                               (BLOCK / 512)) };
        struct drv_buf bufs[] = {
                { GADDR(at), sizeof(h), false },
                { GADDR(at + 4096), BLOCK, type == VBLK_T_IN },
                { GADDR(at + 16), 1, true },
        };

        memcpy(rig_host(r, at, sizeof(h)), &h, sizeof(h));
        g_assert_cmpint(drv_add(&r->rings[0], bufs, 3, true, GUINT_TO_POINTER(slot)), >=, 0);
}

enum way {
        WAY_URING,
        WAY_SYNC,
        WAY_POLL,
        WAY_REGISTERED,
        WAY_MAX,
};

static const char *const ways[WAY_MAX] = { "io_uring", "sync", "poll", "register" };

static void bench_queue(enum way way, uint32_t type, int fd, unsigned depth) {
        struct virtio_blk_config config = {
                .id = "bench",
                .fd = fcntl(fd, F_DUPFD_CLOEXEC, 0),
                .num_queues = 1,
                .queue_size = 128,
                .no_io_uring = way == WAY_SYNC,
                .poll_us = way == WAY_POLL ? 200 : 0,
                .registered_buffers = way == WAY_REGISTERED,
        };
        g_autoptr(GError) error = NULL;
        unsigned sent = 0;
        struct rig r;
        gint64 start;

        rig_init(&r);
        rig_attach(&r, virtio_blk_new(r.mem, &config, &error), true, 8);
        g_assert_no_error(error);
        rig_start(&r, 1ull << VBLK_F_FLUSH);
        start = g_get_monotonic_time();
        for (; sent < depth; sent++)
                add_request(&r, sent, type, sent);
        rig_publish(&r, 0);
        for (unsigned done = 0; done < OPERATIONS; done++) {
                uint32_t len;
                void *slot;

                if (!drv_take(&r.rings[0], &slot, &len)) {
                        rig_publish(&r, 0);
                        g_assert_true(rig_wait(&r, 0, 20000, &slot, &len));
                }
                if (sent < OPERATIONS)
                        add_request(&r, GPOINTER_TO_UINT(slot), type, sent++);
        }
        print_rate(type == VBLK_T_IN ? "queue read" : "queue write", ways[way], depth, OPERATIONS,
                   start);
        rig_clear(&r);
}

int main(int argc, char **argv) {
        static const unsigned depths[] = { 1, 8, DEPTH_MAX };

        g_test_init(&argc, &argv, NULL);

        autofd fd = test_file_new(FILE_SIZE, O_RDWR);

        for (int kind = ENGINE_URING; kind <= ENGINE_SYNC; kind++) {
                bench_flush(kind);
                for (int op = BLOCK_READ; op <= BLOCK_WRITE; op++)
                        for (uint32_t piece_max = 0; piece_max <= 124 * 1024;
                             piece_max += 62 * 1024)
                                bench_large(kind, op, fd, piece_max);
        }
        for (size_t i = 0; i < G_N_ELEMENTS(depths); i++) {
                for (int kind = ENGINE_URING; kind <= ENGINE_SYNC; kind++) {
                        bench_engine(kind, BLOCK_READ, fd, depths[i]);
                        bench_engine(kind, BLOCK_WRITE, fd, depths[i]);
                }
                for (int way = 0; way < WAY_MAX; way++) {
                        bench_queue(way, VBLK_T_IN, fd, depths[i]);
                        bench_queue(way, VBLK_T_OUT, fd, depths[i]);
                }
        }
        return 0;
}
