/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What images of every format share: the last check of a request before it reaches a file. The device above has checked it
 * against what the guest may do; this one keeps a mistake up there from becoming a write past the end of somebody's disk.
 */

#include "devices/block/disk-image.h"
#include "hypervisor/error.h"

#include <assert.h>
#include <errno.h>
#include <sys/stat.h>

struct disk_image *disk_image_free(struct disk_image *img) {
        if (img)
                img->ops->free(img);
        return NULL;
}

void disk_image_make_serial(struct disk_image *img, int fd) {
        struct stat st = { 0 };

        (void) fstat(fd, &st);
        (void) g_snprintf(
                        img->serial, sizeof(img->serial), "%llu%llu%llu",
                        (unsigned long long) st.st_dev, (unsigned long long) st.st_rdev,
                        (unsigned long long) st.st_ino);
}

bool disk_image_plan(struct disk_image *img, uint64_t *size, GError **error) {
        assert(img && size);

        if (img->ops->plan)
                return img->ops->plan(img, size, error);
        g_set_error(error, HV_ERROR, HV_ERROR_UNSUPPORTED,
                    "a %s image cannot be resized while the machine runs", img->format);
        return false;
}

bool disk_image_resize(
                struct disk_image *img, uint64_t size, const atomic_bool *stop, GError **error) {
        assert(img && img->ops->resize);

        return img->ops->resize(img, size, stop, error);
}

uint64_t disk_image_whole_blocks(const struct disk_image *img, uint64_t size) {
        uint64_t mask = img->topology.logical_block - 1;

        return size > (uint64_t) INT64_MAX - mask ? 0 : (size + mask) & ~mask;
}

static int check(const struct disk_image *img, const struct block_req *req) {
        uint64_t size = atomic_load_explicit(&img->size, memory_order_relaxed);

        if (req->op == BLOCK_FLUSH)
                return 0;
        if (req->offset > size || req->len > size - req->offset)
                return -EINVAL;
        if (img->readonly && req->op != BLOCK_READ)
                return -EROFS;
        return req->op == BLOCK_ERASE && !img->can_erase ? -EOPNOTSUPP : 0;
}

void disk_image_start(struct disk_image *img, struct engine *e, struct block_req *req) {
        int r;

        assert(img && e && req);

        r = check(img, req);
        if (r < 0)
                engine_answer(e, req, r);
        else
                img->ops->start(img, e, req);
}

bool disk_image_resize_stopped(GError **error) {
        g_set_error(error, HV_ERROR, HV_ERROR_FAILED,
                    "the machine ended before the disk had another size");
        return false;
}
