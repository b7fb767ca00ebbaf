/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/* chvd.conf: whatever stands in it, it is read to its end, each fault costs a line, and the warnings can be shown. */

#include "fuzz.h"

#include <glib.h>
#include <glib/gstdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/chvd/conf.h"

#define MAX_SIZE 65536

static char *folder, *file;

static void remove_files(void) {
        (void) g_unlink(file);
        (void) g_rmdir(folder);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        g_autoptr(GPtrArray) warnings = g_ptr_array_new_with_free_func(g_free);
        ChvdConf conf, defaults;

        if (size > MAX_SIZE)
                return 0;
        if (!folder) {
                folder = g_dir_make_tmp("chvd-fuzz-XXXXXX", NULL);
                file = g_build_filename(folder, "chvd.conf", NULL);
                (void) atexit(remove_files);
        }
        g_assert_true(g_file_set_contents_full(
                        file, (const char *) data, (gssize) size, G_FILE_SET_CONTENTS_NONE, 0600,
                        NULL));
        chvd_conf_read(&conf, folder, warnings);
        for (unsigned i = 0; i < warnings->len; i++) {
                g_assert_true(g_utf8_validate(warnings->pdata[i], -1, NULL));
                g_assert_cmpuint(strlen(warnings->pdata[i]), <, 4096);
        }
        /* What is not set there is as if there were no file. */
        chvd_quota_default_limits(defaults.limits);
        for (unsigned i = 0; i < CHVD_CHARGE_MAX; i++)
                if (!chvd_quota_key(i)) {
                        g_assert_cmpuint(conf.limits[i].owner, ==, defaults.limits[i].owner);
                        g_assert_cmpuint(conf.limits[i].total, ==, defaults.limits[i].total);
                }
        return 0;
}
