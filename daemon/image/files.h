/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "daemon/image/arguments.h"
#include "devices/block/image/image.h"

/* The files of the command line as the part that reads images has them: descriptors, and a socket to ask for others. */

/* Takes the socket over. names, fds: n each, the names borrowed. */
Files *files_new(int socket, const char *const *names, const int *fds, unsigned n);
void files_free(Files *files);

/* The n-th file itself, once. The caller's then. */
struct image_file *files_take(Files *files, unsigned n, bool readonly, GError **error);

typedef enum {
        OPEN_READONLY = 1 << 0,
        OPEN_FOR_CHECK = 1 << 1,
} OpenFlags;

/* Opens the n-th file, and what it names, as an image; once. format may be NULL. Errors have the file's name in front. */
struct image *
files_open(Files *files, unsigned n, const char *format, OpenFlags flags, GError **error);

/* Asks for a backing file that the n-th file, which is new, is to have. */
struct image_file *files_backing(Files *files, unsigned n, const char *name, GError **error);

const char *files_name(const Files *files, unsigned n);

/* The name a file was opened under: the user's, or the image's. "" if it is not one of them. */
const char *files_name_of(const Files *files, const struct image_file *file);
