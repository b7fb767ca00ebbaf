/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Host files that a VM is made of. A path is first walked to a mere place (walk.c), which is looked at, and only when
 * it is of the kind that the option wants opened for use: so no tape is rewound and no FIFO waited for because somebody
 * named it. The second open goes through the first descriptor, not the path, so nobody can swap the file in between.
 * All of this runs in chvd or, with the rights of a VM's owner, in chv-open.
 *
 * Descriptors that come from elsewhere, given by clients or opened by chv-open, are judged by their type and flags and
 * never reopened. Their file system may be of the sender's making and never answer, so it is not asked.
 *
 * Disks are locked with OFD locks, which belong to the open file: they travel with the descriptor to the worker and
 * end when the last copy is closed, however the worker ends. The lock is on the bytes that the file has now, as Cloud
 * Hypervisor has it by default: storage that takes a lock of everything for more than advice leaves others, such as
 * those who make backups, their way. Or on all there are and will be. Both begin at the first byte, so they exclude one
 * another, programs that lock single bytes as QEMU does, and both shapes of Cloud Hypervisor; a file that grows needs
 * no longer lock for that.
 */

#include "daemon/chvd/resource.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "daemon/chvd/macvtap.h"
#include "dbus/error.h"
#include "dbus/fd.h"

#define TUN makedev(10, 200) /* Linux: Documentation/admin-guide/devices.txt */

bool chvd_resource_fail(const ChvResource *resource, int errnum, const char *what, GError **error) {
        g_set_error(error, CHV_ERROR, CHV_ERROR_RESOURCE, "%s: %s%s%s%s%s%s", resource->option,
                    resource->path ? "'" : "", resource->path ?: "", resource->path ? "': " : "",
                    what, errnum ? ": " : "", errnum ? g_strerror(errnum) : "");
        return false;
}

/* NULL: the type of file is right. */
static const char *wrong_type(ChvResourceKind kind, mode_t mode, dev_t device) {
        switch (kind) {
        case CHV_RESOURCE_KERNEL:
        case CHV_RESOURCE_FIRMWARE:
        case CHV_RESOURCE_INITRAMFS:
        case CHV_RESOURCE_OUTPUT:
                return S_ISREG(mode) ? NULL : "not a regular file";
        case CHV_RESOURCE_DISK:
                return S_ISREG(mode) || S_ISBLK(mode) ? NULL
                                                      : "neither a regular file nor a block device";
        case CHV_RESOURCE_RNG:
                return S_ISREG(mode) || S_ISCHR(mode)
                                       ? NULL
                                       : "neither a character device nor a regular file";
        case CHV_RESOURCE_TAP:
                return S_ISCHR(mode) && (device == TUN || chvd_macvtap_is(device))
                                       ? NULL
                                       : "not a tap descriptor";
        case CHV_RESOURCE_SOCKET:
        case CHV_RESOURCE_VHOST_USER:
        case CHV_RESOURCE_PASST:
                return S_ISSOCK(mode) ? NULL : "not a socket";
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

static int fail_open(ChvdFault *fault, int errnum, const char *what) {
        *fault = (ChvdFault){ errnum, what };
        return -1;
}

/* A console file that is not there is made. O_EXCL: one that is there is looked at before it is opened. */
static bool make_output(const char *path, ChvdFault *fault) {
        g_autofree char *name = NULL;
        chv_autofd folder = chvd_walk_folder(path, &name, fault), made = -1;

        if (folder < 0)
                return false;
        made = openat(folder, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOCTTY | O_NOFOLLOW,
                      0600);
        if (made < 0 && errno == EEXIST && chvd_walk_is_shared(folder)) {
                struct stat file, shared;

                /* As the kernel has it with protected_regular: somebody may have laid it there for us to write to. */
                if (fstatat(folder, name, &file, AT_SYMLINK_NOFOLLOW) == 0 &&
                    fstat(folder, &shared) == 0 && file.st_uid != geteuid() &&
                    file.st_uid != shared.st_uid) {
                        (void) fail_open(
                                        fault, 0,
                                        "is another user's, in a folder that everybody can write");
                        return false;
                }
                return true;
        }
        if (made >= 0 || errno == EEXIST)
                return true;
        (void) fail_open(fault, errno, "cannot create");
        return false;
}

int chvd_resource_open(const ChvResource *resource, ChvdFault *ret_fault) {
        chv_autofd place = -1, fd = -1;
        char self[sizeof("/proc/self/fd/") + 11];
        const char *wrong;
        struct stat st;
        int flags = access_flags(resource);

        if (resource->kind == CHV_RESOURCE_OUTPUT && !make_output(resource->path, ret_fault))
                return -1;
        place = chvd_walk(resource->path, ret_fault);
        if (place < 0)
                return -1;
        if (fstat(place, &st) < 0)
                return fail_open(ret_fault, errno, "cannot stat");
        wrong = wrong_type(resource->kind, st.st_mode, st.st_rdev);
        if (wrong)
                return fail_open(ret_fault, 0, wrong);

        (void) g_snprintf(self, sizeof(self), "/proc/self/fd/%d", place);
        fd = open(self, flags | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
        if (fd < 0 && errno == EINVAL && resource->direct)
                return fail_open(ret_fault, 0, "its file system has no direct I/O");
        if (fd < 0)
                return fail_open(ret_fault, errno, "cannot open");
        /* O_NONBLOCK was for opening only. */
        if (fcntl(fd, F_SETFL, flags & ~O_ACCMODE) < 0)
                return fail_open(ret_fault, errno, "cannot set flags");
        return chv_fd_steal(&fd);
}

/* Frames to any other address do not come. */
static bool check_macvtap(const ChvResource *resource, int fd, GError **error) {
        const ChvNetConfig *net = resource->config;
        g_autofree char *mac = NULL, *what = NULL;
        struct ifreq ifr = { 0 };
        const uint8_t *b = (const uint8_t *) ifr.ifr_hwaddr.sa_data;

        if (ioctl(fd, SIOCGIFHWADDR, &ifr) < 0)
                return chvd_resource_fail(resource, errno, "cannot read its MAC address", error);
        mac = g_strdup_printf("%02x:%02x:%02x:%02x:%02x:%02x", b[0], b[1], b[2], b[3], b[4], b[5]);
        if (g_strcmp0(mac, net->mac) == 0)
                return true;
        what = g_strdup_printf("the guest of a macvtap needs its address: mac=%s", mac);
        return chvd_resource_fail(resource, 0, what, error);
}

static bool check_tap(const ChvResource *resource, int fd, dev_t device, GError **error) {
        const ChvNetConfig *net = resource->config;
        struct ifreq ifr = { 0 };

        const char *named = net->bridge     ? "bridge"
                            : net->ip       ? "ip"
                            : net->host_mac ? "host_mac"
                                            : NULL;

        if (named) {
                g_autofree char *what = g_strdup_printf(
                                "%s is for an interface that is named, not for a descriptor",
                                named);

                return chvd_resource_fail(resource, 0, what, error);
        }
        if (ioctl(fd, TUNGETIFF, &ifr) < 0)
                return chvd_resource_fail(resource, errno, "not attached to a tap", error);
        if ((ifr.ifr_flags & (IFF_TAP | IFF_NO_PI | IFF_VNET_HDR)) !=
            (IFF_TAP | IFF_NO_PI | IFF_VNET_HDR))
                return chvd_resource_fail(
                                resource, 0, "a tap needs IFF_NO_PI and IFF_VNET_HDR", error);
        return device == TUN || check_macvtap(resource, fd, error);
}

static bool is_socket(const ChvResource *resource) {
        return resource->kind == CHV_RESOURCE_SOCKET || resource->kind == CHV_RESOURCE_VHOST_USER ||
               resource->kind == CHV_RESOURCE_PASST;
}

static bool check_socket(const ChvResource *resource, int fd, GError **error) {
        bool listens = resource->kind == CHV_RESOURCE_SOCKET;
        int domain = 0, type = 0, listening = 0;
        socklen_t length = sizeof(int), none = 0;

        if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &length) < 0 ||
            getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) < 0 ||
            getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &length) < 0)
                return chvd_resource_fail(resource, errno, "cannot inspect", error);
        if (domain == AF_UNIX && type == SOCK_STREAM && listening == listens &&
            (listens || getpeername(fd, &(struct sockaddr){ 0 }, &none) == 0))
                return true;
        return chvd_resource_fail(
                        resource, 0,
                        listens ? "not a listening UNIX stream socket"
                                : "not a connected UNIX stream socket",
                        error);
}

bool chvd_resource_stat(int fd, struct statx *ret) {
        return statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC,
                     STATX_TYPE | STATX_MODE | STATX_INO, ret) == 0;
}

bool chvd_resource_normalise(const ChvResource *resource, int fd, GError **error) {
        if (is_socket(resource) || fcntl(fd, F_SETFL, access_flags(resource) & ~O_ACCMODE) == 0)
                return true;
        return chvd_resource_fail(resource, errno, "cannot set flags", error);
}

bool chvd_resource_check(const ChvResource *resource, int fd, GError **error) {
        const char *wrong;
        struct statx st;
        int flags, access;

        flags = fcntl(fd, F_GETFL);
        if (flags < 0 || !chvd_resource_stat(fd, &st))
                return chvd_resource_fail(resource, errno, "cannot inspect", error);
        if (flags & O_PATH)
                return chvd_resource_fail(resource, 0, "the descriptor is O_PATH", error);
        wrong = wrong_type(
                        resource->kind, st.stx_mode, makedev(st.stx_rdev_major, st.stx_rdev_minor));
        if (wrong)
                return chvd_resource_fail(resource, 0, wrong, error);
        if (resource->kind == CHV_RESOURCE_TAP)
                return check_tap(
                                resource, fd, makedev(st.stx_rdev_major, st.stx_rdev_minor), error);
        if (is_socket(resource))
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

/* QEMU's locks are on single bytes from 100 and from 200 on, whatever the size: they are to be met in an empty file, too. */
#define LEAST_LOCKED 512

static bool size_of(int fd, uint64_t *ret_size) {
        struct stat st;

        if (fstat(fd, &st) < 0)
                return false;
        *ret_size = (uint64_t) st.st_size;
        return !S_ISBLK(st.st_mode) || ioctl(fd, BLKGETSIZE64, ret_size) == 0;
}

bool chvd_resource_lock(const ChvResource *disk, int fd, bool *ret_busy, ChvdFault *ret_fault) {
        struct flock lock = {
                .l_type = disk->readonly ? F_RDLCK : F_WRLCK,
                .l_whence = SEEK_SET,
        };
        uint64_t size = 0;

        *ret_busy = false;
        if (!disk->lock_full && !size_of(fd, &size)) {
                *ret_fault = (ChvdFault){ errno, "cannot tell its size" };
                return false;
        }
        /* 0: to the end, wherever that will be. */
        lock.l_len = disk->lock_full ? 0 : (off_t) MAX(size, LEAST_LOCKED);
        if (fcntl(fd, F_OFD_SETLK, &lock) == 0)
                return true;
        *ret_busy = errno == EAGAIN || errno == EACCES;
        *ret_fault = *ret_busy ? (ChvdFault){ 0, "is in use by another program" }
                               : (ChvdFault){ errno, "cannot lock" };
        return false;
}

void chvd_resource_unlock(int fd) {
        struct flock lock = { .l_type = F_UNLCK, .l_whence = SEEK_SET };

        (void) fcntl(fd, F_OFD_SETLK, &lock);
}
