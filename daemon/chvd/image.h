/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <gio/gio.h>
#include <stdbool.h>
#include <stdint.h>

#include "dbus/config.h"

typedef enum {
        CHVD_IMAGE_FILE,      /* device and inode */
        CHVD_IMAGE_BLOCK,     /* number of the block device */
        CHVD_IMAGE_INTERFACE, /* index of the network interface */
} ChvdImageKind;

/* What a disk is kept in, whatever its path, or a network interface. */
typedef struct {
        ChvdImageKind kind;
        uint64_t device, inode;
} ChvdImageId;

/* The use of an image by a running VM. */
typedef struct ChvdImage ChvdImage;

/* False: errno. Never waits for a file system. */
bool chvd_image_identify(int fd, ChvdImageId *ret_id);

/* Notes that vm uses the image of the disk `need`, or the interface. When another disk of this service writes it, or this one would and another reads
 * it, CHV_ERROR_RESOURCE names the option and the other VM. Any thread. */
ChvdImage *
chvd_image_hold(const char *vm, const ChvResource *need, const ChvdImageId *id, GError **error);
void chvd_image_release(ChvdImage *image);
const ChvdImageId *chvd_image_id(const ChvdImage *image);
bool chvd_image_is_readonly(const ChvdImage *image);
