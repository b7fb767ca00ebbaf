/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Where the runs of VMs are found by a chvd that comes later: a folder for each, which holds the socket that its worker
 * listens on and the record of the run. A socket's path has little more than a hundred bytes, whatever folder we were
 * told to use, so it is always named by way of the open folder.
 */

#include "daemon/chvd/runtime.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "daemon/chvd/run-record.h"
#include "daemon/chvd/store-record.h"
#include "dbus/error.h"
#include "dbus/fd.h"

#define SOCKET "socket"
#define BACKLOG 8

#define RUN "run"
#define RUN_NEW "run.new"
#define UP "autostarted"

static const char *const files[] = { SOCKET, RUN, RUN_NEW };

static char *folder(const char *runtime_dir, const char *vm) {
        return g_build_filename(runtime_dir, "vm", vm, NULL);
}

static int fail(const char *path, const char *what, GError **error) {
        g_set_error(error, CHV_ERROR, CHV_ERROR_RESOURCE, "%s: %s: %s", path, what,
                    g_strerror(errno));
        return -1;
}

static int open_folder(const char *path) {
        return open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

static int make_socket(int dir, struct sockaddr_un *ret_address) {
        *ret_address = (struct sockaddr_un){ .sun_family = AF_UNIX };
        (void) snprintf(ret_address->sun_path, sizeof(ret_address->sun_path),
                        "/proc/self/fd/%d/" SOCKET, dir);
        return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
}

static bool write_all(int fd, const char *text) {
        size_t size = strlen(text);

        while (size > 0) {
                ssize_t n = write(fd, text, size);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        return false;
                text += n;
                size -= (size_t) n;
        }
        return true;
}

/* Nothing is synced: a run does not outlast the host. */
bool chvd_runtime_save(const char *runtime_dir, const char *vm, const char *text, GError **error) {
        g_autofree char *path = folder(runtime_dir, vm);
        chv_autofd dir = -1, fd = -1;

        if (g_mkdir_with_parents(path, 0700) < 0)
                return fail(path, "cannot be made", error) == 0;
        dir = open_folder(path);
        if (dir < 0)
                return fail(path, "cannot be opened", error) == 0;
        fd = openat(dir, RUN_NEW, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (fd >= 0 && write_all(fd, text) && renameat(dir, RUN_NEW, dir, RUN) == 0)
                return true;
        return fail(path, "the run cannot be recorded", error) == 0;
}

char *chvd_runtime_load(const char *runtime_dir, const char *vm, size_t *ret_size, GError **error) {
        g_autofree char *path = g_build_filename(runtime_dir, "vm", vm, RUN, NULL);
        g_autofree char *text = NULL;
        g_autoptr(GError) ours = NULL;
        struct stat st;

        if (lstat(path, &st) < 0) {
                if (errno != ENOENT)
                        g_set_error(error, CHV_ERROR, CHV_ERROR_RESOURCE, "%s: %s", path,
                                    g_strerror(errno));
                return NULL;
        }
        if (!S_ISREG(st.st_mode) || st.st_size > 4 * CHVD_RECORD_MAX_SIZE) {
                g_set_error(error, CHV_ERROR, CHV_ERROR_RESOURCE, "%s: it is no record", path);
                return NULL;
        }
        if (g_file_get_contents(path, &text, ret_size, &ours))
                return g_steal_pointer(&text);
        g_set_error(error, CHV_ERROR, CHV_ERROR_RESOURCE, "%s", ours->message);
        return NULL;
}

char **chvd_runtime_list(const char *runtime_dir) {
        g_autofree char *path = g_build_filename(runtime_dir, "vm", NULL);
        g_autoptr(GDir) dir = g_dir_open(path, 0, /* error= */ NULL);
        g_autoptr(GPtrArray) names = g_ptr_array_new();
        const char *name;

        while (dir && (name = g_dir_read_name(dir)))
                g_ptr_array_add(names, g_strdup(name));
        g_ptr_array_add(names, NULL);
        return (char **) g_ptr_array_free(g_steal_pointer(&names), /* free_seg= */ false);
}

int chvd_runtime_lock(const char *runtime_dir, GError **error) {
        g_autofree char *path = g_build_filename(runtime_dir, "lock", NULL);
        chv_autofd fd = -1;

        if (g_mkdir_with_parents(runtime_dir, 0700) < 0)
                return fail(runtime_dir, "cannot be made", error);
        fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (fd < 0)
                return fail(path, "cannot be opened", error);
        if (flock(fd, LOCK_EX | LOCK_NB) == 0)
                return chv_fd_steal(&fd);
        if (errno != EWOULDBLOCK)
                return fail(path, "cannot be locked", error);
        g_set_error(error, CHV_ERROR, CHV_ERROR_BUSY, "%s: another chvd has its VMs there",
                    runtime_dir);
        return -1;
}

bool chvd_runtime_is_up(const char *runtime_dir) {
        g_autofree char *path = g_build_filename(runtime_dir, UP, NULL), *text = NULL,
                        *boot = chvd_run_boot();

        return g_file_get_contents(path, &text, NULL, NULL) && g_str_equal(text, boot);
}

void chvd_runtime_set_up(const char *runtime_dir) {
        g_autofree char *path = g_build_filename(runtime_dir, UP, NULL), *boot = chvd_run_boot();
        g_autoptr(GError) error = NULL;

        if (!g_file_set_contents(path, boot, -1, &error))
                g_message("VMs will be started again with the service: %s", error->message);
}

int chvd_runtime_listen(const char *runtime_dir, const char *vm, GError **error) {
        g_autofree char *path = folder(runtime_dir, vm);
        chv_autofd dir = -1, fd = -1;
        struct sockaddr_un address;

        if (g_mkdir_with_parents(path, 0700) < 0)
                return fail(path, "cannot be made", error);
        dir = open_folder(path);
        if (dir < 0)
                return fail(path, "cannot be opened", error);
        fd = make_socket(dir, &address);
        (void) unlinkat(dir, SOCKET, 0);
        if (fd < 0 || fchmod(fd, 0600) < 0 ||
            bind(fd, (const struct sockaddr *) &address, sizeof(address)) < 0 ||
            listen(fd, BACKLOG) < 0) {
                (void) fail(path, "no socket can be made in it", error);
                chvd_runtime_remove(runtime_dir, vm);
                return -1;
        }
        return chv_fd_steal(&fd);
}

int chvd_runtime_connect(const char *runtime_dir, const char *vm, GError **error) {
        g_autofree char *path = folder(runtime_dir, vm);
        chv_autofd dir = open_folder(path), fd = -1;
        struct sockaddr_un address;

        if (dir < 0)
                return fail(path, "cannot be opened", error);
        fd = make_socket(dir, &address);
        if (fd < 0 || connect(fd, (const struct sockaddr *) &address, sizeof(address)) < 0)
                return fail(path, "its socket cannot be connected to", error);
        return chv_fd_steal(&fd);
}

void chvd_runtime_remove(const char *runtime_dir, const char *vm) {
        g_autofree char *path = folder(runtime_dir, vm);
        chv_autofd dir = open_folder(path);

        if (dir < 0)
                return;
        for (size_t i = 0; i < G_N_ELEMENTS(files); i++)
                (void) unlinkat(dir, files[i], 0);
        (void) rmdir(path);
}
