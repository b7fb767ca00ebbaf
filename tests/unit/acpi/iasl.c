/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Drives iasl in a directory of its own that goes away with the check. The compiler is named by
 * CHV_IASL, set by the build; without it a check reports nothing.
 */

#include "iasl.h"

#include <glib/gstdio.h>
#include <string.h>

static void remove_dir(const char *path) {
        g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
        const char *name;

        while (dir && (name = g_dir_read_name(dir))) {
                g_autofree char *file = g_build_filename(path, name, NULL);

                g_assert_cmpint(g_unlink(file), ==, 0);
        }
        g_assert_cmpint(g_rmdir(path), ==, 0);
}

/* Runs iasl in dir; asserts that it succeeds and complains of nothing. */
static void run(const char *dir, const char *option, const char *file) {
        const char *argv[] = { g_getenv("CHV_IASL"), "-p", "out", "-oa", option, file, NULL };
        g_autofree char *out = NULL, *err = NULL, *all = NULL;
        g_autoptr(GError) error = NULL;
        int status;

        g_spawn_sync(dir, (char **) argv,
                     /* envp= */ NULL, G_SPAWN_DEFAULT,
                     /* child_setup= */ NULL,
                     /* user_data= */ NULL, &out, &err, &status, &error);
        g_assert_no_error(error);
        all = g_strconcat(out, err, NULL);
        if (status != 0 || strstr(all, "Error") || strstr(all, "Warning") || strstr(all, "Invalid"))
                if (!strstr(all, "0 Errors, 0 Warnings"))
                        g_error("iasl %s: status %i\n%s", option, status, all);
}

static char *disassemble(const char *dir, const void *table, size_t len) {
        g_autofree char *in = g_build_filename(dir, "in.aml", NULL);
        g_autofree char *dsl = g_build_filename(dir, "out.dsl", NULL);
        g_autoptr(GError) error = NULL;
        char *text;

        g_file_set_contents(in, table, (gssize) len, &error);
        g_assert_no_error(error);
        run(dir, "-dl", "in.aml");
        g_file_get_contents(dsl, &text, /* length= */ NULL, &error);
        g_assert_no_error(error);
        return text;
}

char *iasl_disassemble(const void *table, size_t len) {
        g_autofree char *dir = NULL;
        char *text;

        if (!g_getenv("CHV_IASL"))
                return NULL;

        dir = g_dir_make_tmp("chv-iasl-XXXXXX", /* error= */ NULL);
        g_assert_nonnull(dir);
        text = disassemble(dir, table, len);
        remove_dir(dir);
        return text;
}

char *iasl_round_trip(const void *table, size_t len) {
        g_autofree char *dir = NULL, *aml = NULL, *again = NULL;
        g_autoptr(GError) error = NULL;
        size_t again_len;
        char *text;

        if (!g_getenv("CHV_IASL"))
                return NULL;

        dir = g_dir_make_tmp("chv-iasl-XXXXXX", /* error= */ NULL);
        g_assert_nonnull(dir);
        text = disassemble(dir, table, len);
        run(dir, "-vr", "out.dsl");
        aml = g_build_filename(dir, "out.aml", NULL);
        g_file_get_contents(aml, &again, &again_len, &error);
        g_assert_no_error(error);
        g_assert_cmpmem((const char *) table + 36, len - 36, again + 36, again_len - 36);
        remove_dir(dir);
        return text;
}
