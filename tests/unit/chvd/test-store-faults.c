/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves that the store keeps its word when the disk does not: a script of creations, changes, renames and removals is
 * run once for every write, sync, rename, mkdir, unlink and open in it, which is the one that fails, in four ways:
 *
 *   once   it fails, and the service goes on: the change can be made again
 *   kill   it and all that follow do not happen: the service was killed
 *   lost   the power goes: in addition nothing that was not synced has reached the disk
 *   torn   the power goes: names have reached the disk, data that was not synced only in part
 *
 * Whatever happened, reading finds what was acknowledged; of the change that failed, the old or the new; never a broken
 * record; and nothing else is missing.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/chvd/store.h"
#include "dbus/error.h"
#include "store-rig.h"

typedef enum {
        ONCE,
        KILL,
        LOST,
        TORN,
        N_FAULTS,
} Fault;

/* A change of a folder that has not been synced, and how to undo it. */
typedef struct {
        enum {
                MADE,
                MADE_FOLDER,
                RENAMED,
                UNLINKED,
                REMOVED_FOLDER
        } what;
        char *folder, *path, *to;
        char *backup; /* a link to the file that the change took the name from; NULL: none */
} Entry;

static struct {
        Fault fault;
        unsigned countdown; /* calls until it strikes */
        bool struck, dead;
        char *side; /* where backups are */
        unsigned n_backups;
        GPtrArray *journal; /* Entry */
        GArray *dirty;      /* descriptors of files with data that is not synced */
} disk;

static void entry_free(gpointer data) {
        Entry *entry = data;

        g_free(entry->folder);
        g_free(entry->path);
        g_free(entry->to);
        g_free(entry->backup);
        g_free(entry);
}

/* Whether this call is to fail. */
static bool strikes(void) {
        if (disk.dead || (!disk.struck && disk.countdown-- == 0)) {
                disk.struck = true;
                disk.dead = disk.fault != ONCE;
                errno = EIO;
                return true;
        }
        return false;
}

static char *folder_of(int fd) {
        g_autofree char *link = g_strdup_printf("/proc/self/fd/%d", fd);

        return g_file_read_link(link, NULL);
}

static char *path_of(int dir, const char *name) {
        g_autofree char *folder = dir == AT_FDCWD ? NULL : folder_of(dir);

        return folder ? g_build_filename(folder, name, NULL) : g_strdup(name);
}

static Entry *record_change(int what, const char *path) {
        Entry *entry = g_new0(Entry, 1);

        entry->what = what;
        entry->path = g_strdup(path);
        entry->folder = g_path_get_dirname(path);
        g_ptr_array_add(disk.journal, entry);
        return entry;
}

static char *back_up(const char *path) {
        char *backup = g_strdup_printf("%s/%u", disk.side, disk.n_backups++);

        if (link(path, backup) == 0)
                return backup;
        g_free(backup);
        return NULL;
}

static int disk_openat(int dir, const char *name, int flags, mode_t mode) {
        g_autofree char *path = path_of(dir, name);
        bool there = faccessat(dir, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
        int fd;

        if (strikes())
                return -1;
        fd = openat(dir, name, flags, mode);
        if (fd >= 0 && (flags & O_CREAT) && !there)
                (void) record_change(MADE, path);
        return fd;
}

static ssize_t disk_write(int fd, const void *data, size_t size) {
        bool struck = strikes();
        int copy = dup(fd);

        g_array_append_val(disk.dirty, copy);
        /* Some of it may have been written before it failed, and a disk need not take all at once. */
        size = struck ? size / 2 : MIN(size, 100);
        (void) !(write(fd, data, size) == (ssize_t) size);
        errno = EIO;
        return struck ? -1 : (ssize_t) size;
}

static bool same_file(int a, int b) {
        struct stat x, y;

        return fstat(a, &x) == 0 && fstat(b, &y) == 0 && x.st_ino == y.st_ino &&
               x.st_dev == y.st_dev;
}

static int disk_fsync(int fd) {
        g_autofree char *folder = folder_of(fd);

        if (strikes())
                return -1;
        for (unsigned i = disk.dirty->len; i-- > 0;)
                if (same_file(fd, g_array_index(disk.dirty, int, i))) {
                        close(g_array_index(disk.dirty, int, i));
                        g_array_remove_index(disk.dirty, i);
                }
        for (unsigned i = disk.journal->len; i-- > 0;)
                if (g_str_equal(((Entry *) g_ptr_array_index(disk.journal, i))->folder, folder))
                        g_ptr_array_remove_index(disk.journal, i);
        return 0;
}

static int disk_mkdirat(int dir, const char *name, mode_t mode) {
        g_autofree char *path = path_of(dir, name);
        int result;

        if (strikes())
                return -1;
        result = mkdirat(dir, name, mode);
        if (result == 0)
                (void) record_change(MADE_FOLDER, path);
        return result;
}

static int disk_renameat(int from_dir, const char *from, int to_dir, const char *to) {
        g_autofree char *path = path_of(from_dir, from), *target = path_of(to_dir, to);
        g_autofree char *backup = NULL;
        int result;

        if (strikes())
                return -1;
        backup = back_up(target);
        result = renameat(from_dir, from, to_dir, to);
        if (result == 0) {
                Entry *entry = record_change(RENAMED, path);

                entry->to = g_strdup(target);
                entry->backup = g_steal_pointer(&backup);
        }
        return result;
}

static int disk_unlinkat(int dir, const char *name, int flags) {
        g_autofree char *path = path_of(dir, name), *backup = NULL;
        int result;

        if (strikes())
                return -1;
        backup = back_up(path);
        result = unlinkat(dir, name, flags);
        if (result == 0)
                record_change(flags & AT_REMOVEDIR ? REMOVED_FOLDER : UNLINKED, path)->backup =
                                g_steal_pointer(&backup);
        return result;
}

static const ChvdStoreFiles disk_files = {
        .openat = disk_openat,
        .write = disk_write,
        .fsync = disk_fsync,
        .mkdirat = disk_mkdirat,
        .renameat = disk_renameat,
        .unlinkat = disk_unlinkat,
};

static void undo(const Entry *entry) {
        switch (entry->what) {
        case MADE:
                (void) unlink(entry->path);
                break;
        case MADE_FOLDER:
                rig_remove_tree(entry->path);
                break;
        case RENAMED:
                g_assert_cmpint(rename(entry->to, entry->path), ==, 0);
                if (entry->backup)
                        g_assert_cmpint(link(entry->backup, entry->to), ==, 0);
                break;
        case UNLINKED:
                g_assert_cmpint(link(entry->backup, entry->path), ==, 0);
                break;
        case REMOVED_FOLDER:
                g_assert_cmpint(mkdir(entry->path, 0700), ==, 0);
                break;
        }
}

/* What a power cut does to what was not synced. */
static void lose(void) {
        for (unsigned i = 0; i < disk.dirty->len; i++) {
                int fd = g_array_index(disk.dirty, int, i);
                struct stat st;

                if (fstat(fd, &st) == 0)
                        g_assert_cmpint(ftruncate(fd, st.st_size / 2), ==, 0);
        }
        for (unsigned i = disk.journal->len; disk.fault == LOST && i-- > 0;)
                undo(g_ptr_array_index(disk.journal, i));
}

static void disk_start(const char *top, Fault fault, unsigned countdown) {
        disk.fault = fault;
        disk.countdown = countdown;
        disk.struck = disk.dead = false;
        disk.side = g_build_filename(top, "side", NULL);
        g_assert_cmpint(mkdir(disk.side, 0700), ==, 0);
        disk.n_backups = 0;
        disk.journal = g_ptr_array_new_with_free_func(entry_free);
        disk.dirty = g_array_new(FALSE, FALSE, sizeof(int));
}

static void disk_stop(void) {
        for (unsigned i = 0; i < disk.dirty->len; i++)
                close(g_array_index(disk.dirty, int, i));
        g_array_unref(disk.dirty);
        g_ptr_array_unref(disk.journal);
        g_free(disk.side);
}

static const struct {
        enum {
                CREATE,
                CHANGE,
                RENAME,
                REMOVE
        } what;
        const char *name, *to;
        unsigned number;
        const char *then; /* what is found when it is done */
} script[] = {
        { CREATE, "a", NULL, 1, "a=1 " },     { CREATE, "b", NULL, 2, "a=1 b=2 " },
        { CHANGE, "a", NULL, 3, "a=3 b=2 " }, { RENAME, "b", "c", 0, "a=3 c=2 " },
        { CHANGE, "c", NULL, 4, "a=3 c=4 " }, { REMOVE, "a", NULL, 0, "c=4 " },
        { CREATE, "a", NULL, 5, "a=5 c=4 " }, { CREATE, "b", NULL, 6, "a=5 b=6 c=4 " },
        { REMOVE, "b", NULL, 0, "a=5 c=4 " }, { RENAME, "c", "b", 0, "a=5 b=4 " },
        { REMOVE, "a", NULL, 0, "b=4 " },     { REMOVE, "b", NULL, 0, "" },
};

static bool act(ChvdStore *store, unsigned i, GError **error) {
        switch (script[i].what) {
        case CREATE:
        case CHANGE:
                return rig_try_save(
                                store, script[i].name, script[i].number, script[i].what == CREATE,
                                error);
        case RENAME:
                return chvd_store_rename(store, script[i].name, script[i].to, error);
        default:
                return chvd_store_remove(store, script[i].name, error);
        }
}

static char *read_anew(const char *dir) {
        g_autoptr(ChvdStore) store = chvd_store_new(dir, &chvd_store_files);

        return rig_load(store);
}

/* The service lives: the same again, unless the first attempt did come about. */
static void retry(ChvdStore *store, const char *dir, unsigned i, bool done) {
        g_autoptr(GError) error = NULL;
        g_autofree char *found = NULL;

        if (!done || script[i].what == CHANGE || script[i].what == REMOVE) {
                (void) act(store, i, &error);
                g_assert_no_error(error);
        }
        found = read_anew(dir);
        g_assert_cmpstr(found, ==, script[i].then);
}

/* False: the fault did not strike, the script is shorter. */
static bool run(Fault fault, unsigned countdown) {
        g_autofree char *top = rig_dir();
        g_autofree char *dir = g_build_filename(top, "deep", "store", NULL);
        g_autoptr(ChvdStore) store = chvd_store_new(dir, &disk_files);
        const char *before = "";
        bool struck;

        disk_start(top, fault, countdown);
        for (unsigned i = 0; i < G_N_ELEMENTS(script) && !disk.dead; i++) {
                g_autoptr(GError) error = NULL;
                bool done = act(store, i, &error);
                g_autofree char *found = NULL;

                if (disk.dead && fault != KILL)
                        lose();
                found = read_anew(dir);
                if (!g_str_equal(found, script[i].then) &&
                    ((done && !disk.dead) || !g_str_equal(found, before)))
                        g_error("fault %d at %u, step %u: found '%s', not '%s' or '%s'", fault,
                                countdown, i, found, before, script[i].then);
                if (!done) {
                        g_assert_true(disk.struck);
                        g_assert_error(error, CHV_ERROR, CHV_ERROR_RESOURCE);
                        g_assert_nonnull(strstr(error->message, dir));
                }
                if (!done && fault == ONCE)
                        retry(store, dir, i, g_str_equal(found, script[i].then));
                before = script[i].then;
        }
        struck = disk.struck;
        disk_stop();
        rig_remove_tree(top);
        return struck;
}

static void test_every_call(gconstpointer data) {
        Fault fault = (Fault) GPOINTER_TO_INT(data);
        unsigned n = 0;

        while (run(fault, n))
                n++;
        g_test_message("%u calls", n);
        g_assert_cmpuint(n, >, 100);
}

/* What acknowledged changes leave has to stay when the power goes right after. */
static void test_acknowledged(void) {
        for (unsigned steps = 1; steps <= G_N_ELEMENTS(script); steps++) {
                g_autofree char *top = rig_dir();
                g_autofree char *dir = g_build_filename(top, "deep", "store", NULL);
                g_autoptr(ChvdStore) store = chvd_store_new(dir, &disk_files);
                g_autofree char *found = NULL;

                disk_start(top, LOST, G_MAXUINT);
                for (unsigned i = 0; i < steps; i++)
                        g_assert_true(act(store, i, NULL));
                lose();
                found = read_anew(dir);
                g_assert_cmpstr(found, ==, script[steps - 1].then);
                disk_stop();
                rig_remove_tree(top);
        }
}

static void
on_found(gpointer data, const char *name, const ChvdRecord *record, const GError *error) {
}

/* Reading tidies up; a disk that fails meanwhile must not make it lose anything. */
static void test_reading(void) {
        bool struck = true;

        for (unsigned n = 0; struck; n++) {
                g_autofree char *top = rig_dir();
                g_autofree char *dir = g_build_filename(top, "store", NULL);
                g_autofree char *left = g_build_filename(dir, "vms", "c", NULL);
                g_autofree char *fresh = g_build_filename(dir, "vms/a/definition.new", NULL);
                g_autoptr(ChvdStore) store = chvd_store_new(dir, &chvd_store_files);
                g_autoptr(ChvdStore) failing = chvd_store_new(dir, &disk_files);
                g_autofree char *found = NULL;

                rig_save(store, "a", 1, true);
                rig_save(store, "b", 2, true);
                g_assert_cmpint(mkdir(left, 0700), ==, 0);
                g_assert_true(g_file_set_contents(fresh, "half", -1, NULL));
                disk_start(top, ONCE, n);
                (void) chvd_store_load(failing, on_found, NULL, NULL);
                struck = disk.struck;
                disk_stop();
                found = read_anew(dir);
                g_assert_cmpstr(found, ==, "a=1 b=2 ");
                rig_remove_tree(top);
        }
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_data_func("/store-faults/once", GINT_TO_POINTER(ONCE), test_every_call);
        g_test_add_data_func("/store-faults/kill", GINT_TO_POINTER(KILL), test_every_call);
        g_test_add_data_func("/store-faults/lost", GINT_TO_POINTER(LOST), test_every_call);
        g_test_add_data_func("/store-faults/torn", GINT_TO_POINTER(TORN), test_every_call);
        g_test_add_func("/store-faults/acknowledged", test_acknowledged);
        g_test_add_func("/store-faults/reading", test_reading);
        return g_test_run();
}
