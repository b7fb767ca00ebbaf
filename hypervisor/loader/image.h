/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "hypervisor/memory.h"

/*
 * A kernel, firmware or initramfs file as a descriptor, read with pread(2) inside its bounds. The
 * file is hostile, may be cut, and may change while it is read. Main thread.
 */

struct image {
        const char *what; /* starts every message: "kernel" */
        int fd;           /* the caller's, never closed here */
        uint64_t size;    /* when it was opened */
};

enum image_kind {
        IMAGE_ELF,
        IMAGE_BZIMAGE, /* Linux/x86 boot protocol; the version is not checked yet */
        IMAGE_MAX,
        IMAGE_INVALID = -22,
};

/* Refuses what is not a regular file, and an empty one. */
bool image_init(struct image *img, const char *what, int fd, GError **error);

/* What the image is by its first bytes. An error names what it is instead, when that is known. */
enum image_kind image_identify(const struct image *img, GError **error);

/* The whole of [offset, offset+len) of the file, or an error that names the part. */
bool image_read_part(
                const struct image *img,
                const char *part,
                uint64_t offset,
                void *buf,
                uint64_t len,
                GError **error);

/* The same, into guest memory. */
bool image_load(const struct image *img,
                const char *part,
                uint64_t offset,
                uint64_t len,
                const struct gmem *mem,
                gaddr to,
                GError **error);

/* Sets HV_ERROR_IMAGE "<what>: <message>". Always returns false, to be returned. */
bool image_error(const struct image *img, GError **error, const char *format, ...)
                G_GNUC_PRINTF(3, 4);
