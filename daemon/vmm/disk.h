/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "daemon/vmm/fd-table.h"
#include "dbus/config.h"
#include "devices/block/disk-image.h"
#include "devices/virtio/devices.h"

/* Opens what a disk is made of: descriptor "disks/ID", and for the files that its image names "disks/ID/0", "disks/ID/1" … in the order in which the
 * image's format asks for them. Main thread. */
struct disk_image *
disk_open(const ChvDiskConfig *disk,
          const FdTable *fds,
          const struct io_thread_hook *hook,
          GError **error);

/* The first file that the image in files[0] names, or an image that it names, and that is not among files[1], files[2] …; NULL: there is none, or the image
 * cannot be opened, which disk_open() will tell. */
typedef struct {
        const char *role; /* "backing", "data", "extent" */
        char *name;       /* relative to the folder of the file that names it */
        char *format;     /* NULL: not said */
        unsigned parent;  /* which of files names it */
} DiskReference;

/* files: descriptors, not owned. format: as image_type. */
DiskReference *disk_find_reference(const int *files, size_t n, const char *format);
void disk_reference_free(DiskReference *reference);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(DiskReference, disk_reference_free)
