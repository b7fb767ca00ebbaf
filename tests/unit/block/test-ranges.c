/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves of the virtio block device's discard and write zeroes: what is not negotiated, malformed, flagged or out of bounds is refused and
 * changes nothing; zeros are where they were asked for and nowhere else, on files that can be told so and on those that have to be written;
 * space comes back when the driver gives it up and stays when it does not; without a write-back cache zeros are flushed; counters tell. With
 * both I/O engines.
 */

#include "devices/virtio/blk-wire.h"
#include "devices/virtio/devices.h"
#include "hypervisor/fd.h"
#include "rig.h"
#include "tests/unit/block/support.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define TIMEOUT_MS 20000
#define DISK (1024u * 1024u)
#define SECTORS (DISK / VBLK_SECTOR)
#define FEATURE(f) (1ull << VBLK_F_##f)
#define RANGES (FEATURE(DISCARD) | FEATURE(WRITE_ZEROES) | FEATURE(FLUSH))
#define HEADER (RIG_DATA + 0u)
#define RANGE (RIG_DATA + 2048u)
#define STATUS (RIG_DATA + 4096u)

struct setup {
        bool sync, readonly, no_discard;
        bool memory; /* a file that has to be written: tmpfs knows holes, but no FALLOC_FL_ZERO_RANGE */
};

static const struct setup setups[] = {
        { .sync = false },
        { .sync = true },
        { .sync = false, .memory = true },
        { .sync = true, .memory = true },
};

static int make_file(bool memory) {
        g_autofree uint8_t *content = NULL;
        int fd;

        if (!memory)
                return test_file_new(DISK, O_RDWR);
        fd = memfd_create("disk", MFD_CLOEXEC);
        content = g_malloc(DISK);
        for (unsigned i = 0; i < DISK; i++)
                content[i] = test_file_byte(i);
        g_assert_cmpint(write(fd, content, DISK), ==, DISK);
        return fd;
}

/* Returns a descriptor of the disk's file beside the device's own. */
static int start(struct rig *r, const struct setup *s, uint64_t features) {
        g_autoptr(GError) error = NULL;
        int fd = make_file(s->memory);
        struct virtio_blk_config config = {
                .id = "_disk0",
                .fd = fcntl(fd, F_DUPFD_CLOEXEC, 0),
                .readonly = s->readonly,
                .num_queues = 1,
                .queue_size = 64,
                .no_io_uring = s->sync,
                .no_discard = s->no_discard,
        };

        rig_init(r);
        rig_attach(r, virtio_blk_new(r->mem, &config, &error), /* event_idx= */ false, 32);
        g_assert_no_error(error);
        rig_start(r, features);
        return fd;
}

/* Sends n ranges, of which the first is as given and the others are zeroed; data_len bytes of them. */
static uint8_t
send(struct rig *r,
     uint32_t type,
     uint64_t sector,
     uint32_t num_sectors,
     uint32_t flags,
     uint32_t data_len) {
        struct vblk_header header = { .type = GUINT32_TO_LE(type) };
        struct vblk_range ranges[4] = {
                { GUINT64_TO_LE(sector), GUINT32_TO_LE(num_sectors), GUINT32_TO_LE(flags) },
        };
        struct drv_buf bufs[] = {
                { GADDR(HEADER), sizeof(header), false },
                { GADDR(RANGE), MIN(data_len, 5), false },
                { GADDR(RANGE + 5), data_len > 5 ? data_len - 5 : 0, false },
                { GADDR(STATUS), 1, true },
        };
        uint8_t *status = rig_host(r, STATUS, 1);
        uint32_t len;
        void *cookie;

        g_assert_cmpuint(data_len, <=, sizeof(ranges));
        memcpy(rig_host(r, HEADER, sizeof(header)), &header, sizeof(header));
        memcpy(rig_host(r, RANGE, sizeof(ranges)), ranges, sizeof(ranges));
        if (data_len == 0)
                bufs[1] = bufs[3];
        *status = 0xee;
        g_assert_cmpint(drv_add(&r->rings[0], bufs, data_len ? 4 : 2, false, r), >=, 0);
        rig_publish(r, 0);
        g_assert_true(rig_wait(r, 0, TIMEOUT_MS, &cookie, &len));
        g_assert_cmpuint(len, <=, 1);
        return *status;
}

static uint8_t
ask(struct rig *r, uint32_t type, uint64_t sector, uint32_t num_sectors, uint32_t flags) {
        return send(r, type, sector, num_sectors, flags, sizeof(struct vblk_range));
}

/* As it was made, but for the zeros in [from, to). */
static void assert_content(int fd, uint64_t from, uint64_t to) {
        g_autofree uint8_t *content = g_malloc(DISK);
        struct stat st;

        g_assert_cmpint(fstat(fd, &st), ==, 0);
        g_assert_cmpint(st.st_size, ==, DISK);
        g_assert_cmpint(pread(fd, content, DISK, 0), ==, DISK);
        for (unsigned i = 0; i < DISK; i++)
                g_assert_cmpuint(content[i], ==, i >= from && i < to ? 0 : test_file_byte(i));
}

static uint64_t allocated(int fd) {
        struct stat st;

        g_assert_cmpint(fsync(fd), ==, 0);
        g_assert_cmpint(fstat(fd, &st), ==, 0);
        return (uint64_t) st.st_blocks * 512;
}

static void test_not_negotiated(void) {
        struct rig r;
        autofd fd = start(&r, &setups[0], FEATURE(FLUSH));

        g_assert_cmpuint(r.vd->device_features & RANGES, ==, RANGES);
        g_assert_cmpuint(ask(&r, VBLK_T_DISCARD, 0, 8, 0), ==, VBLK_S_UNSUPP);
        g_assert_cmpuint(ask(&r, VBLK_T_WRITE_ZEROES, 0, 8, 0), ==, VBLK_S_UNSUPP);
        assert_content(fd, 0, 0);
        rig_clear(&r);
}

static void test_readonly(void) {
        const struct setup readonly = { .readonly = true };
        struct rig r;
        autofd fd = start(&r, &readonly, FEATURE(FLUSH) | FEATURE(RO));

        g_assert_cmpuint(r.vd->device_features & RANGES, ==, FEATURE(FLUSH));
        g_assert_cmpuint(ask(&r, VBLK_T_DISCARD, 0, 8, 0), ==, VBLK_S_UNSUPP);
        g_assert_cmpuint(ask(&r, VBLK_T_WRITE_ZEROES, 0, 8, 0), ==, VBLK_S_UNSUPP);
        assert_content(fd, 0, 0);
        rig_clear(&r);
}

static void test_refused(gconstpointer data) {
        static const uint32_t types[] = { VBLK_T_DISCARD, VBLK_T_WRITE_ZEROES };
        struct rig r;
        autofd fd = start(&r, data, RANGES);

        for (size_t i = 0; i < G_N_ELEMENTS(types); i++) {
                uint32_t t = types[i];

                for (uint32_t len = 0; len < 64; len++)
                        if (len != sizeof(struct vblk_range))
                                g_assert_cmpuint(send(&r, t, 0, 8, 0, len), ==, VBLK_S_IOERR);
                g_assert_cmpuint(ask(&r, t, SECTORS, 1, 0), ==, VBLK_S_IOERR);
                g_assert_cmpuint(ask(&r, t, SECTORS - 1, 2, 0), ==, VBLK_S_IOERR);
                g_assert_cmpuint(ask(&r, t, UINT64_MAX, 1, 0), ==, VBLK_S_IOERR);
                g_assert_cmpuint(ask(&r, t, UINT64_MAX, UINT32_MAX, 0), ==, VBLK_S_IOERR);
                g_assert_cmpuint(ask(&r, t, 1ull << 55, 8, 0), ==, VBLK_S_IOERR);
                g_assert_cmpuint(ask(&r, t, 0, UINT32_MAX, 0), ==, VBLK_S_IOERR);
                g_assert_cmpuint(ask(&r, t, 0, 8, 2), ==, VBLK_S_UNSUPP);
                g_assert_cmpuint(ask(&r, t, 0, 8, 1u << 31), ==, VBLK_S_UNSUPP);
                g_assert_cmpuint(ask(&r, t, SECTORS, 0, 0), ==, VBLK_S_OK);
        }
        g_assert_cmpuint(ask(&r, VBLK_T_DISCARD, 0, 8, VBLK_RANGE_UNMAP), ==, VBLK_S_UNSUPP);
        assert_content(fd, 0, 0);
        g_assert_cmpuint(rig_counter(&r, "discard_ops") + rig_counter(&r, "zero_ops"), ==, 0);
        g_assert_cmpuint(r.breaks, ==, 0);
        rig_clear(&r);
}

/* Ranges that begin and end anywhere, not only where the file system's blocks do. */
static void test_zeros(gconstpointer data) {
        static const struct {
                uint32_t sector, n;
        } ranges[] = {
                { 0, 1 }, { 3, 1 }, { 8, 8 }, { 13, 700 }, { SECTORS - 1, 1 }, { 0, SECTORS }
        };

        for (size_t i = 0; i < 2 * G_N_ELEMENTS(ranges); i++) {
                uint64_t sector = ranges[i / 2].sector, n = ranges[i / 2].n;
                struct rig r;
                autofd fd = start(&r, data, RANGES);

                g_assert_cmpuint(
                                ask(&r, VBLK_T_WRITE_ZEROES, sector, (uint32_t) n,
                                    i % 2 ? VBLK_RANGE_UNMAP : 0),
                                ==, VBLK_S_OK);
                assert_content(fd, sector * VBLK_SECTOR, (sector + n) * VBLK_SECTOR);
                g_assert_cmpuint(rig_counter(&r, "zero_ops"), ==, 1);
                g_assert_cmpuint(rig_counter(&r, "zero_bytes"), ==, n * VBLK_SECTOR);
                g_assert_cmpuint(rig_counter(&r, "flush_ops"), ==, 0);
                rig_clear(&r);
        }
}

static void test_space(gconstpointer data) {
        struct rig r;
        autofd fd = start(&r, data, RANGES);
        uint64_t full = allocated(fd), half = SECTORS / 2;

        g_assert_cmpuint(full, >=, DISK);
        g_assert_cmpuint(ask(&r, VBLK_T_WRITE_ZEROES, 0, SECTORS, 0), ==, VBLK_S_OK);
        g_assert_cmpuint(allocated(fd), >=, DISK);
        g_assert_cmpuint(
                        ask(&r, VBLK_T_WRITE_ZEROES, 0, (uint32_t) half, VBLK_RANGE_UNMAP), ==,
                        VBLK_S_OK);
        g_assert_cmpuint(allocated(fd), <=, full - DISK / 2);
        g_assert_cmpuint(ask(&r, VBLK_T_DISCARD, half, (uint32_t) half, 0), ==, VBLK_S_OK);
        g_assert_cmpuint(allocated(fd), <=, full - DISK);
        g_assert_cmpuint(rig_counter(&r, "discard_ops"), ==, 1);
        g_assert_cmpuint(rig_counter(&r, "discard_bytes"), ==, DISK / 2);
        rig_clear(&r);
}

/* A driver that can't flush, or that chose write-through. */
static void test_write_through(gconstpointer data) {
        struct rig r;
        autofd fd = start(&r, data, RANGES & ~FEATURE(FLUSH));

        g_assert_cmpuint(ask(&r, VBLK_T_WRITE_ZEROES, 0, 8, 0), ==, VBLK_S_OK);
        g_assert_cmpuint(rig_counter(&r, "flush_ops"), ==, 1);
        g_assert_cmpuint(rig_counter(&r, "zero_ops"), ==, 1);
        g_assert_cmpuint(ask(&r, VBLK_T_DISCARD, 8, 8, 0), ==, VBLK_S_OK);
        g_assert_cmpuint(rig_counter(&r, "flush_ops"), ==, 1);
        assert_content(fd, 0, 16 * VBLK_SECTOR);
        rig_clear(&r);
}

static void test_config(void) {
        struct vblk_space space;
        struct rig r;
        autofd fd = start(&r, &setups[0], RANGES);
        struct stat st;
        uint32_t align;

        g_assert_cmpint(fstat(fd, &st), ==, 0);
        r.vd->ops->config_read(r.vd, 0, &space, sizeof(space));
        align = GUINT32_FROM_LE(space.discard_sector_alignment);
        g_assert_cmpuint(align * VBLK_SECTOR, ==, st.st_blksize);
        g_assert_cmpuint(GUINT32_FROM_LE(space.max_discard_sectors), >=, SECTORS);
        g_assert_cmpuint(GUINT32_FROM_LE(space.max_discard_seg), ==, 1);
        g_assert_cmpuint(GUINT32_FROM_LE(space.max_write_zeroes_sectors), >=, SECTORS);
        g_assert_cmpuint(GUINT32_FROM_LE(space.max_write_zeroes_seg), ==, 1);
        g_assert_cmpuint(space.write_zeroes_may_unmap, ==, 1);
        rig_clear(&r);
}

/* Whoever has paid for all of the space keeps it, whatever the driver says. */
static void test_no_discard(void) {
        struct vblk_space space;
        struct stat before, after;
        struct rig r;
        autofd fd = start(&r, &(struct setup){ .no_discard = true }, FEATURE(WRITE_ZEROES));
        uint8_t byte = 1;

        g_assert_false(r.vd->device_features & FEATURE(DISCARD));
        g_assert_true(r.vd->device_features & FEATURE(WRITE_ZEROES));
        r.vd->ops->config_read(r.vd, 0, &space, sizeof(space));
        g_assert_cmpuint(space.write_zeroes_may_unmap, ==, 0);
        g_assert_cmpint(fsync(fd), ==, 0);
        g_assert_cmpint(fstat(fd, &before), ==, 0);
        g_assert_cmpuint(send(&r, VBLK_T_DISCARD, 0, SECTORS, 0, 16), ==, VBLK_S_UNSUPP);
        g_assert_cmpuint(
                        send(&r, VBLK_T_WRITE_ZEROES, 0, SECTORS, VBLK_RANGE_UNMAP, 16), ==,
                        VBLK_S_OK);
        g_assert_cmpint(fsync(fd), ==, 0);
        g_assert_cmpint(fstat(fd, &after), ==, 0);
        g_assert_cmpint(after.st_blocks, >=, before.st_blocks);
        g_assert_cmpint(pread(fd, &byte, 1, 4097), ==, 1);
        g_assert_cmpuint(byte, ==, 0);
        rig_clear(&r);
}

static void add(const char *name, void (*test)(gconstpointer data)) {
        for (size_t i = 0; i < G_N_ELEMENTS(setups); i++) {
                g_autofree char *path = g_strdup_printf(
                                "/ranges/%s/%s-%s", name, setups[i].sync ? "sync" : "io_uring",
                                setups[i].memory ? "memory" : "file");

                g_test_add_data_func(path, &setups[i], test);
        }
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/ranges/not-negotiated", test_not_negotiated);
        g_test_add_func("/ranges/readonly", test_readonly);
        g_test_add_func("/ranges/config", test_config);
        g_test_add_func("/ranges/no-discard", test_no_discard);
        add("refused", test_refused);
        add("zeros", test_zeros);
        add("space", test_space);
        add("write-through", test_write_through);
        return g_test_run();
}
