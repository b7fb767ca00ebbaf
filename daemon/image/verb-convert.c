/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * convert: the content of one image in another. Only what is there is read, and only what is not zeros is written: in a new image
 * everything else reads as zeros already; in one that was there before, and on a block device, zeros are written as such. Compressed, it goes
 * cluster by cluster.
 */

#include "daemon/image/blocks.h"

#include <stdio.h>
#include <string.h>

#include "daemon/image/files.h"
#include "daemon/image/make.h"
#include "daemon/image/output.h"
#include "daemon/image/verbs.h"
#include "hypervisor/error.h"

#define BUFFER (2u * 1024u * 1024u)

FileUse verb_convert_use(const Arguments *arguments, unsigned n) {
        return n == 0 ? USE_READ : has(arguments, OPTION_NO_CREATE) ? USE_WRITE : USE_CREATE;
}

bool is_zero(const void *buf, size_t len) {
        const char *bytes = buf;

        return len == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, len - 1) == 0);
}

typedef struct {
        struct image *source, *target;
        bool fresh;  /* what is not written reads as zeros */
        size_t unit; /* bytes: what is looked at for zeros */
        char *buffer;
        bool reading; /* whose an error is */
} Copy;

static int put_zeros(Copy *copy, uint64_t offset, uint64_t len) {
        return copy->fresh ? 0 : image_zero(copy->target, offset, len, /* unmap= */ true);
}

/* What is in the buffer, in runs of zeros and of anything else. */
static int put(Copy *copy, uint64_t offset, size_t len) {
        int r = 0;

        for (size_t at = 0; r == 0 && at < len;) {
                bool zero = is_zero(copy->buffer + at, MIN(copy->unit, len - at));
                size_t end = MIN(at + copy->unit, len);

                while (end < len && is_zero(copy->buffer + end, MIN(copy->unit, len - end)) == zero)
                        end = MIN(end + copy->unit, len);
                r = zero ? put_zeros(copy, offset + at, end - at)
                         : image_write(copy->target, offset + at, copy->buffer + at, end - at);
                at = end;
        }
        return r;
}

static int copy_range(Copy *copy, uint64_t offset, uint64_t len, Progress *progress) {
        int r = 0;

        while (r == 0 && len > 0) {
                size_t part = (size_t) MIN(len, BUFFER - offset % BUFFER);

                copy->reading = true;
                r = image_read(copy->source, offset, copy->buffer, part);
                if (r < 0)
                        return r;
                copy->reading = false;
                r = put(copy, offset, part);
                offset += part;
                len -= part;
                progress_show(progress, offset);
        }
        return r;
}

static int copy_all(Copy *copy, Progress *progress) {
        uint64_t size = copy->source->size;
        int r = 0;

        for (uint64_t offset = 0; r == 0 && offset < size;) {
                struct image_extent x;

                copy->reading = true;
                r = image_map_chain(copy->source, offset, size - offset, &x, NULL);
                if (r < 0)
                        return r;
                copy->reading = false;
                /* The unit at its end is looked at as a whole. */
                if (x.kind != IMAGE_ZERO && offset + x.len < size && x.len > BUFFER)
                        x.len -= (offset + x.len) % BUFFER;
                r = x.kind == IMAGE_ZERO ? put_zeros(copy, offset, x.len)
                                         : copy_range(copy, offset, x.len, progress);
                offset += x.len;
                progress_show(progress, offset);
        }
        return r;
}

static int put_packed(Copy *copy, uint64_t offset, size_t len) {
        struct image *target = copy->target;

        if (is_zero(copy->buffer, len))
                return put_zeros(copy, offset, len);
        /* Where a larger target goes on, it stays as it is. */
        if (len < target->packed_unit && offset + len < target->size)
                return image_write(target, offset, copy->buffer, len);
        return image_write_packed(target, offset, copy->buffer, len);
}

static int pack_range(Copy *copy, uint64_t offset, uint64_t len, Progress *progress) {
        uint64_t end = offset + len;
        int r = 0;

        while (r == 0 && offset < end) {
                size_t part = (size_t) MIN(end - offset, copy->target->packed_unit);

                copy->reading = true;
                r = image_read(copy->source, offset, copy->buffer, part);
                if (r < 0)
                        return r;
                copy->reading = false;
                r = put_packed(copy, offset, part);
                offset += part;
                progress_show(progress, offset);
        }
        return r;
}

/* Whole clusters of the target, whatever pieces the source consists of. */
static int pack_all(Copy *copy, Progress *progress) {
        uint64_t size = copy->source->size, unit = copy->target->packed_unit;
        int r = 0;

        for (uint64_t offset = 0; r == 0 && offset < size;) {
                struct image_extent x;
                uint64_t len;

                copy->reading = true;
                r = image_map_chain(copy->source, offset, size - offset, &x, NULL);
                if (r < 0)
                        return r;
                copy->reading = false;
                len = x.kind == IMAGE_ZERO ? x.len - x.len % unit : 0;
                if (len > 0) {
                        r = put_zeros(copy, offset, len);
                } else {
                        len = MIN((x.len + unit - 1) / unit * unit, size - offset);
                        r = pack_range(copy, offset, len, progress);
                }
                offset += len;
                progress_show(progress, offset);
        }
        return r;
}

static struct image *
open_target(const Arguments *arguments, Files *files, uint64_t size, GError **error) {
        const char *name = arguments->values[OPTION_TARGET_FORMAT] ?: "raw";
        bool create = !has(arguments, OPTION_NO_CREATE);
        const struct image_format *format =
                        create ? make_format(name, "--target-format", error) : NULL;
        const struct image_open how = { .format = name };
        struct image_file *file;
        struct image *img;

        if (!create && has(arguments, OPTION_OPTIONS)) {
                g_set_error(error, HV_ERROR, HV_ERROR_INVALID,
                            "--options are for a new image, and --no-create is given");
                return NULL;
        }
        if (!create)
                return files_open(files, 1, name, 0, error);
        file = format ? files_take(files, 1, /* readonly= */ false, error) : NULL;
        if (!file)
                return NULL;
        if (!make_image(file, word(arguments, 1), format, size, arguments->values[OPTION_OPTIONS],
                        NULL, error)) {
                (void) image_file_free(file);
                return NULL;
        }
        img = image_open(file, &how, error);
        if (!img)
                g_prefix_error(error, "'%s': ", word(arguments, 1));
        return img;
}

static bool
copy_images(const Arguments *arguments,
            struct image *source,
            struct image *target,
            GError **error) {
        g_autofree char *buffer = g_malloc(BUFFER);
        Copy copy = {
                .source = source,
                .target = target,
                .fresh = !has(arguments, OPTION_NO_CREATE) && !target->file->block_device,
                .unit = CLAMP(target->cluster, 4096, 65536),
                .buffer = buffer,
        };
        bool compress = has(arguments, OPTION_COMPRESS);
        Progress progress;
        int r;

        if (compress && target->packed_unit == 0) {
                g_set_error(error, HV_ERROR, HV_ERROR_UNSUPPORTED, "--compress: %s images %s",
                            target->format->name,
                            target->format->write_packed
                                            ? "are not compressed when others hold the data"
                                            : "are not compressed");
                return false;
        }
        if (target->size < source->size) {
                g_set_error(error, HV_ERROR, HV_ERROR_INVALID,
                            "'%s' is too small: %" G_GUINT64_FORMAT " bytes, and '%s' has "
                            "%" G_GUINT64_FORMAT,
                            word(arguments, 1), target->size, word(arguments, 0), source->size);
                return false;
        }
        progress_begin(&progress, has(arguments, OPTION_PROGRESS), has(arguments, OPTION_QUIET),
                       source->size);
        r = (compress ? pack_all : copy_all)(&copy, &progress);
        progress_end(&progress);
        return r == 0 ||
               hv_error_errno(error, -r, "'%s': %s", word(arguments, copy.reading ? 0 : 1),
                              copy.reading ? "reading" : "writing");
}

int verb_convert(const Arguments *arguments, Files *files) {
        g_autoptr(GError) error = NULL;
        g_autoptr(image) source = files_open(
                        files, 0, arguments->values[OPTION_FORMAT], OPEN_READONLY, &error);
        struct image *target = source ? open_target(arguments, files, source->size, &error) : NULL;
        bool good = target && copy_images(arguments, source, target, &error);
        int r = target ? image_close(target) : 0;

        if (good && r < 0)
                good = hv_error_errno(&error, -r, "'%s': writing", word(arguments, 1));
        return good ? 0 : report_error(error, arguments->verb->status_failed);
}
