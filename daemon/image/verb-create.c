/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * create: an empty image, or one through which another shows. The other one is opened to see that it is there and of the format that
 * was said; without a size it gives its own.
 */

#include <stdio.h>

#include "daemon/image/files.h"
#include "daemon/image/make.h"
#include "daemon/image/output.h"
#include "daemon/image/verbs.h"
#include "hypervisor/error.h"

FileUse verb_create_use(const Arguments *arguments, unsigned n) {
        return USE_CREATE;
}

/* Only the image itself: what shows through it is looked at when the new one is opened. */
static bool
check_backing(const Arguments *arguments, Files *files, uint64_t *size, GError **error) {
        const char *name = arguments->values[OPTION_BACKING];
        const struct image_open how = {
                .format = arguments->values[OPTION_BACKING_FORMAT],
                .readonly = true,
                .for_check = true,
                .depth = 1,
        };
        struct image_file *file;
        g_autoptr(image) backing = NULL;

        if (!how.format) {
                g_set_error(error, HV_ERROR, HV_ERROR_INVALID,
                            "--backing also needs --backing-format: a raw disk can be made to look "
                            "like another format by who writes it");
                return false;
        }
        file = files_backing(files, 0, name, error);
        backing = file ? image_open(file, &how, error) : NULL;
        if (!backing) {
                g_prefix_error(error, "--backing: ");
                return false;
        }
        if (*size == 0)
                *size = backing->size;
        return true;
}

static bool create(const Arguments *arguments, Files *files, GError **error) {
        const char *backing = arguments->values[OPTION_BACKING],
                   *backing_format = arguments->values[OPTION_BACKING_FORMAT];
        const struct image_format *format =
                        make_format(arguments->values[OPTION_FORMAT], "--format", error);
        g_autoptr(image_options) options = image_options_new();
        g_autoptr(image_file) file = NULL;
        uint64_t size = 0;

        if (!format)
                return false;
        if (word(arguments, 1) && !parse_size(word(arguments, 1), "SIZE", &size, error))
                return false;
        if (!word(arguments, 1) && !backing) {
                g_set_error(error, HV_ERROR, HV_ERROR_INVALID,
                            "without --backing a size is needed: chvctl image create FILE SIZE");
                return false;
        }
        if (backing_format && !backing) {
                g_set_error(error, HV_ERROR, HV_ERROR_INVALID,
                            "--backing-format goes with --backing");
                return false;
        }
        if (backing && (!check_backing(arguments, files, &size, error) ||
                        !image_options_set(options, "backing_file", backing, error) ||
                        !image_options_set(options, "backing_fmt", backing_format, error)))
                return false;
        file = files_take(files, 0, /* readonly= */ false, error);
        if (!file ||
            !make_image(file, word(arguments, 0), format, size, arguments->values[OPTION_OPTIONS],
                        g_steal_pointer(&options), error))
                return false;
        if (image_file_sync(file) < 0) {
                g_set_error(error, HV_ERROR, HV_ERROR_FAILED, "'%s': writing it to the disk failed",
                            word(arguments, 0));
                return false;
        }
        if (!has(arguments, OPTION_QUIET)) {
                g_autofree char *text = format_size(size), *name = printable(word(arguments, 0));

                printf("%s: %s, %s\n", name, format->name, text);
        }
        return true;
}

int verb_create(const Arguments *arguments, Files *files) {
        g_autoptr(GError) error = NULL;

        return create(arguments, files, &error)
                               ? 0
                               : report_error(error, arguments->verb->status_failed);
}
