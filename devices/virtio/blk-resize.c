/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Another size for a disk whose guest runs. img->size is what queues check requests against, so it says what may be touched: a disk
 * that grows gets its room first and its size then. One that shrinks loses its size first; then each queue finishes what it took
 * before, on its own thread, so whatever is in flight after that has seen the new size; and only then the file is cut.
 *
 * The device may be reset, activated or paused meanwhile by whoever else does that: nothing here depends on whether it serves.
 */

#include "devices/virtio/blk.h"
#include "hypervisor/error.h"

#include <assert.h>

static bool drain_all(struct vblk *blk, GError **error) {
        for (unsigned i = 0; i < blk->n_queues; i++) {
                int r = vblk_queue_drain(&blk->queues[i]);

                if (r < 0)
                        return hv_error_errno(
                                        error, -r, "waiting for disk %s to finish its requests",
                                        blk->vd.id);
        }
        return true;
}

static bool cut(struct vblk *blk, uint64_t size, const atomic_bool *stop, GError **error) {
        struct disk_image *img = blk->image;
        uint64_t old = atomic_exchange(&img->size, size);

        if (drain_all(blk, error) && disk_image_resize(img, size, stop, error))
                return true;
        atomic_store(&img->size, old);
        return false;
}

static bool grow(struct vblk *blk, uint64_t size, const atomic_bool *stop, GError **error) {
        if (!disk_image_resize(blk->image, size, stop, error))
                return false;
        atomic_store(&blk->image->size, size);
        return true;
}

bool vblk_resize(
                struct vblk *blk,
                uint64_t *size,
                bool shrink,
                const atomic_bool *stop,
                GError **error) {
        uint64_t old = blk->image->size;

        assert(size);

        if (!disk_image_plan(blk->image, size, error))
                return false;
        if (*size < old && !shrink) {
                g_set_error(error, HV_ERROR, HV_ERROR_INVALID,
                            "size: would cut off the last %" G_GUINT64_FORMAT
                            " bytes of the disk, and shrink is not said",
                            old - *size);
                return false;
        }
        if (!(*size < old ? cut : grow)(blk, *size, stop, error))
                return false;
        if (*size != old && blk->vd.transport)
                blk->vd.transport->config_changed(&blk->vd);
        return true;
}
