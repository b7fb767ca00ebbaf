/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/* Records that are told apart by one number, and folders to keep them in. */

#include "store-rig.h"

#include <glib/gstdio.h>

char *rig_dir(void) {
        char *dir = g_dir_make_tmp("chvd-store-XXXXXX", NULL);

        g_assert_nonnull(dir);
        return dir;
}

void rig_remove_tree(const char *path) {
        g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
        const char *name;

        while (dir && (name = g_dir_read_name(dir))) {
                g_autofree char *child = g_build_filename(path, name, NULL);

                if (g_file_test(child, G_FILE_TEST_IS_DIR) &&
                    !g_file_test(child, G_FILE_TEST_IS_SYMLINK))
                        rig_remove_tree(child);
                else
                        (void) g_unlink(child);
        }
        (void) g_rmdir(path);
}

bool rig_try_save(
                ChvdStore *store, const char *name, unsigned number, bool create, GError **error) {
        g_autofree char *text = g_strdup_printf("{'payload': <{'kernel': <'/k%u'>}>}", number);
        g_autoptr(GVariant) config =
                        g_variant_parse(G_VARIANT_TYPE_VARDICT, text, NULL, NULL, NULL);
        const ChvdRecord record = { .owner = 1000, .created = number, .config = config };

        return chvd_store_save(store, name, &record, create, error);
}

void rig_save(ChvdStore *store, const char *name, unsigned number, bool create) {
        g_autoptr(GError) error = NULL;

        (void) rig_try_save(store, name, number, create, &error);
        g_assert_no_error(error);
}

void rig_remove(ChvdStore *store, const char *name) {
        g_autoptr(GError) error = NULL;

        (void) chvd_store_remove(store, name, &error);
        g_assert_no_error(error);
}

static void
on_found(gpointer data, const char *name, const ChvdRecord *record, const GError *error) {
        GString *found = data;

        g_assert_true((record == NULL) == (error != NULL));
        if (!record) {
                g_string_append_printf(found, "%s=broken ", name);
                return;
        }
        g_assert_cmpuint(record->owner, ==, 1000);
        g_string_append_printf(
                        found, "%s=%u%s ", name, (unsigned) record->created,
                        record->has_run ? "!" : "");
}

char *rig_load(ChvdStore *store) {
        GString *found = g_string_new(NULL);
        g_autoptr(GError) error = NULL;

        (void) chvd_store_load(store, on_found, found, &error);
        g_assert_no_error(error);
        return g_string_free(found, /* free_segment= */ FALSE);
}
