/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * An empty image of a given format and size, with options from the command line. What a format does not know is an error.
 */

#include "daemon/image/make.h"

#include <stdio.h>
#include <string.h>

#include "daemon/image/output.h"
#include "hypervisor/error.h"

const struct image_format *make_format(const char *name, const char *option, GError **error) {
        const struct image_format *format = image_format_by_name(name ?: "raw");

        if (!format)
                g_set_error(error, HV_ERROR, HV_ERROR_INVALID,
                            "%s: '%s' is no format; chvctl image formats lists them", option, name);
        else if (!format->create) {
                g_set_error(error, HV_ERROR, HV_ERROR_UNSUPPORTED,
                            "%s: %s images can be read and not be made", option, name);
                return NULL;
        }
        return format;
}

bool make_image(struct image_file *file,
                const char *name,
                const struct image_format *format,
                uint64_t size,
                const char *text,
                struct image_options *more,
                GError **error) {
        g_autoptr(image_options) options = more ? more : image_options_new();

        if (file->block_device && format != &image_raw) {
                g_set_error(error, HV_ERROR, HV_ERROR_UNSUPPORTED,
                            "%s images are made in files, not on block devices", format->name);
                return false;
        }
        if (text && !image_options_parse(options, text, error)) {
                g_prefix_error(error, "--options: ");
                return false;
        }
        if (!format->create(file, size, options, error)) {
                g_prefix_error(error, "'%s': ", name);
                return false;
        }
        return image_options_end(options, format->name, error);
}

int print_options_help(const Arguments *arguments) {
        g_autoptr(GError) error = NULL;
        bool create = strcmp(arguments->verb->name, "create") == 0;
        const struct image_format *format =
                        create ? make_format(arguments->values[OPTION_FORMAT], "--format", &error)
                               : make_format(arguments->values[OPTION_TARGET_FORMAT],
                                             "--target-format", &error);

        if (!format)
                return report_error(error, arguments->verb->status_failed);
        printf("Options of %s images (-o KEY=VALUE,…):\n", format->name);
        for (const struct image_option_spec *o = format->options; o && o->name; o++) {
                g_autofree char *left = g_strdup_printf("%s=%s", o->name, o->values ?: "…");

                printf("  %-34s %s\n", left, o->help);
        }
        return 0;
}
