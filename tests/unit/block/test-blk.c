/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves of the virtio block device: requests cut, short, misplaced or senseless fail alone or break the device, and never the
 * process; whatever layout the driver chooses, the disk ends as a model of it in memory; every chain comes back with the right
 * status and one interrupt is enough for a batch; reset and pause in the middle of work leave nothing in flight; cache mode,
 * counters, saved state and host errors are as promised. With both I/O engines; and with CHV_TEST_POLL in the environment, by threads that
 * look before they sleep; with CHV_TEST_REGISTERED, with registered memory.
 */

#include "devices/virtio/blk-wire.h"
#include "devices/virtio/devices.h"
#include "hypervisor/error.h"
#include "hypervisor/fd.h"
#include "rig.h"
#include "tests/unit/block/support.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/resource.h>

#define TIMEOUT_MS 20000
#define DISK (1024u * 1024u)
#define FEATURE(f) (1ull << VBLK_F_##f)
#define HEADER (RIG_DATA + 0u)
#define STATUS (RIG_DATA + 4096u)
#define BUFFER (RIG_DATA + 8192u)

struct setup {
        bool sync, readonly, direct, event_idx, in_order;
        uint16_t num_queues, queue_size;
        uint32_t poll_us;
        const char *serial;
        void (*io_error)(void *opaque, const char *id, const char *operation, int errnum);
        void *opaque;
};

/* Returns a descriptor of the disk's file beside the device's own. */
static int start(struct rig *r, const struct setup *s, uint64_t features) {
        g_autoptr(GError) error = NULL;
        int fd = test_file_new(DISK, O_RDWR | (s->direct ? O_DIRECT : 0));
        struct virtio_blk_config config = {
                .id = "_disk0",
                .readonly = s->readonly,
                .direct = s->direct,
                .num_queues = s->num_queues ?: 1,
                .queue_size = s->queue_size ?: 64,
                .serial = s->serial,
                .no_io_uring = s->sync,
                .in_order = s->in_order,
                .registered_buffers = !s->sync && g_getenv("CHV_TEST_REGISTERED"),
                .poll_us = s->poll_us
                                           ?: g_getenv("CHV_TEST_POLL") ? 1000
                                                                        : 0,
                .io_error = s->io_error,
                .io_error_opaque = s->opaque,
        };

        if (fd < 0)
                return fd;
        rig_init(r);
        config.fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
        rig_attach(r, virtio_blk_new(r->mem, &config, &error), s->event_idx, 32);
        g_assert_no_error(error);
        rig_start(r, features);
        return fd;
}

static void put_header(struct rig *r, uint64_t at, uint32_t type, uint64_t sector) {
        struct vblk_header h = { GUINT32_TO_LE(type), 0, GUINT64_TO_LE(sector) };

        memcpy(rig_host(r, at, sizeof(h)), &h, sizeof(h));
}

/* Sends one chain to queue 0, waits for it and returns the byte at STATUS. */
static uint8_t
send_chain(struct rig *r, const struct drv_buf *bufs, uint16_t n, uint32_t *ret_len) {
        uint8_t *status = rig_host(r, STATUS, 1);
        uint32_t len;
        void *cookie;

        *status = 0xee;
        g_assert_cmpint(drv_add(&r->rings[0], bufs, n, n > 8, r), >=, 0);
        rig_publish(r, 0);
        g_assert_true(rig_wait(r, 0, TIMEOUT_MS, &cookie, &len));
        g_assert_true(cookie == r);
        if (ret_len)
                *ret_len = len;
        return *status;
}

/* The common layout: header, data, status. */
static uint8_t
simple(struct rig *r,
       uint32_t type,
       uint64_t sector,
       uint32_t data_len,
       bool to_guest,
       uint32_t *ret_len) {
        struct drv_buf bufs[] = {
                { GADDR(HEADER), sizeof(struct vblk_header), false },
                { GADDR(BUFFER), data_len, to_guest },
                { GADDR(STATUS), 1, true },
        };

        put_header(r, HEADER, type, sector);
        if (data_len == 0)
                bufs[1] = bufs[2];
        return send_chain(r, bufs, data_len ? 3 : 2, ret_len);
}

static void test_bad_config(void) {
        static const uint16_t host_cpus[] = { 0 };
        struct virtio_queue_affinity affinity = { 1, host_cpus, 1 };
        struct virtio_blk_config good = { .id = "d", .num_queues = 1, .queue_size = 128 }, bad[6];
        struct rig r;

        for (size_t i = 0; i < G_N_ELEMENTS(bad); i++)
                bad[i] = good;
        bad[0].num_queues = 0;
        bad[1].queue_size = 2;
        bad[2].queue_size = 100;
        bad[3].serial = "012345678901234567890";
        bad[4].direct = true;
        bad[5].affinity = &affinity;
        bad[5].n_affinity = 1;

        rig_init(&r);
        for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
                g_autoptr(GError) error = NULL;

                bad[i].fd = test_file_new(4096, O_RDWR);
                g_assert_null(virtio_blk_new(r.mem, &bad[i], &error));
                g_assert_error(error, HV_ERROR, HV_ERROR_INVALID);
                g_assert_true(g_str_has_prefix(error->message, "disk d: "));
                g_assert_cmpint(fcntl(bad[i].fd, F_GETFD), ==, -1);
        }
        rig_clear(&r);
}

static void test_config_space(void) {
        struct vblk_space space;
        struct rig r;
        autofd fd = start(&r, &(struct setup){ .num_queues = 3, .queue_size = 128 }, 0);
        uint8_t writeback = 0;

        g_assert_cmphex(r.vd->device_features, ==,
                        FEATURE(SEG_MAX) | FEATURE(BLK_SIZE) | FEATURE(FLUSH) | FEATURE(TOPOLOGY) |
                                        FEATURE(CONFIG_WCE) | FEATURE(MQ) | FEATURE(DISCARD) |
                                        FEATURE(WRITE_ZEROES));
        g_assert_cmpuint(r.vd->type, ==, 2);
        g_assert_cmpuint(r.vd->n_queues, ==, 3);
        r.vd->ops->config_read(r.vd, 0, &space, sizeof(space));
        g_assert_cmpuint(space.capacity, ==, DISK / 512);
        g_assert_cmpuint(space.seg_max, ==, 126);
        g_assert_cmpuint(space.blk_size, ==, 512);
        g_assert_cmpuint(space.num_queues, ==, 3);
        /* Without FLUSH the cache is write-through; without CONFIG_WCE it stays so. */
        g_assert_cmpuint(space.writeback, ==, 0);
        writeback = 1;
        r.vd->ops->config_write(r.vd, 32, &writeback, 1);
        r.vd->ops->config_read(r.vd, 32, &writeback, 1);
        g_assert_cmpuint(writeback, ==, 0);

        rig_stop(&r);
        rig_start(&r, FEATURE(FLUSH) | FEATURE(CONFIG_WCE));
        r.vd->ops->config_read(r.vd, 32, &writeback, 1);
        g_assert_cmpuint(writeback, ==, 1);
        /* A wide write that only touches it, and one that does not. */
        r.vd->ops->config_write(r.vd, 32, (uint8_t[4]){ 0, 1, 1, 1 }, 4);
        r.vd->ops->config_write(r.vd, 33, (uint8_t[1]){ 1 }, 1);
        r.vd->ops->config_read(r.vd, 32, &writeback, 1);
        g_assert_cmpuint(writeback, ==, 0);
        /* Write-through writes work. */
        g_assert_cmpuint(simple(&r, VBLK_T_OUT, 0, 512, false, NULL), ==, VBLK_S_OK);
        rig_clear(&r);
}

/* Mistakes that the driver hears of, one by one; the device works on. */
static void test_refused_requests(gconstpointer sync) {
        struct rig r;
        autofd fd = start(&r, &(struct setup){ .sync = sync }, FEATURE(FLUSH));
        uint64_t end = DISK / 512;
        uint32_t len;

        g_assert_cmpuint(simple(&r, VBLK_T_IN, 0, 511, true, NULL), ==, VBLK_S_IOERR);
        g_assert_cmpuint(simple(&r, VBLK_T_IN, 0, 513, true, NULL), ==, VBLK_S_IOERR);
        g_assert_cmpuint(simple(&r, VBLK_T_OUT, 0, 1, false, NULL), ==, VBLK_S_IOERR);
        g_assert_cmpuint(simple(&r, VBLK_T_IN, end, 512, true, NULL), ==, VBLK_S_IOERR);
        g_assert_cmpuint(simple(&r, VBLK_T_IN, end - 1, 1024, true, &len), ==, VBLK_S_IOERR);
        g_assert_cmpuint(len, ==, 0);
        g_assert_cmpuint(simple(&r, VBLK_T_OUT, end - 1, 1024, false, &len), ==, VBLK_S_IOERR);
        g_assert_cmpuint(len, ==, 1);
        g_assert_cmpuint(simple(&r, VBLK_T_OUT, UINT64_MAX, 512, false, NULL), ==, VBLK_S_IOERR);
        g_assert_cmpuint(
                        simple(&r, VBLK_T_OUT, UINT64_MAX / 512 + 1, 512, false, NULL), ==,
                        VBLK_S_IOERR);
        g_assert_cmpuint(simple(&r, VBLK_T_OUT, 1ull << 55, 512, false, NULL), ==, VBLK_S_IOERR);
        g_assert_cmpuint(simple(&r, 2, 0, 512, true, NULL), ==, VBLK_S_UNSUPP);
        g_assert_cmpuint(simple(&r, 0xffffffff, 0, 0, true, NULL), ==, VBLK_S_UNSUPP);
        /* Data in the wrong direction is no data. */
        g_assert_cmpuint(simple(&r, VBLK_T_IN, 0, 512, false, NULL), ==, VBLK_S_OK);
        g_assert_cmpuint(rig_counter(&r, "read_bytes"), ==, 0);

        g_assert_cmpuint(simple(&r, VBLK_T_IN, end - 1, 512, true, &len), ==, VBLK_S_OK);
        g_assert_cmpuint(len, ==, 513);
        g_assert_cmpuint(r.breaks, ==, 0);
        rig_clear(&r);
}

static void test_short_header(void) {
        struct drv_buf bufs[] = { { GADDR(HEADER), 15, false }, { GADDR(STATUS), 1, true } };
        struct rig r;
        autofd fd = start(&r, &(struct setup){ 0 }, FEATURE(FLUSH));

        put_header(&r, HEADER, VBLK_T_FLUSH, 0);
        g_assert_cmpuint(send_chain(&r, bufs, 2, NULL), ==, VBLK_S_IOERR);
        g_assert_cmpuint(send_chain(&r, bufs + 1, 1, NULL), ==, VBLK_S_IOERR);
        rig_clear(&r);
}

/* No byte for the status: nothing can be said but that the device needs a reset; after it, it works. */
static void test_no_status(gconstpointer sync) {
        struct drv_buf bufs[] = { { GADDR(HEADER), 16, false }, { GADDR(BUFFER), 512, false } };
        struct rig r;
        autofd fd = start(&r, &(struct setup){ .sync = sync }, FEATURE(FLUSH));
        GError *error = NULL;
        uint32_t len;
        void *cookie;

        put_header(&r, HEADER, VBLK_T_OUT, 0);
        g_assert_cmpint(drv_add(&r.rings[0], bufs, 2, false, NULL), >=, 0);
        rig_publish(&r, 0);
        g_assert_true(rig_wait_broken(&r, TIMEOUT_MS));
        /* Pausing and resuming a broken device does not bring it back to life. */
        g_assert_true(r.vd->ops->pause(r.vd, &error));
        r.vd->ops->resume(r.vd);
        rig_kick(&r, 0);
        g_assert_false(rig_wait(&r, 0, 50, &cookie, &len));
        g_assert_cmpuint(r.breaks, ==, 1);

        rig_stop(&r);
        rig_start(&r, FEATURE(FLUSH));
        g_assert_cmpuint(simple(&r, VBLK_T_OUT, 0, 512, false, NULL), ==, VBLK_S_OK);
        rig_clear(&r);
}

static void test_looping_chain(void) {
        struct rig r;
        autofd fd = start(&r, &(struct setup){ 0 }, FEATURE(FLUSH));

        drv_put_endless(&r.rings[0], GADDR(HEADER));
        rig_kick(&r, 0);
        g_assert_true(rig_wait_broken(&r, TIMEOUT_MS));
        rig_clear(&r);
}

#define ORDERED 12

/* Reads, and between them requests that are answered before any read is. */
static void send_mixed(struct rig *r, unsigned cookies[ORDERED]) {
        for (unsigned i = 0; i < ORDERED; i++) {
                uint64_t header = HEADER + i * sizeof(struct vblk_header);
                struct drv_buf bufs[] = {
                        { GADDR(header), sizeof(struct vblk_header), false },
                        { GADDR(BUFFER + i * 4096ull), 4096, true },
                        { GADDR(STATUS + i), 1, true },
                };

                cookies[i] = i;
                put_header(r, header, i % 3 == 0 ? VBLK_T_IN : i % 3 == 1 ? VBLK_T_GET_ID : 99, i);
                g_assert_cmpint(drv_add(&r->rings[0], bufs, 3, false, &cookies[i]), >=, 0);
        }
        rig_publish(r, 0);
}

/* A quick request overtakes a slow one, unless order was asked for. */
static void test_in_order(void) {
        static const uint8_t statuses[] = { VBLK_S_OK, VBLK_S_OK, VBLK_S_UNSUPP };
        unsigned cookies[ORDERED];

        for (unsigned k = 0; k < 4; k++) {
                struct setup s = { .sync = k & 1, .in_order = k & 2 };
                uint64_t asked = s.in_order ? 1ull << VIRTIO_F_IN_ORDER : 0;
                struct rig r;
                autofd fd = start(&r, &s, asked);
                unsigned overtaken = 0;

                g_assert_true((r.vd->device_features >> VIRTIO_F_IN_ORDER & 1) == s.in_order);
                send_mixed(&r, cookies);
                for (unsigned i = 0; i < ORDERED; i++) {
                        uint32_t len;
                        void *cookie;
                        unsigned which;

                        g_assert_true(rig_wait(&r, 0, TIMEOUT_MS, &cookie, &len));
                        which = *(unsigned *) cookie;
                        overtaken += which != i;
                        g_assert_cmpuint(
                                        *(uint8_t *) rig_host(&r, STATUS + which, 1), ==,
                                        statuses[which % 3]);
                        g_assert_cmpuint(len, ==, which % 3 == 0 ? 4097 : which % 3 == 1 ? 20 : 0);
                }
                g_assert_true(s.in_order ? overtaken == 0 : overtaken > 0);

                /* Stopped with requests that wait for others; then without order, on the same slots. */
                for (unsigned i = 0; i < 20; i++) {
                        rig_stop(&r);
                        rig_start(&r, i % 2 ? asked : 0);
                        send_mixed(&r, cookies);
                }
                rig_clear(&r);
        }
}

/* A guest that has one request at a time is answered by looking, with hardly a kick; one that has none is not looked at. */
static void test_poll(gconstpointer data) {
        struct setup s = { .sync = GPOINTER_TO_INT(data), .poll_us = 10000 };
        gint64 until = g_get_monotonic_time() + TIMEOUT_MS * 1000;
        struct rig r;
        autofd fd = start(&r, &s, 0);
        uint64_t n;

        while (rig_counter(&r, "poll_hits") < 100) {
                g_assert_cmpint(g_get_monotonic_time(), <, until);
                g_assert_cmpuint(simple(&r, VBLK_T_OUT, 1, 512, false, NULL), ==, VBLK_S_OK);
                g_assert_cmpuint(simple(&r, VBLK_T_FLUSH, 0, 0, false, NULL), ==, VBLK_S_OK);
                g_assert_cmpuint(simple(&r, VBLK_T_IN, 1, 512, true, NULL), ==, VBLK_S_OK);
        }
        /* Idle, then with a kick; and whether it is woken or looks, nothing is lost. */
        for (unsigned i = 0; i < 20; i++) {
                g_usleep(i * 2000);
                g_assert_cmpuint(simple(&r, VBLK_T_IN, 1, 512, true, NULL), ==, VBLK_S_OK);
        }
        g_usleep(100000);
        n = rig_counter(&r, "poll_hits");
        g_usleep(50000);
        g_assert_cmpuint(rig_counter(&r, "poll_hits"), ==, n);

        /* Paused and resumed while it looks. */
        for (unsigned i = 0; i < 50; i++) {
                g_assert_true(r.vd->ops->pause(r.vd, NULL));
                r.vd->ops->resume(r.vd);
                g_assert_cmpuint(simple(&r, VBLK_T_IN, 1, 512, true, NULL), ==, VBLK_S_OK);
        }
        rig_clear(&r);
}

static void test_readonly(void) {
        struct rig r;
        autofd fd = start(&r, &(struct setup){ .readonly = true }, FEATURE(FLUSH) | FEATURE(RO));
        uint8_t byte;

        g_assert_true(r.vd->device_features & FEATURE(RO));
        memset(rig_host(&r, BUFFER, 512), 0xaa, 512);
        g_assert_cmpuint(simple(&r, VBLK_T_OUT, 0, 512, false, NULL), ==, VBLK_S_IOERR);
        g_assert_cmpuint(simple(&r, VBLK_T_FLUSH, 0, 0, false, NULL), ==, VBLK_S_OK);
        g_assert_cmpuint(simple(&r, VBLK_T_IN, 1, 512, true, NULL), ==, VBLK_S_OK);
        g_assert_cmpuint(*(uint8_t *) rig_host(&r, BUFFER, 1), ==, test_file_byte(512));
        g_assert_cmpint(pread(fd, &byte, 1, 0), ==, 1);
        g_assert_cmpuint(byte, ==, 0);
        rig_clear(&r);
}

static void test_id(void) {
        struct rig r;
        autofd fd = start(&r, &(struct setup){ .serial = "chvd-0123456789abcde" }, 0);
        char *buf = rig_host(&r, BUFFER, 64);
        uint32_t len;

        memset(buf, 'x', 64);
        g_assert_cmpuint(simple(&r, VBLK_T_GET_ID, 0, 20, true, &len), ==, VBLK_S_OK);
        g_assert_cmpuint(len, ==, 21);
        g_assert_cmpint(memcmp(buf, "chvd-0123456789abcdex", 21), ==, 0);
        memset(buf, 'x', 64);
        g_assert_cmpuint(simple(&r, VBLK_T_GET_ID, 0, 4, true, &len), ==, VBLK_S_OK);
        g_assert_cmpint(memcmp(buf, "chvdx", 5), ==, 0);
        g_assert_cmpuint(simple(&r, VBLK_T_GET_ID, 0, 40, true, &len), ==, VBLK_S_OK);
        g_assert_cmpuint(len, ==, 20);
        g_assert_cmpint(memcmp(buf, "chvd-0123456789abcdex", 21), ==, 0);
        rig_clear(&r);

        (void) close(chv_steal_fd(&fd));
        fd = start(&r, &(struct setup){ .serial = "s" }, 0);
        buf = rig_host(&r, BUFFER, 64);
        g_assert_cmpuint(simple(&r, VBLK_T_GET_ID, 0, 20, true, NULL), ==, VBLK_S_OK);
        g_assert_cmpint(memcmp(buf, "s\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 20), ==, 0);
        rig_clear(&r);
}

/* The header a byte at a time, the status at the end of the last data buffer. */
static void test_odd_layouts(gconstpointer sync) {
        struct drv_buf bufs[20];
        struct rig r;
        autofd fd = start(&r, &(struct setup){ .sync = sync }, FEATURE(FLUSH));
        uint8_t *data = rig_host(&r, STATUS - 1024, 1025);
        uint32_t len;

        for (unsigned i = 0; i < 16; i++)
                bufs[i] = (struct drv_buf){ GADDR(HEADER + i), 1, false };
        bufs[16] = (struct drv_buf){ GADDR(STATUS - 1024), 1, true };
        bufs[17] = (struct drv_buf){ GADDR(STATUS - 1023), 1022, true };
        bufs[18] = (struct drv_buf){ GADDR(STATUS - 1), 2, true };
        put_header(&r, HEADER, VBLK_T_IN, 3);
        g_assert_cmpuint(send_chain(&r, bufs, 19, &len), ==, VBLK_S_OK);
        g_assert_cmpuint(len, ==, 1025);
        for (unsigned i = 0; i < 1024; i++)
                g_assert_cmpuint(data[i], ==, test_file_byte(3 * 512 + i));

        /* Header and data in one buffer. */
        put_header(&r, BUFFER, VBLK_T_OUT, 5);
        memset(rig_host(&r, BUFFER + 16, 512), 0x77, 512);
        bufs[0] = (struct drv_buf){ GADDR(BUFFER), 16 + 512, false };
        bufs[1] = (struct drv_buf){ GADDR(STATUS), 1, true };
        g_assert_cmpuint(send_chain(&r, bufs, 2, &len), ==, VBLK_S_OK);
        g_assert_cmpuint(len, ==, 1);
        g_assert_cmpint(pread(fd, data, 512, 5 * 512), ==, 512);
        g_assert_cmpuint(data[0], ==, 0x77);
        g_assert_cmpuint(data[511], ==, 0x77);
        rig_clear(&r);
}

#define PARTS 32u

struct random_request {
        uint32_t type;
        uint64_t sector;
        uint32_t len;
        uint64_t buffer, status;
        bool back;
};

/* One request in its own part of disk and memory, cut at random, on a random queue. */
static void add_random(struct rig *r, struct random_request *q, unsigned part, unsigned queue) {
        static const uint32_t types[] = { VBLK_T_IN, VBLK_T_OUT, VBLK_T_OUT, VBLK_T_FLUSH };
        unsigned sectors = DISK / 512 / PARTS, first = (unsigned) g_test_rand_int_range(0, sectors);
        struct drv_buf bufs[12];
        uint32_t done = 0;
        unsigned n = 1;

        *q = (struct random_request){
                .type = types[g_test_rand_int_range(0, G_N_ELEMENTS(types))],
                .sector = part * sectors + first,
                .len = 512u * (unsigned) g_test_rand_int_range(1, (gint32) (sectors - first) + 1),
                .buffer = RIG_DATA + part * 128u * 1024u + (unsigned) g_test_rand_int_range(0, 512),
                .status = RIG_DATA + part * 128u * 1024u + 100u * 1024u,
        };
        put_header(r, q->status + 16, q->type, q->sector);
        *(uint8_t *) rig_host(r, q->status, 1) = 0xee;
        bufs[0] = (struct drv_buf){ GADDR(q->status + 16), 16, false };
        if (q->type == VBLK_T_FLUSH)
                q->len = 0;
        for (uint32_t i = 0; q->type == VBLK_T_OUT && i < q->len; i++)
                ((uint8_t *) rig_host(r, q->buffer, q->len))[i] = (uint8_t) g_test_rand_int();
        while (done < q->len) {
                uint32_t part_len = n == 10 ? q->len - done
                                            : (uint32_t) g_test_rand_int_range(
                                                              1, (gint32) (q->len - done) + 1);

                bufs[n++] = (struct drv_buf){ GADDR(q->buffer + done), part_len,
                                              q->type == VBLK_T_IN };
                done += part_len;
        }
        bufs[n++] = (struct drv_buf){ GADDR(q->status), 1, true };
        g_assert_cmpint(drv_add(&r->rings[queue], bufs, (uint16_t) n, true, q), >=, 0);
}

static void check_random(struct rig *r, struct random_request *q, uint32_t len, uint8_t *model) {
        uint8_t *data;

        g_assert_false(q->back);
        q->back = true;
        g_assert_cmpuint(*(uint8_t *) rig_host(r, q->status, 1), ==, VBLK_S_OK);
        g_assert_cmpuint(len, ==, q->type == VBLK_T_IN ? q->len + 1 : 1);
        if (q->type == VBLK_T_FLUSH)
                return;
        data = rig_host(r, q->buffer, q->len);
        if (q->type == VBLK_T_OUT)
                memcpy(model + q->sector * 512, data, q->len);
        else
                g_assert_cmpint(memcmp(model + q->sector * 512, data, q->len), ==, 0);
}

static void random_io(const struct setup *s, uint64_t features) {
        g_autofree uint8_t *model = g_malloc(DISK), *disk = g_malloc(DISK);
        static struct random_request requests[PARTS];
        unsigned n_queues = s->num_queues;
        struct rig r;
        autofd fd = start(&r, s, features);
        uint32_t len;
        void *cookie;

        if (fd < 0)
                return;
        for (unsigned i = 0; i < DISK; i++)
                model[i] = test_file_byte(i);
        for (int round = 0; round < 40; round++) {
                unsigned outstanding[RIG_QUEUES_MAX] = { 0 };

                for (unsigned i = 0; i < PARTS; i++) {
                        unsigned queue = (unsigned) g_test_rand_int_range(0, (gint32) n_queues);

                        add_random(&r, &requests[i], i, queue);
                        outstanding[queue]++;
                        if (g_test_rand_int_range(0, 4) == 0)
                                rig_publish(&r, queue);
                }
                for (unsigned queue = 0; queue < n_queues; queue++)
                        rig_publish(&r, queue);
                for (unsigned queue = 0; queue < n_queues; queue++)
                        for (unsigned i = 0; i < outstanding[queue]; i++) {
                                g_assert_true(rig_wait(&r, queue, TIMEOUT_MS, &cookie, &len));
                                check_random(&r, cookie, len, model);
                        }
        }
        rig_stop(&r);
        (void) fcntl(fd, F_SETFL, 0);
        g_assert_cmpint(pread(fd, disk, DISK, 0), ==, DISK);
        g_assert_cmpint(memcmp(disk, model, DISK), ==, 0);
        rig_clear(&r);
}

static void test_random(gconstpointer sync) {
        random_io(&(struct setup){ .sync = sync, .num_queues = 1, .event_idx = true },
                  FEATURE(FLUSH));
        random_io(&(struct setup){ .sync = sync, .num_queues = 3, .event_idx = true },
                  FEATURE(FLUSH) | FEATURE(MQ));
        random_io(&(struct setup){ .sync = sync, .num_queues = 2 }, FEATURE(MQ));
        random_io(&(struct setup){ .sync = sync,
                                   .num_queues = 1,
                                   .queue_size = 32,
                                   .direct = true },
                  FEATURE(FLUSH));
}

/* A full ring with one kick takes far fewer interrupts than requests. */
static void test_batch(gconstpointer sync) {
        struct rig r;
        autofd fd = start(
                        &r, &(struct setup){ .sync = sync, .queue_size = 256, .event_idx = true },
                        FEATURE(FLUSH));
        uint32_t len;
        void *cookie;

        for (int round = 0; round < 20; round++) {
                unsigned before = rig_interrupts(&r, 0);

                for (unsigned i = 0; i < 256; i++) {
                        uint64_t at = RIG_DATA + i * 1024;
                        struct drv_buf bufs[] = {
                                { GADDR(at), 16, false },
                                { GADDR(at + 512), 512, true },
                                { GADDR(at + 16), 1, true },
                        };

                        put_header(&r, at, VBLK_T_IN, i);
                        g_assert_cmpint(drv_add(&r.rings[0], bufs, 3, true, NULL), >=, 0);
                }
                rig_publish(&r, 0);
                for (unsigned i = 0; i < 256; i++)
                        g_assert_true(rig_wait(&r, 0, TIMEOUT_MS, &cookie, &len));
                g_assert_cmpuint(rig_interrupts(&r, 0) - before, <, 64);
                for (unsigned i = 0; i < 256; i++)
                        g_assert_cmpuint(
                                        *(uint8_t *) rig_host(&r, RIG_DATA + i * 1024 + 512, 1), ==,
                                        test_file_byte(i * 512));
        }
        g_assert_cmpuint(rig_counter(&r, "read_ops"), ==, 20 * 256);
        g_assert_cmpuint(rig_counter(&r, "read_bytes"), ==, 20 * 256 * 512);
        rig_clear(&r);
}

static void fill_ring(struct rig *r, uint32_t type) {
        struct drv_ring *d = &r->rings[0];

        for (unsigned i = 0; i < d->size; i++) {
                uint64_t at = RIG_DATA + i * 65536ull;
                struct drv_buf bufs[] = {
                        { GADDR(at), 16, false },
                        { GADDR(at + 4096), 32768, type == VBLK_T_IN },
                        { GADDR(at + 16), 1, true },
                };

                put_header(r, at, type, (uint64_t) i % 16 * 64);
                if (drv_add(d, bufs, 3, true, NULL) < 0)
                        break;
        }
        rig_publish(r, 0);
}

/* Reset in the middle: afterwards nothing writes to guest memory, and the device starts anew. */
static void test_reset_in_flight(gconstpointer sync) {
        struct rig r;
        autofd fd = start(&r, &(struct setup){ .sync = sync, .queue_size = 128 }, FEATURE(FLUSH));

        for (int round = 0; round < 20; round++) {
                uint8_t *memory = rig_host(&r, RIG_DATA, RIG_MEMORY - RIG_DATA);

                fill_ring(&r, round % 2 ? VBLK_T_IN : VBLK_T_OUT);
                rig_stop(&r);
                memset(memory, 0x11, RIG_MEMORY - RIG_DATA);
                rig_start(&r, FEATURE(FLUSH));
                g_assert_cmpuint(memory[4096], ==, 0x11);
                g_assert_cmpuint(simple(&r, VBLK_T_OUT, 0, 512, false, NULL), ==, VBLK_S_OK);
        }
        rig_clear(&r);
}

/* Pause in the middle: what was taken is answered when it returns, the rest is served after resume, once. */
static void test_pause_in_flight(gconstpointer sync) {
        struct rig r;
        autofd fd = start(&r, &(struct setup){ .sync = sync, .queue_size = 128 }, FEATURE(FLUSH));
        g_autoptr(GError) error = NULL;
        uint32_t len;
        void *cookie;

        for (int round = 0; round < 20; round++) {
                uint16_t used;

                fill_ring(&r, VBLK_T_IN);
                g_assert_true(r.vd->ops->pause(r.vd, &error));
                used = r.vd->queues[0].used_idx;
                g_assert_cmpuint(r.vd->queues[0].in_flight, ==, 0);
                g_assert_true(r.vd->ops->pause(r.vd, &error));
                rig_kick(&r, 0);
                g_assert_cmpuint(r.vd->queues[0].used_idx, ==, used);
                r.vd->ops->resume(r.vd);
                r.vd->ops->resume(r.vd);
                for (unsigned i = 0; i < 128; i++)
                        g_assert_true(rig_wait(&r, 0, TIMEOUT_MS, &cookie, &len));
                g_assert_false(drv_take(&r.rings[0], &cookie, &len));
        }
        rig_clear(&r);
}

struct flood {
        struct rig *r;
        atomic_bool stop;
        unsigned n;
};

/* Requests that are answered on the spot, as fast as they come back. */
static void *flood_thread(void *opaque) {
        struct flood *f = opaque;
        struct drv_ring *d = &f->r->rings[0];
        struct drv_buf bufs[] = { { GADDR(HEADER), 16, false }, { GADDR(STATUS), 1, true } };
        uint32_t len;
        void *cookie;

        while (!atomic_load(&f->stop)) {
                while (drv_add(d, bufs, 2, false, NULL) >= 0)
                        ;
                rig_publish(f->r, 0);
                while (drv_take(d, &cookie, &len))
                        f->n++;
        }
        return NULL;
}

/* A guest that never stops does not keep the device from being paused. */
static void test_flood(gconstpointer sync) {
        struct rig r;
        autofd fd = start(&r, &(struct setup){ .sync = sync, .queue_size = 32 }, FEATURE(FLUSH));
        struct flood f = { .r = &r };
        g_autoptr(GError) error = NULL;
        GThread *thread;

        put_header(&r, HEADER, 0xffff, 0);
        thread = g_thread_new("flood", flood_thread, &f);
        for (int i = 0; i < 50; i++) {
                g_usleep(1000);
                g_assert_true(r.vd->ops->pause(r.vd, &error));
                g_assert_cmpuint(r.vd->queues[0].in_flight, ==, 0);
                r.vd->ops->resume(r.vd);
        }
        atomic_store(&f.stop, true);
        (void) g_thread_join(thread);
        g_assert_cmpuint(f.n, >, 0);
        g_assert_cmpuint(r.breaks, ==, 0);
        rig_clear(&r);
}

static void test_save_restore(void) {
        g_autoptr(GError) error = NULL;
        g_autoptr(GVariant) state = NULL, damaged = NULL, newer = NULL, larger = NULL;
        struct rig r;
        autofd fd = start(&r, &(struct setup){ 0 }, FEATURE(FLUSH) | FEATURE(CONFIG_WCE));
        uint8_t writeback = 0;

        r.vd->ops->config_write(r.vd, 32, &writeback, 1);
        g_assert_true(r.vd->ops->pause(r.vd, &error));
        state = g_variant_ref_sink(r.vd->ops->save(r.vd));
        rig_clear(&r);

        (void) close(chv_steal_fd(&fd));
        fd = start(&r, &(struct setup){ 0 }, FEATURE(FLUSH) | FEATURE(CONFIG_WCE));
        damaged = g_variant_ref_sink(g_variant_new("(us)", 1, "x"));
        newer = g_variant_ref_sink(g_variant_new("(utb)", 99, (guint64) DISK, TRUE));
        larger = g_variant_ref_sink(g_variant_new("(utb)", 1, (guint64) DISK * 2, TRUE));
        g_assert_false(r.vd->ops->restore(r.vd, damaged, &error));
        g_assert_error(error, HV_ERROR, HV_ERROR_STATE);
        g_clear_error(&error);
        g_assert_false(r.vd->ops->restore(r.vd, newer, &error));
        g_clear_error(&error);
        g_assert_false(r.vd->ops->restore(r.vd, larger, &error));
        g_clear_error(&error);
        r.vd->ops->config_read(r.vd, 32, &writeback, 1);
        g_assert_cmpuint(writeback, ==, 1);
        g_assert_true(r.vd->ops->restore(r.vd, state, &error));
        r.vd->ops->config_read(r.vd, 32, &writeback, 1);
        g_assert_cmpuint(writeback, ==, 0);
        rig_clear(&r);
}

struct reported {
        unsigned n;
        int errnum;
        char operation[16];
};

static void note_error(void *opaque, const char *id, const char *operation, int errnum) {
        struct reported *rep = opaque;

        g_assert_cmpstr(id, ==, "_disk0");
        rep->n++;
        rep->errnum = errnum;
        (void) g_strlcpy(rep->operation, operation, sizeof(rep->operation));
}

/* The image is cut and may not grow: the guest gets IOERR, the host one report for many errors. */
static void test_host_errors(gconstpointer sync) {
        struct reported rep = { 0 };
        struct rig r;
        struct rlimit before, limit;
        autofd fd = start(
                        &r, &(struct setup){ .sync = sync, .io_error = note_error, .opaque = &rep },
                        FEATURE(FLUSH));

        g_assert_cmpint(ftruncate(fd, 4096), ==, 0);
        g_assert_cmpuint(simple(&r, VBLK_T_IN, 0, 4096, true, NULL), ==, VBLK_S_OK);
        for (int i = 0; i < 10; i++)
                g_assert_cmpuint(simple(&r, VBLK_T_IN, 4, 4096, true, NULL), ==, VBLK_S_IOERR);
        g_assert_cmpint(getrlimit(RLIMIT_FSIZE, &before), ==, 0);
        limit = (struct rlimit){ 8192, before.rlim_max };
        g_assert_cmpint(setrlimit(RLIMIT_FSIZE, &limit), ==, 0);
        g_assert_cmpuint(simple(&r, VBLK_T_OUT, 100, 512, false, NULL), ==, VBLK_S_IOERR);
        g_assert_cmpuint(simple(&r, VBLK_T_OUT, 7, 512, false, NULL), ==, VBLK_S_OK);
        g_assert_cmpint(setrlimit(RLIMIT_FSIZE, &before), ==, 0);
        g_assert_cmpuint(rig_counter(&r, "read_ops"), ==, 1);
        rig_clear(&r);
        g_assert_cmpuint(rep.n, >=, 1);
        g_assert_cmpuint(rep.n, <=, 3);
        g_assert_cmpint(rep.errnum, ==, EIO);
        g_assert_cmpstr(rep.operation, ==, "read");
}

static void test_counters(void) {
        struct rig r;
        autofd fd = start(&r, &(struct setup){ 0 }, FEATURE(FLUSH));

        g_assert_cmpuint(rig_counter(&r, "read_latency_min"), ==, 0);
        (void) simple(&r, VBLK_T_OUT, 0, 1024, false, NULL);
        (void) simple(&r, VBLK_T_IN, 0, 512, true, NULL);
        (void) simple(&r, VBLK_T_IN, 0, 1536, true, NULL);
        (void) simple(&r, VBLK_T_FLUSH, 0, 0, true, NULL);
        g_assert_cmpuint(rig_counter(&r, "write_ops"), ==, 1);
        g_assert_cmpuint(rig_counter(&r, "write_bytes"), ==, 1024);
        g_assert_cmpuint(rig_counter(&r, "read_ops"), ==, 2);
        g_assert_cmpuint(rig_counter(&r, "read_bytes"), ==, 2048);
        g_assert_cmpuint(rig_counter(&r, "flush_ops"), ==, 1);
        g_assert_cmpuint(
                        rig_counter(&r, "read_latency_min"), <=,
                        rig_counter(&r, "read_latency_avg"));
        g_assert_cmpuint(
                        rig_counter(&r, "read_latency_avg"), <=,
                        rig_counter(&r, "read_latency_max"));
        rig_clear(&r);
}

static void note_thread(void *opaque) {
        cpu_set_t set;

        CPU_ZERO(&set);
        (void) sched_getaffinity(0, sizeof(set), &set);
        g_atomic_int_add((int *) opaque, CPU_COUNT(&set) == 1 && CPU_ISSET(0, &set) ? 100 : 1);
}

/* Every queue has its thread, the hook runs on each, and the named queue's is pinned. */
static void test_threads(void) {
        static const uint16_t host_cpus[] = { 0 };
        struct virtio_queue_affinity affinity = { 1, host_cpus, 1 };
        g_autoptr(GError) error = NULL;
        int sum = 0;
        struct virtio_blk_config config = {
                .id = "disk",
                .fd = test_file_new(4096, O_RDWR),
                .num_queues = 3,
                .queue_size = 16,
                .affinity = &affinity,
                .n_affinity = 1,
                .hook = { note_thread, &sum },
        };
        struct rig r;

        rig_init(&r);
        rig_attach(&r, virtio_blk_new(r.mem, &config, &error), false, 0);
        rig_clear(&r);
        if (g_get_num_processors() > 1)
                g_assert_cmpint(sum, ==, 102);
        else
                g_assert_cmpint(sum, ==, 300);
}

/* A driver gone mad, and the device used by a sane one after each reset. */
static void test_vandal(gconstpointer sync) {
        g_autoptr(GRand) rand = g_rand_new_with_seed((guint32) g_test_rand_int());
        struct rig r;
        autofd fd = start(&r, &(struct setup){ .sync = sync, .queue_size = 16 }, FEATURE(FLUSH));

        for (int round = 0; round < 200; round++) {
                for (int i = 0; i < 64; i++)
                        put_header(&r, HEADER + (unsigned) i * 64, (uint32_t) i % 16, (uint64_t) i);
                for (int i = 0; i < 30; i++) {
                        drv_vandalise(&r.rings[0], rand, RIG_MEMORY);
                        rig_kick(&r, 0);
                }
                rig_stop(&r);
                rig_start(&r, FEATURE(FLUSH));
                if (round % 10 == 0)
                        g_assert_cmpuint(simple(&r, VBLK_T_IN, 0, 512, true, NULL), ==, VBLK_S_OK);
        }
        rig_clear(&r);
}

static void add_for_both(const char *name, GTestDataFunc fn) {
        for (int sync = 0; sync <= 1; sync++) {
                g_autofree char *path =
                                g_strdup_printf("/blk/%s/%s", sync ? "sync" : "io_uring", name);

                g_test_add_data_func(path, GINT_TO_POINTER(sync), fn);
        }
}

int main(int argc, char **argv) {
        (void) signal(SIGXFSZ, SIG_IGN);
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/blk/bad-config", test_bad_config);
        g_test_add_func("/blk/config-space", test_config_space);
        g_test_add_func("/blk/short-header", test_short_header);
        g_test_add_func("/blk/looping-chain", test_looping_chain);
        g_test_add_func("/blk/in-order", test_in_order);
        g_test_add_func("/blk/readonly", test_readonly);
        g_test_add_func("/blk/id", test_id);
        g_test_add_func("/blk/save-restore", test_save_restore);
        g_test_add_func("/blk/counters", test_counters);
        g_test_add_func("/blk/threads", test_threads);
        add_for_both("refused-requests", test_refused_requests);
        add_for_both("no-status", test_no_status);
        add_for_both("odd-layouts", test_odd_layouts);
        add_for_both("random", test_random);
        add_for_both("batch", test_batch);
        add_for_both("poll", test_poll);
        add_for_both("reset-in-flight", test_reset_in_flight);
        add_for_both("pause-in-flight", test_pause_in_flight);
        add_for_both("flood", test_flood);
        add_for_both("host-errors", test_host_errors);
#ifndef __SANITIZE_THREAD__ /* such a driver races with the device on purpose */
        add_for_both("vandal", test_vandal);
#else
        (void) test_vandal;
#endif
        return g_test_run();
}
