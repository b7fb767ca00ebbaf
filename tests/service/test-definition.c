/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves chvctl's commands about definitions against the service itself: what is refused leaves things as they were and
 * loses nothing that was typed; what is dumped can be imported, a command line of Cloud Hypervisor's too; an edit, a
 * new name, autostart and crash policy arrive.
 */

#include <glib/gstdio.h>
#include <signal.h>
#include <string.h>

#include "tests/service/client.h"

#define chvctl(editor, ...)                                                                        \
        ({                                                                                         \
                g_clear_pointer(&out, g_free);                                                     \
                client_run(service, editor, &out, __VA_ARGS__, (char *) NULL);                     \
        })

#define assert_says(text)                                                                          \
        do {                                                                                       \
                if (!strstr(out, text))                                                            \
                        g_error("'%s' does not say '%s'", out, text);                              \
        } while (0)

static unsigned left_files(Service *service) {
        g_autoptr(GDir) dir = g_dir_open(service->dir, 0, NULL);
        const char *name;
        unsigned n = 0;

        while ((name = g_dir_read_name(dir)))
                n += g_str_has_prefix(name, "chvctl-");
        return n;
}

static void test_refused(void) {
        g_autoptr(Service) service = service_start(NULL);
        g_autofree char *a = vm_create(service, "a", NULL, NULL),
                        *b = vm_run(service, "b", NULL, NULL);
        g_autofree char *out = NULL, *before = vm_ask(service, a, "GetConfig"), *after = NULL;

        g_assert_cmpint(chvctl(NULL, "dump", "none"), ==, 3);
        g_assert_cmpint(chvctl(NULL, "edit", "none"), ==, 3);
        g_assert_cmpint(chvctl(NULL, "edit", "b"), ==, 7);
        assert_says("running");
        g_assert_cmpint(chvctl(NULL, "edit", "a"), ==, 1);
        g_assert_cmpuint(left_files(service), ==, 0);
        /* What can't be taken is kept. */
        g_assert_cmpint(chvctl("sed -i s/payload/pailoat/", "edit", "a"), ==, 2);
        assert_says("pailoat");
        g_assert_cmpuint(left_files(service), ==, 1);
        g_assert_cmpint(chvctl(NULL, "rename", "b", "c"), ==, 7);
        g_assert_cmpint(chvctl(NULL, "rename", "a", "b"), ==, 1);
        g_assert_cmpint(chvctl(NULL, "autostart", "a", "perhaps"), ==, 2);
        g_assert_cmpint(chvctl(NULL, "autostart", "a", "--order", "first"), ==, 2);
        g_assert_cmpint(chvctl(NULL, "crash-policy", "a", "explode"), ==, 2);
        g_assert_cmpint(chvctl(NULL, "import", "c"), ==, 2);
        g_assert_cmpint(chvctl(NULL, "import", "c", "/nonexistent/x"), ==, 2);
        g_assert_cmpint(chvctl(NULL, "import", "c", "--command-line", "--", "--frobnicate"), ==, 2);
        after = vm_ask(service, a, "GetConfig");
        g_assert_cmpstr(before, ==, after);
}

static void test_edit(void) {
        g_autoptr(Service) service = service_start(NULL);
        g_autofree char *a = vm_create(service, "a", NULL, "'cpus': <{'boot_vcpus': <uint32 2>}>");
        g_autofree char *out = NULL, *config = NULL;

        g_assert_cmpint(chvctl("true", "edit", "a"), ==, 0);
        assert_says("nothing is changed");
        g_assert_cmpint(chvctl("sed -i /_vcpus/s/2/3/", "edit", "a"), ==, 0);
        config = vm_ask(service, a, "GetConfig");
        g_assert_nonnull(strstr(config, "'boot_vcpus': <uint32 3>"));
        g_assert_cmpuint(left_files(service), ==, 0);
}

static void test_dump_and_import(void) {
        g_autoptr(Service) service = service_start(NULL);
        g_autofree char *a = vm_create(service, "a", "words", "'disks': <[{'path': <'/x'>}]>");
        g_autofree char *out = NULL, *file = g_build_filename(service->dir, "a.json", NULL);
        g_autofree char *one = NULL, *two = NULL, *three = NULL;

        g_assert_cmpint(chvctl(NULL, "dump", "a"), ==, 0);
        g_assert_true(g_file_set_contents(file, out, -1, NULL));
        g_assert_cmpint(chvctl(NULL, "import", "b", file), ==, 0);
        one = vm_ask(service, a, "GetConfig");
        two = vm_ask(service, "/org/cloudhypervisor/vm/b", "GetConfig");
        g_assert_cmpstr(one, ==, two);
        g_assert_cmpint(chvctl(NULL, "import", "c", "--command-line", "--", "cloud-hypervisor",
                               "--api-socket", "/tmp/s", "-v", "--kernel", service->kernel,
                               "--cmdline", "console=hvc0 x=-y", "--cpus", "boot=3", "--disk",
                               "path=/a", "path=/b,readonly=on"),
                        ==, 0);
        assert_says("--api-socket is left out");
        three = vm_ask(service, "/org/cloudhypervisor/vm/c", "GetConfig");
        g_assert_nonnull(strstr(three, "'boot_vcpus': <uint32 3>"));
        g_assert_nonnull(strstr(three, "'/b'"));
        g_assert_nonnull(strstr(three, "console=hvc0 x=-y"));
}

static void test_policy_and_name(void) {
        g_autoptr(Service) service = service_start(NULL);
        g_autofree char *a = vm_create(service, "a", NULL, NULL), *out = NULL;

        g_assert_cmpint(chvctl(NULL, "autostart", "a", "on", "--order", "0", "--delay", "4"), ==,
                        0);
        g_assert_cmpint(chvctl(NULL, "autostart", "a", "--order", "7"), ==, 0);
        g_assert_cmpint(chvctl(NULL, "crash-policy", "a", "restart"), ==, 0);
        g_assert_cmpint(chvctl(NULL, "rename", "a", "b"), ==, 0);
        service_restart(service, SIGKILL);
        g_assert_cmpint(chvctl(NULL, "autostart", "b"), ==, 0);
        g_assert_cmpstr(out, ==, "Autostart: on\nAutostartOrder: 7\nAutostartDelay: 4\n");
        g_assert_cmpint(chvctl(NULL, "crash-policy", "b"), ==, 0);
        g_assert_cmpstr(out, ==, "CrashPolicy: restart\n");
        g_assert_cmpint(chvctl(NULL, "--json=short", "autostart", "b"), ==, 0);
        g_assert_cmpstr(out, ==, "{\"name\":\"b\",\"autostart\":true,\"order\":7,\"delay\":4}\n");
        g_assert_cmpint(chvctl(NULL, "crash-policy", "b", "--json=short"), ==, 0);
        g_assert_cmpstr(out, ==, "{\"name\":\"b\",\"crash_policy\":\"restart\"}\n");
        g_assert_cmpint(chvctl(NULL, "dump", "a"), ==, 3);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/definition/refused", test_refused);
        g_test_add_func("/definition/edit", test_edit);
        g_test_add_func("/definition/dump-and-import", test_dump_and_import);
        g_test_add_func("/definition/policy-and-name", test_policy_and_name);
        return g_test_run();
}
