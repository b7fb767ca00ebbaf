/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Queues that a block device's driver keeps for being asked instead of interrupting (queue/io_poll in sysfs). Kernels before 6.11 let a
 * program poll a device that has none: it then runs until the interrupt, in vain. Newer ones refuse when it is too late to tell, as a
 * hole in a file is read without the device. The worker has no sysfs, so it is looked at here.
 */

#include "daemon/chvd/poll-queues.h"

#include "daemon/chvd/resource.h"

static bool has_queues(const struct statx *st) {
        bool device = S_ISBLK(st->stx_mode);
        unsigned major = device ? st->stx_rdev_major : st->stx_dev_major,
                 minor = device ? st->stx_rdev_minor : st->stx_dev_minor;
        static const char *const at[] = { "", "../" }; /* a partition's are its disk's */

        for (size_t i = 0; i < G_N_ELEMENTS(at); i++) {
                g_autofree char *path = g_strdup_printf(
                                "/sys/dev/block/%u:%u/%squeue/io_poll", major, minor, at[i]);
                g_autofree char *text = NULL;

                if (g_file_get_contents(path, &text, NULL, NULL))
                        return text[0] != '0';
        }
        return true;
}

bool chvd_poll_queues_check(const ChvResource *resource, int fd, GError **error) {
        const ChvDiskConfig *disk = resource->config;
        struct statx st;

        if (resource->kind != CHV_RESOURCE_DISK || !disk || !disk->iopoll ||
            !chvd_resource_stat(fd, &st) || has_queues(&st))
                return true;
        return chvd_resource_fail(
                        resource, 0, "its device has no queues for polling, which iopoll=on needs",
                        error);
}
