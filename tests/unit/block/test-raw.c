/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves of raw images: descriptors that do not fit the configuration are refused with a reason; no request gets past the end of
 * the image (overflow included) or writes to a read-only one; odd sizes are rounded down; O_DIRECT works with any buffer; a loop
 * device's size and block size arrive.
 */

#include "devices/block/disk-image.h"
#include "hypervisor/error.h"
#include "hypervisor/fd.h"
#include "tests/unit/block/support.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <string.h>
#include <sys/ioctl.h>

static void refused(int fd, bool readonly, bool direct, const char *why) {
        g_autoptr(GError) error = NULL;

        g_assert_cmpint(fd, >=, 0);
        g_assert_null(disk_image_open_raw(fd, readonly, direct, &error));
        g_assert_error(error, HV_ERROR, HV_ERROR_INVALID);
        g_assert_nonnull(strstr(error->message, why));
        /* Taken over on failure, too. */
        g_assert_cmpint(fcntl(fd, F_GETFD), ==, -1);
}

static void test_refused(void) {
        g_autoptr(GError) error = NULL;
        autofd fd = test_file_new(4096, O_RDWR);
        int ends[2];

        refused(test_file_reopen(fd, O_WRONLY), true, false, "reading");
        refused(test_file_reopen(fd, O_RDONLY), false, false, "writing");
        refused(test_file_reopen(fd, O_PATH), true, false, "reading");
        refused(test_file_reopen(fd, O_RDWR | O_APPEND), false, false, "append");
        refused(test_file_reopen(fd, O_RDWR), false, true, "O_DIRECT");
        refused(open("/", O_RDONLY | O_DIRECTORY), true, false, "neither");
        refused(open("/dev/null", O_RDWR), false, false, "neither");
        g_assert_cmpint(pipe(ends), ==, 0);
        refused(ends[0], true, false, "neither");
        (void) close(ends[1]);
        g_assert_null(disk_image_open_raw(987654, true, false, &error));
        g_assert_error(error, HV_ERROR, HV_ERROR_FAILED);
}

static int run(struct disk_image *img,
               struct engine *e,
               enum block_op op,
               uint64_t offset,
               void *buf,
               uint64_t len) {
        struct test_req t;

        test_req_init(&t, op, offset, buf, len);
        disk_image_start(img, e, &t.req);
        g_assert_cmpuint(t.done, ==, 0);
        g_assert_cmpint(engine_drain(e, -1), ==, 0);
        g_assert_cmpuint(t.done, ==, 1);
        return t.result;
}

static void test_range(void) {
        g_autoptr(disk_image) img = disk_image_open_raw(
                        test_file_new(4096 + 511, O_RDWR), false, false, &(GError *){ NULL });
        struct engine *e = test_engine_new(ENGINE_AUTO, 4, img->main_fd);
        char buf[1024] = { 0 };

        g_assert_cmpuint(img->size, ==, 4096);
        g_assert_cmpuint(img->topology.logical_block, ==, 512);
        g_assert_cmpint(run(img, e, BLOCK_WRITE, 4096, buf, 512), ==, -EINVAL);
        g_assert_cmpint(run(img, e, BLOCK_WRITE, 3584, buf, 1024), ==, -EINVAL);
        g_assert_cmpint(run(img, e, BLOCK_READ, UINT64_MAX - 511, buf, 512), ==, -EINVAL);
        g_assert_cmpint(run(img, e, BLOCK_READ, UINT64_MAX - 511, buf, 1024), ==, -EINVAL);
        g_assert_cmpint(run(img, e, BLOCK_ZERO, 512, NULL, UINT64_MAX), ==, -EINVAL);
        g_assert_cmpint(run(img, e, BLOCK_READ, 3072, buf, 1024), ==, 0);
        g_assert_cmpint((uint8_t) buf[1023], ==, test_file_byte(4095));
        g_assert_cmpint(run(img, e, BLOCK_FLUSH, UINT64_MAX, NULL, 0), ==, 0);
        engine_free(e);
}

static void test_readonly(void) {
        autofd fd = test_file_new(4096, O_RDWR);
        g_autoptr(disk_image) img = disk_image_open_raw(
                        test_file_reopen(fd, O_RDWR), true, false, &(GError *){ NULL });
        struct engine *e = test_engine_new(ENGINE_AUTO, 4, img->main_fd);
        char buf[512] = { 0 };

        g_assert_true(img->readonly);
        g_assert_cmpint(run(img, e, BLOCK_WRITE, 0, buf, 512), ==, -EROFS);
        g_assert_cmpint(run(img, e, BLOCK_DISCARD, 0, NULL, 512), ==, -EROFS);
        g_assert_cmpint(run(img, e, BLOCK_ZERO, 0, NULL, 512), ==, -EROFS);
        g_assert_cmpint(run(img, e, BLOCK_READ, 0, buf, 512), ==, 0);
        g_assert_cmpint(run(img, e, BLOCK_FLUSH, 0, NULL, 0), ==, 0);
        g_assert_cmpint(buf[250], ==, (char) test_file_byte(250));
        engine_free(e);
}

static void test_empty(void) {
        g_autoptr(disk_image) img = disk_image_open_raw(
                        test_file_new(511, O_RDWR), false, false, &(GError *){ NULL });
        struct engine *e = test_engine_new(ENGINE_AUTO, 4, img->main_fd);
        char buf[512];

        g_assert_cmpuint(img->size, ==, 0);
        g_assert_cmpint(run(img, e, BLOCK_READ, 0, buf, 512), ==, -EINVAL);
        engine_free(e);
}

static void test_serial(void) {
        autofd fd = test_file_new(512, O_RDWR);
        g_autoptr(disk_image) a = disk_image_open_raw(
                        test_file_reopen(fd, O_RDONLY), true, false, &(GError *){ NULL });
        g_autoptr(disk_image) b = disk_image_open_raw(
                        test_file_reopen(fd, O_RDONLY), true, false, &(GError *){ NULL });
        g_autoptr(disk_image) other = disk_image_open_raw(
                        test_file_new(512, O_RDONLY), true, false, &(GError *){ NULL });

        g_assert_cmpstr(a->serial, ==, b->serial);
        g_assert_cmpstr(a->serial, !=, other->serial);
        g_assert_cmpuint(strlen(a->serial), >, 2);
        g_assert_cmpuint(strlen(a->serial), <=, DISK_IMAGE_SERIAL_MAX);
}

/* Buffers at every kind of odd address, and one request larger than the bounce buffer. */
static void test_direct(gconstpointer kind) {
        enum {
                SIZE = 3 * 1024 * 1024
        };
        autofd fd = test_file_new(SIZE, O_RDWR | O_DIRECT);
        g_autofree uint8_t *buf = g_malloc(SIZE + 4096), *check = g_malloc(SIZE);
        struct iovec iov[3];
        struct engine *e;
        uint32_t block;
        struct test_req t;

        if (fd < 0)
                return;
        e = test_engine_new(GPOINTER_TO_INT(kind), 4, fd);
        if (!e)
                return;

        g_autoptr(disk_image) img =
                        disk_image_open_raw(chv_steal_fd(&fd), false, true, &(GError *){ NULL });

        g_assert_nonnull(img);
        g_assert_true(img->direct);
        block = img->topology.logical_block;
        g_assert_cmpint(run(img, e, BLOCK_READ, block / 2, buf, block), ==, -EINVAL);
        g_assert_cmpint(run(img, e, BLOCK_READ, 0, buf, block / 2), ==, -EINVAL);

        for (unsigned shift = 0; shift < 4; shift++) {
                g_assert_cmpint(run(img, e, BLOCK_READ, block, buf + shift, 2 * block), ==, 0);
                for (unsigned i = 0; i < 2 * block; i++)
                        g_assert_cmpuint(buf[shift + i], ==, test_file_byte(block + i));
        }
        for (unsigned i = 0; i < SIZE; i++)
                buf[i + 1] = (uint8_t) g_test_rand_int();
        g_assert_cmpint(run(img, e, BLOCK_WRITE, 0, buf + 1, SIZE), ==, 0);
        memset(check, 0, SIZE);
        test_req_init(&t, BLOCK_READ, 0, NULL, SIZE);
        iov[0] = (struct iovec){ check, 7 };
        iov[1] = (struct iovec){ check + 7, 2 * 1024 * 1024 };
        iov[2] = (struct iovec){ check + 7 + 2 * 1024 * 1024, SIZE - 7 - 2 * 1024 * 1024 };
        t.req.iov = iov;
        t.req.n_iov = 3;
        disk_image_start(img, e, &t.req);
        g_assert_cmpint(engine_drain(e, -1), ==, 0);
        g_assert_cmpint(t.result, ==, 0);
        g_assert_cmpint(memcmp(check, buf + 1, SIZE), ==, 0);
        engine_free(e);
}

static void test_loop_device(void) {
        autofd control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
        autofd backing = test_file_new(1024 * 1024 + 700, O_RDWR);
        g_autofree char *path = NULL;
        g_autoptr(GError) error = NULL;
        struct loop_config config = { .fd = (uint32_t) backing, .block_size = 4096 };
        struct engine *e;
        char buf[4096];
        int n, fd;

        config.info.lo_flags = LO_FLAGS_AUTOCLEAR;
        n = control < 0 ? -1 : ioctl(control, LOOP_CTL_GET_FREE);
        path = g_strdup_printf("/dev/loop%d", n);
        fd = n < 0 ? -1 : open(path, O_RDWR | O_CLOEXEC);
        if (fd < 0 || ioctl(fd, LOOP_CONFIGURE, &config) < 0) {
                if (fd >= 0)
                        (void) close(fd);
                g_test_skip("no loop device to be had");
                return;
        }

        g_autoptr(disk_image) img = disk_image_open_raw(fd, false, false, &error);

        g_assert_no_error(error);
        g_assert_cmpuint(img->topology.logical_block, ==, 4096);
        g_assert_cmpuint(img->topology.physical_block, >=, 4096);
        g_assert_cmpuint(img->size, ==, 1024 * 1024);
        e = test_engine_new(ENGINE_AUTO, 4, img->main_fd);
        g_assert_cmpint(run(img, e, BLOCK_READ, 4096, buf, 4096), ==, 0);
        g_assert_cmpint((uint8_t) buf[5], ==, test_file_byte(4101));
        memset(buf, 0x5a, sizeof(buf));
        g_assert_cmpint(run(img, e, BLOCK_WRITE, 8192, buf, 4096), ==, 0);
        g_assert_cmpint(run(img, e, BLOCK_ZERO, 4096, NULL, 4096), ==, 0);
        g_assert_cmpint(run(img, e, BLOCK_FLUSH, 0, NULL, 0), ==, 0);
        g_assert_cmpint(pread(backing, buf, 2, 8191), ==, 2);
        g_assert_cmpint(buf[0], ==, 0);
        g_assert_cmpint(buf[1], ==, 0x5a);
        engine_free(e);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/raw/refused", test_refused);
        g_test_add_func("/raw/range", test_range);
        g_test_add_func("/raw/readonly", test_readonly);
        g_test_add_func("/raw/empty", test_empty);
        g_test_add_func("/raw/serial", test_serial);
        g_test_add_data_func("/raw/direct/io_uring", GINT_TO_POINTER(ENGINE_URING), test_direct);
        g_test_add_data_func("/raw/direct/sync", GINT_TO_POINTER(ENGINE_SYNC), test_direct);
        g_test_add_func("/raw/loop-device", test_loop_device);
        return g_test_run();
}
