/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Paths are walked one element at a time, each opened relative to the one before and without following links, so that
 * what was looked at is what is gone through, and every link is judged before it is followed. In folders like /tmp a
 * link is followed only when it is ours or its folder's owner made it: the kernel's rule of protected_symlinks
 * (Documentation/admin-guide/sysctl/fs.rst), wherever that is switched off too. Nothing of /proc is gone through or
 * opened: its links lead to open files and other processes' roots rather than to where they say.
 */

#include "daemon/chvd/walk.h"

#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <limits.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "dbus/fd.h"

/* As many as the kernel follows. */
#define MAX_LINKS 40

typedef struct {
        int at;     /* the folder that was reached; O_PATH */
        char *rest; /* what is to be gone from there */
        unsigned links;
        ChvdFault *fault;
} Walk;

static void walk_clear(Walk *walk) {
        chv_fd_closep(&walk->at);
        g_free(walk->rest);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Walk, walk_clear)

static bool fail(Walk *walk, int errnum, const char *what) {
        *walk->fault = (ChvdFault){ errnum, what };
        return false;
}

static int fail_fd(Walk *walk, int errnum, const char *what) {
        (void) fail(walk, errnum, what);
        return -1;
}

static bool go_to(Walk *walk, int fd) {
        chv_fd_closep(&walk->at);
        walk->at = fd;
        return fd >= 0;
}

static bool start(Walk *walk) {
        return go_to(walk, open("/", O_PATH | O_DIRECTORY | O_CLOEXEC));
}

bool chvd_walk_is_shared(int folder) {
        struct stat st;

        return fstat(folder, &st) == 0 && (st.st_mode & S_ISVTX) && (st.st_mode & S_IWOTH);
}

static bool may_follow(int folder, const struct stat *link) {
        struct stat st;

        return !chvd_walk_is_shared(folder) || link->st_uid == geteuid() ||
               (fstat(folder, &st) == 0 && st.st_uid == link->st_uid);
}

static int step(Walk *walk, const char *element, bool last) {
        int flags = O_PATH | O_NOFOLLOW | O_CLOEXEC;
        /* Asked for as a folder, what is mounted on demand is mounted. */
        chv_autofd fd = openat(walk->at, element, flags | (last ? 0 : O_DIRECTORY));
        struct statfs fs;

        if (fd < 0 && !last && errno == ENOTDIR)
                fd = openat(walk->at, element, flags);
        if (fd < 0)
                return fail_fd(walk, errno, "cannot open");
        if (fstatfs(fd, &fs) < 0)
                return fail_fd(walk, errno, "cannot stat");
        if (fs.f_type == PROC_SUPER_MAGIC)
                return fail_fd(walk, 0, "leads into /proc");
        return chv_fd_steal(&fd);
}

/* after: what follows the link in the path. */
static bool follow(Walk *walk, int link, const struct stat *st, const char *after) {
        char target[PATH_MAX];
        ssize_t n;

        if (!may_follow(walk->at, st))
                return fail(walk, 0,
                            "leads through a link that another user made in a folder that "
                            "everybody can write");
        if (walk->links++ == MAX_LINKS)
                return fail(walk, ELOOP, "cannot open");
        n = readlinkat(link, "", target, sizeof(target) - 1);
        if (n <= 0)
                return fail(walk, n < 0 ? errno : ENOENT, "cannot read a link");
        target[n] = '\0';
        if (target[0] == '/' && !start(walk))
                return fail(walk, errno, "cannot open");
        after = g_strconcat(target, after, NULL);
        g_free(walk->rest);
        walk->rest = (char *) after;
        if (strlen(after) >= PATH_MAX)
                return fail(walk, ENAMETOOLONG, "cannot open");
        return true;
}

/* The next element of the rest, newly allocated; NULL: none. */
static char *next(const Walk *walk, const char **ret_after) {
        const char *p = walk->rest + strspn(walk->rest, "/");
        size_t n = strcspn(p, "/");

        *ret_after = p + n;
        return n > 0 ? g_strndup(p, n) : NULL;
}

static int go(Walk *walk, char **ret_name) {
        const char *after;
        char *name;

        while ((name = next(walk, &after))) {
                g_autofree char *element = name;
                bool last = !after[0];
                chv_autofd fd = -1;
                struct stat st;

                if (last && ret_name && !g_str_equal(element, ".") && !g_str_equal(element, "..")) {
                        *ret_name = g_steal_pointer(&element);
                        return chv_fd_steal(&walk->at);
                }
                fd = step(walk, element, last);
                if (fd < 0)
                        return -1;
                if (fstat(fd, &st) < 0)
                        return fail_fd(walk, errno, "cannot stat");
                if (S_ISLNK(st.st_mode)) {
                        if (!follow(walk, fd, &st, after))
                                return -1;
                        continue;
                }
                if (last)
                        return ret_name ? fail_fd(walk, EISDIR, "cannot open") : chv_fd_steal(&fd);
                if (!S_ISDIR(st.st_mode))
                        return fail_fd(walk, ENOTDIR, "cannot open");
                (void) go_to(walk, chv_fd_steal(&fd));
                (void) memmove(walk->rest, after, strlen(after) + 1);
        }
        return ret_name ? fail_fd(walk, EISDIR, "cannot open") : chv_fd_steal(&walk->at);
}

static int walk_path(const char *path, char **ret_name, ChvdFault *ret_fault) {
        g_auto(Walk) walk = { .at = -1, .rest = g_strdup(path), .fault = ret_fault };

        if (path[0] != '/')
                return fail_fd(&walk, 0, "is not an absolute path");
        if (!start(&walk))
                return fail_fd(&walk, errno, "cannot open");
        return go(&walk, ret_name);
}

int chvd_walk(const char *path, ChvdFault *ret_fault) {
        return walk_path(path, NULL, ret_fault);
}

int chvd_walk_folder(const char *path, char **ret_name, ChvdFault *ret_fault) {
        return walk_path(path, ret_name, ret_fault);
}
