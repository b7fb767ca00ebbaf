/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Who uses which image. Locks on files (resource.c) keep other programs away, but don't say who has them, and see
 * neither two names of one block device nor two descriptors of one open file. So each run notes here what its disks
 * are, for as long as it lasts: the same rule as the locks, many readers or one writer, and with names. Interfaces are
 * noted too, as the kernel lets a second VM attach to one with several queues. Runs are opened in threads, hence the
 * mutex.
 */

#include "daemon/chvd/image.h"

#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "daemon/chvd/resource.h"
#include "dbus/error.h"

struct ChvdImage {
        ChvdImageId id;
        bool readonly;
        char *vm;
};

static GMutex mutex;
static GList *images; /* ChvdImage */

bool chvd_image_identify(int fd, ChvdImageId *ret_id) {
        struct statx st;

        if (!chvd_resource_stat(fd, &st))
                return false;
        if (S_ISBLK(st.stx_mode))
                *ret_id = (ChvdImageId){ CHVD_IMAGE_BLOCK,
                                         makedev(st.stx_rdev_major, st.stx_rdev_minor), 0 };
        else
                *ret_id = (ChvdImageId){ CHVD_IMAGE_FILE,
                                         makedev(st.stx_dev_major, st.stx_dev_minor), st.stx_ino };
        return true;
}

static const ChvdImage *find_other(const ChvdImageId *id, bool readonly) {
        for (const GList *l = images; l; l = l->next) {
                const ChvdImage *image = l->data;

                if (image->id.kind == id->kind && image->id.device == id->device &&
                    image->id.inode == id->inode && !(readonly && image->readonly))
                        return image;
        }
        return NULL;
}

ChvdImage *
chvd_image_hold(const char *vm, const ChvResource *need, const ChvdImageId *id, GError **error) {
        g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&mutex);
        const ChvdImage *other = find_other(id, need->readonly);
        ChvdImage *image;

        if (other) {
                g_autofree char *what =
                                g_str_equal(other->vm, vm)
                                                ? g_strdup_printf("is in use by another %s of this "
                                                                  "VM",
                                                                  need->kind == CHV_RESOURCE_DISK
                                                                                  ? "disk"
                                                                                  : "interface")
                                                : g_strdup_printf("is in use by VM '%s'",
                                                                  other->vm);

                (void) chvd_resource_fail(need, 0, what, error);
                return NULL;
        }
        image = g_new0(ChvdImage, 1);
        *image = (ChvdImage){ *id, need->readonly, g_strdup(vm) };
        images = g_list_prepend(images, image);
        return image;
}

void chvd_image_release(ChvdImage *image) {
        g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&mutex);

        images = g_list_remove(images, image);
        g_free(image->vm);
        g_free(image);
}

const ChvdImageId *chvd_image_id(const ChvdImage *image) {
        return &image->id;
}

bool chvd_image_is_readonly(const ChvdImage *image) {
        return image->readonly;
}
