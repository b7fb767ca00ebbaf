/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves that a device is changed whole or not at all: what is wrong, or not to be changed while it runs, reaches neither worker nor
 * disk; what the worker does not take is not stored; what it takes is told at once, and stored when the answer comes, so that it is
 * there after a restart of the service and at the next start. And that "chvctl update" does that. The same of limits that disks share.
 */

#include <signal.h>
#include <string.h>

#include "tests/service/client.h"

/* A machine with a disk, which runs. */
static char *run(Service *service, const char *words) {
        g_autofree char *path = g_build_filename(service->dir, "disk", NULL);
        g_autofree char *more = g_strdup_printf("'disks': <[{'path': <'%s'>}]>", path);

        g_assert_true(g_file_set_contents(path, "0123456789", -1, NULL));
        return vm_run(service, "a", words, more);
}

static char *disk_of(const char *vm) {
        return g_strconcat(vm, "/device/_5fdisk0", NULL);
}

static GVariant *update(Service *service, const char *vm, const char *changes, GError **error) {
        g_autofree char *disk = disk_of(vm);

        return service_call(
                        service, disk, DEVICE, "Update",
                        g_variant_new("(@a{sv}a{sv})", g_variant_new_parsed(changes), NULL), error);
}

static void
refuse(Service *service, const char *vm, const char *changes, int code, const char *message) {
        g_autoptr(GError) error = NULL;

        if (update(service, vm, changes, &error))
                g_error("%s was taken", changes);
        assert_names(error, code, message);
}

static char *stored(Service *service, const char *name) {
        g_autofree char *file = g_build_filename(
                        service->state_dir, "vms", name, "definition", (char *) NULL);
        g_autoptr(GError) error = NULL;
        char *text = NULL;

        g_assert_true(g_file_get_contents(file, &text, NULL, &error));
        return text;
}

static void assert_config(Service *service, const char *vm, const char *what, bool says) {
        g_autofree char *config = vm_ask(service, vm, "GetConfig");

        if ((strstr(config, what) != NULL) != says)
                g_error("%s: '%s'", config, what);
}

static void test_refused(void) {
        static const struct {
                const char *changes, *message;
                int code;
        } cases[] = {
                { "{'path': <'/x'>}", "disks: path: cannot be changed while the machine runs",
                  CHV_ERROR_INVALID_CONFIG },
                { "{'id': <'x'>}", "disks: id: cannot be changed", CHV_ERROR_INVALID_CONFIG },
                { "{'rate_limit_group': <'g'>}", "cannot be changed", CHV_ERROR_INVALID_CONFIG },
                { "{'nothing': <1>}", "unknown option 'nothing'", CHV_ERROR_INVALID_CONFIG },
                { "{'bw_size': <'1M'>}", "disks.bw_size: must be a whole number",
                  CHV_ERROR_INVALID_CONFIG },
                { "{'bw_size': <-1>}", "disks.bw_size: -1 is out of range",
                  CHV_ERROR_INVALID_CONFIG },
                { "{'bw_size': <1>}", "disks[0].bw_size: needs bw_refill_time",
                  CHV_ERROR_INVALID_CONFIG },
                { "{'ops_size': <1>, 'ops_refill_time': <1>, 'queue_size': <64>}",
                  "queue_size: cannot be changed", CHV_ERROR_INVALID_CONFIG },
        };
        g_autoptr(Service) service = service_start(NULL);
        g_autofree char *vm = run(service, NULL);
        g_autofree char *before = stored(service, "a"), *after = NULL, *rng = NULL;
        g_autoptr(GError) error = NULL;

        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++)
                refuse(service, vm, cases[i].changes, cases[i].code, cases[i].message);
        rng = g_strconcat(vm, "/device/_5frng", NULL);
        g_assert_null(
                        service_call(service, rng, DEVICE, "Update",
                                     g_variant_new("(@a{sv}a{sv})",
                                                   g_variant_new_parsed("{'bw_size': <1>}"), NULL),
                                     &error));
        assert_names(error, CHV_ERROR_INVALID_CONFIG, "'_rng': has no options");
        after = stored(service, "a");
        g_assert_cmpstr(before, ==, after);
}

static void test_not_taken(void) {
        g_autoptr(Service) service = service_start(NULL);
        g_autofree char *vm = run(service, "crash-on-UpdateDevice");
        g_autofree char *before = stored(service, "a"), *after = NULL;
        g_autoptr(GError) error = NULL;

        g_assert_null(update(service, vm, "{'ops_size': <7>, 'ops_refill_time': <1>}", &error));
        g_assert_nonnull(error);
        after = stored(service, "a");
        g_assert_cmpstr(before, ==, after);
}

static void test_updated(void) {
        g_autoptr(Service) service = service_start(NULL);
        g_autofree char *vm = run(service, NULL);
        g_autofree char *disk = disk_of(vm), *file = NULL, *text = NULL;
        g_autoptr(GVariant) reply = NULL, config = NULL, again = NULL, back = NULL;
        g_autoptr(GError) error = NULL;

        reply = update(service, vm, "{'ops_size': <4242>, 'ops_refill_time': <9>}", &error);
        g_assert_no_error(error);
        file = stored(service, "a");
        g_assert_nonnull(strstr(file, "4242"));
        config = service_call(
                        service, disk, DEVICE, "GetConfig", g_variant_new("(a{sv})", NULL), &error);
        g_assert_no_error(error);
        text = g_variant_print(config, false);
        g_assert_nonnull(strstr(text, "4242"));
        assert_config(service, vm, "'ops_size': <uint64 4242>", true);

        /* What is not named stays, also when a chvd that did not see the first change makes the second. */
        service_restart(service, SIGKILL);
        vm_await(service, vm, "running");
        again = update(service, vm,
                       "{'rate_limiter_config': <{'bandwidth': <{'size': <8>, "
                       "'refill_time': <1>}>}>}",
                       &error);
        g_assert_no_error(error);
        assert_config(service, vm, "'ops_size': <uint64 4242>", true);
        assert_config(service, vm, "'bw_size': <uint64 8>", true);
        back = update(service, vm, "{'bw_size': <0>, 'bw_refill_time': <0>}", &error);
        g_assert_no_error(error);
        assert_config(service, vm, "bw_size", false);
        vm_call(service, vm, "PowerOff", NULL);
        vm_call(service, vm, "Start", NULL);
        assert_config(service, vm, "'ops_size': <uint64 4242>", true);
}

static void test_chvctl(void) {
        g_autoptr(Service) service = service_start(NULL);
        g_autofree char *vm = run(service, NULL), *out = NULL;

#define chvctl(...)                                                                                \
        ({                                                                                         \
                g_clear_pointer(&out, g_free);                                                     \
                client_run(service, /* editor= */ NULL, &out, "update", __VA_ARGS__,               \
                           (char *) NULL);                                                         \
        })
        g_assert_cmpint(chvctl("a", "_disk0", "bw_size"), ==, 2);
        g_assert_cmpint(chvctl("a", "_disk0", "bw_size=x"), ==, 2);
        g_assert_cmpint(chvctl("a", "_disk0", "path=/x"), ==, 2);
        g_assert_cmpint(chvctl("a", "_disk0", "ops_size=1", "ops_size=1"), ==, 2);
        g_assert_cmpint(chvctl("a", "_disk7", "ops_size=1"), ==, 3);
        g_assert_cmpint(chvctl("b", "_disk0", "ops_size=1"), ==, 3);
        assert_config(service, vm, "ops_size", false);
        g_assert_cmpint(chvctl("a", "_disk0", "ops_size=1", "ops_refill_time=5", "bw_size=10M",
                               "bw_refill_time=5"),
                        ==, 0);
        assert_config(service, vm, "'bw_size': <uint64 10485760>", true);
}

/* A machine with a disk in a group, which runs. */
static char *run_group(Service *service, const char *words) {
        g_autofree char *path = g_build_filename(service->dir, "disk", NULL);
        g_autofree char *more = g_strdup_printf(
                        "'rate_limit_groups': <[{'id': <'g'>, 'ops_size': <9>, 'ops_refill_time': "
                        "<1>}]>, 'disks': <[{'path': <'%s'>, 'rate_limit_group': <'g'>}]>",
                        path);

        g_assert_true(g_file_set_contents(path, "0123456789", -1, NULL));
        return vm_run(service, "a", words, more);
}

static GVariant *
update_group(Service *service,
             const char *vm,
             const char *id,
             const char *changes,
             GError **error) {
        return service_call(
                        service, vm, VM, "UpdateGroup",
                        g_variant_new("(s@a{sv}@a{sv})", id, g_variant_new_parsed(changes),
                                      g_variant_new_parsed("@a{sv} {}")),
                        error);
}

static void test_group_refused(void) {
        static const struct {
                const char *id, *changes, *message;
        } cases[] = {
                { "h", "{'ops_size': <1>}", "rate_limit_groups: there is no group 'h'" },
                { "_disk0", "{'ops_size': <1>}", "there is no group '_disk0'" },
                { "", "{'ops_size': <1>}", "there is no group" },
                { "g", "{'id': <'h'>}", "rate_limit_groups: id: cannot be changed" },
                { "g", "{'nothing': <1>}", "unknown option 'nothing'" },
                { "g", "{'bw_size': <1>}", "rate_limit_groups[0].bw_size: needs bw_refill_time" },
                { "g", "{'ops_size': <0>, 'ops_refill_time': <0>}", "rate_limit_groups[0]" },
        };
        g_autoptr(Service) service = service_start(NULL);
        g_autofree char *vm = run_group(service, NULL);
        g_autofree char *before = stored(service, "a"), *after = NULL;
        g_autoptr(GError) device = NULL, off = NULL;

        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
                g_autoptr(GError) error = NULL;

                if (update_group(service, vm, cases[i].id, cases[i].changes, &error))
                        g_error("%s was taken", cases[i].changes);
                assert_names(error, CHV_ERROR_INVALID_CONFIG, cases[i].message);
        }
        /* A group is no device, and a disk in it has no limits of its own. */
        g_assert_null(update(service, vm, "{'ops_size': <1>, 'ops_refill_time': <1>}", &device));
        assert_names(device, CHV_ERROR_INVALID_CONFIG, "excludes limits of the disk's own");
        after = stored(service, "a");
        g_assert_cmpstr(before, ==, after);
        vm_call(service, vm, "PowerOff", NULL);
        g_assert_null(update_group(service, vm, "g", "{'ops_size': <1>}", &off));
        assert_names(off, CHV_ERROR_INVALID_STATE, "shutdown");
}

static void test_group_not_taken(void) {
        g_autoptr(Service) service = service_start(NULL);
        g_autofree char *vm = run_group(service, "crash-on-UpdateGroup");
        g_autofree char *before = stored(service, "a"), *after = NULL;
        g_autoptr(GError) error = NULL;

        g_assert_null(update_group(service, vm, "g", "{'ops_size': <7>}", &error));
        g_assert_nonnull(error);
        after = stored(service, "a");
        g_assert_cmpstr(before, ==, after);
}

static void test_group(void) {
        g_autoptr(Service) service = service_start(NULL);
        g_autofree char *vm = run_group(service, NULL), *file = NULL, *out = NULL;
        g_autoptr(GVariant) reply = NULL;
        g_autoptr(GError) error = NULL;

        reply = update_group(service, vm, "g", "{'ops_size': <4242>}", &error);
        g_assert_no_error(error);
        file = stored(service, "a");
        g_assert_nonnull(strstr(file, "4242"));
        assert_config(service, vm, "'ops_size': <uint64 4242>", true);
        g_assert_cmpint(client_run(service, NULL, &out, "update-group", "a", "g", "ops_size",
                                   (char *) NULL),
                        ==, 2);
        g_clear_pointer(&out, g_free);
        g_assert_cmpint(client_run(service, NULL, &out, "update-group", "a", "h", "ops_size=1",
                                   (char *) NULL),
                        ==, 2);
        g_clear_pointer(&out, g_free);
        g_assert_cmpint(client_run(service, NULL, &out, "update-group", "a", "g", "bw_size=10M",
                                   "bw_refill_time=5", (char *) NULL),
                        ==, 0);
        assert_config(service, vm, "'bw_size': <uint64 10485760>", true);
        assert_config(service, vm, "'ops_size': <uint64 4242>", true);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/update/refused", test_refused);
        g_test_add_func("/update/not-taken", test_not_taken);
        g_test_add_func("/update/updated", test_updated);
        g_test_add_func("/update/chvctl", test_chvctl);
        g_test_add_func("/update/group/refused", test_group_refused);
        g_test_add_func("/update/group/not-taken", test_group_not_taken);
        g_test_add_func("/update/group/updated", test_group);
        return g_test_run();
}
