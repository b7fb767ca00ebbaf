/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves of the table of descriptors: names given twice and handles that did not arrive are refused,
 * what was taken is closed with the table, duplicates are the caller's own.
 */

#include "daemon/vmm/fd-table.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "dbus/error.h"

static FdTable *table_of(const char *text, GUnixFDList *list, GError **error) {
        g_autoptr(GVariant) handles = g_variant_ref_sink(g_variant_new_parsed(text));

        return fd_table_new(handles, list, error);
}

static GUnixFDList *two_files(void) {
        int fds[2] = { open("/dev/null", O_RDONLY | O_CLOEXEC),
                       open("/dev/zero", O_RDONLY | O_CLOEXEC) };

        return g_unix_fd_list_new_from_array(fds, 2);
}

static void test_refusals(void) {
        static const char *const bad[] = {
                "{'kvm': handle 2}",
                "{'kvm': handle -1}",
                "[{'kvm', handle 0}, {'kvm', handle 1}]",
        };
        g_autoptr(GUnixFDList) list = two_files();

        for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
                g_autoptr(GError) error = NULL;

                g_assert_null(table_of(bad[i], list, &error));
                g_assert_error(error, CHV_ERROR, CHV_ERROR_INVALID_CONFIG);
                g_assert_nonnull(strstr(error->message, "kvm"));
        }
        {
                g_autoptr(GError) error = NULL;

                g_assert_null(table_of("{'kvm': handle 0}", /* list= */ NULL, &error));
                g_assert_error(error, CHV_ERROR, CHV_ERROR_INVALID_CONFIG);
        }
}

static void test_life(void) {
        g_autoptr(GUnixFDList) list = two_files();
        g_autoptr(GError) error = NULL;
        FdTable *table = table_of("{'kvm': handle 0, 'disks/_disk0': handle 1}", list, &error);
        int fd, copy;
        char c;

        g_assert_no_error(error);
        fd = fd_table_get(table, "disks/_disk0");
        g_assert_cmpint(read(fd, &c, 1), ==, 1);
        g_assert_cmpint(fd_table_get(table, "disks/_disk1"), ==, -1);
        g_assert_cmpint(fd_table_dup(table, "net/_net0/0", &error), ==, -1);
        g_assert_error(error, CHV_ERROR, CHV_ERROR_INVALID_CONFIG);
        g_clear_error(&error);
        copy = fd_table_dup(table, "disks/_disk0", &error);
        g_assert_cmpint(copy, >=, 0);
        g_assert_cmpint(fcntl(copy, F_GETFD), ==, FD_CLOEXEC);
        fd_table_free(table);
        g_assert_cmpint(fcntl(fd, F_GETFD), ==, -1);
        g_assert_cmpint(read(copy, &c, 1), ==, 1);
        close(copy);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/vmm/fd-table/refusals", test_refusals);
        g_test_add_func("/vmm/fd-table/life", test_life);
        return g_test_run();
}
