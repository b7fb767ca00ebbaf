/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves of secure erase: only a disk that can erase offers it, which files and loop devices cannot; ranges that are wrong, too
 * long or beyond the end fail before they reach the disk; what is right reaches it as it is, and its answer the guest.
 */

#include "devices/block/disk-image.h"
#include "devices/virtio/blk-wire.h"
#include "devices/virtio/devices.h"
#include "rig.h"
#include "tests/unit/block/support.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define TIMEOUT_MS 20000
#define DISK (1ull << 30)
#define ERASE_MAX (128u * 1024)
#define HEADER (RIG_DATA + 0u)
#define STATUS (RIG_DATA + 4096u)
#define FEATURE(f) (1ull << VBLK_F_##f)

/* A disk that notes what it was told. */
struct fake {
        struct disk_image img;
        int result;
        unsigned erased;
        uint64_t offset, len;
};

static void fake_start(struct disk_image *img, struct engine *e, struct block_req *req) {
        struct fake *fake = (struct fake *) img;

        g_assert_cmpint(req->op, ==, BLOCK_ERASE);
        g_assert_cmpuint(req->n_iov, ==, 0);
        fake->erased++;
        fake->offset = req->offset;
        fake->len = req->len;
        engine_answer(e, req, fake->result);
}

static void fake_free(struct disk_image *img) {
}

static const struct disk_image_ops fake_ops = { .start = fake_start, .free = fake_free };

static void
start(struct rig *r, struct fake *fake, bool can_erase, bool no_discard, uint64_t features) {
        struct virtio_blk_config config = {
                .id = "_disk0",
                .image = &fake->img,
                .num_queues = 1,
                .queue_size = 64,
                .no_discard = no_discard,
        };
        g_autoptr(GError) error = NULL;

        *fake = (struct fake){ .img = { .ops = &fake_ops,
                                        .size = DISK,
                                        .can_erase = can_erase,
                                        .main_fd = -1,
                                        .topology = { 512, 512, 0, 0, 1, 4096 } } };
        rig_init(r);
        rig_attach(r, virtio_blk_new(r->mem, &config, &error), /* event_idx= */ false, 32);
        g_assert_no_error(error);
        rig_start(r, features);
}

static uint8_t request(struct rig *r, uint64_t sector, uint32_t n, uint32_t flags, uint32_t len) {
        struct {
                struct vblk_header header;
                struct vblk_range range;
        } *data = rig_host(r, HEADER, sizeof(*data));
        struct drv_buf bufs[] = { { GADDR(HEADER), 16 + len, false }, { GADDR(STATUS), 1, true } };
        uint8_t *status = rig_host(r, STATUS, 1);
        uint32_t used;
        void *cookie;

        data->header = (struct vblk_header){ .type = GUINT32_TO_LE(VBLK_T_SECURE_ERASE) };
        data->range = (struct vblk_range){ GUINT64_TO_LE(sector), GUINT32_TO_LE(n),
                                           GUINT32_TO_LE(flags) };
        *status = 0xee;
        g_assert_cmpint(drv_add(&r->rings[0], bufs, 2, false, r), >=, 0);
        rig_publish(r, 0);
        g_assert_true(rig_wait(r, 0, TIMEOUT_MS, &cookie, &used));
        return *status;
}

static void test_refused(void) {
        struct fake fake;
        struct rig r;

        start(&r, &fake, /* can_erase= */ true, /* no_discard= */ false, FEATURE(SECURE_ERASE));
        g_assert_cmpuint(request(&r, 0, 8, 0, 15), ==, VBLK_S_IOERR);
        g_assert_cmpuint(request(&r, 0, 8, 0, 32), ==, VBLK_S_IOERR);
        g_assert_cmpuint(request(&r, 0, 8, 1, 16), ==, VBLK_S_UNSUPP);
        g_assert_cmpuint(request(&r, 0, 8, 1u << 31, 16), ==, VBLK_S_UNSUPP);
        g_assert_cmpuint(request(&r, 0, ERASE_MAX + 1, 0, 16), ==, VBLK_S_IOERR);
        g_assert_cmpuint(request(&r, 0, UINT32_MAX, 0, 16), ==, VBLK_S_IOERR);
        g_assert_cmpuint(request(&r, DISK / 512 - 7, 8, 0, 16), ==, VBLK_S_IOERR);
        g_assert_cmpuint(request(&r, UINT64_MAX, 8, 0, 16), ==, VBLK_S_IOERR);
        g_assert_cmpuint(request(&r, 0, 0, 0, 16), ==, VBLK_S_OK);
        g_assert_cmpuint(fake.erased, ==, 0);
        rig_clear(&r);
}

static void test_unwanted(void) {
        struct fake fake;
        struct rig r;

        start(&r, &fake, /* can_erase= */ false, /* no_discard= */ false, 0);
        g_assert_cmphex(r.vd->device_features & FEATURE(SECURE_ERASE), ==, 0);
        g_assert_cmpuint(r.vd->config_len, ==, 60);
        g_assert_cmpuint(request(&r, 0, 8, 0, 16), ==, VBLK_S_UNSUPP);
        /* Negotiated nevertheless, by a broken transport. */
        r.vd->features = FEATURE(SECURE_ERASE);
        g_assert_cmpuint(request(&r, 0, 8, 0, 16), ==, VBLK_S_IOERR);
        rig_clear(&r);
        start(&r, &fake, /* can_erase= */ true, /* no_discard= */ true, 0);
        g_assert_cmphex(r.vd->device_features & FEATURE(SECURE_ERASE), ==, 0);
        rig_clear(&r);
        start(&r, &fake, /* can_erase= */ true, /* no_discard= */ false, 0);
        g_assert_cmpuint(request(&r, 0, 8, 0, 16), ==, VBLK_S_UNSUPP);
        g_assert_cmpuint(fake.erased, ==, 0);
        rig_clear(&r);
}

static void test_erased(void) {
        struct vblk_space space;
        struct fake fake;
        struct rig r;

        start(&r, &fake, /* can_erase= */ true, /* no_discard= */ false, FEATURE(SECURE_ERASE));
        g_assert_cmphex(r.vd->device_features & FEATURE(SECURE_ERASE), !=, 0);
        g_assert_cmpuint(r.vd->config_len, ==, 72);
        r.vd->ops->config_read(r.vd, 0, &space, sizeof(space));
        g_assert_cmpuint(GUINT32_FROM_LE(space.max_secure_erase_sectors), ==, ERASE_MAX);
        g_assert_cmpuint(GUINT32_FROM_LE(space.max_secure_erase_seg), ==, 1);
        g_assert_cmpuint(GUINT32_FROM_LE(space.secure_erase_sector_alignment), ==, 8);
        g_assert_cmpuint(request(&r, 16, ERASE_MAX, 0, 16), ==, VBLK_S_OK);
        g_assert_cmpuint(fake.erased, ==, 1);
        g_assert_cmpuint(fake.offset, ==, 16 * 512);
        g_assert_cmpuint(fake.len, ==, ERASE_MAX * 512ull);
        g_assert_cmpuint(rig_counter(&r, "erase_bytes"), ==, ERASE_MAX * 512ull);
        g_assert_cmpuint(rig_counter(&r, "erase_ops"), ==, 1);
        fake.result = -EIO;
        g_assert_cmpuint(request(&r, DISK / 512 - 8, 8, 0, 16), ==, VBLK_S_IOERR);
        g_assert_cmpuint(fake.erased, ==, 2);
        rig_clear(&r);
}

/* Neither a file nor a loop device promises what it cannot keep. */
static void test_raw(void) {
        int fd = test_file_new(1024 * 1024, O_RDWR), copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
        g_autoptr(GError) error = NULL;
        g_autoptr(disk_image) img = disk_image_open_raw(fd, false, false, &error);
        struct loop_config config = { .fd = (uint32_t) copy };
        g_autofree char *path = NULL;
        int control, n, loop;

        g_assert_no_error(error);
        g_assert_false(img->can_erase);
        control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
        n = control < 0 ? -1 : ioctl(control, LOOP_CTL_GET_FREE);
        path = g_strdup_printf("/dev/loop%d", n);
        config.info.lo_flags = LO_FLAGS_AUTOCLEAR;
        loop = n < 0 ? -1 : open(path, O_RDWR | O_CLOEXEC);
        if (loop >= 0 && ioctl(loop, LOOP_CONFIGURE, &config) == 0) {
                g_autoptr(disk_image) device = disk_image_open_raw(loop, false, false, &error);

                g_assert_no_error(error);
                g_assert_false(device->can_erase);
        } else {
                g_test_message("no loop device to be had");
                if (loop >= 0)
                        (void) close(loop);
        }
        if (control >= 0)
                (void) close(control);
        (void) close(copy);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/erase/refused", test_refused);
        g_test_add_func("/erase/unwanted", test_unwanted);
        g_test_add_func("/erase/erased", test_erased);
        g_test_add_func("/erase/raw", test_raw);
        return g_test_run();
}
