/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves the small parts of chvd: limits are held per uid and in all and given back, options are checked, object paths
 * are valid and distinct for wild names, descriptors keep their names and are never shared, netmasks are read right.
 */

#include <fcntl.h>
#include <unistd.h>

#include "daemon/chvd/fd-set.h"
#include "daemon/chvd/options.h"
#include "daemon/chvd/path.h"
#include "daemon/chvd/quota.h"
#include "daemon/chvd/tap.h"
#include "dbus/error.h"

static void test_quota(void) {
        g_autoptr(ChvdQuota) quota = chvd_quota_new();
        unsigned mine = 0, others = 0;

        for (;;) {
                g_autoptr(GError) error = NULL;

                if (!chvd_quota_charge(quota, CHVD_CHARGE_VM, 1000, &error)) {
                        g_assert_error(error, CHV_ERROR, CHV_ERROR_LIMIT);
                        break;
                }
                mine++;
        }
        g_assert_cmpuint(mine, ==, 1024);
        /* Somebody else is not affected, nor is another kind. */
        g_assert_true(chvd_quota_charge(quota, CHVD_CHARGE_VM, 1001, NULL));
        g_assert_true(chvd_quota_charge(quota, CHVD_CHARGE_JOB, 1000, NULL));
        chvd_quota_release(quota, CHVD_CHARGE_VM, 1000);
        g_assert_true(chvd_quota_charge(quota, CHVD_CHARGE_VM, 1000, NULL));

        for (uid_t uid = 2000; chvd_quota_charge(quota, CHVD_CHARGE_VM, uid, NULL); uid++)
                others++;
        g_assert_cmpuint(mine + 1 + others, ==, 4096);
}

static void check_options(const char *text, const char *const *known, bool good) {
        g_autoptr(GVariant) options =
                        g_variant_parse(G_VARIANT_TYPE("a{sv}"), text, NULL, NULL, NULL);
        g_autoptr(GError) error = NULL;

        g_assert_true(chvd_options_check(options, known, &error) == good);
        if (!good)
                g_assert_error(error, CHV_ERROR, CHV_ERROR_INVALID_CONFIG);
}

static void test_options(void) {
        static const char *const known[] = { "force", "b", "timeout", "u", NULL };
        static const char *const none[] = { NULL };
        g_autoptr(GVariant) options = g_variant_ref_sink(
                        g_variant_new_parsed("{'force': <true>, 'timeout': <uint32 7>}"));

        check_options("{'fource': <true>}", known, false);
        check_options("{'force': <1>}", known, false);
        check_options("{'timeout': <7>}", known, false);
        check_options("{'force': <true>}", none, false);
        check_options("{}", none, true);
        check_options("{'force': <true>, 'timeout': <uint32 7>}", known, true);
        g_assert_true(chvd_options_bool(options, "force", false));
        g_assert_true(chvd_options_bool(options, "other", true));
        g_assert_cmpuint(chvd_options_uint(options, "timeout", 1), ==, 7);
        g_assert_cmpuint(chvd_options_uint(options, "other", 1), ==, 1);
}

static void test_path(void) {
        static const struct {
                const char *id, *path;
        } cases[] = {
                { "", "/p/_" },
                { "web1", "/p/web1" },
                { "web-1", "/p/web_2d1" },
                { "web_2d1", "/p/web_5f2d1" },
                { "9", "/p/_39" },
                { "../x", "/p/_2e_2e_2fx" },
                { "\xff", "/p/_ff" },
        };

        for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
                g_autofree char *path = chvd_path("/p", cases[i].id);

                g_assert_cmpstr(path, ==, cases[i].path);
                g_assert_true(g_variant_is_object_path(path));
        }
}

static ChvdFdSet *from_text(const char *text, GUnixFDList *list, GError **error) {
        g_autoptr(GVariant) handles =
                        g_variant_parse(G_VARIANT_TYPE("a{sh}"), text, NULL, NULL, NULL);

        return chvd_fd_set_from_variant(handles, list, error);
}

static void test_fd_set_refuses(void) {
        static const char *const bad[] = { "{'a': handle 1}", "{'a': handle -1}",
                                           "{'a': handle 0, 'a': handle 0}" };
        g_autoptr(GUnixFDList) list = g_unix_fd_list_new();

        (void) g_unix_fd_list_append(list, STDIN_FILENO, NULL);
        for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
                g_autoptr(GError) error = NULL;

                g_assert_null(from_text(bad[i], list, &error));
                g_assert_error(error, CHV_ERROR, CHV_ERROR_INVALID_CONFIG);
        }
        g_assert_null(from_text("{'a': handle 0}", NULL, NULL));
}

static void test_fd_set(void) {
        g_autoptr(GUnixFDList) list = g_unix_fd_list_new(), out = NULL;
        g_autoptr(ChvdFdSet) set = NULL, back = NULL;
        g_autoptr(GVariant) handles = NULL;
        g_autoptr(GError) error = NULL;
        int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

        (void) g_unix_fd_list_append(list, fd, NULL);
        (void) close(fd);
        set = from_text("{'x': handle 0, 'y': handle 0}", list, &error);
        g_assert_no_error(error);
        g_assert_cmpuint(chvd_fd_set_size(set), ==, 2);
        g_assert_cmpstr(chvd_fd_set_name(set, 1), ==, "y");
        g_assert_cmpint(chvd_fd_set_get(set, "x"), !=, chvd_fd_set_get(set, "y"));
        g_assert_cmpint(chvd_fd_set_get(set, "z"), ==, -1);
        g_assert_true(fcntl(chvd_fd_set_get(set, "x"), F_GETFD) & FD_CLOEXEC);

        handles = g_variant_ref_sink(chvd_fd_set_to_variant(set, &out, &error));
        g_assert_no_error(error);
        back = chvd_fd_set_from_variant(handles, out, &error);
        g_assert_no_error(error);
        g_assert_cmpuint(chvd_fd_set_size(back), ==, 2);
        fd = chvd_fd_set_get(set, "x");
        g_clear_pointer(&set, chvd_fd_set_free);
        g_assert_cmpint(fcntl(fd, F_GETFD), <, 0);
        g_assert_cmpint(fcntl(chvd_fd_set_get(back, "x"), F_GETFD), >=, 0);
}

static void test_netmask(void) {
        static const struct {
                const char *mask;
                int length;
        } cases[] = {
                { "", -1 },
                { "24", -1 },
                { "255.0.255.0", -1 },
                { "ffff::1", -1 },
                { "0.0.0.0", 0 },
                { "255.255.255.0", 24 },
                { "255.255.255.255", 32 },
                { "ffff:ffff:ffff:ffff::", 64 },
                { "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 128 },
        };

        for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++)
                g_assert_cmpint(chvd_tap_prefix_length(cases[i].mask), ==, cases[i].length);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/parts/quota", test_quota);
        g_test_add_func("/parts/options", test_options);
        g_test_add_func("/parts/path", test_path);
        g_test_add_func("/parts/fd-set-refuses", test_fd_set_refuses);
        g_test_add_func("/parts/fd-set", test_fd_set);
        g_test_add_func("/parts/netmask", test_netmask);
        return g_test_run();
}
