/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The raw format among the others: what backing files are made of, and what images are converted from and to. A worker's raw disks
 * do not come this way (devices/block/raw.c).
 */

#include "devices/block/image/image.h"
#include "hypervisor/error.h"

#include <errno.h>
#include <unistd.h>

#define SECTOR 512u
#define CLUSTER 4096u

static struct image *
raw_open(struct image_file *file, const struct image_open *how, GError **error) {
        struct image *img = g_new0(struct image, 1);

        /* A file may end within a sector; the rest of that reads as zeros. */
        img->size = file->size > INT64_MAX - SECTOR ? INT64_MAX - INT64_MAX % SECTOR
                                                    : (file->size + SECTOR - 1) / SECTOR * SECTOR;
        img->cluster = CLUSTER;
        return img;
}

/* What the host knows of holes; what it does not know is data. */
static bool is_hole(struct image_file *f, uint64_t offset, uint64_t *ret_len) {
        off_t data, hole;

        if (f->fd < 0 || f->block_device || offset >= f->size)
                return false;
        data = lseek(f->fd, (off_t) offset, SEEK_DATA);
        if (data < 0 && errno == ENXIO) {
                *ret_len = f->size - offset;
                return true;
        }
        if (data < 0)
                return false;
        if ((uint64_t) data > offset) {
                *ret_len = (uint64_t) data - offset;
                return true;
        }
        hole = lseek(f->fd, (off_t) offset, SEEK_HOLE);
        if (hole > (off_t) offset)
                *ret_len = (uint64_t) hole - offset;
        return false;
}

static int raw_map(struct image *img, uint64_t offset, uint64_t len, struct image_extent *ret) {
        uint64_t known = len;
        bool hole = img->readonly && is_hole(img->file, offset, &known);

        *ret = (struct image_extent){
                .kind = hole ? IMAGE_ZERO : IMAGE_DATA,
                .len = MIN(len, known),
                .file = img->file,
                .at = offset,
                .writable = !img->readonly,
        };
        return 0;
}

static int raw_zero(struct image *img, uint64_t offset, uint64_t len, bool unmap) {
        return image_file_zero(img->file, offset, len, unmap);
}

static int raw_discard(struct image *img, uint64_t offset, uint64_t len) {
        return image_file_discard(img->file, offset, len);
}

static int raw_flush(struct image *img) {
        return image_file_sync(img->file);
}

static bool raw_resize(struct image *img, uint64_t size, GError **error) {
        int r = image_file_truncate(img->file, size);

        if (r < 0)
                return hv_error_errno(error, -r, "changing the size of a raw image");
        img->size = size;
        return true;
}

static void raw_close(struct image *img) {
        g_free(img);
}

static const char *const preallocations[] = { "off", "falloc", "full", NULL };

static const struct image_option_spec options[] = {
        { "preallocation", "off|falloc|full", "whether the host gives the space at once" },
        { NULL },
};

static int write_zeros(struct image_file *file, uint64_t size) {
        static const char zeros[64 * 1024];
        int r = 0;

        for (uint64_t at = 0; r == 0 && at < size; at += sizeof(zeros))
                r = image_file_write(file, at, zeros, (size_t) MIN(size - at, sizeof(zeros)));
        return r;
}

static bool
raw_create(struct image_file *file, uint64_t size, struct image_options *o, GError **error) {
        unsigned preallocation = 0;
        int r;

        if (!image_options_take_choice(o, "preallocation", preallocations, &preallocation, error))
                return false;
        r = image_file_truncate(file, size);
        if (r == 0 && preallocation > 0)
                r = image_file_allocate(file, 0, size);
        if (r == 0 && preallocation > 1)
                r = write_zeros(file, size);
        return r == 0 ||
               hv_error_errno(error, -r, "making a raw image of %" G_GUINT64_FORMAT " bytes", size);
}

const struct image_format image_raw = {
        .name = "raw",
        .description = "the disk's bytes as they are",
        .open = raw_open,
        .options = options,
        .create = raw_create,
        .map = raw_map,
        .zero = raw_zero,
        .discard = raw_discard,
        .flush = raw_flush,
        .resize = raw_resize,
        .close = raw_close,
};
