/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * resize: an image of another size. What is cut off is lost, so it has to be said.
 */

#include <stdio.h>

#include "daemon/image/files.h"
#include "daemon/image/output.h"
#include "daemon/image/verbs.h"
#include "hypervisor/error.h"

FileUse verb_resize_use(const Arguments *arguments, unsigned n) {
        return USE_WRITE;
}

/* "10G", "+1G", "-1G". */
static bool new_size(const char *text, uint64_t old, uint64_t *ret, GError **error) {
        bool more = text[0] == '+', less = text[0] == '-';
        uint64_t size;

        if (!parse_size(more || less ? text + 1 : text, "SIZE", &size, error))
                return false;
        if ((more && size > (uint64_t) INT64_MAX - 511 - old) || (less && size > old)) {
                g_set_error(error, HV_ERROR, HV_ERROR_INVALID,
                            "SIZE: the image has %" G_GUINT64_FORMAT " bytes; '%s' is too much",
                            old, text);
                return false;
        }
        *ret = more ? old + size : less ? old - size : size;
        return true;
}

static bool resize(const Arguments *arguments, struct image *img, GError **error) {
        uint64_t size;

        if (!new_size(word(arguments, 1), img->size, &size, error))
                return false;
        if (!img->format->resize || img->file->block_device) {
                g_set_error(error, HV_ERROR, HV_ERROR_UNSUPPORTED, "'%s': %s cannot be resized",
                            word(arguments, 0),
                            img->file->block_device ? "a block device" : "this kind of image");
                return false;
        }
        if (size < img->size && !has(arguments, OPTION_SHRINK)) {
                g_set_error(error, HV_ERROR, HV_ERROR_INVALID,
                            "'%s': that would cut off its last %" G_GUINT64_FORMAT
                            " bytes; --shrink does it",
                            word(arguments, 0), img->size - size);
                return false;
        }
        if (size != img->size && !img->format->resize(img, size, error)) {
                g_prefix_error(error, "'%s': ", word(arguments, 0));
                return false;
        }
        return true;
}

int verb_resize(const Arguments *arguments, Files *files) {
        g_autoptr(GError) error = NULL;
        g_autofree char *name = printable(word(arguments, 0)), *size = NULL;
        struct image *img = files_open(files, 0, arguments->values[OPTION_FORMAT], 0, &error);
        bool good;
        int r;

        if (!img)
                return report_error(error, arguments->verb->status_failed);
        good = resize(arguments, img, &error);
        size = format_size(img->size);
        r = image_close(img);
        if (good && r < 0)
                good = hv_error_errno(&error, -r, "'%s': writing it", word(arguments, 0));
        if (!good)
                return report_error(error, arguments->verb->status_failed);
        if (!has(arguments, OPTION_QUIET))
                printf("%s: %s\n", name, size);
        return 0;
}
