/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves of the files under images: descriptors that do not fit are refused; what lies beyond the end reads as zeros; short transfers
 * are finished and errors told; zeroing works where the host cannot do it; O_DIRECT serves any range; a full or failing disk loses nothing
 * that was there; and the disk that loses power, on which other tests rely, does what it says.
 */

#include "hypervisor/error.h"
#include "tests/unit/block/image/power-disk.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

static int temp_file(int flags) {
        g_autofree char *path = g_strdup("/var/tmp/chv-image-XXXXXX");
        int fd = mkstemp(path), reopened;

        g_assert_cmpint(fd, >=, 0);
        reopened = open(path, flags | O_CLOEXEC);
        (void) close(fd);
        (void) unlink(path);
        return reopened;
}

static void refused(int fd, bool readonly, const char *why) {
        g_autoptr(GError) error = NULL;

        g_assert_cmpint(fd, >=, 0);
        g_assert_null(image_file_new(fd, readonly, &error));
        g_assert_error(error, HV_ERROR, HV_ERROR_INVALID);
        g_assert_nonnull(strstr(error->message, why));
        g_assert_cmpint(fcntl(fd, F_GETFD), ==, -1);
}

static void test_refused(void) {
        int ends[2];

        refused(temp_file(O_WRONLY), true, "not open for reading");
        refused(temp_file(O_RDONLY), false, "not open for reading and writing");
        refused(temp_file(O_RDWR | O_APPEND), false, "not open for reading and writing");
        refused(open("/dev/null", O_RDWR | O_CLOEXEC), false, "neither");
        g_assert_cmpint(pipe(ends), ==, 0);
        refused(ends[0], true, "neither");
        (void) close(ends[1]);
}

static void test_beyond_the_end(void) {
        g_autoptr(image_file) f = memory_file_new("abc", 3);
        char buf[8];

        memset(buf, 'x', sizeof(buf));
        g_assert_cmpint(image_file_read(f, 1, buf, 7), ==, 0);
        g_assert_cmpmem(buf, 8, "bc\0\0\0\0\0x", 8);
        g_assert_cmpint(image_file_read(f, 1u << 20, buf, 8), ==, 0);
        g_assert_cmpmem(buf, 8, "\0\0\0\0\0\0\0\0", 8);
        g_assert_cmpint(image_file_read(f, INT64_MAX - 2, buf, 8), ==, -EFBIG);
        g_assert_cmpint(image_file_write(f, UINT64_MAX - 2, buf, 8), ==, -EFBIG);
        g_assert_cmpint(image_file_write(f, 10, "z", 1), ==, 0);
        g_assert_cmpuint(f->size, ==, 11);
        f->readonly = true;
        g_assert_cmpint(image_file_write(f, 0, "z", 1), ==, -EROFS);
        g_assert_cmpint(image_file_zero(f, 0, 1, true), ==, -EROFS);
        g_assert_cmpint(image_file_truncate(f, 0), ==, -EROFS);
        g_assert_cmpint(image_file_read(f, 0, buf, 3), ==, 0);
        g_assert_cmpmem(buf, 3, "abc", 3);
}

/* A file whose every transfer is short, interrupted now and then, and which can do nothing but transfer. */
static ssize_t short_preadv(struct image_file *f, const struct iovec *iov, int n, uint64_t offset) {
        static unsigned calls;
        ssize_t r;

        if (++calls % 3 == 0)
                return -EINTR;
        r = pread(f->fd, iov->iov_base, MIN(iov->iov_len, 700), (off_t) offset);
        return r < 0 ? -errno : r;
}

static ssize_t
short_pwritev(struct image_file *f, const struct iovec *iov, int n, uint64_t offset) {
        ssize_t r = pwrite(f->fd, iov->iov_base, MIN(iov->iov_len, 700), (off_t) offset);

        return r < 0 ? -errno : r;
}

static int no_fallocate(struct image_file *f, int mode, uint64_t offset, uint64_t len) {
        return -EOPNOTSUPP;
}

static void keep(struct image_file *f) {
}

static void test_short(void) {
        static const struct image_file_ops ops = {
                .preadv = short_preadv,
                .pwritev = short_pwritev,
                .fallocate = no_fallocate,
                .free = keep,
        };
        g_autoptr(image_file) f = memory_file_new(NULL, 0);
        g_autofree char *data = g_malloc(200000), *back = g_malloc0(200000);
        struct iovec iov[40];
        struct image_file poor;

        for (unsigned i = 0; i < 200000; i++)
                data[i] = (char) (i * 7 + i / 251);
        for (unsigned i = 0; i < 40; i++)
                iov[i] = (struct iovec){ data + i * 5000, 5000 };
        image_file_init(&poor, &ops);
        poor.fd = f->fd;
        g_assert_cmpint(image_file_writev(&poor, 33, iov, 40), ==, 0);
        g_assert_cmpuint(poor.size, ==, 200033);
        g_assert_cmpuint(iov[3].iov_len, ==, 5000);
        for (unsigned i = 0; i < 40; i++)
                iov[i].iov_base = back + i * 5000;
        g_assert_cmpint(image_file_readv(&poor, 33, iov, 40), ==, 0);
        g_assert_cmpmem(data, 200000, back, 200000);

        g_assert_cmpint(image_file_zero(&poor, 1033, 150000, true), ==, 0);
        memset(data + 1000, 0, 150000);
        g_assert_cmpint(image_file_discard(&poor, 0, 100), ==, 0);
        g_assert_cmpint(image_file_read(&poor, 33, back, 200000), ==, 0);
        g_assert_cmpmem(data, 200000, back, 200000);
        (void) image_file_free(&poor);
}

/* Random operations on a file and on a buffer. */
static void random_operations(struct image_file *f, unsigned rounds) {
        enum {
                SIZE = 300000
        };
        g_autofree uint8_t *model = g_malloc0(SIZE), *buf = g_malloc0(SIZE);
        g_autoptr(GRand) rand = g_rand_new_with_seed(4711);

        for (unsigned i = 0; i < rounds; i++) {
                uint32_t at = (uint32_t) g_rand_int_range(rand, 0, SIZE - 1),
                         len = (uint32_t) g_rand_int_range(
                                         rand, 1, (int) MIN(SIZE - at, 70000u) + 1);

                if (g_rand_boolean(rand))
                        at &= ~511u;
                len = MIN(len, SIZE - at);
                switch (g_rand_int_range(rand, 0, 3)) {
                case 0:
                        memset(buf, (int) i, len);
                        g_assert_cmpint(image_file_write(f, at, buf, len), ==, 0);
                        memset(model + at, (int) i, len);
                        break;
                case 1:
                        g_assert_cmpint(image_file_zero(f, at, len, i & 1), ==, 0);
                        memset(model + at, 0, len);
                        break;
                default:
                        g_assert_cmpint(image_file_read(f, at, buf, len), ==, 0);
                        g_assert_cmpmem(buf, len, model + at, len);
                }
        }
        g_assert_cmpint(image_file_read(f, 0, buf, SIZE), ==, 0);
        g_assert_cmpmem(buf, SIZE, model, SIZE);
        g_assert_cmpuint((uint64_t) lseek(f->fd, 0, SEEK_END), ==, f->size);
}

static void test_random(void) {
        g_autoptr(image_file) f = memory_file_new(NULL, 0);

        random_operations(f, 2000);
}

static void test_direct(void) {
        g_autoptr(GError) error = NULL;
        g_autoptr(image_file) f = NULL;
        static char page[65536] __attribute__((aligned(4096)));
        int fd = temp_file(O_RDWR | O_DIRECT);

        if (fd < 0) {
                g_test_skip("no file system for O_DIRECT at /var/tmp");
                return;
        }
        f = image_file_new(fd, false, &error);
        g_assert_no_error(error);
        /* Neither less nor more than the host asks for: guests see sectors of that size. */
        g_assert_cmpuint(f->align, >=, 512);
        g_assert_cmpint(pread(fd, page, f->align, 0), ==, 0);
        g_assert_true(f->align == 512 || pread(fd, page, f->align / 2, 0) < 0);
        random_operations(f, 300);
}

static void test_failing(void) {
        g_autoptr(power_disk) d = power_disk_new(1u << 20);
        g_autoptr(image_file) f = power_disk_open(d, false);
        char buf[4] = { 0 };

        g_assert_cmpint(image_file_write(f, 0, "good", 4), ==, 0);
        power_disk_fail(d, 2, EIO, /* all_after= */ false, /* reads_too= */ false);
        g_assert_cmpint(image_file_write(f, 8, "good", 4), ==, 0);
        g_assert_cmpint(image_file_write(f, 0, "evil", 4), ==, -EIO);
        g_assert_cmpint(image_file_read(f, 0, buf, 4), ==, 0);
        g_assert_cmpmem(buf, 4, "good", 4);
        g_assert_cmpint(image_file_sync(f), ==, 0);
        power_disk_fail(d, 1, EIO, /* all_after= */ true, /* reads_too= */ true);
        g_assert_cmpint(image_file_read(f, 0, buf, 4), ==, -EIO);
        g_assert_cmpint(image_file_sync(f), ==, -EIO);
        g_assert_cmpint(image_file_zero(f, 0, 4, true), ==, -EIO);
        g_assert_cmpint(image_file_truncate(f, 0), ==, -EIO);
        power_disk_fail(d, 0, 0, false, false);
        g_assert_cmpint(image_file_write(f, 1u << 20, "full", 4), ==, -ENOSPC);
        g_assert_cmpuint(f->size, ==, 12);
}

static void holds(struct image_file *f, const char *text) {
        g_autoptr(image_file) owned = f;
        g_autofree char *buf = g_malloc0(strlen(text));

        g_assert_cmpint(image_file_read(f, 0, buf, strlen(text)), ==, 0);
        g_assert_cmpmem(buf, strlen(text), text, strlen(text));
}

static void test_power(void) {
        g_autoptr(power_disk) d = power_disk_new(1u << 20);
        g_autoptr(image_file) f = power_disk_open(d, false);
        bool lost = false, kept = false;

        g_assert_cmpint(image_file_write(f, 0, "one", 3), ==, 0);
        g_assert_cmpint(image_file_sync(f), ==, 0);
        g_assert_cmpint(image_file_write(f, 0, "two", 3), ==, 0);
        g_assert_cmpuint(power_disk_events(d), ==, 3);
        holds(power_disk_cut(d, 0, 0), "\0\0\0");
        holds(power_disk_cut(d, 1, 0), "one");
        holds(power_disk_cut(d, 3, 0), "two");
        for (uint32_t seed = 1; seed < 40; seed++) {
                g_autoptr(image_file) cut = power_disk_cut(d, 3, seed);
                char buf[3];

                /* What was synced is there, what was not may be. */
                g_assert_cmpint(image_file_read(cut, 0, buf, 3), ==, 0);
                lost |= memcmp(buf, "one", 3) == 0;
                kept |= memcmp(buf, "two", 3) == 0;
                g_assert_true(memcmp(buf, "one", 3) == 0 || memcmp(buf, "two", 3) == 0);
        }
        g_assert_true(lost && kept);
        power_disk_settle(d);
        holds(power_disk_cut(d, 0, 0), "two");
}

int main(int argc, char *argv[]) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/image-file/refused", test_refused);
        g_test_add_func("/image-file/beyond-the-end", test_beyond_the_end);
        g_test_add_func("/image-file/short-transfers", test_short);
        g_test_add_func("/image-file/random", test_random);
        g_test_add_func("/image-file/direct", test_direct);
        g_test_add_func("/image-file/failing", test_failing);
        g_test_add_func("/image-file/power", test_power);
        return g_test_run();
}
