/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves the configuration of the service: what is wrong in a file costs its own line and is told with its place, files
 * mask and override each other in systemd's order, and limits are held as they are set, with an error that names them.
 */

#include <glib/gstdio.h>
#include <string.h>
#include <unistd.h>

#include "daemon/chvd/conf.h"
#include "daemon/chvd/idle.h"
#include "dbus/error.h"

typedef struct {
        char *dir, *etc, *lib, *folders;
        ChvdConf conf;
        GPtrArray *warnings;
} Rig;

static void remove_tree(const char *path) {
        g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
        const char *name;

        while (dir && (name = g_dir_read_name(dir))) {
                g_autofree char *child = g_build_filename(path, name, NULL);

                if (g_file_test(child, G_FILE_TEST_IS_DIR))
                        remove_tree(child);
                else
                        (void) g_unlink(child);
        }
        (void) g_rmdir(path);
}

static void rig_setup(Rig *rig, gconstpointer data) {
        rig->dir = g_dir_make_tmp("chvd-conf-XXXXXX", NULL);
        rig->etc = g_build_filename(rig->dir, "etc", NULL);
        rig->lib = g_build_filename(rig->dir, "lib", NULL);
        rig->folders = g_strjoin(":", rig->etc, rig->lib, NULL);
        rig->warnings = g_ptr_array_new_with_free_func(g_free);
}

static void rig_teardown(Rig *rig, gconstpointer data) {
        remove_tree(rig->dir);
        g_free(rig->dir);
        g_free(rig->etc);
        g_free(rig->lib);
        g_free(rig->folders);
        g_ptr_array_unref(rig->warnings);
}

static void put(const char *folder, const char *name, const char *text, gssize length) {
        g_autofree char *path = g_build_filename(folder, name, NULL);
        g_autofree char *parent = g_path_get_dirname(path);
        g_autoptr(GError) error = NULL;

        g_assert_cmpint(g_mkdir_with_parents(parent, 0755), ==, 0);
        (void) g_file_set_contents(path, text, length, &error);
        g_assert_no_error(error);
}

static void reread(Rig *rig) {
        g_ptr_array_set_size(rig->warnings, 0);
        /* Nothing of before is left. */
        memset(&rig->conf, 0x5a, sizeof(rig->conf));
        chvd_conf_read(&rig->conf, rig->folders, rig->warnings);
}

static void assert_defaults(const Rig *rig) {
        ChvdLimit limits[CHVD_CHARGE_MAX];

        chvd_quota_default_limits(limits);
        g_assert_cmpmem(&rig->conf.limits, sizeof(limits), limits, sizeof(limits));
        g_assert_cmpuint(rig->conf.machined, ==, true);
}

static void assert_warns(const Rig *rig, unsigned i, const char *pattern) {
        g_assert_cmpuint(i, <, rig->warnings->len);
        if (!g_pattern_match_simple(pattern, g_ptr_array_index(rig->warnings, i)))
                g_error("'%s' is not like '%s'", (char *) g_ptr_array_index(rig->warnings, i),
                        pattern);
}

static void test_faults(Rig *rig, gconstpointer data) {
        static const char *const values[] = {
                "",
                "-1",
                "+1",
                "0x10",
                "1.5",
                "1 2",
                "many",
                "1K",
                "0 ",
                "1,5",
                "Infinity",
                "18446744073709551616",
                "99999999999999999999999999",
                "\xc3\xa9",
        };

        put(rig->etc, "chvd.conf",
            "MaxVMs=1\n"
            "[Limits]\n"
            "MaxVMs = lots\n"
            "  MaxVCPU=3\n"
            "; MaxDisks=1\n"
            "nonsense\n"
            "=1\n"
            "MaxJobs=7\r\n"
            "maxjobs=8\n"
            "[Limit]\n"
            "MaxVMs=1\n"
            "[Limits\n"
            "[]\n",
            -1);
        reread(rig);
        assert_warns(rig, 0, "*/etc/chvd.conf:1: *MaxVMs=1*before any*");
        assert_warns(rig, 1, "*/etc/chvd.conf:3: MaxVMs='lots' is not a number, or infinity*");
        assert_warns(rig, 2, "*/etc/chvd.conf:4: unknown key 'MaxVCPU' in section [Limits]*");
        assert_warns(rig, 3, "*:6: 'nonsense'*");
        assert_warns(rig, 4, "*:7: '=1'*");
        assert_warns(rig, 5, "*:9: unknown key 'maxjobs'*");
        assert_warns(rig, 6, "*:10: unknown section '[Limit]'*");
        assert_warns(rig, 7, "*:12: '[Limits'*");
        assert_warns(rig, 8, "*:13: unknown section '[]'*");
        g_assert_cmpuint(rig->warnings->len, ==, 9);
        g_assert_cmpuint(rig->conf.limits[CHVD_CHARGE_VM].owner, ==, 1024);
        g_assert_cmpuint(rig->conf.limits[CHVD_CHARGE_JOB].owner, ==, 7);

        for (unsigned i = 0; i < G_N_ELEMENTS(values); i++) {
                g_autofree char *text = g_strdup_printf("[Limits]\nMaxVMs=%s.\n", values[i]);

                put(rig->etc, "chvd.conf", text, -1);
                reread(rig);
                assert_warns(rig, 0, "*:2: MaxVMs=*");
                assert_defaults(rig);
        }

        /* Where it is cut there is a letter of two bytes, and the log takes no half of one. */
        for (unsigned i = 0; i < 4; i++) {
                g_autofree char *start = g_strnfill(61 + i, 'x');
                g_autofree char *text = g_strdup_printf(
                                "[Limits]\nMaxVMs=%s\xc3\xa9\n%s\xc3\xa9=1\n[%s\xc3\xa9\xc3\xa9]\n",
                                start, start, start);

                put(rig->etc, "chvd.conf", text, -1);
                reread(rig);
                g_assert_cmpuint(rig->warnings->len, ==, 3);
                for (unsigned j = 0; j < 3; j++)
                        g_assert_true(g_utf8_validate(rig->warnings->pdata[j], -1, NULL));
        }
}

static void test_unreadable(Rig *rig, gconstpointer data) {
        g_autofree char *large = g_strnfill(1024 * 1024 + 1, '\n');
        g_autofree char *folder = g_build_filename(rig->etc, "chvd.conf.d", "a.conf", NULL);

        reread(rig);
        g_assert_cmpuint(rig->warnings->len, ==, 0);
        assert_defaults(rig);
        put(rig->etc, "chvd.conf", "[Limits]\nMaxVMs=1\0\n", 20);
        reread(rig);
        assert_warns(rig, 0, "*/chvd.conf: is no text*");
        assert_defaults(rig);
        put(rig->etc, "chvd.conf", "[Limits]\nMaxVMs=1\n#\xff\n", -1);
        reread(rig);
        assert_warns(rig, 0, "*/chvd.conf: is no text*");
        put(rig->etc, "chvd.conf", large, -1);
        reread(rig);
        assert_warns(rig, 0, "*/chvd.conf: is no text*");
        /* A folder, where root reads everything else. */
        put(rig->etc, "chvd.conf", "[Limits]\nMaxVMs=3\n", -1);
        g_assert_cmpint(g_mkdir_with_parents(folder, 0755), ==, 0);
        reread(rig);
        assert_warns(rig, 0, "*/a.conf: can't be read: *");
        g_assert_cmpuint(rig->warnings->len, ==, 1);
        g_assert_cmpuint(rig->conf.limits[CHVD_CHARGE_VM].owner, ==, 3);
}

static void test_values(Rig *rig, gconstpointer data) {
        static const struct {
                const char *text;
                uint64_t bytes;
        } sizes[] = {
                { "0", 0 },
                { "7", 7 },
                { "7B", 7 },
                { "3K", 3072 },
                { "512M", 512ull << 20 },
                { "64G", 64ull << 30 },
                { "2T", 2ull << 40 },
                { "infinity", CHVD_NO_LIMIT },
        };

        for (unsigned i = 0; i < G_N_ELEMENTS(sizes); i++) {
                g_autofree char *text =
                                g_strdup_printf("[Limits]\nMaxMemory=%s\nMaxMemoryTotal=%s\n",
                                                sizes[i].text, sizes[i].text);

                put(rig->etc, "chvd.conf", text, -1);
                reread(rig);
                g_assert_cmpuint(rig->warnings->len, ==, 0);
                g_assert_cmpuint(rig->conf.limits[CHVD_CHARGE_MEMORY].owner, ==, sizes[i].bytes);
                g_assert_cmpuint(rig->conf.limits[CHVD_CHARGE_MEMORY].total, ==, sizes[i].bytes);
        }
        put(rig->etc, "chvd.conf", "[Limits]\nMaxMemory=16777217T\nMaxMemoryTotal=1P\n", -1);
        reread(rig);
        g_assert_cmpuint(rig->warnings->len, ==, 2);
        assert_defaults(rig);
}

static void test_switches(Rig *rig, gconstpointer data) {
        static const char *const wrong[] = { "", "yes", "1", "Auto", "auto no" };

        put(rig->etc, "chvd.conf", "[Service]\nMachined = no\n", -1);
        reread(rig);
        g_assert_cmpuint(rig->warnings->len, ==, 0);
        g_assert_cmpuint(rig->conf.machined, ==, false);
        put(rig->etc, "chvd.conf.d/a.conf", "[Service]\nMachined=auto\n", -1);
        reread(rig);
        g_assert_cmpuint(rig->warnings->len, ==, 0);
        assert_defaults(rig);
        for (unsigned i = 0; i < G_N_ELEMENTS(wrong); i++) {
                g_autofree char *text = g_strdup_printf("[Service]\nMachined=%s\n", wrong[i]);

                put(rig->etc, "chvd.conf.d/a.conf", text, -1);
                reread(rig);
                assert_warns(rig, 0, "*/a.conf:2: Machined=* is not auto or no*");
                g_assert_cmpuint(rig->conf.machined, ==, false);
        }
        put(rig->etc, "chvd.conf.d/a.conf", "[Limits]\nMachined=auto\n[Service]\nMaxVMs=1\n", -1);
        reread(rig);
        g_assert_cmpuint(rig->warnings->len, ==, 2);
}

static void test_time(Rig *rig, gconstpointer data) {
        static const char *const wrong[] = {
                "",
                "-1",
                "1.5",
                "1 min",
                "min",
                "2m",
                "1us",
                "never",
                "18446744073709552",
                "99999999999999999999min",
        };
        static const struct {
                const char *text;
                uint64_t ms;
        } good[] = {
                { "0", 0 },
                { "120", 120000 },
                { "50ms", 50 },
                { "5s", 5000 },
                { "2min", 120000 },
                { "1h", 3600000 },
                { "infinity", CHVD_NO_LIMIT },
        };

        reread(rig);
        g_assert_cmpuint(rig->conf.idle_exit_ms, ==, CHVD_CONF_UNSET);
        for (unsigned i = 0; i < G_N_ELEMENTS(wrong); i++) {
                g_autofree char *text = g_strdup_printf("[Service]\nIdleExit=%s\n", wrong[i]);

                put(rig->etc, "chvd.conf", text, -1);
                reread(rig);
                assert_warns(rig, 0,
                             "*:2: IdleExit=* is not a time like 120 or 5min, or infinity*");
                g_assert_cmpuint(rig->conf.idle_exit_ms, ==, CHVD_CONF_UNSET);
        }
        for (unsigned i = 0; i < G_N_ELEMENTS(good); i++) {
                g_autofree char *text = g_strdup_printf("[Service]\nIdleExit=%s\n", good[i].text);

                put(rig->etc, "chvd.conf", text, -1);
                reread(rig);
                g_assert_cmpuint(rig->warnings->len, ==, 0);
                g_assert_cmpuint(rig->conf.idle_exit_ms, ==, good[i].ms);
        }
}

static void test_precedence(Rig *rig, gconstpointer data) {
        g_autofree char *mask = g_build_filename(rig->etc, "chvd.conf.d", "30-off.conf", NULL);

        put(rig->lib, "chvd.conf", "[Limits]\nMaxVMs=1\nMaxJobs=1\n", -1);
        put(rig->lib, "chvd.conf.d/20-two.conf", "[Limits]\nMaxVMs=2\nMaxDisks=2\n", -1);
        put(rig->lib, "chvd.conf.d/30-off.conf", "[Limits]\nMaxVCPUs=30\n", -1);
        reread(rig);
        g_assert_cmpuint(rig->conf.limits[CHVD_CHARGE_VM].owner, ==, 2);
        g_assert_cmpuint(rig->conf.limits[CHVD_CHARGE_JOB].owner, ==, 1);
        g_assert_cmpuint(rig->conf.limits[CHVD_CHARGE_VCPU].owner, ==, 30);

        /* The file of /etc takes the whole place of the other, and comes before every drop-in. */
        put(rig->etc, "chvd.conf", "[Limits]\nMaxVMs=3\nMaxVCPUs=3\n", -1);
        reread(rig);
        g_assert_cmpuint(rig->conf.limits[CHVD_CHARGE_VM].owner, ==, 2);
        g_assert_cmpuint(rig->conf.limits[CHVD_CHARGE_JOB].owner, ==, 256);
        g_assert_cmpuint(rig->conf.limits[CHVD_CHARGE_VCPU].owner, ==, 30);

        /* A name of /etc masks the same of /usr/lib; between names the order counts, wherever they are. */
        g_assert_cmpint(g_mkdir_with_parents(rig->etc, 0755), ==, 0);
        put(rig->etc, "chvd.conf.d/10-early.conf", "[Limits]\nMaxVMs=10\nMaxDisks=10\n", -1);
        put(rig->etc, "chvd.conf.d/90-late", "[Limits]\nMaxVMs=90\n", -1);
        put(rig->etc, "chvd.conf.d/.90-hidden.conf", "[Limits]\nMaxVMs=91\n", -1);
        g_assert_cmpint(symlink("/dev/null", mask), ==, 0);
        reread(rig);
        g_assert_cmpuint(rig->conf.limits[CHVD_CHARGE_VM].owner, ==, 2);
        g_assert_cmpuint(rig->conf.limits[CHVD_CHARGE_DISK].owner, ==, 2);
        g_assert_cmpuint(rig->conf.limits[CHVD_CHARGE_VCPU].owner, ==, 3);
        put(rig->etc, "chvd.conf.d/20-two.conf", "[Limits]\nMaxVMs=20\n", -1);
        reread(rig);
        g_assert_cmpuint(rig->conf.limits[CHVD_CHARGE_VM].owner, ==, 20);
        g_assert_cmpuint(rig->conf.limits[CHVD_CHARGE_DISK].owner, ==, 10);
        g_assert_cmpuint(rig->warnings->len, ==, 0);
}

/* What is installed says what holds anyway. */
static void test_installed(Rig *rig, gconstpointer data) {
        g_autofree char *text = NULL;
        g_auto(GStrv) lines = NULL;
        g_autoptr(GString) shown = g_string_new(NULL);
        unsigned n = 0;

        g_assert_true(g_file_get_contents(g_getenv("CHV_CONF"), &text, NULL, NULL));
        put(rig->etc, "chvd.conf", text, -1);
        reread(rig);
        g_assert_cmpuint(rig->warnings->len, ==, 0);
        assert_defaults(rig);
        lines = g_strsplit(text, "\n", -1);
        for (unsigned i = 0; lines[i]; i++) {
                bool setting = g_regex_match_simple("^#[A-Z][A-Za-z]+=", lines[i], 0, 0);

                n += setting;
                g_string_append_printf(shown, "%s\n", lines[i] + setting);
        }
        put(rig->etc, "chvd.conf", shown->str, -1);
        reread(rig);
        g_assert_cmpuint(rig->warnings->len, ==, 0);
        assert_defaults(rig);
        for (unsigned i = 0; i < CHVD_CHARGE_MAX; i++)
                n -= chvd_quota_key(i) ? 2 : 0;
        g_assert_cmpuint(rig->conf.idle_exit_ms, ==, CHVD_IDLE_DEFAULT_MS);
        g_assert_cmpuint(n, ==, 2); /* Machined, IdleExit */
}

static void
assert_refused(ChvdQuota *quota, ChvdCharge what, uid_t uid, uint64_t n, const char *pattern) {
        g_autoptr(GError) error = NULL;

        g_assert_false(chvd_quota_charge_n(quota, what, uid, n, &error));
        g_assert_error(error, CHV_ERROR, CHV_ERROR_LIMIT);
        if (!g_pattern_match_simple(pattern, error->message))
                g_error("'%s' is not like '%s'", error->message, pattern);
}

static void test_limits(Rig *rig, gconstpointer data) {
        g_autoptr(ChvdQuota) quota = chvd_quota_new();
        const uint64_t gib = 1ull << 30;

        put(rig->etc, "chvd.conf",
            "[Limits]\nMaxVCPUs=4\nMaxVCPUsTotal=6\nMaxMemory=3G\nMaxDisks=0\n", -1);
        reread(rig);
        chvd_quota_set_limits(quota, rig->conf.limits);
        assert_refused(quota, CHVD_CHARGE_DISK, 1000, 1,
                       "uid 1000 has 0 disks*; 1 more * limit MaxDisks=0");
        g_assert_true(chvd_quota_charge_n(quota, CHVD_CHARGE_DISK, 1000, 0, NULL));
        assert_refused(quota, CHVD_CHARGE_VCPU, 1000, UINT64_MAX, "*MaxVCPUs=4");
        g_assert_true(chvd_quota_charge_n(quota, CHVD_CHARGE_VCPU, 1000, 3, NULL));
        assert_refused(quota, CHVD_CHARGE_VCPU, 1000, 2,
                       "uid 1000 has 3 vCPUs of running virtual machines; 2 more would exceed "
                       "the limit MaxVCPUs=4");
        assert_refused(quota, CHVD_CHARGE_VCPU, 1001, 4,
                       "all users together have 3 vCPUs*; 4 more * MaxVCPUsTotal=6");
        g_assert_true(chvd_quota_charge_n(quota, CHVD_CHARGE_VCPU, 1001, 3, NULL));
        g_assert_true(chvd_quota_charge_n(quota, CHVD_CHARGE_MEMORY, 1000, 2 * gib, NULL));
        assert_refused(quota, CHVD_CHARGE_MEMORY, 1000, gib + 1024 * 1024,
                       "uid 1000 has 2G memory*; 1025M more * MaxMemory=3G");
        g_assert_true(chvd_quota_charge_n(quota, CHVD_CHARGE_MEMORY, 1000, gib, NULL));

        /* A lower limit takes nothing away, and what needs nothing is not refused. */
        rig->conf.limits[CHVD_CHARGE_VCPU].owner = 1;
        chvd_quota_set_limits(quota, rig->conf.limits);
        g_assert_true(chvd_quota_charge_n(quota, CHVD_CHARGE_VCPU, 1000, 0, NULL));
        chvd_quota_release_n(quota, CHVD_CHARGE_VCPU, 1000, 3);
        assert_refused(quota, CHVD_CHARGE_VCPU, 1000, 2, "uid 1000 has 0 *=1");
        g_assert_true(chvd_quota_charge_n(quota, CHVD_CHARGE_VCPU, 1000, 1, NULL));
}

static void test_root(Rig *rig, gconstpointer data) {
        g_autoptr(ChvdQuota) quota = chvd_quota_new();
        unsigned questions = 0;

        put(rig->etc, "chvd.conf", "[Limits]\nMaxVMs=1\nMaxVMsTotal=3\n", -1);
        reread(rig);
        chvd_quota_set_limits(quota, rig->conf.limits);
        g_assert_true(chvd_quota_charge(quota, CHVD_CHARGE_VM, 0, NULL));
        assert_refused(quota, CHVD_CHARGE_VM, 0, 1, "uid 0 *");
        chvd_quota_exempt_root(quota);
        g_assert_true(chvd_quota_charge(quota, CHVD_CHARGE_VM, 0, NULL));
        g_assert_true(chvd_quota_charge(quota, CHVD_CHARGE_VM, 1000, NULL));
        assert_refused(quota, CHVD_CHARGE_VM, 0, 1, "all users *MaxVMsTotal=3");
        /* What nobody can set is no matter of configuration. */
        while (chvd_quota_charge(quota, CHVD_CHARGE_QUESTION, 0, NULL))
                questions++;
        g_assert_cmpuint(questions, ==, 32);
        assert_refused(quota, CHVD_CHARGE_QUESTION, 0, 1, "uid 0 has 32 calls*no more than 32*");
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add("/conf/faults", Rig, NULL, rig_setup, test_faults, rig_teardown);
        g_test_add("/conf/unreadable", Rig, NULL, rig_setup, test_unreadable, rig_teardown);
        g_test_add("/conf/values", Rig, NULL, rig_setup, test_values, rig_teardown);
        g_test_add("/conf/switches", Rig, NULL, rig_setup, test_switches, rig_teardown);
        g_test_add("/conf/time", Rig, NULL, rig_setup, test_time, rig_teardown);
        g_test_add("/conf/precedence", Rig, NULL, rig_setup, test_precedence, rig_teardown);
        g_test_add("/conf/installed", Rig, NULL, rig_setup, test_installed, rig_teardown);
        g_test_add("/conf/limits", Rig, NULL, rig_setup, test_limits, rig_teardown);
        g_test_add("/conf/root", Rig, NULL, rig_setup, test_root, rig_teardown);
        return g_test_run();
}
