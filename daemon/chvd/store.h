/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <gio/gio.h>
#include <stdbool.h>
#include <sys/types.h>

#include "daemon/chvd/store-record.h"

/* How the store touches the disk; as the system calls of these names. A test replaces them. */
typedef struct {
        int (*openat)(int dir, const char *name, int flags, mode_t mode);
        ssize_t (*write)(int fd, const void *data, size_t size);
        int (*fsync)(int fd);
        int (*mkdirat)(int dir, const char *name, mode_t mode);
        int (*renameat)(int from_dir, const char *from, int to_dir, const char *to);
        int (*unlinkat)(int dir, const char *name, int flags);
} ChvdStoreFiles;

extern const ChvdStoreFiles chvd_store_files;

/* The definitions on disk. Any thread: one call at a time does its work, others wait. Every call may block as long as the disk does. */
typedef struct ChvdStore ChvdStore;

/* Touches nothing. */
ChvdStore *chvd_store_new(const char *dir, const ChvdStoreFiles *files);
void chvd_store_free(ChvdStore *store);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(ChvdStore, chvd_store_free)
const char *chvd_store_dir(const ChvdStore *store);

/* One VM that was found: a record, or the error that made it broken. */
typedef void (*ChvdStoreFound)(
                gpointer data, const char *name, const ChvdRecord *record, const GError *error);
/* Reads all, sorted by name. That there is no store is no error. Else false: nothing was read, nothing will be written, and the error says why.
 * What was left by an interrupted change is tidied up, as far as that can be done. */
bool chvd_store_load(ChvdStore *store, ChvdStoreFound found, gpointer data, GError **error);

/* True: it will be there after a power cut. False: CHV_ERROR_RESOURCE that names the path; the old record or the new one is on disk.
 * With create, there must be no record of that name (CHV_ERROR_EXISTS), and after a failure there is none, if the disk lets us remove it. */
bool chvd_store_save(
                ChvdStore *store,
                const char *name,
                const ChvdRecord *record,
                bool create,
                GError **error);
/* The same. A record that is not there is no error. */
bool chvd_store_remove(ChvdStore *store, const char *name, GError **error);
/* The same; there must be none of the new name. */
bool chvd_store_rename(ChvdStore *store, const char *from, const char *to, GError **error);
/* Remembers that the VM has been started once. Nothing depends on it but what its state is called, so it is not synced and cannot fail. */
void chvd_store_mark_run(ChvdStore *store, const char *name);
