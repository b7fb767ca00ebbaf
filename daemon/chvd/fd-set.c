/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Descriptors that travel beside a configuration, in the order in which they were added. The set owns what it holds
 * until it is freed; both directions of the codec duplicate, so neither side can close the other's.
 */

#include "daemon/chvd/fd-set.h"

#include <fcntl.h>
#include <unistd.h>

#include "dbus/error.h"
#include "dbus/fd.h"

typedef struct {
        char *name;
        int fd;
} Entry;

struct ChvdFdSet {
        GArray *entries;
};

static void entry_clear(gpointer data) {
        Entry *entry = data;

        g_free(entry->name);
        chv_fd_closep(&entry->fd);
}

ChvdFdSet *chvd_fd_set_new(void) {
        ChvdFdSet *set = g_new0(ChvdFdSet, 1);

        set->entries = g_array_new(false, false, sizeof(Entry));
        g_array_set_clear_func(set->entries, entry_clear);
        return set;
}

void chvd_fd_set_free(ChvdFdSet *set) {
        if (!set)
                return;
        g_array_unref(set->entries);
        g_free(set);
}

void chvd_fd_set_take(ChvdFdSet *set, const char *name, int fd) {
        Entry entry = { g_strdup(name), fd };

        (void) g_array_append_val(set->entries, entry);
}

ChvdFdSet *chvd_fd_set_copy(const ChvdFdSet *set) {
        ChvdFdSet *copy = chvd_fd_set_new();

        for (unsigned i = 0; i < set->entries->len; i++) {
                const Entry *entry = &g_array_index(set->entries, Entry, i);
                int fd = fcntl(entry->fd, F_DUPFD_CLOEXEC, 3);

                if (fd >= 0)
                        chvd_fd_set_take(copy, entry->name, fd);
        }
        return copy;
}

size_t chvd_fd_set_size(const ChvdFdSet *set) {
        return set->entries->len;
}

const char *chvd_fd_set_name(const ChvdFdSet *set, size_t i) {
        return g_array_index(set->entries, Entry, i).name;
}

int chvd_fd_set_get(const ChvdFdSet *set, const char *name) {
        for (unsigned i = 0; i < set->entries->len; i++) {
                const Entry *entry = &g_array_index(set->entries, Entry, i);

                if (g_str_equal(entry->name, name))
                        return entry->fd;
        }
        return -1;
}

ChvdFdSet *chvd_fd_set_from_variant(GVariant *handles, GUnixFDList *list, GError **error) {
        g_autoptr(ChvdFdSet) set = chvd_fd_set_new();
        int n = list ? g_unix_fd_list_get_length(list) : 0;
        GVariantIter iter;
        const char *name;
        gint32 handle;

        g_variant_iter_init(&iter, handles);
        while (g_variant_iter_next(&iter, "{&sh}", &name, &handle)) {
                g_autofree char *quoted = chv_quote_text(name);
                chv_autofd fd = -1;

                if (chvd_fd_set_get(set, name) >= 0) {
                        g_set_error(error, CHV_ERROR, CHV_ERROR_INVALID_CONFIG,
                                    "fds: %s is given twice", quoted);
                        return NULL;
                }
                if (handle < 0 || handle >= n) {
                        g_set_error(error, CHV_ERROR, CHV_ERROR_INVALID_CONFIG,
                                    "fds: %s is handle %d of %d", quoted, handle, n);
                        return NULL;
                }
                fd = g_unix_fd_list_get(list, handle, error);
                if (fd < 0) {
                        g_prefix_error(error, "fds: %s: ", quoted);
                        return NULL;
                }
                chvd_fd_set_take(set, name, chv_fd_steal(&fd));
        }
        return g_steal_pointer(&set);
}

GVariant *chvd_fd_set_to_variant(const ChvdFdSet *set, GUnixFDList **ret_list, GError **error) {
        g_autoptr(GUnixFDList) list = g_unix_fd_list_new();
        g_auto(GVariantBuilder) handles = G_VARIANT_BUILDER_INIT(G_VARIANT_TYPE("a{sh}"));

        for (unsigned i = 0; i < set->entries->len; i++) {
                const Entry *entry = &g_array_index(set->entries, Entry, i);
                int handle = g_unix_fd_list_append(list, entry->fd, error);

                if (handle < 0) {
                        g_prefix_error(error, "passing '%s': ", entry->name);
                        return NULL;
                }
                g_variant_builder_add(&handles, "{sh}", entry->name, handle);
        }
        *ret_list = g_steal_pointer(&list);
        return g_variant_builder_end(&handles);
}
