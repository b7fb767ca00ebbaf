/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What images of every format share: the last check of a request before it reaches a file. The device above has checked it
 * against what the guest may do; this one keeps a mistake up there from becoming a write past the end of somebody's disk.
 */

#include "devices/block/disk-image.h"

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

static int check(const struct disk_image *img, const struct block_req *req) {
        if (req->op == BLOCK_FLUSH)
                return 0;
        if (req->offset > img->size || req->len > img->size - req->offset)
                return -EINVAL;
        if (img->readonly && req->op != BLOCK_READ)
                return -EROFS;
        return 0;
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
