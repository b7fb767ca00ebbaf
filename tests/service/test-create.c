/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves that CreateVM and CheckConfig refuse what is wrong with a sentence that names it, that a refused or failed
 * creation leaves nothing behind, and that a good one is listed, found and told of.
 */

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "tests/service/service.h"

static GVariant *text_config(Service *service, const char *format) {
        g_auto(GStrv) parts = g_strsplit(format, "KERNEL", -1);
        g_autofree char *text = g_strjoinv(service->kernel, parts);

        return g_variant_parse(G_VARIANT_TYPE("a{sv}"), text, NULL, NULL, NULL);
}

static void test_errors_name_the_option(void) {
        static const struct {
                const char *config;
                int code;
                const char *names;
        } cases[] = {
                { "{}", CHV_ERROR_INVALID_CONFIG, "payload" },
                { "{'nonsense': <1>}", CHV_ERROR_INVALID_CONFIG, "nonsense" },
                { "{'payload': <{'kernel': <'KERNEL'>, 'kernal': <'x'>}>}",
                  CHV_ERROR_INVALID_CONFIG, "kernal" },
                { "{'payload': <{'kernel': <7>}>}", CHV_ERROR_INVALID_CONFIG, "payload.kernel" },
                { "{'payload': <{'kernel': <'KERNEL'>}>, 'cpus': <{'boot_vcpus': <uint32 0>}>}",
                  CHV_ERROR_INVALID_CONFIG, "boot_vcpus" },
                { "{'payload': <{'kernel': <'KERNEL'>}>, 'disks': <[{'path': <'/x'>, 'queue_size': "
                  "<uint32 100>}]>}",
                  CHV_ERROR_INVALID_CONFIG, "disks[0].queue_size" },
                { "{'payload': <{'kernel': <'KERNEL'>}>, 'net': <[{'mac': <'zz'>}]>}",
                  CHV_ERROR_INVALID_CONFIG, "net[0].mac" },
        };
        g_autoptr(Service) service = service_start(NULL);

        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
                g_autoptr(GError) create = NULL, check = NULL;
                g_autoptr(GVariant) config = text_config(service, cases[i].config);
                g_autofree char *path = vm_create_full(
                                service, "bad", g_variant_ref(config), NULL, NULL, NULL, &create);

                g_assert_null(path);
                assert_names(create, cases[i].code, cases[i].names);
                g_assert_null(
                                service_call(service, MANAGER_PATH, MANAGER, "CheckConfig",
                                             g_variant_new("(@a{sv}a{sv})", config, NULL), &check));
                assert_names(check, cases[i].code, cases[i].names);
        }
        g_assert_false(service_has_signal(service, "InterfacesAdded"));
}

static void test_names(void) {
        static const char *const bad[] = {
                "",     ".",
                "../x", "-x",
                "a b",  "a/b",
                "ä",    "0123456789012345678901234567890123456789012345678901234567890123x"
        };
        g_autoptr(Service) service = service_start(NULL);
        g_autoptr(GError) error = NULL;
        g_autofree char *path = NULL, *second = NULL;

        for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
                g_autoptr(GError) refused = NULL;

                g_assert_null(
                                vm_create_full(service, bad[i], service_config(service, NULL, NULL),
                                               NULL, NULL, NULL, &refused));
                assert_names(refused, CHV_ERROR_INVALID_CONFIG, "name");
        }
        path = vm_create(service, "9-lives.x", NULL, NULL);
        g_assert_cmpstr(path, ==, "/org/cloudhypervisor/vm/_39_2dlives_2ex");
        second =
                        vm_create_full(service, "9-lives.x", service_config(service, NULL, NULL),
                                       NULL, NULL, NULL, &error);
        g_assert_null(second);
        assert_names(error, CHV_ERROR_EXISTS, "9-lives.x");
}

static void test_options(void) {
        g_autoptr(Service) service = service_start(NULL);
        g_autoptr(GError) unknown = NULL, type = NULL;

        g_assert_null(
                        vm_create_full(service, "a", service_config(service, NULL, NULL), NULL,
                                       NULL, "{'colour': <'red'>}", &unknown));
        assert_names(unknown, CHV_ERROR_INVALID_CONFIG, "colour");
        g_assert_null(
                        vm_create_full(service, "a", service_config(service, NULL, NULL), NULL,
                                       NULL, "{'start': <1>}", &type));
        assert_names(type, CHV_ERROR_INVALID_CONFIG, "start");
}

static void test_descriptors(void) {
        g_autoptr(Service) service = service_start(NULL);
        g_autoptr(GUnixFDList) list = g_unix_fd_list_new();
        g_autoptr(GError) stray = NULL, range = NULL, wrong = NULL;
        int null = open("/dev/null", O_RDWR | O_CLOEXEC);

        g_assert_cmpint(g_unix_fd_list_append(list, null, NULL), ==, 0);
        g_assert_null(vm_create_full(
                        service, "a", service_config(service, NULL, NULL),
                        g_variant_new_parsed("{'disks/none': handle 0}"), list, NULL, &stray));
        assert_names(stray, CHV_ERROR_INVALID_CONFIG, "disks/none");
        g_assert_null(vm_create_full(
                        service, "a", service_config(service, NULL, NULL),
                        g_variant_new_parsed("{'payload/kernel': handle 7}"), list, NULL, &range));
        assert_names(range, CHV_ERROR_INVALID_CONFIG, "payload/kernel");
        g_assert_null(vm_create_full(
                        service, "a", service_config(service, NULL, NULL),
                        g_variant_new_parsed("{'payload/kernel': handle 0}"), list, NULL, &wrong));
        assert_names(wrong, CHV_ERROR_RESOURCE, "payload.kernel");
        (void) close(null);
}

static void test_size_limit(void) {
        g_autoptr(Service) service = service_start(NULL);
        g_autofree char *long_text = g_strnfill(2 << 20, 'x');
        g_autoptr(GError) error = NULL;

        g_assert_null(
                        vm_create_full(service, "a", service_config(service, long_text, NULL), NULL,
                                       NULL, NULL, &error));
        assert_chv_error(error, CHV_ERROR_LIMIT);
}

static void test_listed(void) {
        g_autoptr(Service) service = service_start(NULL);
        g_autofree char *b = vm_create(service, "b", NULL, NULL),
                        *a = vm_create(service, "a", NULL, NULL);
        g_autoptr(GVariant) listed = NULL, found = NULL;
        g_autoptr(GError) error = NULL, missing = NULL;
        g_autofree char *text = NULL, *state = NULL, *uuid = NULL;
        const char *path;

        listed =
                        service_call(service, MANAGER_PATH, MANAGER, "ListVMs",
                                     g_variant_new("(a{sv})", NULL), &error);
        g_assert_no_error(error);
        text = g_variant_print(listed, false);
        g_assert_nonnull(strstr(text, "'a'"));
        g_assert_true(strstr(text, "'a'") < strstr(text, "'b'"));
        uuid = vm_get(service, a, "UUID");
        g_assert_cmpuint(strlen(uuid), ==, 36);

        found = service_call(
                        service, MANAGER_PATH, MANAGER, "GetVM", g_variant_new("(s)", "b"), &error);
        g_assert_no_error(error);
        g_variant_get(found, "(&o)", &path);
        g_assert_cmpstr(path, ==, b);
        g_assert_null(
                        service_call(service, MANAGER_PATH, MANAGER, "GetVM",
                                     g_variant_new("(s)", "c"), &missing));
        assert_names(missing, CHV_ERROR_NO_SUCH_VM, "c");
        state = vm_get(service, a, "State");
        g_assert_cmpstr(state, ==, "created");
        service_await_signal(service, "Manager.Event ('/org/cloudhypervisor/vm/a'");
}

static void test_start_at_once(void) {
        g_autoptr(Service) service = service_start(NULL);
        g_autoptr(GError) error = NULL, failed = NULL;
        g_autofree char *path =
                        vm_create_full(service, "a", service_config(service, NULL, NULL), NULL,
                                       NULL, "{'start': <true>}", &error);
        g_autofree char *state = NULL, *transient = NULL, *again = NULL;

        g_assert_no_error(error);
        state = vm_get(service, path, "State");
        g_assert_cmpstr(state, ==, "running");
        transient = vm_get(service, path, "Transient");
        g_assert_cmpstr(transient, ==, "false");

        /* A failed start takes the creation back. */
        g_assert_null(
                        vm_create_full(service, "b", service_config(service, "boot-error", NULL),
                                       NULL, NULL, "{'start': <true>}", &failed));
        assert_names(failed, CHV_ERROR_IMAGE, "payload.kernel");
        again = vm_create(service, "b", NULL, NULL);
}

static void test_transient(void) {
        g_autoptr(Service) service = service_start(NULL);
        g_autoptr(GError) error = NULL;
        g_autofree char *path =
                        vm_create_full(service, "a", service_config(service, NULL, NULL), NULL,
                                       NULL, "{'start': <true>, 'transient': <true>}", &error);
        g_autoptr(GVariant) reply = NULL;

        g_assert_no_error(error);
        reply = vm_call(service, path, "Shutdown", NULL);
        service_await_signal(service, "InterfacesRemoved ('/org/cloudhypervisor/vm/a'");
        g_assert_false(vm_exists(service, path));
}

static void test_check_completes(void) {
        g_autoptr(Service) service = service_start(NULL);
        g_autoptr(GError) error = NULL;
        g_autoptr(GVariant) config = service_config(service, NULL, "'disks': <[{'path': <'/x'>}]>");
        g_autoptr(GVariant) reply =
                        service_call(service, MANAGER_PATH, MANAGER, "CheckConfig",
                                     g_variant_new("(@a{sv}a{sv})", config, NULL), &error);
        g_autofree char *text = NULL;

        g_assert_no_error(error);
        text = g_variant_print(reply, false);
        g_assert_nonnull(strstr(text, "_disk0"));
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/create/errors-name-the-option", test_errors_name_the_option);
        g_test_add_func("/create/names", test_names);
        g_test_add_func("/create/options", test_options);
        g_test_add_func("/create/descriptors", test_descriptors);
        g_test_add_func("/create/size-limit", test_size_limit);
        g_test_add_func("/create/listed", test_listed);
        g_test_add_func("/create/start-at-once", test_start_at_once);
        g_test_add_func("/create/transient", test_transient);
        g_test_add_func("/create/check-completes", test_check_completes);
        return g_test_run();
}
