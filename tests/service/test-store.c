/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves that definitions outlive the service: what was acknowledged is there after a restart, as it was, and what was
 * not is old or new, never half, however often and wherever the service is killed; that a broken record costs one VM;
 * that a disk which can't be written refuses what should last and nothing else; that VMs start with the service in
 * their order; and what each crash policy does.
 */

#include <fcntl.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "dbus/fd.h"
#include "tests/service/service.h"

static char *
create(Service *service, const char *name, const char *words, const char *options, GError **error) {
        return vm_create_full(
                        service, name, service_config(service, words, NULL), NULL, NULL, options,
                        error);
}

static void call(Service *service, const char *vm, const char *method, const char *options) {
        g_autoptr(GVariant) reply = vm_call(service, vm, method, options);
}

static void assert_property(Service *service, const char *vm, const char *name, const char *value) {
        g_autofree char *now = vm_get(service, vm, name);

        g_assert_cmpstr(now, ==, value);
}

static char *in_state_dir(Service *service, const char *file) {
        return g_build_filename(service->state_dir, file, NULL);
}

static void write_file(Service *service, const char *file, const char *text) {
        g_autofree char *path = in_state_dir(service, file);
        g_autofree char *folder = g_path_get_dirname(path);

        g_assert_cmpint(g_mkdir_with_parents(folder, 0700), ==, 0);
        g_assert_true(g_file_set_contents(path, text, -1, NULL));
}

static char *config_of(Service *service, const char *vm) {
        g_autoptr(GVariant) reply = vm_call(service, vm, "GetConfig", NULL);

        return g_variant_print(reply, /* type_annotate= */ true);
}

#define VM_(name) "/org/cloudhypervisor/vm/" name

static void test_broken_definition(void) {
        g_autoptr(Service) service = service_start(NULL);
        g_autofree char *a = create(service, "a", NULL, NULL, NULL);
        g_autofree char *file = in_state_dir(service, "vms/b/definition");
        g_autoptr(GError) error = NULL;

        write_file(service, "vms/b/definition", "[Definition]\nVersion=1\n");
        write_file(service, "vms/c/definition",
                   "[Definition]\nVersion=1\nOwner=0\nCreated=0\nGiven=[]\n"
                   "Config={'memory': <{'size': <'much'>}>}\nComplete=true\n");
        service_restart(service, SIGTERM);
        service_await_signal(service, "'definition-broken', {'name': <'b'>");
        service_await_signal(service, "'definition-broken', {'name': <'c'>");
        g_assert_true(vm_exists(service, a));
        g_assert_false(vm_exists(service, VM_("b")));
        /* Neither the file nor the name is anybody's. */
        g_assert_null(create(service, "b", NULL, NULL, &error));
        assert_names(error, CHV_ERROR_EXISTS, "/vms/b/definition");
        g_assert_true(g_file_test(file, G_FILE_TEST_EXISTS));
}

static void test_unknown_version(void) {
        g_autoptr(Service) service = service_start(NULL);
        g_autofree char *a = create(service, "a", NULL, NULL, NULL), *transient = NULL;
        g_autoptr(GError) error = NULL, none = NULL;

        write_file(service, "version", "99\n");
        service_restart(service, SIGTERM);
        g_assert_false(vm_exists(service, a));
        g_assert_null(create(service, "b", NULL, NULL, &error));
        assert_names(error, CHV_ERROR_NOT_SUPPORTED, service->state_dir);
        transient = create(service, "b", NULL, "{'transient': <true>}", &none);
        g_assert_no_error(none);
        write_file(service, "version", "1\n");
        service_restart(service, SIGTERM);
        g_assert_true(vm_exists(service, a));
        g_assert_false(vm_exists(service, transient));
}

static void test_unwritable(void) {
        g_autoptr(Service) service = service_start(NULL);
        g_autoptr(GError) create_error = NULL, start_error = NULL, none = NULL;
        g_autofree char *transient = NULL, *again = NULL;

        /* A file where the folder should be: root is refused too. */
        g_assert_true(g_file_set_contents(service->state_dir, "", -1, NULL));
        g_assert_null(create(service, "a", NULL, NULL, &create_error));
        assert_names(create_error, CHV_ERROR_RESOURCE, service->state_dir);
        g_assert_null(create(service, "a", NULL, "{'start': <true>}", &start_error));
        assert_names(start_error, CHV_ERROR_RESOURCE, service->state_dir);
        while (vm_exists(service, VM_("a")))
                service_linger(5);
        transient = create(service, "a", NULL, "{'transient': <true>}", &none);
        g_assert_no_error(none);
        call(service, transient, "Delete", NULL);
        /* It does not stay refused for ever. */
        g_assert_cmpint(g_unlink(service->state_dir), ==, 0);
        again = create(service, "a", NULL, NULL, &none);
        g_assert_no_error(none);
}

static void test_bad_options(void) {
        static const char *const bad[] = {
                "{'autostart': <'yes'>}",
                "{'autostart-delay': <uint32 3601>}",
                "{'crash-policy': <'explode'>}",
                "{'crash-policy': <uint32 1>}",
        };
        g_autoptr(Service) service = service_start(NULL);
        g_autofree char *a = create(service, "a", NULL, NULL, NULL), *t = NULL;
        g_autoptr(GError) error = NULL;

        for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
                g_autoptr(GError) refused = NULL;

                vm_call_fails(service, a, "SetOptions", bad[i], CHV_ERROR_INVALID_CONFIG);
                g_assert_null(create(service, "b", NULL, bad[i], &refused));
                assert_chv_error(refused, CHV_ERROR_INVALID_CONFIG);
        }
        g_assert_null(create(
                        service, "b", NULL, "{'transient': <true>, 'autostart': <true>}", &error));
        assert_names(error, CHV_ERROR_INVALID_CONFIG, "autostart");
        t = create(service, "b", NULL, "{'transient': <true>}", NULL);
        vm_call_fails(service, t, "SetOptions", "{'autostart': <true>}", CHV_ERROR_INVALID_CONFIG);
        call(service, t, "SetOptions", "{'crash-policy': <'preserve'>}");
        assert_property(service, t, "CrashPolicy", "preserve");
}

static void test_as_before(void) {
        g_autoptr(Service) service = service_start(NULL);
        g_autofree char *never = create(service, "never", "words", NULL, NULL);
        g_autofree char *ran = create(service, "ran", NULL, "{'start': <true>}", NULL);
        g_autofree char *transient = create(service, "t", NULL, "{'transient': <true>}", NULL);
        g_autofree char *uuid = vm_get(service, never, "UUID"), *config = config_of(service, never),
                        *at = vm_get(service, never, "CreatedAt"),
                        *owner = vm_get(service, never, "Owner");
        g_autofree char *file = in_state_dir(service, "vms/never/definition"), *now = NULL;
        g_autoptr(GVariant) reply = NULL;
        g_autoptr(GError) none = NULL;
        struct stat st;

        g_assert_cmpint(stat(file, &st), ==, 0);
        g_assert_cmpuint(st.st_mode & 07777, ==, 0600);
        call(service, never, "SetOptions",
             "{'autostart-order': <uint32 7>, 'crash-policy': <'preserve'>}");
        for (unsigned i = 0; i < 2; i++) {
                service_restart(service, i == 0 ? SIGINT : SIGKILL);
                assert_property(service, never, "State", "created");
                assert_property(service, never, "UUID", uuid);
                g_clear_pointer(&now, g_free);
                now = config_of(service, never);
                g_assert_cmpstr(now, ==, config);
                assert_property(service, never, "CreatedAt", at);
                assert_property(service, never, "Owner", owner);
                assert_property(service, never, "AutostartOrder", "7");
                assert_property(service, never, "CrashPolicy", "preserve");
                assert_property(service, ran, "State", "shutdown");
                g_assert_false(vm_exists(service, transient));
        }
        call(service, ran, "Start", NULL);
        call(service, ran, "Delete", "{'force': <true>}");
        reply =
                        service_call(service, never, VM, "SetOwner",
                                     g_variant_new("(ua{sv})", 4242, NULL), &none);
        g_assert_no_error(none);
        service_restart(service, SIGKILL);
        assert_property(service, never, "Owner", "4242");
        call(service, never, "Delete", NULL);
        service_restart(service, SIGKILL);
        g_assert_false(vm_exists(service, ran));
        g_assert_false(vm_exists(service, never));
}

/* Neither "deleted" nor anything else untrue is told of what only rests. */
static void test_end_deletes_nothing(void) {
        g_autoptr(Service) service = service_start(NULL);
        g_autofree char *a = create(service, "a", NULL, NULL, NULL);

        service_restart(service, SIGTERM);
        g_assert_false(service_has_signal(service, "'deleted'"));
        g_assert_true(vm_exists(service, a));
}

static GVariant *set_config(Service *service, const char *vm, GVariant *config, GError **error) {
        return service_call(
                        service, vm, VM, "SetConfig",
                        g_variant_new("(@a{sv}a{sh}a{sv})", config, NULL, NULL), error);
}

static void test_set_config(void) {
        g_autoptr(Service) service = service_start(NULL);
        g_autofree char *a = create(service, "a", NULL, NULL, NULL), *config = NULL;
        g_autoptr(GVariant) bad = NULL, running = NULL, good = NULL;
        g_autoptr(GError) invalid = NULL, state = NULL, none = NULL;

        bad = set_config(
                        service, a,
                        service_config(service, NULL, "'cpus': <{'boot_vcpus': <uint32 0>}>"),
                        &invalid);
        assert_names(invalid, CHV_ERROR_INVALID_CONFIG, "boot_vcpus");
        call(service, a, "Start", NULL);
        running = set_config(service, a, service_config(service, NULL, NULL), &state);
        assert_names(state, CHV_ERROR_INVALID_STATE, "running");
        call(service, a, "PowerOff", NULL);
        good = set_config(
                        service, a,
                        service_config(service, NULL, "'cpus': <{'boot_vcpus': <uint32 3>}>"),
                        &none);
        g_assert_no_error(none);
        service_restart(service, SIGKILL);
        config = config_of(service, a);
        g_assert_nonnull(strstr(config, "'boot_vcpus': <uint32 3>"));
        call(service, a, "Start", NULL);
}

/* The path beside a descriptor is nobody's wish that it be opened. */
static void test_descriptors(void) {
        g_autoptr(Service) service = service_start(NULL);
        g_autoptr(GUnixFDList) list = g_unix_fd_list_new();
        g_autoptr(GError) none = NULL;
        g_autofree char *a = NULL;
        g_autoptr(GVariant) reply = NULL;
        chv_autofd fd = open(service->kernel, O_RDONLY | O_CLOEXEC);

        g_assert_cmpint(g_unix_fd_list_append(list, fd, NULL), ==, 0);
        a = vm_create_full(
                        service, "a", service_config(service, NULL, NULL),
                        g_variant_new_parsed("{'payload/kernel': handle 0}"), list, NULL, &none);
        g_assert_no_error(none);
        call(service, a, "Start", NULL);
        for (unsigned i = 0; i < 2; i++) {
                g_autoptr(GError) error = NULL;

                service_restart(service, SIGKILL);
                if (i == 0)
                        call(service, a, "PowerOff", NULL);
                g_assert_null(vm_try(service, a, "Start", NULL, &error));
                assert_names(error, CHV_ERROR_RESOURCE, "payload/kernel");
                call(service, a, "SetOptions", "{'autostart': <true>}");
        }
        reply = set_config(service, a, service_config(service, NULL, NULL), &none);
        g_assert_no_error(none);
        call(service, a, "Start", NULL);
}

static char *rename_vm(Service *service, const char *vm, const char *name, GError **error) {
        g_autoptr(GVariant) reply = service_call(
                        service, vm, VM, "Rename", g_variant_new("(sa{sv})", name, NULL), error);
        char *path = NULL;

        if (reply)
                g_variant_get(reply, "(o)", &path);
        return path;
}

static void test_rename(void) {
        g_autoptr(Service) service = service_start(NULL);
        g_autofree char *a = create(service, "a", NULL, NULL, NULL),
                        *b = create(service, "b", NULL, NULL, NULL), *c = NULL, *again = NULL;
        g_autofree char *uuid = vm_get(service, a, "UUID");
        g_autoptr(GError) exists = NULL, name = NULL, state = NULL, none = NULL;

        g_assert_null(rename_vm(service, a, "b", &exists));
        assert_names(exists, CHV_ERROR_EXISTS, "b");
        g_assert_null(rename_vm(service, a, "../b", &name));
        assert_names(name, CHV_ERROR_INVALID_CONFIG, "name");
        call(service, b, "Start", NULL);
        g_assert_null(rename_vm(service, b, "d", &state));
        assert_names(state, CHV_ERROR_INVALID_STATE, "running");
        c = rename_vm(service, a, "c", &none);
        g_assert_no_error(none);
        service_await_signal(service, "'renamed', {'name': <'a'>, 'to': <'c'>}");
        g_assert_false(service_has_signal(service, "'deleted'"));
        for (unsigned i = 0; i < 2; i++) {
                g_assert_false(vm_exists(service, a));
                assert_property(service, c, "UUID", uuid);
                assert_property(service, c, "Name", "c");
                assert_property(service, c, "State", "created");
                service_restart(service, SIGKILL);
        }
        call(service, c, "Start", NULL);
        again = create(service, "a", NULL, NULL, &none);
        g_assert_no_error(none);
}

static void test_autostart(void) {
        g_autoptr(Service) service = service_start(NULL);
        static const char *const vms[][2] = {
                { "last", "{'autostart': <true>, 'autostart-order': <uint32 2>}" },
                { "b", "{'autostart': <true>, 'autostart-order': <uint32 1>, 'autostart-delay': "
                       "<uint32 1>}" },
                { "a", "{'autostart': <true>, 'autostart-order': <uint32 1>}" },
                { "off", "{'autostart-order': <uint32 0>}" },
        };
        g_autofree char *broken =
                        create(service, "broken", "boot-error", "{'autostart': <true>}", NULL);
        gint64 then;

        for (size_t i = 0; i < G_N_ELEMENTS(vms); i++) {
                g_autoptr(GError) error = NULL;
                g_autofree char *path = create(service, vms[i][0], NULL, vms[i][1], &error);

                g_assert_no_error(error);
        }
        service_forget_signals(service);
        /* With the host, not with the service. */
        service_restart(service, SIGTERM);
        service_linger(100);
        assert_property(service, VM_("a"), "State", "created");
        service_forget_boot(service);
        then = g_get_monotonic_time();
        service_restart(service, SIGTERM);
        vm_await(service, VM_("last"), "running");
        g_assert_cmpint(g_get_monotonic_time() - then, >=, G_USEC_PER_SEC);
        assert_property(service, VM_("off"), "State", "created");
        assert_property(service, broken, "State", "created");
        g_assert_cmpuint(
                        service_signal_index(service, "vm/broken org.cloudhypervisor.VM.Event"), <,
                        service_signal_index(service, "vm/a org.cloudhypervisor.VM.Event"));
        g_assert_cmpuint(
                        service_signal_index(service, "vm/a org.cloudhypervisor.VM.Event"), <,
                        service_signal_index(service, "vm/b org.cloudhypervisor.VM.Event"));
        g_assert_cmpuint(
                        service_signal_index(service, "vm/b org.cloudhypervisor.VM.Event"), <,
                        service_signal_index(service, "vm/last org.cloudhypervisor.VM.Event"));
}

static void kill_worker(Service *service, const char *vm) {
        g_autofree char *pid = vm_get(service, vm, "WorkerPID");

        g_assert_cmpint(kill((pid_t) g_ascii_strtoll(pid, NULL, 10), SIGKILL), ==, 0);
}

static void test_crash_restart(void) {
        g_autoptr(Service) service = service_start(NULL);
        g_autofree char *a = create(
                        service, "a", NULL, "{'start': <true>, 'crash-policy': <'restart'>}", NULL);

        kill_worker(service, a);
        service_await_signal(service, "'restarting', {'delay': <uint32 1>}");
        vm_await(service, a, "running");
        kill_worker(service, a);
        service_await_signal(service, "'restarting', {'delay': <uint32 2>}");
        /* Who takes it in hand has it. */
        call(service, a, "PowerOff", NULL);
        service_linger(2500);
        assert_property(service, a, "State", "shutdown");
        call(service, a, "Start", NULL);
        kill_worker(service, a);
        service_await_signal(service, "'restarting', {'delay': <uint32 4>}");
        call(service, a, "Delete", NULL);
        g_assert_false(vm_exists(service, a));
}

static void test_crash_preserve(void) {
        g_autoptr(Service) service = service_start(NULL);
        g_autofree char *a =
                        create(service, "a", "fails-on-Nmi",
                               "{'start': <true>, 'crash-policy': <'preserve'>}", NULL);
        g_autofree char *pid = vm_get(service, a, "WorkerPID");
        g_autoptr(GVariant) reply = vm_try(service, a, "NMI", NULL, NULL);

        vm_await(service, a, "failed");
        service_linger(200);
        assert_property(service, a, "WorkerPID", pid);
        vm_call_fails(service, a, "Start", NULL, CHV_ERROR_INVALID_STATE);
        g_assert_null(rename_vm(service, a, "b", NULL));
        call(service, a, "PowerOff", NULL);
        assert_property(service, a, "State", "shutdown");
        assert_property(service, a, "WorkerPID", "0");
        call(service, a, "Start", NULL);
}

#define KILLS 200
#define NAMES 8

/* What the client knows of each name: there, not there, or asked for without an answer. */
typedef enum {
        ABSENT,
        PRESENT,
        UNKNOWN
} Knowledge;

typedef struct {
        Knowledge *slot;
        Knowledge then;
        unsigned *open;
} Asked;

static void on_answer(GObject *source, GAsyncResult *result, gpointer data) {
        g_autofree Asked *asked = data;
        g_autoptr(GError) error = NULL;
        g_autoptr(GVariant) reply =
                        g_dbus_connection_call_finish(G_DBUS_CONNECTION(source), result, &error);

        if (reply)
                *asked->slot = asked->then;
        else
                g_assert_false(g_dbus_error_is_remote_error(error) && error->domain == CHV_ERROR);
        (*asked->open)--;
}

static void ask(Service *service, unsigned i, Knowledge *slot, unsigned *open) {
        g_autofree char *name = g_strdup_printf("vm%u", i), *path = g_strdup_printf(VM_("vm%u"), i);
        Asked *asked = g_new0(Asked, 1);
        bool make = *slot == ABSENT;

        *asked = (Asked){ slot, make ? PRESENT : ABSENT, open };
        *slot = UNKNOWN;
        (*open)++;
        if (make)
                g_dbus_connection_call(
                                service->bus, MANAGER, MANAGER_PATH, MANAGER, "CreateVM",
                                g_variant_new("(s@a{sv}a{sh}a{sv})", name,
                                              service_config(service, name, NULL), NULL, NULL),
                                NULL, G_DBUS_CALL_FLAGS_NONE, -1, NULL, on_answer, asked);
        else
                g_dbus_connection_call(
                                service->bus, MANAGER, path, VM, "Delete",
                                g_variant_new("(a{sv})", NULL), NULL, G_DBUS_CALL_FLAGS_NONE, -1,
                                NULL, on_answer, asked);
}

/* After a restart: what was acknowledged is as it was, and nothing is broken. What was not is known now. */
static void compare(Service *service, Knowledge *known) {
        for (unsigned i = 0; i < NAMES; i++) {
                g_autofree char *path = g_strdup_printf(VM_("vm%u"), i),
                                *word = g_strdup_printf("vm%u", i);
                bool there = vm_exists(service, path);

                if (known[i] != UNKNOWN && there != (known[i] == PRESENT))
                        g_error("%s is %sthere", path, there ? "" : "not ");
                known[i] = there ? PRESENT : ABSENT;
                if (there) {
                        g_autofree char *config = config_of(service, path);

                        g_assert_nonnull(strstr(config, word));
                }
        }
        g_assert_false(service_has_signal(service, "definition-broken"));
}

static void test_kills(void) {
        g_autoptr(Service) service = service_start(NULL);
        Knowledge known[NAMES] = { 0 };
        unsigned answered = 0, lost = 0, open = 0;

        for (unsigned n = 0; n < KILLS; n++) {
                gint64 until = g_get_monotonic_time() + g_test_rand_int_range(0, 25000);

                do {
                        for (unsigned i = 0; i < NAMES; i++)
                                if (known[i] != UNKNOWN)
                                        ask(service, i, &known[i], &open);
                        (void) g_main_context_iteration(NULL, false);
                } while (g_get_monotonic_time() < until);
                service_kill(service);
                while (open > 0)
                        (void) g_main_context_iteration(NULL, true);
                for (unsigned i = 0; i < NAMES; i++)
                        *(known[i] == UNKNOWN ? &lost : &answered) += 1;
                service_restart(service, 0);
                compare(service, known);
        }
        g_test_message("%u answered, %u not", answered, lost);
        g_assert_cmpuint(answered, >, 0);
        g_assert_cmpuint(lost, >, 0);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/store/broken-definition", test_broken_definition);
        g_test_add_func("/store/unknown-version", test_unknown_version);
        g_test_add_func("/store/unwritable", test_unwritable);
        g_test_add_func("/store/bad-options", test_bad_options);
        g_test_add_func("/store/as-before", test_as_before);
        g_test_add_func("/store/end-deletes-nothing", test_end_deletes_nothing);
        g_test_add_func("/store/set-config", test_set_config);
        g_test_add_func("/store/descriptors", test_descriptors);
        g_test_add_func("/store/rename", test_rename);
        g_test_add_func("/store/autostart", test_autostart);
        g_test_add_func("/store/crash-restart", test_crash_restart);
        g_test_add_func("/store/crash-preserve", test_crash_preserve);
        g_test_add_func("/store/kills", test_kills);
        return g_test_run();
}
