/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The virtio block device with a queue as the input has it. First comes the driver's choice (event index, write-back, packed rings, whether to be
 * paused or reset in the end), then rings and buffers as they lie in guest memory. The device serves them when it is activated and
 * is drained before the next input, so that the same input does the same again.
 */

#include "fuzz.h"
#include "rig.h"

#include "devices/virtio/blk-wire.h"
#include "devices/virtio/devices.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define QUEUE 16
#define DISK 65536
/* Rings at 0, then buffers: what the input may fill. */
#define FILL 8192

static struct rig rig;

static void set_up(void) {
        g_autoptr(GError) error = NULL;
        struct virtio_blk_config config = {
                .id = "fuzz",
                .fd = memfd_create("disk", MFD_CLOEXEC),
                .num_queues = 1,
                .queue_size = QUEUE,
                .no_io_uring = true,
        };

        g_assert_cmpint(ftruncate(config.fd, DISK), ==, 0);
        rig_init(&rig);
        rig_attach(&rig, virtio_blk_new(rig.mem, &config, &error), false, 0);
        g_assert_no_error(error);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        static const uint64_t features[] = {
                0,
                1ull << VBLK_F_FLUSH,
                1ull << VBLK_F_FLUSH | 1ull << VBLK_F_CONFIG_WCE,
                1ull << VBLK_F_DISCARD | 1ull << VBLK_F_WRITE_ZEROES,
        };
        g_autoptr(GError) error = NULL;
        struct virtq *q;
        uint8_t choice = size > 0 ? data[0] : 0;

        if (!rig.vd)
                set_up();
        q = &rig.vd->queues[0];
        rig.event_idx = choice & 1;
        rig_start(&rig, features[(choice >> 1) % G_N_ELEMENTS(features)] |
                                        (choice & 32 ? 1ull << VIRTIO_F_RING_PACKED : 0));
        /* The empty rings were served; now they are what the input says. */
        g_assert_true(rig.vd->ops->pause(rig.vd, &error));
        q->indirect = choice >> 3 & 1;
        memset(rig_host(&rig, 0, FILL), 0, FILL);
        if (size > 1)
                memcpy(rig_host(&rig, 0, FILL), data + 1, MIN(size - 1, FILL));
        rig.vd->ops->resume(rig.vd);
        if (choice >> 4 & 1) {
                g_assert_true(rig.vd->ops->pause(rig.vd, &error));
                g_assert_true(q->broken || q->in_flight == 0);
                rig.vd->ops->resume(rig.vd);
        }
        rig_stop(&rig);
        return 0;
}
