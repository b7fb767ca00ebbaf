/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves of a disk's limits: requests beyond them stay in the ring, are done when their time has come and not before, or at once under new
 * limits; wrong ones are still judged, and cost what they are; disks of a group share one bucket; and pause, reset and new limits at
 * any moment leave nothing behind. With both I/O engines.
 */

#include "devices/virtio/blk-wire.h"
#include "devices/virtio/devices.h"
#include "hypervisor/error.h"
#include "rig.h"
#include "tests/unit/block/support.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define TIMEOUT_MS 20000
#define DISK (1024u * 1024u)
#define NEVER 86400000u
#define LEN 4096u

static int start(struct rig *r, bool sync, struct throttle_config limits, struct throttle *group) {
        g_autoptr(GError) error = NULL;
        int fd = test_file_new(DISK, O_RDWR);
        struct virtio_blk_config config = {
                .id = "_disk0",
                .num_queues = 1,
                .queue_size = 64,
                .no_io_uring = sync,
                .limits = limits,
                .group = group,
        };

        g_assert_cmpint(fd, >=, 0);
        rig_init(r);
        config.fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
        rig_attach(r, virtio_blk_new(r->mem, &config, &error), true, 32);
        g_assert_no_error(error);
        rig_start(r, 0);
        return fd;
}

/* A read of LEN bytes each. */
static void add(struct rig *r, unsigned n) {
        for (unsigned i = 0; i < n; i++) {
                uint64_t at = RIG_DATA + i * 16384u;
                struct vblk_header h = { GUINT32_TO_LE(VBLK_T_IN), 0, 0 };
                struct drv_buf bufs[] = {
                        { GADDR(at), sizeof(h), false },
                        { GADDR(at + 4096), LEN, true },
                        { GADDR(at + 12288), 1, true },
                };

                memcpy(rig_host(r, at, sizeof(h)), &h, sizeof(h));
                g_assert_cmpint(drv_add(&r->rings[0], bufs, 3, true, NULL), >=, 0);
        }
        rig_publish(r, 0);
}

static void take(struct rig *r, unsigned n) {
        uint32_t len;
        void *cookie;

        for (unsigned i = 0; i < n; i++) {
                g_assert_true(rig_wait(r, 0, TIMEOUT_MS, &cookie, &len));
                g_assert_cmpuint(len, ==, LEN + 1);
        }
}

static void expect_none(struct rig *r) {
        uint32_t len;
        void *cookie;

        g_assert_false(rig_wait(r, 0, 30, &cookie, &len));
}

static void set(struct rig *r, struct throttle_config limits) {
        g_assert_cmpint(r->vd->ops->set_throttle(r->vd, &limits), ==, 0);
}

static void test_wait(gconstpointer data) {
        g_autoptr(GError) error = NULL;
        struct rig r;
        int fd = start(&r, GPOINTER_TO_INT(data),
                       (struct throttle_config){ .ops = { 5, 2, NEVER } }, NULL);

        add(&r, 10);
        take(&r, 7);
        expect_none(&r);
        /* A pause does not change that, and has nothing to wait for. */
        g_assert_true(r.vd->ops->pause(r.vd, &error));
        g_assert_cmpuint(r.vd->queues[0].in_flight, ==, 0);
        r.vd->ops->resume(r.vd);
        expect_none(&r);
        set(&r, (struct throttle_config){ .bandwidth = { LEN, 0, NEVER } });
        take(&r, 1);
        expect_none(&r);
        set(&r, (struct throttle_config){ 0 });
        take(&r, 2);
        /* A reset in the middle, and limits where there were none. */
        set(&r, (struct throttle_config){ .ops = { 1, 0, NEVER } });
        add(&r, 4);
        take(&r, 1);
        expect_none(&r);
        rig_stop(&r);
        set(&r, (struct throttle_config){ .ops = { 2, 0, NEVER } });
        rig_start(&r, 0);
        add(&r, 4);
        take(&r, 2);
        expect_none(&r);
        rig_clear(&r);
        (void) close(fd);
}

static void test_time(gconstpointer data) {
        struct rig r;
        int fd = start(&r, GPOINTER_TO_INT(data),
                       (struct throttle_config){ .bandwidth = { 4 * LEN, 0, 40 } }, NULL);
        gint64 begin = g_get_monotonic_time();

        add(&r, 24);
        take(&r, 24);
        g_assert_cmpint(g_get_monotonic_time() - begin, >=, 200000 - 10000);
        rig_clear(&r);
        (void) close(fd);
}

/* A request that is larger than the bucket passes, and those behind it wait. */
static void test_large(gconstpointer data) {
        struct rig r;
        int fd = start(&r, GPOINTER_TO_INT(data),
                       (struct throttle_config){ .bandwidth = { 1, 0, NEVER } }, NULL);

        add(&r, 2);
        take(&r, 1);
        expect_none(&r);
        rig_clear(&r);
        (void) close(fd);
}

static void test_broken(gconstpointer data) {
        struct drv_buf buf = { GADDR(RIG_DATA), 16, false };
        struct rig r;
        int fd = start(&r, GPOINTER_TO_INT(data),
                       (struct throttle_config){ .ops = { 1, 0, NEVER } }, NULL);

        add(&r, 1);
        take(&r, 1);
        /* There is no room for a status. Not looked at yet; and then it is. */
        g_assert_cmpint(drv_add(&r.rings[0], &buf, 1, false, NULL), >=, 0);
        rig_publish(&r, 0);
        expect_none(&r);
        g_assert_cmpuint(r.breaks, ==, 0);
        set(&r, (struct throttle_config){ .ops = { 1, 0, NEVER } });
        g_assert_true(rig_wait_broken(&r, TIMEOUT_MS));
        set(&r, (struct throttle_config){ 0 });
        rig_clear(&r);
        (void) close(fd);
}

static void test_group(gconstpointer data) {
        const struct throttle_config limits = { .ops = { 6, 0, NEVER } };
        struct throttle group;
        struct rig r[2];
        int fd[2];

        throttle_init(&group, /* shared = */ true, &limits);
        for (int i = 0; i < 2; i++)
                fd[i] = start(&r[i], GPOINTER_TO_INT(data), (struct throttle_config){ 0 }, &group);
        add(&r[0], 4);
        take(&r[0], 4);
        add(&r[1], 4);
        /* Two, and one more with what has come back meanwhile, which is debt. */
        take(&r[1], 3);
        expect_none(&r[1]);
        add(&r[0], 1);
        expect_none(&r[0]);
        throttle_set(&group, &(struct throttle_config){ 0 });
        for (int i = 0; i < 2; i++)
                g_assert_cmpint(r[i].vd->ops->set_throttle(r[i].vd, NULL), ==, 0);
        take(&r[0], 1);
        take(&r[1], 1);
        for (int i = 0; i < 2; i++) {
                rig_clear(&r[i]);
                (void) close(fd[i]);
        }
}

static void add_test(const char *name, void (*fn)(gconstpointer data)) {
        for (int sync = 0; sync < 2; sync++) {
                g_autofree char *path =
                                g_strdup_printf("/blk/limits/%s/%s", name, sync ? "sync" : "uring");

                g_test_add_data_func(path, GINT_TO_POINTER(sync), fn);
        }
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        add_test("wait", test_wait);
        add_test("time", test_time);
        add_test("large", test_large);
        add_test("broken", test_broken);
        add_test("group", test_group);
        return g_test_run();
}
