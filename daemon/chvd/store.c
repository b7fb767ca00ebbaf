/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The store: definitions of VMs on disk, so that they survive the service and the host.
 *
 *   DIR/version                 "1": the version of this layout; another one is refused and left alone
 *   DIR/vms/NAME/definition     the record of the VM NAME, mode 0600; a key file:
 *
 *     [Definition]
 *     Version=1                 of the record; another one is refused and left alone
 *     Owner=1000                uid
 *     Created=1767225600000000  microseconds since 1970-01-01 UTC
 *     Autostart=false           optional, as are the next three: what is broken has its default
 *     AutostartOrder=0
 *     AutostartDelay=0          seconds, up to 3600
 *     CrashPolicy=destroy       destroy, restart or preserve
 *     CPUWeight= CPUQuota= MemoryMax= IOWeight= TasksMax= ShutdownTimeout=
 *                               as the options of these names; only what is set, and MemoryMax=auto
 *     Given=@as []              names of descriptors that were given for it, which are gone when this is read
 *     Config={…}                the completed configuration, GVariant text of type a{sv}
 *     Complete=true             always the last line
 *
 *   DIR/vms/NAME/definition.new a record that is being written; never read
 *   DIR/vms/NAME/started        empty; the VM has been started once
 *
 * A record is written aside, synced, renamed over the old one, and the folder synced; a removal is the removal of the
 * file "definition", and the rest is tidying; renaming a VM is renaming its folder. Each has one system call that makes
 * it happen, so an end at any point leaves the old record or the new one. A folder without a record is what is left of
 * an interrupted creation or removal, and no VM.
 *
 * DIR is made when the first record is written, not before: a service that stores nothing needs no folder.
 */

#include "daemon/chvd/store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "dbus/config.h"
#include "dbus/error.h"
#include "dbus/fd.h"

#define LAYOUT "1"
#define DEFINITION "definition"
#define FRESH "definition.new"
#define STARTED "started"

struct ChvdStore {
        GMutex lock; /* of what is below and of the disk */
        char *dir;
        const ChvdStoreFiles *files;
        int vms; /* DIR/vms, ready to be written in; -1: not yet */
};

static int real_openat(int dir, const char *name, int flags, mode_t mode) {
        return openat(dir, name, flags, mode);
}

const ChvdStoreFiles chvd_store_files = {
        .openat = real_openat,
        .write = write,
        .fsync = fsync,
        .mkdirat = mkdirat,
        .renameat = renameat,
        .unlinkat = unlinkat,
};

ChvdStore *chvd_store_new(const char *dir, const ChvdStoreFiles *files) {
        ChvdStore *store = g_new0(ChvdStore, 1);

        g_mutex_init(&store->lock);
        store->dir = g_strdup(dir);
        store->files = files;
        store->vms = -1;
        return store;
}

void chvd_store_free(ChvdStore *store) {
        if (!store)
                return;
        if (store->vms >= 0)
                (void) close(store->vms);
        g_mutex_clear(&store->lock);
        g_free(store->dir);
        g_free(store);
}

const char *chvd_store_dir(const ChvdStore *store) {
        return store->dir;
}

/* errno becomes an error that names the path; always false. */
static bool
fail(const ChvdStore *store, const char *what, const char *name, const char *file, GError **error) {
        int saved = errno;

        g_set_error(error, CHV_ERROR, CHV_ERROR_RESOURCE, "%s %s%s%s%s%s: %s", what, store->dir,
                    name ? "/vms/" : "", name ?: "", file ? "/" : "", file ?: "",
                    g_strerror(saved));
        return false;
}

static int open_folder(ChvdStore *store, int dir, const char *name) {
        return store->files->openat(
                        dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, /* mode= */ 0);
}

static bool unlink_if_there(ChvdStore *store, int dir, const char *name) {
        return store->files->unlinkat(dir, name, /* flags= */ 0) == 0 || errno == ENOENT;
}

static bool write_all(ChvdStore *store, int fd, const char *text) {
        size_t left = strlen(text);

        while (left > 0) {
                ssize_t n = store->files->write(fd, text, left);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0) {
                        errno = n == 0 ? EIO : errno;
                        return false;
                }
                text += n;
                left -= (size_t) n;
        }
        return true;
}

/* Sets errno. After a failure the file is the old one or the new one. */
static bool
write_file(ChvdStore *store, int dir, const char *fresh, const char *name, const char *text) {
        chv_autofd fd = -1;
        int saved;

        if (!unlink_if_there(store, dir, fresh))
                return false;
        fd = store->files->openat(
                        dir, fresh, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (fd < 0)
                return false;
        if (write_all(store, fd, text) && store->files->fsync(fd) == 0 &&
            store->files->renameat(dir, fresh, dir, name) == 0)
                return store->files->fsync(dir) == 0;
        saved = errno;
        (void) store->files->unlinkat(dir, fresh, /* flags= */ 0);
        errno = saved;
        return false;
}

/* Text of a regular file, at most max bytes; NULL: errno is set. */
static char *read_file(ChvdStore *store, int dir, const char *name, size_t max, size_t *ret_size) {
        chv_autofd fd = store->files->openat(
                        dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, /* mode= */ 0);
        g_autofree char *text = NULL;
        size_t size = 0;
        struct stat st;

        if (fd < 0 || fstat(fd, &st) < 0)
                return NULL;
        if (!S_ISREG(st.st_mode) || (uint64_t) st.st_size > max) {
                errno = S_ISREG(st.st_mode) ? EFBIG : EINVAL;
                return NULL;
        }
        text = g_malloc((size_t) st.st_size + 1);
        while (size < (size_t) st.st_size) {
                ssize_t n = read(fd, text + size, (size_t) st.st_size - size);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return NULL;
                if (n == 0)
                        break;
                size += (size_t) n;
        }
        text[size] = '\0';
        *ret_size = size;
        return g_steal_pointer(&text);
}

/* False: the layout is of another version, or not to be read. *ret_there: there is a file that says so. */
static bool check_version(ChvdStore *store, int dir, bool *ret_there, GError **error) {
        size_t size;
        g_autofree char *text = read_file(store, dir, "version", /* max= */ 64, &size),
                        *quoted = NULL;

        *ret_there = text != NULL;
        if (!text)
                return errno == ENOENT || fail(store, "reading", NULL, "version", error);
        if (g_str_equal(g_strchomp(text), LAYOUT))
                return true;
        quoted = chv_quote_text(text);
        g_set_error(error, CHV_ERROR, CHV_ERROR_NOT_SUPPORTED,
                    "%s/version: %s is not a version that is known here; nothing in %s is "
                    "touched",
                    store->dir, quoted, store->dir);
        return false;
}

static bool sync_path(ChvdStore *store, const char *path) {
        chv_autofd fd = store->files->openat(
                        AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC, /* mode= */ 0);

        return fd >= 0 && store->files->fsync(fd) == 0;
}

/* With its parents, each of which is known to its own. Sets errno. */
static bool make_folder(ChvdStore *store, const char *path) {
        g_autofree char *parent = g_path_get_dirname(path);
        bool made = store->files->mkdirat(AT_FDCWD, path, 0700) == 0;

        if (!made && errno == ENOENT && !g_str_equal(parent, path))
                made = make_folder(store, parent) &&
                       store->files->mkdirat(AT_FDCWD, path, 0700) == 0;
        if (!made)
                return errno == EEXIST;
        return sync_path(store, parent);
}

/* Opens DIR/vms for writing, and makes all that is missing. */
static bool prepare(ChvdStore *store, GError **error) {
        chv_autofd dir = -1, vms = -1;
        bool there;

        if (store->vms >= 0)
                return true;
        if (!make_folder(store, store->dir))
                return fail(store, "making", NULL, NULL, error);
        dir = store->files->openat(
                        AT_FDCWD, store->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC, /* mode= */ 0);
        if (dir < 0)
                return fail(store, "opening", NULL, NULL, error);
        if (!check_version(store, dir, &there, error))
                return false;
        if (!there && !write_file(store, dir, "version.new", "version", LAYOUT "\n"))
                return fail(store, "writing", NULL, "version", error);
        if (store->files->mkdirat(dir, "vms", 0700) < 0 && errno != EEXIST)
                return fail(store, "making", NULL, "vms", error);
        vms = open_folder(store, dir, "vms");
        /* Synced even when it was there: who made it may have been killed before this. */
        if (vms < 0 || store->files->fsync(dir) < 0)
                return fail(store, "opening", NULL, "vms", error);
        store->vms = chv_fd_steal(&vms);
        return true;
}

/* After a failed creation: nothing of it stays, as far as the disk lets us. */
static void take_back(ChvdStore *store, int dir, const char *name) {
        (void) store->files->unlinkat(dir, DEFINITION, /* flags= */ 0);
        (void) store->files->fsync(dir);
        (void) store->files->unlinkat(store->vms, name, AT_REMOVEDIR);
}

static bool
save(ChvdStore *store, const char *name, const char *text, bool create, GError **error) {
        chv_autofd dir = -1;
        bool made;

        if (!prepare(store, error))
                return false;
        made = store->files->mkdirat(store->vms, name, 0700) == 0;
        if (!made && errno != EEXIST)
                return fail(store, "making", name, NULL, error);
        dir = open_folder(store, store->vms, name);
        if (dir < 0)
                return fail(store, "opening", name, NULL, error);
        if (create && faccessat(dir, DEFINITION, F_OK, AT_SYMLINK_NOFOLLOW) == 0) {
                g_set_error(error, CHV_ERROR, CHV_ERROR_EXISTS,
                            "%s/vms/%s/" DEFINITION " is there already", store->dir, name);
                return false;
        }
        if (((create || made) && store->files->fsync(store->vms) < 0) ||
            (create && !unlink_if_there(store, dir, STARTED)) ||
            !write_file(store, dir, FRESH, DEFINITION, text)) {
                (void) fail(store, "writing", name, DEFINITION, error);
                if (create)
                        take_back(store, dir, name);
                return false;
        }
        return true;
}

bool chvd_store_save(
                ChvdStore *store,
                const char *name,
                const ChvdRecord *record,
                bool create,
                GError **error) {
        g_autofree char *text = chvd_record_to_text(record, error);
        g_autoptr(GMutexLocker) locker = NULL;

        if (!text)
                return false;
        locker = g_mutex_locker_new(&store->lock);
        return save(store, name, text, create, error);
}

/* A folder without a record. What somebody else put there stays, and so does the folder then. */
static void tidy(ChvdStore *store, int vms, int dir, const char *name) {
        (void) unlink_if_there(store, dir, FRESH);
        (void) unlink_if_there(store, dir, STARTED);
        (void) store->files->unlinkat(vms, name, AT_REMOVEDIR);
}

bool chvd_store_remove(ChvdStore *store, const char *name, GError **error) {
        g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&store->lock);
        chv_autofd dir = -1;

        if (!prepare(store, error))
                return false;
        dir = open_folder(store, store->vms, name);
        if (dir < 0)
                return errno == ENOENT || fail(store, "opening", name, NULL, error);
        if (!unlink_if_there(store, dir, DEFINITION) || store->files->fsync(dir) < 0)
                return fail(store, "removing", name, DEFINITION, error);
        tidy(store, store->vms, dir, name);
        return true;
}

/* What is left of an interrupted removal is in the way of a new name. */
static void make_room(ChvdStore *store, const char *name) {
        chv_autofd dir = open_folder(store, store->vms, name);

        if (dir >= 0 && faccessat(dir, DEFINITION, F_OK, AT_SYMLINK_NOFOLLOW) < 0 &&
            errno == ENOENT)
                tidy(store, store->vms, dir, name);
}

bool chvd_store_rename(ChvdStore *store, const char *from, const char *to, GError **error) {
        g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&store->lock);

        if (!prepare(store, error))
                return false;
        make_room(store, to);
        /* A folder that is not empty is not replaced. */
        if (store->files->renameat(store->vms, from, store->vms, to) == 0 &&
            store->files->fsync(store->vms) == 0)
                return true;
        return fail(store, "making", to, NULL, error);
}

void chvd_store_mark_run(ChvdStore *store, const char *name) {
        g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&store->lock);
        g_autofree char *file = g_build_filename(name, STARTED, NULL);
        chv_autofd fd = -1;

        if (store->vms >= 0 || prepare(store, /* error= */ NULL))
                fd = store->files->openat(
                                store->vms, file, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC,
                                0600);
}

static ChvdRecord *
load_one(ChvdStore *store, int vms, const char *name, bool *ret_there, GError **error) {
        g_autoptr(GPtrArray) warnings = g_ptr_array_new_with_free_func(g_free);
        chv_autofd dir = open_folder(store, vms, name);
        g_autofree char *text = NULL;
        ChvdRecord *record;
        size_t size;

        *ret_there = true;
        if (dir >= 0)
                text = read_file(store, dir, DEFINITION, CHVD_RECORD_MAX_SIZE, &size);
        if (!text) {
                *ret_there = dir < 0 || errno != ENOENT;
                if (*ret_there)
                        (void) fail(store, "reading", name, DEFINITION, error);
                else
                        tidy(store, vms, dir, name);
                return NULL;
        }
        (void) unlink_if_there(store, dir, FRESH);
        record = chvd_record_from_text(text, size, warnings, error);
        if (!record)
                g_prefix_error(error, "%s/vms/%s/" DEFINITION ": ", store->dir, name);
        for (unsigned i = 0; i < warnings->len; i++)
                g_message("%s/vms/%s/" DEFINITION ": %s", store->dir, name,
                          (char *) g_ptr_array_index(warnings, i));
        if (record)
                record->has_run = faccessat(dir, STARTED, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
        return record;
}

static int compare(gconstpointer a, gconstpointer b) {
        return strcmp(*(char *const *) a, *(char *const *) b);
}

/* Names in the folder that a VM may have; others are not ours. NULL: errno is set. */
static GPtrArray *list(int vms) {
        g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
        chv_autofd fd = openat(vms, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        const struct dirent *entry;
        DIR *dir = fd < 0 ? NULL : fdopendir(fd);

        if (!dir)
                return NULL;
        (void) chv_fd_steal(&fd);
        errno = 0;
        while ((entry = readdir(dir)))
                if (chv_name_valid(entry->d_name, /* error= */ NULL))
                        g_ptr_array_add(names, g_strdup(entry->d_name));
        if (errno != 0) {
                int saved = errno;

                (void) closedir(dir);
                errno = saved;
                return NULL;
        }
        (void) closedir(dir);
        g_ptr_array_sort(names, compare);
        return g_steal_pointer(&names);
}

/* *ret_vms: -1 when there is no store. */
static bool open_for_reading(ChvdStore *store, int *ret_vms, GError **error) {
        chv_autofd dir = store->files->openat(
                        AT_FDCWD, store->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC, /* mode= */ 0);
        bool there;

        *ret_vms = -1;
        if (dir < 0)
                return errno == ENOENT || fail(store, "opening", NULL, NULL, error);
        if (!check_version(store, dir, &there, error))
                return false;
        *ret_vms = open_folder(store, dir, "vms");
        return *ret_vms >= 0 || errno == ENOENT || fail(store, "opening", NULL, "vms", error);
}

bool chvd_store_load(ChvdStore *store, ChvdStoreFound found, gpointer data, GError **error) {
        g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&store->lock);
        g_autoptr(GPtrArray) names = NULL;
        chv_autofd vms = -1;

        if (!open_for_reading(store, &vms, error))
                return false;
        if (vms < 0)
                return true;
        names = list(vms);
        if (!names)
                return fail(store, "reading", NULL, "vms", error);
        for (unsigned i = 0; i < names->len; i++) {
                const char *name = g_ptr_array_index(names, i);
                g_autoptr(GError) reason = NULL;
                bool there;
                g_autoptr(ChvdRecord) record = load_one(store, vms, name, &there, &reason);

                if (there)
                        found(data, name, record, reason);
        }
        return true;
}
