/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "daemon/image/arguments.h"
#include "devices/block/image/image.h"

/* Making images, as create and convert do it. */

/* The format with that name, which can be created. option: for the error. */
const struct image_format *make_format(const char *name, const char *option, GError **error);

/* Makes an image in file, of that name, with the options of the command line (-o) and those in `more` (may be NULL; taken over). */
bool make_image(struct image_file *file,
                const char *name,
                const struct image_format *format,
                uint64_t size,
                const char *text,
                struct image_options *more,
                GError **error);

/* What -o help prints. Returns the exit status. */
int print_options_help(const Arguments *arguments);
