/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves that no broken record is read as good, wherever it is cut short or changed; that one broken record costs one
 * VM and stays on disk; that a layout of another version is not touched; and that what was stored comes back the same.
 */

#include <glib/gstdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/chvd/store.h"
#include "dbus/error.h"
#include "store-rig.h"

static const char good[] =
                "[Definition]\nVersion=1\nOwner=1000\nCreated=7\nAutostart=true\n"
                "AutostartOrder=3\nAutostartDelay=5\nCrashPolicy=restart\n"
                "CPUWeight=7\nMemoryMax=auto\n"
                "Given=['serial']\nConfig={'payload': <{'kernel': <'/k'>}>}\nComplete=true\n";

static void test_bad_records(void) {
        static const struct {
                const char *from, *to; /* what to change in the good one */
                int code;
        } cases[] = {
                { "Version=1", "Version=2", CHV_ERROR_NOT_SUPPORTED },
                { "Version=1", "Version=1x", CHV_ERROR_INVALID_CONFIG },
                { "Version=1\n", "", CHV_ERROR_INVALID_CONFIG },
                { "[Definition]", "[Else]", CHV_ERROR_INVALID_CONFIG },
                { "[Definition]\n", "", CHV_ERROR_INVALID_CONFIG },
                { "Owner=1000", "Owner=-1", CHV_ERROR_INVALID_CONFIG },
                { "Owner=1000", "Owner=4294967295", CHV_ERROR_INVALID_CONFIG },
                { "Owner=1000\n", "", CHV_ERROR_INVALID_CONFIG },
                { "Created=7", "Created=99999999999999999999", CHV_ERROR_INVALID_CONFIG },
                { "Complete=true", "Complete=tru", CHV_ERROR_INVALID_CONFIG },
                { "Complete=true\n", "", CHV_ERROR_INVALID_CONFIG },
                { "Given=['serial']\n", "", CHV_ERROR_INVALID_CONFIG },
                { "Given=['serial']", "Given=[7]", CHV_ERROR_INVALID_CONFIG },
                { "Config={", "Config=[", CHV_ERROR_INVALID_CONFIG },
                { "Config={'payload'", "Config={7", CHV_ERROR_INVALID_CONFIG },
                { "'/k'", "'\xff'", CHV_ERROR_INVALID_CONFIG },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
                g_auto(GStrv) parts = g_strsplit(good, cases[i].from, 2);
                g_autofree char *text = g_strjoinv(cases[i].to, parts);
                g_autoptr(GError) error = NULL;

                g_assert_cmpuint(g_strv_length(parts), ==, 2);
                g_assert_null(chvd_record_from_text(text, strlen(text), NULL, &error));
                g_assert_error(error, CHV_ERROR, cases[i].code);
        }
        g_assert_null(chvd_record_from_text("", 0, NULL, NULL));
        g_assert_null(chvd_record_from_text("\0\0\0\0", 4, NULL, NULL));
}

/* A disk that fails gives back beginnings, or blocks of nothing. */
static void test_cut_short(void) {
        for (size_t n = 0; n < strlen(good) - 1; n++) {
                g_autofree char *zeros = g_memdup2(good, sizeof(good));

                g_assert_null(chvd_record_from_text(good, n, NULL, NULL));
                memset(zeros + n, 0, strlen(good) - n);
                g_assert_null(chvd_record_from_text(zeros, strlen(good), NULL, NULL));
        }
}

static void test_broken_options_have_defaults(void) {
        static const char *const bad[][2] = {
                { "Autostart=true", "Autostart=yes" },
                { "AutostartOrder=3", "AutostartOrder=three" },
                { "AutostartDelay=5", "AutostartDelay=3601" },
                { "CrashPolicy=restart", "CrashPolicy=explode" },
                { "CPUWeight=7", "CPUWeight=10001" },
                { "MemoryMax=auto", "MemoryMax=18446744073709551615" },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
                g_auto(GStrv) parts = g_strsplit(good, bad[i][0], 2);
                g_autofree char *text = g_strjoinv(bad[i][1], parts);
                g_auto(GStrv) pair = g_strsplit(bad[i][1], "=", 2);
                g_autofree char *named = g_strdup_printf("%s='%s' ", pair[0], pair[1]);
                g_autoptr(GPtrArray) warnings = g_ptr_array_new_with_free_func(g_free);
                g_autoptr(GError) error = NULL;
                g_autoptr(ChvdRecord) record =
                                chvd_record_from_text(text, strlen(text), warnings, &error);

                g_assert_no_error(error);
                g_assert_cmpuint(warnings->len, ==, 1);
                g_assert_true(g_str_has_prefix(warnings->pdata[0], named));
                g_assert_cmpint(record->policy.autostart, ==, i != 0);
                g_assert_cmpint(record->policy.start_order, ==, i == 1 ? 0 : 3);
                g_assert_cmpint(record->policy.start_delay, ==, i == 2 ? 0 : 5);
                g_assert_cmpint(record->policy.crash, ==,
                                i == 3 ? CHVD_CRASH_DESTROY : CHVD_CRASH_RESTART);
                g_assert_cmpuint(
                                record->policy.shares.values[CHV_LIMIT_CPU_WEIGHT], ==,
                                i == 4 ? 0 : 7);
                g_assert_true(record->policy.shares.values[CHV_LIMIT_MEMORY_MAX] ==
                              (i == 5 ? 0 : CHVD_MEMORY_AUTO));
        }
}

static void test_round_trip(void) {
        static const char *const configs[] = {
                "@a{sv} {}",
                "{'payload': <{'cmdline': <'a=b;c [x] # \"q\" \\\\ \\n\\u0001 ä'>}>}",
                "{'memory': <{'size': <uint64 18446744073709551615>}>, 'disks': <[{'path': "
                "<'/x'>}]>}",
                "{'serial': <{'mode': <'null'>}>, 'net': <@aa{sv} []>}",
        };

        for (size_t i = 0; i < G_N_ELEMENTS(configs); i++) {
                ChvdRecord record = {
                        .owner = 4294967294,
                        .created = G_MAXINT64,
                        .policy = { true, 9, 3600, CHVD_CRASH_PRESERVE },
                        .config = g_variant_parse(
                                        G_VARIANT_TYPE_VARDICT, configs[i], NULL, NULL, NULL),
                };
                g_autoptr(GVariant) config = record.config;
                g_autoptr(GError) error = NULL;
                g_autofree char *text = chvd_record_to_text(&record, &error);
                g_autoptr(ChvdRecord) again = NULL;

                g_assert_no_error(error);
                again = chvd_record_from_text(text, strlen(text), NULL, &error);
                g_assert_no_error(error);
                g_assert_true(g_variant_equal(again->config, config));
                g_assert_cmpint(again->policy.crash, ==, CHVD_CRASH_PRESERVE);
                g_assert_cmpuint(again->owner, ==, record.owner);
        }
}

static void write_text(const char *dir, const char *file, const char *text) {
        g_autofree char *path = g_build_filename(dir, file, NULL);
        g_autofree char *parent = g_path_get_dirname(path);

        g_assert_cmpint(g_mkdir_with_parents(parent, 0700), ==, 0);
        g_assert_true(g_file_set_contents(path, text, -1, NULL));
}

static bool exists(const char *dir, const char *file) {
        g_autofree char *path = g_build_filename(dir, file, NULL);

        return g_file_test(path, G_FILE_TEST_EXISTS);
}

static void test_no_store(void) {
        g_autofree char *top = rig_dir();
        g_autofree char *dir = g_build_filename(top, "a", "b", NULL);
        g_autoptr(ChvdStore) store = chvd_store_new(dir, &chvd_store_files);
        g_autofree char *found = rig_load(store);

        g_assert_cmpstr(found, ==, "");
        /* Reading makes nothing. */
        g_assert_false(exists(top, "a"));
        rig_save(store, "one", 1, true);
        g_clear_pointer(&found, g_free);
        found = rig_load(store);
        g_assert_cmpstr(found, ==, "one=1 ");
        rig_remove_tree(top);
}

static void test_one_broken(void) {
        g_autofree char *dir = rig_dir();
        g_autoptr(ChvdStore) store = chvd_store_new(dir, &chvd_store_files);
        g_autofree char *found = NULL, *again = NULL, *outside = NULL;
        g_autoptr(GError) error = NULL;

        rig_save(store, "a", 1, true);
        rig_save(store, "z", 2, true);
        write_text(dir, "vms/b/definition", "rubbish");
        write_text(dir, "vms/c/definition", "");
        write_text(dir, "vms/d/definition/x", "a folder");
        write_text(dir, "vms/..bad name/definition", good);
        write_text(dir, "vms/e", "no folder");
        outside = g_build_filename(dir, "vms", "f", NULL);
        g_assert_cmpint(symlink("a", outside), ==, 0);
        found = rig_load(store);
        g_assert_cmpstr(found, ==, "a=1 b=broken c=broken d=broken e=broken f=broken z=2 ");
        /* All of it is left as it is, and its names are taken. */
        g_assert_true(exists(dir, "vms/b/definition"));
        g_assert_false(rig_try_save(store, "b", 1, true, &error));
        g_assert_error(error, CHV_ERROR, CHV_ERROR_EXISTS);
        again = rig_load(store);
        g_assert_cmpstr(again, ==, found);
        rig_remove_tree(dir);
}

static void test_leftovers(void) {
        g_autofree char *dir = rig_dir();
        g_autoptr(ChvdStore) store = chvd_store_new(dir, &chvd_store_files);
        g_autofree char *found = NULL;

        rig_save(store, "a", 1, true);
        write_text(dir, "vms/a/definition.new", "half a rec");
        write_text(dir, "vms/b/definition.new", "half a rec");
        write_text(dir, "vms/b/started", "");
        write_text(dir, "vms/c/mine", "not chvd's");
        found = rig_load(store);
        g_assert_cmpstr(found, ==, "a=1 ");
        g_assert_false(exists(dir, "vms/a/definition.new"));
        g_assert_false(exists(dir, "vms/b"));
        g_assert_true(exists(dir, "vms/c/mine"));
        rig_save(store, "c", 3, true);
        rig_remove(store, "c");
        g_assert_true(exists(dir, "vms/c/mine"));
        rig_remove_tree(dir);
}

static void test_other_version(void) {
        g_autofree char *dir = rig_dir();
        g_autoptr(ChvdStore) store = chvd_store_new(dir, &chvd_store_files);
        g_autoptr(GError) load = NULL, save = NULL;

        write_text(dir, "version", "2\n");
        write_text(dir, "vms/a/definition.new", "of the future");
        g_assert_false(chvd_store_load(store, NULL, NULL, &load));
        g_assert_error(load, CHV_ERROR, CHV_ERROR_NOT_SUPPORTED);
        g_assert_nonnull(strstr(load->message, dir));
        g_assert_false(rig_try_save(store, "a", 1, true, &save));
        g_assert_error(save, CHV_ERROR, CHV_ERROR_NOT_SUPPORTED);
        g_assert_true(exists(dir, "vms/a/definition.new"));
        rig_remove_tree(dir);
}

static void test_unwritable(void) {
        g_autoptr(ChvdStore) store = chvd_store_new("/proc/chvd", &chvd_store_files);
        g_autoptr(GError) error = NULL;
        g_autofree char *found = rig_load(store);

        g_assert_cmpstr(found, ==, "");
        g_assert_false(rig_try_save(store, "a", 1, true, &error));
        g_assert_error(error, CHV_ERROR, CHV_ERROR_RESOURCE);
        g_assert_nonnull(strstr(error->message, "/proc/chvd"));
}

static void test_life(void) {
        g_autofree char *dir = rig_dir();
        g_autoptr(ChvdStore) store = chvd_store_new(dir, &chvd_store_files);
        g_autofree char *path = g_build_filename(dir, "vms/a/definition", NULL);
        g_autofree char *first = NULL, *second = NULL, *third = NULL;
        g_autoptr(GError) error = NULL;
        struct stat st;

        rig_save(store, "a", 1, true);
        g_assert_cmpint(stat(path, &st), ==, 0);
        g_assert_cmpuint(st.st_mode & 07777, ==, 0600);
        rig_save(store, "a", 2, false);
        rig_save(store, "b", 3, true);
        chvd_store_mark_run(store, "a");
        first = rig_load(store);
        g_assert_cmpstr(first, ==, "a=2! b=3 ");
        /* No VM is renamed over another. */
        g_assert_false(chvd_store_rename(store, "a", "b", &error));
        g_assert_error(error, CHV_ERROR, CHV_ERROR_RESOURCE);
        g_assert_true(chvd_store_rename(store, "a", "c", NULL));
        second = rig_load(store);
        g_assert_cmpstr(second, ==, "b=3 c=2! ");
        rig_remove(store, "c");
        rig_remove(store, "c");
        /* A new VM of an old name has not run. */
        rig_save(store, "c", 4, true);
        third = rig_load(store);
        g_assert_cmpstr(third, ==, "b=3 c=4 ");
        rig_remove_tree(dir);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/store/bad-records", test_bad_records);
        g_test_add_func("/store/cut-short", test_cut_short);
        g_test_add_func("/store/broken-options-have-defaults", test_broken_options_have_defaults);
        g_test_add_func("/store/round-trip", test_round_trip);
        g_test_add_func("/store/no-store", test_no_store);
        g_test_add_func("/store/one-broken", test_one_broken);
        g_test_add_func("/store/leftovers", test_leftovers);
        g_test_add_func("/store/other-version", test_other_version);
        g_test_add_func("/store/unwritable", test_unwritable);
        g_test_add_func("/store/life", test_life);
        return g_test_run();
}
