/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What images of every format share: the last check of a request before it reaches a file. The device above has checked it
 * against what the guest may do; this one keeps a mistake up there from becoming a write past the end of somebody's disk.
 */

#include "devices/block/disk-image.h"

#include <assert.h>
#include <errno.h>

struct disk_image *disk_image_free(struct disk_image *img) {
        if (img)
                img->ops->free(img);
        return NULL;
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
                engine_fail(e, req, r);
        else
                img->ops->start(img, e, req);
}
