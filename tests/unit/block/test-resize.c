/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves of another size for a disk that is in use: what cannot be is refused by name and leaves size, file and guest alone, also when the
 * host fails in the middle; a disk that grows has zeros there, and what was on it; one that shrinks does so when that is said, and
 * nothing is written beyond its end any more; the driver is told once. For raw disks and qcow2, with requests under way.
 */

#include "devices/block/image/image.h"
#include "devices/block/mapped.h"
#include "devices/virtio/blk-wire.h"
#include "devices/virtio/devices.h"
#include "hypervisor/error.h"
#include "hypervisor/fd.h"
#include "rig.h"
#include "tests/unit/block/host-file.h"
#include "tests/unit/block/support.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define TIMEOUT_MS 20000
#define DISK (1024u * 1024u)
#define HEADER (RIG_DATA + 0u)
#define STATUS (RIG_DATA + 4096u)
#define BUFFER (RIG_DATA + 8192u)

struct setup {
        const struct image_format *format; /* NULL: raw */
        bool sync, readonly, preallocated, guarded;
        uint16_t num_queues;
        const struct image_file_ops *ops; /* NULL: the host's */
        uint64_t base;                    /* bytes of what the image is based on */
};

static struct image *open_base(uint64_t size) {
        g_autoptr(GError) error = NULL;
        struct image_file *file =
                        image_file_new(test_file_new(0, O_RDWR), /* readonly= */ false, &error);
        struct image *img;

        g_assert_no_error(error);
        g_assert_cmpint(image_file_truncate(file, size), ==, 0);
        img = image_open(file, &(struct image_open){ "raw", .readonly = true }, &error);
        g_assert_no_error(error);
        return img;
}

static struct disk_image *open_format(int fd, const struct setup *s) {
        g_autoptr(image_options) o = image_options_new();
        struct disk_image_mapped_config config = { .name = "test" };
        g_autoptr(GError) error = NULL;
        struct image_file *file = image_file_new(fd, /* readonly= */ false, &error);
        struct disk_image *d;
        struct image *img;

        g_assert_no_error(error);
        if (s->base)
                g_assert_true(image_options_set(o, "cluster_size", "4K", &error));
        if (s->format == &image_vhd)
                g_assert_true(image_options_set(o, "subformat", "fixed", &error));
        g_assert_true(s->format->create(file, DISK, o, &error));
        if (s->ops)
                file->ops = s->ops;
        img = image_open(
                        file, &(struct image_open){ s->format->name, .readonly = s->readonly },
                        &error);
        g_assert_no_error(error);
        if (s->base)
                img->backing = open_base(s->base);
        d = disk_image_open_mapped(img, &config, &error);
        g_assert_no_error(error);
        return d;
}

/* Returns a descriptor of the disk's file beside the device's own. */
static int start(struct rig *r, const struct setup *s) {
        g_autoptr(GError) error = NULL;
        int fd = test_file_new(s->format ? 0 : DISK, O_RDWR), copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
        struct virtio_blk_config config = {
                .id = "_disk0",
                .num_queues = s->num_queues ?: 1,
                .queue_size = 64,
                .no_io_uring = s->sync,
        };

        if (s->format)
                config.image = open_format(copy, s);
        else
                config.image = disk_image_open_raw(copy, s->readonly, /* direct= */ false, &error);
        g_assert_no_error(error);
        config.image->preallocated = s->preallocated;
        if (s->guarded)
                disk_image_guard_raw(config.image);
        rig_init(r);
        rig_attach(r, virtio_blk_new(r->mem, &config, &error), /* event_idx= */ true, 32);
        g_assert_no_error(error);
        rig_start(r, 1ull << VBLK_F_FLUSH);
        return fd;
}

/* One request of queue 0 with the bytes at BUFFER, from start to end. */
static uint8_t request(struct rig *r, uint32_t type, uint64_t at, uint32_t len) {
        struct vblk_header h = { GUINT32_TO_LE(type), 0, GUINT64_TO_LE(at / 512) };
        struct drv_buf bufs[] = {
                { GADDR(HEADER), sizeof(h), false },
                { GADDR(BUFFER), len, type == VBLK_T_IN },
                { GADDR(STATUS), 1, true },
        };
        uint8_t *status = rig_host(r, STATUS, 1);
        uint32_t used;
        void *cookie;

        memcpy(rig_host(r, HEADER, sizeof(h)), &h, sizeof(h));
        *status = 0xee;
        g_assert_cmpint(drv_add(&r->rings[0], bufs, 3, false, r), >=, 0);
        rig_publish(r, 0);
        g_assert_true(rig_wait(r, 0, TIMEOUT_MS, &cookie, &used));
        return *status;
}

static uint64_t capacity(struct rig *r) {
        uint64_t sectors;

        r->vd->ops->config_read(r->vd, 0, &sectors, sizeof(sectors));
        return GUINT64_FROM_LE(sectors) * 512;
}

static unsigned changes(struct rig *r) {
        unsigned n;

        pthread_mutex_lock(&r->lock);
        n = r->config_changes;
        pthread_mutex_unlock(&r->lock);
        return n;
}

static off_t size_of(int fd) {
        struct stat st;

        g_assert_cmpint(fstat(fd, &st), ==, 0);
        return st.st_size;
}

/* Nothing comes of it, and the message says why. */
static void
refuse(struct rig *r, uint64_t size, bool shrink, enum hv_error code, const char *message) {
        uint64_t before = capacity(r), at = before - 512;
        unsigned told = changes(r);
        g_autoptr(GError) error = NULL;

        g_assert_false(r->vd->ops->resize(r->vd, &size, shrink, NULL, &error));
        g_assert_error(error, HV_ERROR, (int) code);
        if (!strstr(error->message, message))
                g_error("'%s' does not say '%s'", error->message, message);
        g_assert_cmpuint(capacity(r), ==, before);
        g_assert_cmpuint(changes(r), ==, told);
        g_assert_cmpuint(request(r, VBLK_T_IN, at, 512), ==, VBLK_S_OK);
        g_assert_cmpuint(request(r, VBLK_T_IN, at + 512, 512), ==, VBLK_S_IOERR);
}

/* It has that size then, which is told if it is another one. */
static void resize(struct rig *r, uint64_t size, bool shrink, uint64_t expected) {
        uint64_t before = capacity(r);
        unsigned told = changes(r);
        g_autoptr(GError) error = NULL;
        bool good = r->vd->ops->resize(r->vd, &size, shrink, NULL, &error);

        g_assert_no_error(error);
        g_assert_true(good);
        g_assert_cmpuint(size, ==, expected);
        g_assert_cmpuint(capacity(r), ==, expected);
        g_assert_cmpuint(changes(r), ==, told + (before != expected));
}

static void assert_reads(struct rig *r, uint64_t at, uint8_t byte) {
        const uint8_t *buf = rig_host(r, BUFFER, 4096);

        g_assert_cmpuint(request(r, VBLK_T_IN, at, 4096), ==, VBLK_S_OK);
        for (unsigned i = 0; i < 4096; i++)
                g_assert_cmphex(buf[i], ==, byte);
}

static uint8_t write_byte(struct rig *r, uint64_t at, uint8_t byte) {
        memset(rig_host(r, BUFFER, 4096), byte, 4096);
        return request(r, VBLK_T_OUT, at, 4096);
}

static void test_refused(gconstpointer format) {
        struct rig r;
        autofd fd = start(&r, &(struct setup){ .format = format });

        refuse(&r, UINT64_MAX, false, HV_ERROR_INVALID, "size: is too large");
        refuse(&r, (uint64_t) INT64_MAX, false, HV_ERROR_INVALID, "size: is too large");
        refuse(&r, DISK - 512, false, HV_ERROR_INVALID, "cut off the last 512 bytes");
        refuse(&r, 1, false, HV_ERROR_INVALID, "shrink is not said");
        rig_clear(&r);
}

static void test_readonly(gconstpointer format) {
        struct rig r;
        autofd fd = start(&r, &(struct setup){ .format = format, .readonly = true });

        refuse(&r, 2 * DISK, false, HV_ERROR_INVALID, "size: the disk is read-only");
        refuse(&r, DISK / 2, true, HV_ERROR_INVALID, "size: the disk is read-only");
        resize(&r, DISK, false, DISK);
        resize(&r, 0, false, DISK);
        rig_clear(&r);
}

static void test_other_format(void) {
        struct rig r;
        autofd fd = start(&r, &(struct setup){ .format = &image_vhd });

        refuse(&r, 2 * DISK, true, HV_ERROR_UNSUPPORTED, "a vhd image cannot be resized");
        refuse(&r, 0, false, HV_ERROR_UNSUPPORTED, "a vhd image");
        rig_clear(&r);
}

/* A file that may not get that large leaves no trace of the attempt. */
static void test_host_refuses(gconstpointer preallocated) {
        struct rlimit before, less;
        struct rig r;
        autofd fd = start(&r, &(struct setup){ .preallocated = preallocated });
        void (*old)(int) = signal(SIGXFSZ, SIG_IGN);

        g_assert_cmpint(getrlimit(RLIMIT_FSIZE, &before), ==, 0);
        less = before;
        less.rlim_cur = 3 * DISK;
        g_assert_cmpint(setrlimit(RLIMIT_FSIZE, &less), ==, 0);
        refuse(&r, 4 * DISK, false, HV_ERROR_FAILED, "changing the size");
        g_assert_cmpint(size_of(fd), ==, DISK);
        resize(&r, 2 * DISK, false, 2 * DISK);
        g_assert_cmpint(setrlimit(RLIMIT_FSIZE, &before), ==, 0);
        (void) signal(SIGXFSZ, old);
        rig_clear(&r);
}

static void test_raw(gconstpointer sync) {
        struct rig r;
        autofd fd = start(&r, &(struct setup){ .sync = sync });
        const uint8_t *buf = rig_host(&r, BUFFER, 4096);
        g_autoptr(GError) error = NULL;
        uint64_t size = 0;

        /* Up to whole blocks. */
        resize(&r, 2 * DISK - 511, false, 2 * DISK);
        g_assert_cmpint(size_of(fd), ==, 2 * DISK);
        assert_reads(&r, 2 * DISK - 4096, 0);
        g_assert_cmpuint(write_byte(&r, 2 * DISK - 4096, 7), ==, VBLK_S_OK);
        assert_reads(&r, 2 * DISK - 4096, 7);
        g_assert_cmpuint(request(&r, VBLK_T_IN, DISK - 512, 512), ==, VBLK_S_OK);
        g_assert_cmphex(buf[0], ==, test_file_byte(DISK - 512));
        resize(&r, 2 * DISK, false, 2 * DISK);

        resize(&r, DISK / 2, true, DISK / 2);
        g_assert_cmpint(size_of(fd), ==, DISK / 2);
        g_assert_cmpuint(write_byte(&r, 2 * DISK - 4096, 7), ==, VBLK_S_IOERR);
        g_assert_cmpuint(write_byte(&r, DISK / 2 - 512, 7), ==, VBLK_S_IOERR);
        g_assert_cmpint(size_of(fd), ==, DISK / 2);
        resize(&r, 2 * DISK, false, 2 * DISK);
        assert_reads(&r, 2 * DISK - 4096, 0);
        assert_reads(&r, DISK / 2, 0);

        /* What somebody else did to the file. */
        g_assert_cmpint(ftruncate(fd, 3 * DISK + 100), ==, 0);
        resize(&r, 0, false, 3 * DISK);
        g_assert_cmpint(size_of(fd), ==, 3 * DISK + 100);
        g_assert_cmpint(ftruncate(fd, DISK), ==, 0);
        g_assert_false(r.vd->ops->resize(r.vd, &size, /* shrink= */ false, NULL, &error));
        g_assert_error(error, HV_ERROR, HV_ERROR_INVALID);
        g_assert_nonnull(strstr(error->message, "cut off"));
        g_assert_cmpuint(capacity(&r), ==, 3 * DISK);
        resize(&r, 0, true, DISK);
        rig_clear(&r);
}

static void test_preallocated(void) {
        struct rig r;
        autofd fd = start(&r, &(struct setup){ .preallocated = true });
        struct stat st;

        resize(&r, 8 * DISK, false, 8 * DISK);
        g_assert_cmpint(fstat(fd, &st), ==, 0);
        g_assert_cmpint(st.st_blocks * 512, >=, 8 * DISK);
        rig_clear(&r);
}

/* A guest cannot have the end of a smaller file look like a VHD. */
static void test_guard(void) {
        struct rig r;
        autofd fd = start(&r, &(struct setup){ .guarded = true });
        uint64_t place = DISK / 2 - 512;

        memset(rig_host(&r, BUFFER, 512), 0, 512);
        memcpy(rig_host(&r, BUFFER, 8), "conectix", 8);
        g_assert_cmpuint(request(&r, VBLK_T_OUT, place, 512), ==, VBLK_S_OK);
        refuse(&r, DISK / 2, true, HV_ERROR_IMAGE, "would look like another format");
        g_assert_cmpint(size_of(fd), ==, DISK);
        resize(&r, DISK / 2 + 512, true, DISK / 2 + 512);
        /* The new end is guarded, the old one no more. */
        memcpy(rig_host(&r, BUFFER, 8), "conectix", 8);
        g_assert_cmpuint(request(&r, VBLK_T_OUT, DISK / 2, 512), ==, VBLK_S_IOERR);
        resize(&r, 2 * DISK, false, 2 * DISK);
        g_assert_cmpuint(request(&r, VBLK_T_OUT, DISK / 2, 512), ==, VBLK_S_OK);
        g_assert_cmpuint(request(&r, VBLK_T_OUT, 2 * DISK - 512, 512), ==, VBLK_S_IOERR);
        rig_clear(&r);
}

static void count_finding(void *opaque, bool corruption, bool repaired, const char *message) {
        g_test_message("%s", message);
}

/* Nothing is wrong with the qcow2 in the file, and it has that size. */
static void check_image(int fd, uint64_t size) {
        struct image_check check = { .finding = count_finding };
        struct image_open how = { .format = "qcow2", .readonly = true, .for_check = true };
        g_autoptr(GError) error = NULL;
        struct image_file *file =
                        image_file_new(fcntl(fd, F_DUPFD_CLOEXEC, 0), /* readonly= */ true, &error);
        g_autoptr(image) img = image_open(file, &how, &error);

        g_assert_no_error(error);
        g_assert_cmpuint(img->size, ==, size);
        g_assert_true(img->format->check(img, &check, &error));
        g_assert_cmpuint(check.corruptions, ==, 0);
        g_assert_cmpuint(check.leaks, ==, 0);
}

static void test_qcow2(gconstpointer sync) {
        struct rig r;
        autofd fd = start(&r, &(struct setup){ .format = &image_qcow2, .sync = sync });

        g_assert_cmpuint(write_byte(&r, DISK - 4096, 5), ==, VBLK_S_OK);
        /* In the middle of a cluster, and of what the cache knows. */
        resize(&r, DISK + 8192, false, DISK + 8192);
        assert_reads(&r, DISK + 4096, 0);
        g_assert_cmpuint(write_byte(&r, DISK + 4096, 6), ==, VBLK_S_OK);
        resize(&r, 64ull * DISK, false, 64ull * DISK);
        assert_reads(&r, DISK - 4096, 5);
        assert_reads(&r, DISK + 4096, 6);
        assert_reads(&r, DISK + 8192, 0);
        assert_reads(&r, 64ull * DISK - 4096, 0);
        g_assert_cmpuint(write_byte(&r, 64ull * DISK - 4096, 7), ==, VBLK_S_OK);

        resize(&r, DISK + 4096, true, DISK + 4096);
        g_assert_cmpuint(write_byte(&r, DISK + 4096, 9), ==, VBLK_S_IOERR);
        resize(&r, 0, false, DISK + 4096);
        /* A table of another size, and nothing of before. */
        resize(&r, 4096ull * DISK, false, 4096ull * DISK);
        assert_reads(&r, DISK - 4096, 5);
        assert_reads(&r, DISK + 4096, 0);
        assert_reads(&r, 64ull * DISK - 4096, 0);
        g_assert_cmpuint(write_byte(&r, 4096ull * DISK - 4096, 8), ==, VBLK_S_OK);
        assert_reads(&r, 4096ull * DISK - 4096, 8);
        rig_clear(&r);
        check_image(fd, 4096ull * DISK);
}

/* A host without space: the disk is as it was, and as well as it was when there is space again. */
static void test_qcow2_full(void) {
        struct rig r;
        autofd fd = start(&r, &(struct setup){ .format = &image_qcow2, .ops = &host_file_ops });

        g_assert_cmpuint(write_byte(&r, DISK - 4096, 5), ==, VBLK_S_OK);
        host.write_error = ENOSPC;
        refuse(&r, 1ull << 40, false, HV_ERROR_FAILED, "");
        refuse(&r, DISK / 2, true, HV_ERROR_FAILED, "");
        host.write_error = 0;
        assert_reads(&r, DISK - 4096, 5);
        resize(&r, 1ull << 40, false, 1ull << 40);
        assert_reads(&r, DISK - 4096, 5);
        assert_reads(&r, (1ull << 40) - 4096, 0);
        rig_clear(&r);
        check_image(fd, 1ull << 40);
}

struct guest {
        struct rig *r;
        atomic_bool stop;
        unsigned good, beyond;
};

/* Writes and reads about what is the end now and then. */
static void *run_guest(void *opaque) {
        struct guest *g = opaque;
        uint8_t byte = 0;

        while (!atomic_load(&g->stop)) {
                uint64_t at = (uint64_t) g_random_int_range(0, 2 * DISK / 4096) * 4096;
                uint8_t status = write_byte(g->r, at, ++byte);

                g_assert_true(status == VBLK_S_OK || (status == VBLK_S_IOERR && at >= DISK));
                g->good += status == VBLK_S_OK;
                g->beyond += status == VBLK_S_IOERR;
                if (at < DISK)
                        assert_reads(g->r, at, byte);
        }
        return NULL;
}

/* A write beyond the end of a raw file would make it longer. */
static void test_busy(gconstpointer format) {
        struct rig r;
        autofd fd = start(&r, &(struct setup){ .format = format, .num_queues = 2 });
        struct guest guest = { .r = &r };
        GThread *thread = g_thread_new("guest", run_guest, &guest);

        for (int i = 0; i < 40; i++) {
                resize(&r, 2 * DISK, false, 2 * DISK);
                g_usleep(500);
                resize(&r, DISK, true, DISK);
                if (!format)
                        g_assert_cmpint(size_of(fd), ==, DISK);
                g_usleep(500);
                if (!format)
                        g_assert_cmpint(size_of(fd), ==, DISK);
        }
        atomic_store(&guest.stop, true);
        (void) g_thread_join(thread);
        g_assert_cmpuint(guest.good, >, 0);
        rig_clear(&r);
        if (format)
                check_image(fd, DISK);
}

struct change {
        struct rig *r;
        uint64_t size;
        bool shrink, good;
        atomic_bool stop, ended;
        GError *error;
};

static void *run_change(void *opaque) {
        struct change *c = opaque;

        c->good = c->r->vd->ops->resize(c->r->vd, &c->size, c->shrink, &c->stop, &c->error);
        atomic_store(&c->ended, true);
        return NULL;
}

/* A disk on a slow file that grows and shrinks: the guest's requests are answered all the time, and so is a pause. */
static void test_slow(void) {
        static const uint64_t large = 512ull * DISK;
        struct rig r;
        autofd fd =
                        start(&r, &(struct setup){ .format = &image_qcow2,
                                                   .num_queues = 2,
                                                   .ops = &host_file_ops,
                                                   .base = 2 * large });

        for (int round = 0; round < 2; round++) {
                struct change c = { .r = &r, .size = round ? DISK : large, .shrink = round };
                unsigned served = 0, pauses = 0;
                GThread *thread;

                host.write_us = 1000;
                thread = g_thread_new("change", run_change, &c);
                while (!atomic_load(&c.ended)) {
                        uint64_t at = (uint64_t) (served % 200) * 4096;
                        g_autoptr(GError) error = NULL;

                        g_assert_cmpuint(write_byte(&r, at, (uint8_t) served), ==, VBLK_S_OK);
                        assert_reads(&r, at, (uint8_t) served);
                        g_assert_true(r.vd->ops->pause(r.vd, &error));
                        pauses += !atomic_load(&c.ended);
                        r.vd->ops->resume(r.vd);
                        served += !atomic_load(&c.ended);
                }
                (void) g_thread_join(thread);
                host.write_us = 0;
                g_assert_no_error(c.error);
                g_assert_true(c.good);
                g_test_message("%u requests, %u pauses meanwhile", served, pauses);
                if (round == 0) {
                        g_assert_cmpuint(served, >, 10);
                        g_assert_cmpuint(pauses, >, 10);
                        assert_reads(&r, DISK, 0);
                        assert_reads(&r, large - 4096, 0);
                }
                g_assert_cmpuint(capacity(&r), ==, c.size);
        }
        rig_clear(&r);
        check_image(fd, DISK);
}

/* A change that is stopped: what grows keeps its size, and the image is as good as before. */
static void test_stopped(void) {
        struct rig r;
        autofd fd =
                        start(&r, &(struct setup){ .format = &image_qcow2,
                                                   .ops = &host_file_ops,
                                                   .base = 4096ull * DISK });
        struct change c = { .r = &r, .size = 2048ull * DISK };
        GThread *thread;

        g_assert_cmpuint(write_byte(&r, DISK - 4096, 5), ==, VBLK_S_OK);
        host.write_us = 1000;
        thread = g_thread_new("change", run_change, &c);
        for (int i = 0; i < 20; i++)
                assert_reads(&r, DISK - 4096, 5);
        g_assert_false(atomic_load(&c.ended));
        atomic_store(&c.stop, true);
        (void) g_thread_join(thread);
        host.write_us = 0;
        g_assert_false(c.good);
        g_assert_error(c.error, HV_ERROR, HV_ERROR_FAILED);
        g_assert_nonnull(strstr(c.error->message, "before the disk had another size"));
        g_clear_error(&c.error);
        refuse(&r, UINT64_MAX, false, HV_ERROR_INVALID, "size: is too large");
        resize(&r, 2 * DISK, false, 2 * DISK);
        assert_reads(&r, DISK - 4096, 5);
        assert_reads(&r, 2 * DISK - 4096, 0);
        rig_clear(&r);
        check_image(fd, 2 * DISK);
}

/* Nor is space asked for any more. */
static void test_stopped_raw(void) {
        struct rig r;
        autofd fd = start(&r, &(struct setup){ .preallocated = true });
        struct change c = { .r = &r, .size = 2048ull * DISK, .stop = true };

        (void) run_change(&c);
        g_assert_false(c.good);
        g_assert_nonnull(strstr(c.error->message, "before the disk had another size"));
        g_clear_error(&c.error);
        g_assert_cmpint(size_of(fd), ==, DISK);
        g_assert_cmpuint(capacity(&r), ==, DISK);
        rig_clear(&r);
}

/* Before the driver is there, while the device is paused, and while it is reset. */
static void test_states(void) {
        struct rig r;
        autofd fd = start(&r, &(struct setup){ .format = &image_qcow2 });
        g_autoptr(GError) error = NULL;
        uint64_t size = DISK / 2;

        g_assert_true(r.vd->ops->pause(r.vd, &error));
        g_assert_true(r.vd->ops->resize(r.vd, &size, /* shrink= */ true, NULL, &error));
        g_assert_no_error(error);
        r.vd->ops->resume(r.vd);
        g_assert_cmpuint(write_byte(&r, DISK / 2, 1), ==, VBLK_S_IOERR);
        rig_stop(&r);
        size = 2 * DISK;
        g_assert_true(r.vd->ops->resize(r.vd, &size, /* shrink= */ false, NULL, &error));
        rig_start(&r, 1ull << VBLK_F_FLUSH);
        g_assert_cmpuint(write_byte(&r, 2 * DISK - 4096, 1), ==, VBLK_S_OK);
        rig_clear(&r);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_data_func("/resize/refused/raw", NULL, test_refused);
        g_test_add_data_func("/resize/refused/qcow2", &image_qcow2, test_refused);
        g_test_add_data_func("/resize/readonly/raw", NULL, test_readonly);
        g_test_add_data_func("/resize/readonly/qcow2", &image_qcow2, test_readonly);
        g_test_add_func("/resize/other-format", test_other_format);
        g_test_add_data_func("/resize/host-refuses/sparse", NULL, test_host_refuses);
        g_test_add_data_func("/resize/host-refuses/preallocated", "yes", test_host_refuses);
        g_test_add_data_func("/resize/raw/io_uring", NULL, test_raw);
        g_test_add_data_func("/resize/raw/sync", "sync", test_raw);
        g_test_add_func("/resize/preallocated", test_preallocated);
        g_test_add_func("/resize/guard", test_guard);
        g_test_add_data_func("/resize/qcow2/io_uring", NULL, test_qcow2);
        g_test_add_data_func("/resize/qcow2/sync", "sync", test_qcow2);
        g_test_add_func("/resize/qcow2/full", test_qcow2_full);
        g_test_add_data_func("/resize/busy/raw", NULL, test_busy);
        g_test_add_data_func("/resize/busy/qcow2", &image_qcow2, test_busy);
        g_test_add_func("/resize/slow", test_slow);
        g_test_add_func("/resize/stopped/qcow2", test_stopped);
        g_test_add_func("/resize/stopped/raw", test_stopped_raw);
        g_test_add_func("/resize/states", test_states);
        return g_test_run();
}
