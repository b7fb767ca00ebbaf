/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves that what is no limit changes none, in whatever state the machine is: neither its properties nor what is
 * stored of it nor a signal. That what is one is stored before the answer comes, is taken back by its default, and
 * that "chvctl limits" does all of that in one step.
 */

#include <signal.h>
#include <string.h>

#include "dbus/limit.h"
#include "tests/service/client.h"

#define chvctl(...)                                                                                \
        ({                                                                                         \
                g_clear_pointer(&out, g_free);                                                     \
                client_run(service, /* editor= */ NULL, &out, __VA_ARGS__, (char *) NULL);         \
        })

#define assert_says(text)                                                                          \
        do {                                                                                       \
                if (!strstr(out, text))                                                            \
                        g_error("'%s' does not say '%s'", out, text);                              \
        } while (0)

/* All that is told of a VM and all that is stored of it. */
static char *snapshot(Service *service, const char *vm, const char *name) {
        g_autofree char *file = g_build_filename(
                        service->state_dir, "vms", name, "definition", (char *) NULL);
        g_autoptr(GError) error = NULL;
        g_autoptr(GVariant) properties =
                        service_call(service, vm, "org.freedesktop.DBus.Properties", "GetAll",
                                     g_variant_new("(s)", VM), &error);
        g_autofree char *stored = NULL, *told = NULL;

        g_assert_no_error(error);
        g_assert_true(g_file_get_contents(file, &stored, NULL, &error));
        told = g_variant_print(properties, /* type_annotate= */ true);
        return g_strconcat(told, stored, NULL);
}

static void set(Service *service, const char *vm, const char *options) {
        g_autoptr(GVariant) reply = vm_call(service, vm, "SetOptions", options);

        g_assert_nonnull(reply);
}

/* Refused, with the key in the message, beside something that alone would be taken. */
static void refuse(Service *service, const char *vm, const char *key, const char *value) {
        const char *good = g_str_equal(key, "io-weight") ? "'cpu-weight': <uint32 77>"
                                                         : "'io-weight': <uint32 77>";

        for (unsigned i = 0; i < 2; i++) {
                g_autofree char *options =
                                i == 0 ? g_strdup_printf("{'%s': <%s>, %s}", key, value, good)
                                       : g_strdup_printf("{%s, '%s': <%s>}", good, key, value);
                g_autofree char *quoted = g_strdup_printf("'%s'", key);
                g_autoptr(GError) error = NULL;
                g_autoptr(GVariant) reply = vm_try(service, vm, "SetOptions", options, &error);

                if (reply)
                        g_error("%s is taken", options);
                assert_names(error, CHV_ERROR_INVALID_CONFIG, quoted);
        }
}

static void refuse_number(Service *service, const char *vm, const ChvLimit *limit, guint64 n) {
        bool memory = limit == chv_limit(CHV_LIMIT_MEMORY_MAX);
        g_autofree char *value =
                        g_strdup_printf("%s %" G_GUINT64_FORMAT, memory ? "uint64" : "uint32", n);

        refuse(service, vm, limit->key, value);
}

static void refuse_all(Service *service, const char *vm) {
        static const char *const wrong[] = {
                "true",        "byte 0x50",
                "int16 50",    "uint16 50",
                "50",          "50.0",
                "int64 50",    "'50'",
                "''",          "'default'",
                "'max'",       "objectpath '/'",
                "@ai [50]",    "(uint32 50, uint32 50)",
                "<uint32 50>", "{'a': 1}",
        };
        static const char *const unknown[] = {
                "", "CPUWeight", "cpu_weight", "cpu-weight ", "cpu-weightt", "MemoryMaxAuto"
        };

        for (size_t i = 0; i < G_N_ELEMENTS(unknown); i++)
                refuse(service, vm, unknown[i], "uint32 50");
        for (unsigned i = 0; i < CHV_LIMIT_MAX; i++) {
                const ChvLimit *limit = chv_limit((ChvLimitId) i);
                bool memory = i == CHV_LIMIT_MEMORY_MAX;

                for (size_t j = 0; j < G_N_ELEMENTS(wrong); j++)
                        refuse(service, vm, limit->key, wrong[j]);
                refuse(service, vm, limit->key, memory ? "uint32 2097152" : "uint64 50");
                if (!memory) {
                        refuse(service, vm, limit->key, "'auto'");
                        refuse(service, vm, limit->key, "'infinity'");
                        refuse_number(service, vm, limit, G_MAXUINT32);
                }
                if (limit->min > 0) {
                        refuse_number(service, vm, limit, 0);
                        refuse_number(service, vm, limit, limit->min - 1);
                }
                refuse_number(service, vm, limit, limit->max + 1);
        }
}

static void test_refused(void) {
        g_autoptr(Service) service = service_start(NULL);
        g_autofree char *off = vm_create(service, "off", NULL, NULL),
                        *on = vm_run(service, "on", NULL, NULL);
        const struct { const char *vm, *name; } vms[] = { { off, "off" }, { on, "on" } };

        /* With something to lose, and without. */
        for (unsigned round = 0; round < 2; round++)
                for (size_t i = 0; i < G_N_ELEMENTS(vms); i++) {
                        g_autofree char *before = snapshot(service, vms[i].vm, vms[i].name);
                        g_autofree char *after = NULL;

                        service_forget_signals(service);
                        refuse_all(service, vms[i].vm);
                        service_linger(50);
                        after = snapshot(service, vms[i].vm, vms[i].name);
                        g_assert_cmpstr(before, ==, after);
                        g_assert_false(service_has_signal(service, "PropertiesChanged"));
                        /* Nor does the next change bring anything along. */
                        set(service, vms[i].vm, "{'autostart-order': <uint32 1>}");
                        set(service, vms[i].vm, "{'autostart-order': <uint32 0>}");
                        g_clear_pointer(&after, g_free);
                        after = snapshot(service, vms[i].vm, vms[i].name);
                        g_assert_cmpstr(before, ==, after);
                        set(service, vms[i].vm,
                            "{'cpu-weight': <uint32 7>, 'cpu-quota': <uint32 150>, 'memory-max': "
                            "<'auto'>, "
                            "'io-weight': <uint32 8>, 'tasks-max': <uint32 99>, "
                            "'shutdown-timeout': <uint32 5>}");
                }
}

static void test_refused_at_creation(void) {
        g_autoptr(Service) service = service_start(NULL);

        for (unsigned i = 0; i < CHV_LIMIT_MAX; i++) {
                const ChvLimit *limit = chv_limit((ChvLimitId) i);
                g_autofree char *options = g_strdup_printf("{'%s': <true>}", limit->key);
                g_autoptr(GError) error = NULL;
                g_autofree char *path =
                                vm_create_full(service, "a", service_config(service, NULL, NULL),
                                               NULL, NULL, options, &error);

                g_assert_null(path);
                assert_names(error, CHV_ERROR_INVALID_CONFIG, limit->key);
        }
        g_assert_false(vm_exists(service, "/org/cloudhypervisor/vm/a"));
}

static void assert_value(Service *service, const char *vm, ChvLimitId id, guint64 expected) {
        g_autofree char *text = vm_get(service, vm, chv_limit(id)->property);

        g_assert_cmpuint(g_ascii_strtoull(text, NULL, 10), ==, expected);
}

static guint64 other_than_default(const ChvLimit *limit, bool most) {
        return most ? limit->max : limit->min == limit->fallback ? limit->min + 1 : limit->min;
}

/* Both ends of every range, over a kill of the service and back to what it was. */
static void test_ends_of_ranges(void) {
        g_autoptr(Service) service = service_start(NULL);
        g_autofree char *a = vm_create(service, "a", NULL, NULL),
                        *before = snapshot(service, a, "a"), *after = NULL;

        for (unsigned most = 0; most < 2; most++) {
                for (unsigned i = 0; i < CHV_LIMIT_MAX; i++) {
                        const ChvLimit *limit = chv_limit((ChvLimitId) i);
                        g_autofree char *options = g_strdup_printf(
                                        "{'%s': <%s %" G_GUINT64_FORMAT ">}", limit->key,
                                        i == CHV_LIMIT_MEMORY_MAX ? "uint64" : "uint32",
                                        other_than_default(limit, most));

                        set(service, a, options);
                }
                service_restart(service, SIGKILL);
                for (unsigned i = 0; i < CHV_LIMIT_MAX; i++)
                        assert_value(service, a, (ChvLimitId) i,
                                     other_than_default(chv_limit((ChvLimitId) i), most));
        }
        set(service, a,
            "{'cpu-weight': <uint32 100>, 'cpu-quota': <uint32 0>, 'memory-max': <'infinity'>, "
            "'io-weight': <uint32 100>, 'tasks-max': <uint32 4096>, 'shutdown-timeout': <uint32 "
            "90>}");
        after = snapshot(service, a, "a");
        g_assert_cmpstr(before, ==, after);
}

static void test_verb_refuses(void) {
        g_autoptr(Service) service = service_start(NULL);
        g_autofree char *a = vm_run(service, "a", NULL, NULL);
        g_autofree char *before = snapshot(service, a, "a"), *after = NULL, *out = NULL;

        g_assert_cmpint(chvctl("limits"), ==, 2);
        g_assert_cmpint(chvctl("limits", "none"), ==, 3);
        g_assert_cmpint(chvctl("limits", "none", "tasks-max=50"), ==, 3);
        g_assert_cmpint(chvctl("limits", "a", "tasks-max=50", "bogus=1"), ==, 2);
        assert_says("'bogus'");
        for (unsigned i = 0; i < CHV_LIMIT_MAX; i++) {
                const ChvLimit *limit = chv_limit((ChvLimitId) i);
                g_autofree char *bad = g_strdup_printf("%s=many", limit->key);
                g_autofree char *large = g_strdup_printf("%s=99999999999999999999", limit->key);
                const char *good = i == 0 ? "io-weight=5" : "cpu-weight=5";

                g_assert_cmpint(chvctl("limits", "a", good, bad), ==, 2);
                assert_says(limit->key);
                g_assert_cmpint(chvctl("limits", "a", large, good), ==, 2);
                assert_says(limit->key);
                g_assert_cmpint(chvctl("limits", "a", limit->key), ==, 2);
                assert_says(limit->key);
        }
        after = snapshot(service, a, "a");
        g_assert_cmpstr(before, ==, after);
}

static void test_verb(void) {
        g_autoptr(Service) service = service_start(NULL);
        g_autofree char *a = vm_run(service, "a", NULL, "'memory': <{'size': <uint64 268435456>}>");
        g_autofree char *before = snapshot(service, a, "a"), *after = NULL, *out = NULL;

        g_assert_cmpint(chvctl("limits", "a", "cpu-weight=250", "cpu-quota=150%", "memory-max=2G",
                               "io-weight=8", "tasks-max=64", "shutdown-timeout=3600"),
                        ==, 0);
        g_assert_cmpstr(out, ==, "");
        service_restart(service, SIGKILL);
        assert_value(service, a, CHV_LIMIT_CPU_WEIGHT, 250);
        assert_value(service, a, CHV_LIMIT_CPU_QUOTA, 150);
        assert_value(service, a, CHV_LIMIT_MEMORY_MAX, UINT64_C(2) << 30);
        assert_value(service, a, CHV_LIMIT_IO_WEIGHT, 8);
        assert_value(service, a, CHV_LIMIT_TASKS_MAX, 64);
        assert_value(service, a, CHV_LIMIT_SHUTDOWN_TIMEOUT, 3600);
        g_assert_cmpint(chvctl("limits", "a", "memory-max=auto", "cpu-quota="), ==, 0);
        g_assert_cmpint(chvctl("limits", "a", "--json=short"), ==, 0);
        /* 256 MiB, a hundred and twenty-eighth of it, 64 MiB, 1 MiB. */
        g_assert_cmpstr(out, ==,
                        "{\"name\":\"a\",\"unit\":\"\",\"memory_max_auto\":true,\"limits\":{"
                        "\"cpu-weight\":250,\"cpu-quota\":\"infinity\",\"memory-max\":338690048,"
                        "\"io-weight\":8,\"tasks-max\":64,\"shutdown-timeout\":3600}}\n");
        g_assert_cmpint(chvctl("limits", "a"), ==, 0);
        assert_says("\nmemory-max        auto (323M)  infinity  ");
        assert_says("\nNot in force: its process is no unit of systemd and has no control "
                    "group.\n");
        g_assert_cmpint(chvctl("limits", "a", "cpu-weight=default", "memory-max=", "io-weight=",
                               "tasks-max=default", "shutdown-timeout="),
                        ==, 0);
        after = snapshot(service, a, "a");
        g_assert_cmpstr(before, ==, after);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/limits/refused", test_refused);
        g_test_add_func("/limits/refused-at-creation", test_refused_at_creation);
        g_test_add_func("/limits/ends-of-ranges", test_ends_of_ranges);
        g_test_add_func("/limits/verb-refuses", test_verb_refuses);
        g_test_add_func("/limits/verb", test_verb);
        return g_test_run();
}
