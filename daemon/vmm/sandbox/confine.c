/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Everything a process of one thread can give up at once: descriptors, namespaces, the root, users, capabilities, paths.
 *
 * The order is that of need: namespaces need privileges (or a user namespace, where the host lets anybody have one), the
 * empty root needs the mount namespace, another user needs capabilities, and Landlock comes last because it forbids mounting.
 * No step undoes another; one that fails leaves those before it standing.
 */

#include "daemon/vmm/sandbox/confine.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/landlock.h>
#include <linux/securebits.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "daemon/vmm/sandbox/namespaces.h"
#include "dbus/error.h"
#include "dbus/fd.h"

/* Rights of Landlock that the headers of Debian 12 do not know (ABI 3, 4, 5, 6). */
#define LANDLOCK_FS_TRUNCATE (1ull << 14)
#define LANDLOCK_FS_IOCTL_DEV (1ull << 15)
#define LANDLOCK_NET_TCP (3ull << 0)
#define LANDLOCK_SCOPE_ALL (3ull << 0)

typedef struct {
        uint64_t fs, net, scope;
} LandlockAttr;

static bool fail(GError **error, const char *what) {
        g_set_error(error, CHV_ERROR, CHV_ERROR_RESOURCE, "sandbox: %s: %s", what,
                    g_strerror(errno));
        return false;
}

static void skip(const char *what) {
        g_debug("sandbox: %s: %s; going on without", what, g_strerror(errno));
}

/* Inside a unit of systemd most have been made already, and no more than a cgroup namespace may be. */
static bool enter_namespaces(void) {
        if (namespaces_make(CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS |
                            CLONE_NEWCGROUP))
                return true;
        skip("namespaces");
        if (!namespaces_make(CLONE_NEWCGROUP))
                skip("a cgroup namespace");
        return false;
}

static bool mount_empty(const char *place) {
        return mount("chv-empty", place, "tmpfs", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC,
                     "mode=0555,size=4k,nr_inodes=2") == 0;
}

/* Within the mount namespace. */
static void empty_root(void) {
        static const char *const places[] = { "/proc", "/tmp", "/run", "/dev" };
        size_t i = 0;

        if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) {
                skip("private mounts");
                return;
        }
        while (i < G_N_ELEMENTS(places) && !mount_empty(places[i]))
                i++;
        if (i == G_N_ELEMENTS(places) || chdir(places[i]) < 0) {
                skip("an empty root");
                return;
        }
        /* The new root is put over the old one, which then lies on top and is taken off. */
        if (syscall(SYS_pivot_root, ".", ".") == 0) {
                if (umount2(".", MNT_DETACH) < 0)
                        skip("detaching the old root");
        } else if (mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0)
                skip("changing the root"); /* the second way is for an initramfs, which cannot be pivoted */
        if (chdir("/") < 0)
                skip("going to the root");
}

static bool take_user(const uid_t *uid, const gid_t *gid, GError **error) {
        if (!uid)
                return true;
        if (setgroups(0, NULL) < 0 || setresgid(*gid, *gid, *gid) < 0 ||
            setresuid(*uid, *uid, *uid) < 0)
                return fail(error, "taking on the user");
        return true;
}

/* Needs CAP_SETPCAP. Who lacks it can gain nothing either: there are no new privileges. */
static void renounce_capabilities(void) {
        for (unsigned long cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
                if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0)
                        break;
        (void) prctl(PR_SET_SECUREBITS,
                     SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_SETUID_FIXUP |
                                     SECBIT_NO_SETUID_FIXUP_LOCKED | SECBIT_KEEP_CAPS_LOCKED |
                                     SECBIT_NO_CAP_AMBIENT_RAISE |
                                     SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED,
                     0, 0, 0);
        (void) prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
}

/* Refused only by a filter of whoever started us (chvd.service has one): then they stay, without a path or a call to use them on. */
static void drop_capabilities(void) {
        struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
        struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = { 0 };

        if (syscall(SYS_capset, &header, none) < 0)
                skip("dropping capabilities");
}

/* Opening a pseudo-terminal's other end counts as opening a file in its file system (console.c, TIOCGPTPEER). */
static void allow_terminals(int ruleset, int pts, uint64_t rights) {
        struct landlock_path_beneath_attr rule = {
                .allowed_access = rights & (LANDLOCK_ACCESS_FS_READ_FILE |
                                            LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_FS_IOCTL_DEV),
                .parent_fd = pts,
        };

        if (pts >= 0 &&
            syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) < 0)
                skip("Landlock: pseudo-terminals");
}

static void forbid_paths(int pts) {
        LandlockAttr attr = { .fs = (1ull << 13) - 1 };
        size_t size = sizeof(attr.fs);
        chv_autofd ruleset = -1;
        long abi;

        abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
        if (abi < 1) {
                skip("Landlock");
                return;
        }
        if (abi >= 2)
                attr.fs |= LANDLOCK_ACCESS_FS_REFER;
        if (abi >= 3)
                attr.fs |= LANDLOCK_FS_TRUNCATE;
        if (abi >= 4) {
                attr.net = LANDLOCK_NET_TCP;
                size += sizeof(attr.net);
        }
        if (abi >= 5)
                attr.fs |= LANDLOCK_FS_IOCTL_DEV;
        if (abi >= 6) {
                attr.scope = LANDLOCK_SCOPE_ALL;
                size += sizeof(attr.scope);
        }
        ruleset = (int) syscall(SYS_landlock_create_ruleset, &attr, size, 0);
        if (ruleset < 0) {
                skip("Landlock");
                return;
        }
        allow_terminals(ruleset, pts, attr.fs);
        if (syscall(SYS_landlock_restrict_self, ruleset, 0) < 0)
                skip("Landlock");
}

static void limit_resources(void) {
        struct rlimit none = { 0, 0 };

        if (setrlimit(RLIMIT_CORE, &none) < 0)
                skip("no core dump");
}

bool confine_process(const uid_t *uid, const gid_t *gid, int keep_fd, GError **error) {
        chv_autofd pts = -1;

        /* They are chvd's or a caller's, and stay open by mistake. */
        (void) syscall(SYS_close_range, (unsigned) keep_fd + 1, ~0u, 0);
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
                return fail(error, "no_new_privs");
        limit_resources();
        pts = open("/dev/pts", O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (enter_namespaces())
                empty_root();
        renounce_capabilities();
        if (!take_user(uid, gid, error))
                return false;
        drop_capabilities();
        forbid_paths(pts);
        if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
                return fail(error, "making memory unreadable for others");
        return true;
}
