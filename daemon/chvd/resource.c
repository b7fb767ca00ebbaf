/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Host files that a VM is made of. A path is first opened as a mere place (O_PATH), looked at, and only when it is of
 * the kind that the option wants opened for use: so no tape is rewound and no FIFO waited for because somebody named
 * it. The second open goes through the first descriptor, not the path, so nobody can swap the file in between.
 *
 * Descriptors given by clients are judged by fstat and their flags, never reopened.
 *
 * Disks are locked with OFD locks, which belong to the open file: they travel with the descriptor to the worker and
 * end when the last copy is closed, however the worker ends.
 */

#include "daemon/chvd/resource.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "dbus/error.h"
#include "dbus/fd.h"

bool chvd_resource_fail(const ChvResource *resource, int errnum, const char *what, GError **error) {
        g_set_error(error, CHV_ERROR, CHV_ERROR_RESOURCE, "%s: %s%s%s%s%s%s", resource->option,
                    resource->path ? "'" : "", resource->path ?: "", resource->path ? "': " : "",
                    what, errnum ? ": " : "", errnum ? g_strerror(errnum) : "");
        return false;
}

/* NULL: the type of file is right. */
static const char *wrong_type(const ChvResource *resource, const struct stat *st) {
        switch (resource->kind) {
        case CHV_RESOURCE_KERNEL:
        case CHV_RESOURCE_FIRMWARE:
        case CHV_RESOURCE_INITRAMFS:
        case CHV_RESOURCE_OUTPUT:
                return S_ISREG(st->st_mode) ? NULL : "not a regular file";
        case CHV_RESOURCE_DISK:
                return S_ISREG(st->st_mode) || S_ISBLK(st->st_mode)
                                       ? NULL
                                       : "neither a regular file nor a block device";
        case CHV_RESOURCE_RNG:
                return S_ISREG(st->st_mode) || S_ISCHR(st->st_mode)
                                       ? NULL
                                       : "neither a character device nor a regular file";
        case CHV_RESOURCE_TAP:
                return S_ISCHR(st->st_mode) && st->st_rdev == makedev(10, 200)
                                       ? NULL
                                       : "not a tap descriptor";
        case CHV_RESOURCE_SOCKET:
                return S_ISSOCK(st->st_mode) ? NULL : "not a socket";
        }
        return "of a kind this version does not know";
}

static int access_flags(const ChvResource *resource) {
        switch (resource->kind) {
        case CHV_RESOURCE_DISK:
                return (resource->readonly ? O_RDONLY : O_RDWR) | (resource->direct ? O_DIRECT : 0);
        case CHV_RESOURCE_OUTPUT:
                return O_WRONLY | O_APPEND;
        default:
                return O_RDONLY;
        }
}

static int fail_open(const ChvResource *resource, int errnum, const char *what, GError **error) {
        (void) chvd_resource_fail(resource, errnum, what, error);
        return -1;
}

/* The place that the path names, made first if it is a console file. */
static int open_place(const ChvResource *resource, GError **error) {
        chv_autofd made = -1, place = -1;

        if (resource->kind == CHV_RESOURCE_OUTPUT) {
                /* O_EXCL: an existing file is looked at before it is opened. */
                made = open(resource->path,
                            O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOCTTY | O_NOFOLLOW, 0600);
                if (made < 0 && errno != EEXIST)
                        return fail_open(resource, errno, "cannot create", error);
        }
        place = open(resource->path, O_PATH | O_CLOEXEC);
        if (place < 0)
                return fail_open(resource, errno, "cannot open", error);
        return chv_fd_steal(&place);
}

int chvd_resource_open(const ChvResource *resource, GError **error) {
        chv_autofd place = -1, fd = -1;
        char self[sizeof("/proc/self/fd/") + 11];
        const char *wrong;
        struct stat st;
        int flags;

        if (!resource->path)
                return fail_open(resource, 0, "is needed: a path or a descriptor", error);
        place = open_place(resource, error);
        if (place < 0)
                return -1;
        if (fstat(place, &st) < 0)
                return fail_open(resource, errno, "cannot stat", error);
        wrong = wrong_type(resource, &st);
        if (wrong)
                return fail_open(resource, 0, wrong, error);

        (void) g_snprintf(self, sizeof(self), "/proc/self/fd/%d", place);
        flags = access_flags(resource);
        fd = open(self, flags | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
        if (fd < 0 && errno == EINVAL && resource->direct)
                return fail_open(resource, 0, "its file system has no direct I/O", error);
        if (fd < 0)
                return fail_open(resource, errno, "cannot open", error);
        /* O_NONBLOCK was for opening only. */
        if (fcntl(fd, F_SETFL, flags & ~O_ACCMODE) < 0)
                return fail_open(resource, errno, "cannot set flags", error);
        return chv_fd_steal(&fd);
}

static bool check_tap(const ChvResource *resource, int fd, GError **error) {
        struct ifreq ifr = { 0 };

        if (ioctl(fd, TUNGETIFF, &ifr) < 0)
                return chvd_resource_fail(resource, errno, "not attached to a tap", error);
        if ((ifr.ifr_flags & (IFF_TAP | IFF_NO_PI | IFF_VNET_HDR)) !=
            (IFF_TAP | IFF_NO_PI | IFF_VNET_HDR))
                return chvd_resource_fail(
                                resource, 0, "a tap needs IFF_NO_PI and IFF_VNET_HDR", error);
        return true;
}

static bool check_socket(const ChvResource *resource, int fd, GError **error) {
        int domain = 0, type = 0, listening = 0;
        socklen_t length = sizeof(int);

        if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &length) < 0 ||
            getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) < 0 ||
            getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &length) < 0)
                return chvd_resource_fail(resource, errno, "cannot inspect", error);
        if (domain != AF_UNIX || type != SOCK_STREAM || !listening)
                return chvd_resource_fail(resource, 0, "not a listening UNIX stream socket", error);
        return true;
}

bool chvd_resource_check(const ChvResource *resource, int fd, GError **error) {
        const char *wrong;
        struct stat st;
        int flags, access;

        flags = fcntl(fd, F_GETFL);
        if (flags < 0 || fstat(fd, &st) < 0)
                return chvd_resource_fail(resource, errno, "cannot inspect", error);
        if (flags & O_PATH)
                return chvd_resource_fail(resource, 0, "the descriptor is O_PATH", error);
        wrong = wrong_type(resource, &st);
        if (wrong)
                return chvd_resource_fail(resource, 0, wrong, error);
        if (resource->kind == CHV_RESOURCE_TAP)
                return check_tap(resource, fd, error);
        if (resource->kind == CHV_RESOURCE_SOCKET)
                return check_socket(resource, fd, error);

        access = flags & O_ACCMODE;
        if (resource->kind == CHV_RESOURCE_OUTPUT) {
                if (access == O_RDONLY)
                        return chvd_resource_fail(
                                        resource, 0, "the descriptor is not writable", error);
                return true;
        }
        if (access == O_WRONLY)
                return chvd_resource_fail(resource, 0, "the descriptor is not readable", error);
        if (resource->kind != CHV_RESOURCE_DISK)
                return true;
        if (!resource->readonly && access != O_RDWR)
                return chvd_resource_fail(
                                resource, 0,
                                "the descriptor is not writable and the disk not readonly", error);
        /* pwrite() to such a file ignores its offset. */
        if (flags & O_APPEND)
                return chvd_resource_fail(resource, 0, "the descriptor is O_APPEND", error);
        if (resource->direct && !(flags & O_DIRECT))
                return chvd_resource_fail(resource, 0, "the descriptor is not O_DIRECT", error);
        return true;
}

bool chvd_resource_lock(const ChvResource *resource, int fd, GError **error) {
        struct flock lock = {
                .l_type = resource->readonly ? F_RDLCK : F_WRLCK,
                .l_whence = SEEK_SET,
        };

        if (fcntl(fd, F_OFD_SETLK, &lock) == 0)
                return true;
        if (errno == EAGAIN || errno == EACCES)
                return chvd_resource_fail(
                                resource, 0, "is in use by another disk or program", error);
        return chvd_resource_fail(resource, errno, "cannot lock", error);
}

void chvd_resource_unlock(int fd) {
        struct flock lock = { .l_type = F_UNLCK, .l_whence = SEEK_SET };

        (void) fcntl(fd, F_OFD_SETLK, &lock);
}
