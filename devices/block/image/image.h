/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "devices/block/image/file.h"
#include "devices/block/image/options.h"

/*
 * A disk image of any format, as a library for one thread: every call blocks, nothing is locked. A worker's block device works on it
 * through mapped.c, which gives its queues what they can do at once; chv-image and the tests use it as it is.
 *
 * An image's bytes are hostile, the guest's part and the owner's: whatever a header or table says is checked before it is used, and
 * bounds what is allocated.
 */

struct image;

enum image_extent_kind {
        IMAGE_DATA,   /* in a file, as it is */
        IMAGE_ZERO,   /* reads as zeros */
        IMAGE_ABSENT, /* what the backing image has, or zeros without one */
        IMAGE_PACKED, /* compressed: only read_packed() gets at it */
        IMAGE_EXTENT_MAX,
};

struct image_extent {
        enum image_extent_kind kind;
        uint64_t len;            /* bytes, at least 1 */
        struct image_file *file; /* IMAGE_DATA: where */
        uint64_t at;             /* IMAGE_DATA: offset there */
        bool writable;  /* IMAGE_DATA: may be overwritten where it is: nobody else refers to it */
        bool allocated; /* IMAGE_ZERO: has space in the file all the same */
};

/* What another file is to an image. */
enum image_role {
        IMAGE_ROLE_BACKING, /* what it does not have itself */
        IMAGE_ROLE_DATA,    /* qcow2's external data file */
        IMAGE_ROLE_EXTENT,  /* a part of a VMDK */
        IMAGE_ROLE_MAX,
};

const char *image_role_to_string(enum image_role role);

/* How an image gets at the files it names. Without one, such an image is refused. */
struct image_resolver {
        /* name: as the image has it, valid UTF-8, relative to the image's own folder if not absolute. format: NULL if the image does not
         * say. depth: how many images lie above. The file is the caller's then. */
        struct image_file *(*open)(
                        void *opaque,
                        enum image_role role,
                        const char *name,
                        const char *format,
                        unsigned depth,
                        bool readonly,
                        GError **error);
        void *opaque;
};

#define IMAGE_DEPTH_MAX 10u /* images in a backing chain */

struct image_open {
        const char *format; /* NULL: probed; see image_probe() for what that means for raw */
        bool readonly;
        bool for_check; /* take what is dirty or corrupt as well: check() is what follows */
        const struct image_resolver *resolver; /* may be NULL; not used after opening */
        unsigned depth;                        /* 0 */
};

/* A finding of check(). repaired: it is no longer so. */
typedef void image_finding_fn(void *opaque, bool corruption, bool repaired, const char *message);

struct image_check {
        bool repair_leaks, repair_all;
        image_finding_fn *finding;
        void *opaque;
        /* Results. */
        uint64_t corruptions, leaks, fixed_corruptions, fixed_leaks;
        uint64_t allocated, total; /* clusters */
};

struct image_snapshot {
        char *id, *name;
        uint64_t disk_size, vm_state_size; /* bytes */
        int64_t date_ns;                   /* since the epoch */
        uint64_t vm_clock_ns;
};

/* Another size in steps. */
struct image_resize {
        uint64_t size; /* wanted */
        bool begun, shrinks, done;
        uint64_t at; /* the format's: so far it has come */
};

struct image_format {
        const char *name;
        const char *description;

        /* The first n bytes of a file (all, or IMAGE_PROBE_LEN of them) are this format's. NULL: never probed. */
        bool (*probe)(const uint8_t *head, size_t n);

        /* The same for the last IMAGE_TAIL_LEN bytes, of formats that sign there. May be NULL. */
        bool (*probe_tail)(const uint8_t *tail);

        /* Does not take file over. The new image's file and backing are filled in by image_open(). */
        struct image *(*open)(
                        struct image_file *file, const struct image_open *how, GError **error);

        /* Options it knows, for help texts and refusals; ends with a NULL name. */
        const struct image_option_spec *options;

        /* Makes an empty image in an empty file. NULL: cannot be created. Options not taken are refused by the caller. */
        bool (*create)(struct image_file *file,
                       uint64_t size,
                       struct image_options *options,
                       GError **error);

        /* The rest is of an open image; 0 or negative errno, unless they have an error. Ranges are within the image, and len > 0. */

        /* What lies at offset: the longest uniform range that is cheap to tell, at most len. */
        int (*map)(struct image *img, uint64_t offset, uint64_t len, struct image_extent *ret);

        /* Fills buf from an IMAGE_PACKED range. */
        int (*read_packed)(struct image *img, uint64_t offset, void *buf, size_t len);

        /* Stores img->packed_unit bytes, of which those beyond the image's end are zeros, compressed. 1, or 0 if that would be no smaller. May be NULL. */
        int (*write_packed)(struct image *img, uint64_t offset, const void *buf);

        /* Makes the range's first part writable data, and says where it lies and how long it is. What it held before outside
         * [offset, offset + len) it holds still (copied from where it was, backing included); what is inside is the caller's to write, before any other
         * call on the image. Until the next flush() the host's file may not know of it. NULL: nothing to be allocated, ever. */
        int (*allocate)(struct image *img, uint64_t offset, uint64_t len, struct image_extent *ret);

        /* Whole clusters (img->cluster), the last one of the image excepted. unmap: their space may go. NULL: zeros are written. */
        int (*zero)(struct image *img, uint64_t offset, uint64_t len, bool unmap);

        /* Whole clusters: they read as zeros or as nothing (not as the backing image's data) then. NULL: nothing happens. */
        int (*discard)(struct image *img, uint64_t offset, uint64_t len);

        /* What was written and allocated is found again after a power cut. Orders: data and reference counts, sync, tables, sync. */
        int (*flush)(struct image *img);

        /* Space that zero(), discard() or allocate() gave up, and that was held back (img->hold), may be used again. */
        void (*release_held)(struct image *img);

        /* Zeros are added, or the end is cut off. */
        bool (*resize)(struct image *img, uint64_t size, GError **error);

        /* The same in steps of bounded length, until change->done. In between the image can be used: up to the size that it had while it grows, up to the new
         * one while it shrinks, which is what img->size says. Whoever takes no further step leaves a good image of that size behind. False: so
         * does an error. NULL: it cannot. */
        bool (*resize_step)(struct image *img, struct image_resize *change, GError **error);

        bool (*check)(struct image *img, struct image_check *check, GError **error);

        /* Adds "key" = value pairs of its own to what is told about an image. */
        void (*describe)(struct image *img, GVariantBuilder *dict);

        /* Array of struct image_snapshot, owned by the image. */
        const GPtrArray *(*snapshots)(struct image *img);
        bool (*snapshot_create)(struct image *img, const char *name, GError **error);
        bool (*snapshot_apply)(struct image *img, const char *id_or_name, GError **error);
        bool (*snapshot_delete)(struct image *img, const char *id_or_name, GError **error);

        /* Leaves the file clean as far as possible, and frees. flush() was called if it was writable. */
        void (*close)(struct image *img);
};

struct image {
        const struct image_format *format; /* set by open */
        uint64_t size;                     /* bytes, multiple of 512; set by open */
        uint32_t cluster; /* bytes, power of 2, 512 or more: what map() tells is uniform within; set by open */
        uint32_t packed_unit; /* bytes that write_packed() takes; 0: it cannot; set by open */
        bool readonly;        /* set by open, from how->readonly or because it has to be */
        bool probed;          /* the format is a guess */
        bool unflushed; /* flush() has something to do that a sync of the files does not; kept by the format */
        bool hold; /* space given up is not used again before release_held(); set by the owner */
        struct image_file *file;             /* owned */
        struct image *backing;               /* owned, may be NULL; may be shorter: zeros follow */
        char *backing_name, *backing_format; /* as the image has them; NULL */

        /* What map() said of the range is no longer so. May be NULL. */
        void (*moved)(void *opaque, uint64_t offset, uint64_t len);
        void *moved_opaque;
};

extern const struct image_format *const image_formats[]; /* ends with NULL */
const struct image_format *image_format_by_name(const char *name);

#define IMAGE_PROBE_LEN 4096u
#define IMAGE_TAIL_LEN 512u

/* The format that a file's first bytes, or its last ones for VHD, have the signature of; raw if there is none. A guess for raw: a guest that may
 * write its first sector can make it another one, so who trusts it must refuse that. */
const struct image_format *image_probe(struct image_file *file, GError **error);

/* Takes file over, also on failure. */
struct image *image_open(struct image_file *file, const struct image_open *how, GError **error);

/* Flushes, closes, and frees the chain and its files. NULL is fine. 0 or what flush() said. */
int image_close(struct image *img);
void image_free(struct image *img); /* image_close() for autoptr */

/* All of these: 0 or negative errno. Ranges beyond the end: -EINVAL. */
int image_map(struct image *img, uint64_t offset, uint64_t len, struct image_extent *ret);

/* The same through the chain: never IMAGE_ABSENT; ret_img (may be NULL): whose IMAGE_PACKED it is. writable only for what is the top image's. */
int image_map_chain(
                struct image *img,
                uint64_t offset,
                uint64_t len,
                struct image_extent *ret,
                struct image **ret_img);
int image_read(struct image *img, uint64_t offset, void *buf, size_t len);
int image_readv(struct image *img, uint64_t offset, const struct iovec *iov, unsigned n);
int image_write(struct image *img, uint64_t offset, const void *buf, size_t len);
int image_writev(struct image *img, uint64_t offset, const struct iovec *iov, unsigned n);
/* A piece of img->packed_unit bytes, or the rest of it at the image's end, compressed where that saves space. -EOPNOTSUPP: not in this image. */
int image_write_packed(struct image *img, uint64_t offset, const void *buf, size_t len);
int image_zero(struct image *img, uint64_t offset, uint64_t len, bool unmap);
int image_discard(struct image *img, uint64_t offset, uint64_t len);
int image_flush(struct image *img);

/* For formats: tells img->moved. */
void image_tell_moved(struct image *img, uint64_t offset, uint64_t len);

typedef struct image image;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(image, image_free)

/* The formats; each in its own file. */
extern const struct image_format image_raw;
extern const struct image_format image_qcow2;
extern const struct image_format image_vhd;
extern const struct image_format image_vhdx;
extern const struct image_format image_vmdk;
