/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * From a configuration's disk to an image that a device can use.
 *
 * Raw disks go to the host as they are. Every other format has an image thread. What an image names is not opened here: chvd asks which file is
 * needed next until there is no more, and passes them in that order, so opening the image again asks for the same ones.
 *
 * An image whose own format was guessed because whoever names it did not say may not name anything: a guest that once had it as a raw disk
 * could have written such a name. For the disk itself the guest is kept from that (devices/block/guard.h).
 */

#include "daemon/vmm/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "dbus/error.h"
#include "devices/block/mapped.h"
#include "hypervisor/error.h"

/* Hands out the files of a chain. */
typedef struct {
        int (*get)(void *opaque, unsigned index); /* a descriptor to keep; -1: there is none */
        void *opaque;
        unsigned next;    /* to be handed out; 0 is the disk's own */
        unsigned current; /* the image that is being opened */
        bool guessed;     /* its format */
        bool forbidden;   /* backing_files is off */
        DiskReference *missing;
} Chain;

static struct image_file *
next_file(void *opaque,
          enum image_role role,
          const char *name,
          const char *format,
          unsigned depth,
          bool readonly,
          GError **error) {
        Chain *chain = opaque;
        int fd;

        if (chain->forbidden || chain->guessed) {
                g_set_error(error, HV_ERROR, HV_ERROR_IMAGE,
                            chain->forbidden
                                            ? "the image names the file '%s', and backing_files "
                                              "is off"
                                            : "the image names the file '%s', and may not, because "
                                              "its own format was not given",
                            name);
                return NULL;
        }
        fd = chain->get(chain->opaque, chain->next);
        if (fd < 0) {
                /* What cannot be told is refused by Boot(). */
                if (!chain->missing && g_utf8_validate(name, -1, NULL) &&
                    (!format || g_utf8_validate(format, -1, NULL))) {
                        chain->missing = g_new0(DiskReference, 1);
                        *chain->missing = (DiskReference){
                                .role = image_role_to_string(role),
                                .name = g_strdup(name),
                                .format = g_strdup(format),
                                .parent = chain->current,
                        };
                }
                g_set_error(error, HV_ERROR, HV_ERROR_IMAGE, "the file '%s' is missing", name);
                return NULL;
        }
        if (role == IMAGE_ROLE_BACKING) {
                chain->current = chain->next;
                chain->guessed = !format;
        }
        chain->next++;
        return image_file_new(fd, readonly, error);
}

static const char *explicit_format(const char *image_type) {
        return image_type && !g_str_equal(image_type, "auto") ? image_type : NULL;
}

static struct image *
open_chain(Chain *chain, int fd, const char *image_type, bool readonly, GError **error) {
        struct image_resolver resolver = { next_file, chain };
        struct image_open how = {
                .format = explicit_format(image_type),
                .readonly = readonly,
                .resolver = &resolver,
        };
        struct image_file *file = image_file_new(fd, readonly, error);

        chain->next = 1;
        return file ? image_open(file, &how, error) : NULL;
}

typedef struct {
        const int *files;
        size_t n;
} Files;

static int dup_file(void *opaque, unsigned index) {
        const Files *files = opaque;

        return index < files->n ? fcntl(files->files[index], F_DUPFD_CLOEXEC, 3) : -1;
}

DiskReference *disk_find_reference(const int *files, size_t n, const char *format) {
        Files all = { files, n };
        Chain chain = { .get = dup_file, .opaque = &all };
        int fd = dup_file(&all, 0);

        if (fd >= 0)
                image_free(open_chain(&chain, fd, format, /* readonly= */ true, /* error= */ NULL));
        return chain.missing;
}

void disk_reference_free(DiskReference *reference) {
        if (!reference)
                return;
        g_free(reference->name);
        g_free(reference->format);
        g_free(reference);
}

typedef struct {
        const ChvDiskConfig *disk;
        const FdTable *fds;
} Passed;

static int dup_passed(void *opaque, unsigned index) {
        const Passed *passed = opaque;
        g_autofree char *name = g_strdup_printf("disks/%s/%u", passed->disk->pci.id, index - 1);

        return fd_table_dup(passed->fds, name, /* error= */ NULL);
}

/* What the bytes say, if the configuration does not. NULL: error. */
static const struct image_format *find_format(const ChvDiskConfig *disk, int fd, GError **error) {
        const char *given = explicit_format(disk->image_type);
        const struct image_format *format = given ? image_format_by_name(given) : NULL;
        g_autoptr(image_file) file = NULL;
        int copy;

        if (format)
                return format;
        if (given) {
                g_set_error(error, HV_ERROR, HV_ERROR_UNSUPPORTED,
                            "image_type: this version cannot read '%s'", given);
                return NULL;
        }
        copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
        if (copy < 0) {
                (void) hv_error_errno(error, errno, "duplicating a descriptor");
                return NULL;
        }
        file = image_file_new(copy, /* readonly= */ true, error);
        return file ? image_probe(file, error) : NULL;
}

/* All the space that a raw file will ever need, or none of the machine. A block device has it. */
static bool preallocate(int fd, uint64_t size, GError **error) {
        struct stat st;
        int r;

        if (fstat(fd, &st) < 0 || S_ISBLK(st.st_mode) || size == 0)
                return true;
        do
                r = fallocate(fd, 0, 0, (off_t) size);
        while (r < 0 && errno == EINTR);
        return r == 0 || hv_error_errno(error, errno, "sparse=off: getting the file's space");
}

static struct disk_image *open_raw(const ChvDiskConfig *disk, int fd, GError **error) {
        struct disk_image *img = disk_image_open_raw(fd, disk->readonly, disk->direct, error);

        if (!img || img->readonly)
                return img;
        if (!disk->sparse && !preallocate(fd, img->size, error))
                return disk_image_free(img);
        img->preallocated = !disk->sparse;
        if (!explicit_format(disk->image_type))
                disk_image_guard_raw(img);
        return img;
}

static struct disk_image *
open_mapped(const ChvDiskConfig *disk,
            const FdTable *fds,
            int fd,
            const struct io_thread_hook *hook,
            GError **error) {
        Passed passed = { disk, fds };
        Chain chain = {
                .get = dup_passed,
                .opaque = &passed,
                .forbidden = !disk->backing_files,
        };
        struct disk_image_mapped_config config = {
                .name = disk->pci.id,
                .thread_start = hook->thread_start,
                .opaque = hook->opaque,
        };
        struct image *img = open_chain(&chain, fd, disk->image_type, disk->readonly, error);

        disk_reference_free(chain.missing);
        if (!img)
                return NULL;
        if (img->readonly && !disk->readonly) {
                g_set_error(error, HV_ERROR, HV_ERROR_IMAGE,
                            "the image can only be read, and the disk is not readonly");
                image_free(img);
                return NULL;
        }
        return disk_image_open_mapped(img, &config, error);
}

struct disk_image *
disk_open(const ChvDiskConfig *disk,
          const FdTable *fds,
          const struct io_thread_hook *hook,
          GError **error) {
        g_autofree char *name = g_strconcat("disks/", disk->pci.id, NULL);
        int fd = fd_table_dup(fds, name, error);
        const struct image_format *format;
        struct disk_image *img;

        if (fd < 0)
                return NULL;
        format = find_format(disk, fd, error);
        if (!format) {
                (void) close(fd);
                img = NULL;
        } else if (format == &image_raw)
                img = open_raw(disk, fd, error);
        else
                img = open_mapped(disk, fds, fd, hook, error);
        if (!img)
                g_prefix_error(error, "disk %s: ", disk->pci.id);
        return img;
}
