/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves who may do what on the system bus, under the D-Bus policy that is installed: everybody may list and look up,
 * root may do everything, another user nothing to what is not theirs, and nobody but root may own the name. Needs root,
 * to be somebody else.
 */

#include <grp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/service/service.h"

#define NOBODY 65534
#define AS_NOBODY "--as-nobody"

/* Exit statuses of the other user's process. */
enum {
        ALLOWED,
        DENIED,
        OTHERWISE,
};

static int outcome(const GError *error) {
        if (!error)
                return ALLOWED;
        if (g_error_matches(error, CHV_ERROR, CHV_ERROR_ACCESS_DENIED) ||
            g_error_matches(error, G_DBUS_ERROR, G_DBUS_ERROR_ACCESS_DENIED))
                return DENIED;
        g_printerr("%s\n", error->message);
        return OTHERWISE;
}

/* This program again, as somebody else: ADDRESS TO PATH INTERFACE METHOD ARGUMENTS. */
static int be_nobody(char **argv) {
        g_autoptr(GDBusConnection) bus = NULL;
        g_autoptr(GVariant) arguments = NULL, reply = NULL;
        g_autoptr(GError) error = NULL;

        (void) CHV_ERROR;
        if (setgroups(0, NULL) < 0 || setresgid(NOBODY, NOBODY, NOBODY) < 0 ||
            setresuid(NOBODY, NOBODY, NOBODY) < 0)
                return OTHERWISE;
        bus = g_dbus_connection_new_for_address_sync(
                        argv[0],
                        G_DBUS_CONNECTION_FLAGS_AUTHENTICATION_CLIENT |
                                        G_DBUS_CONNECTION_FLAGS_MESSAGE_BUS_CONNECTION,
                        NULL, NULL, &error);
        if (!bus)
                return outcome(error) == ALLOWED ? OTHERWISE : outcome(error);
        arguments = g_variant_parse(NULL, argv[5], NULL, NULL, &error);
        g_assert_no_error(error);
        reply = g_dbus_connection_call_sync(
                        bus, argv[1], argv[2], argv[3], argv[4], g_steal_pointer(&arguments), NULL,
                        G_DBUS_CALL_FLAGS_NONE, -1, NULL, &error);
        return outcome(error);
}

static int
call_as_nobody(const char *address,
               const char *to,
               const char *path,
               const char *interface,
               const char *method,
               const char *arguments) {
        g_autoptr(GError) error = NULL;
        g_autoptr(GSubprocess) other = g_subprocess_new(
                        G_SUBPROCESS_FLAGS_NONE, &error, "/proc/self/exe", AS_NOBODY, address, to,
                        path, interface, method, arguments, NULL);

        g_assert_no_error(error);
        g_assert_true(g_subprocess_wait(other, NULL, NULL));
        g_assert_true(g_subprocess_get_if_exited(other));
        return g_subprocess_get_exit_status(other);
}

static Service *start_system(void) {
        static const char *const extra[] = { "--system", NULL };

        if (getuid() != 0) {
                g_test_skip("needs root");
                return NULL;
        }
        return service_start(extra);
}

static void test_nobody_is_refused(void) {
        static const struct {
                const char *interface, *method, *arguments;
                int expected;
        } cases[] = {
                { MANAGER, "ListVMs", "(@a{sv} {},)", ALLOWED },
                { MANAGER, "GetVM", "('a',)", ALLOWED },
                { MANAGER, "CheckConfig", "({'payload': <{'kernel': <'/x'>}>}, @a{sv} {})",
                  ALLOWED },
                { MANAGER, "CreateVM",
                  "('b', {'payload': <{'kernel': <'/x'>}>}, @a{sh} {}, @a{sv} {})", DENIED },
                { VM, "Start", "(@a{sv} {},)", DENIED },
                { VM, "Shutdown", "(@a{sv} {},)", DENIED },
                { VM, "PowerOff", "(@a{sv} {},)", DENIED },
                { VM, "Reboot", "(@a{sv} {},)", DENIED },
                { VM, "Reset", "(@a{sv} {},)", DENIED },
                { VM, "Pause", "(@a{sv} {},)", DENIED },
                { VM, "Resume", "(@a{sv} {},)", DENIED },
                { VM, "NMI", "(@a{sv} {},)", DENIED },
                { VM, "Delete", "({'force': <true>},)", DENIED },
                { VM, "Resize", "(@a{sv} {},)", DENIED },
                { VM, "AddDevice", "('disk', @a{sv} {}, @a{sh} {}, @a{sv} {})", DENIED },
                { VM, "RemoveDevice", "('x', @a{sv} {})", DENIED },
                { VM, "GetCounters", "(@a{sv} {},)", DENIED },
                { VM, "OpenConsole", "('serial', @a{sv} {})", DENIED },
                { VM, "ResizeConsole", "('serial', uint16 1, uint16 1, @a{sv} {})", DENIED },
                { DEVICE, "Update", "(@a{sv} {}, @a{sv} {})", DENIED },
                { DEVICE, "Remove", "(@a{sv} {},)", DENIED },
                { DEVICE, "GetCounters", "(@a{sv} {},)", DENIED },
                { "org.freedesktop.DBus.Introspectable", "Introspect", "()", ALLOWED },
                { "org.example.Other", "Method", "()", DENIED },
        };
        g_autoptr(Service) service = start_system();
        g_autofree char *vm = NULL, *device = NULL;

        if (!service)
                return;
        vm = vm_run(service, "a", NULL, NULL);
        device = g_strconcat(vm, "/device/_5fdisk0", NULL);
        for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
                const char *path = g_str_equal(cases[i].interface, VM)       ? vm
                                   : g_str_equal(cases[i].interface, DEVICE) ? device
                                                                             : MANAGER_PATH;
                int got =
                                call_as_nobody(service->address, MANAGER, path, cases[i].interface,
                                               cases[i].method, cases[i].arguments);

                if (got != cases[i].expected)
                        g_error("%s.%s: %d, not %d", cases[i].interface, cases[i].method, got,
                                cases[i].expected);
        }
        /* Nothing of that had an effect. */
        g_assert_true(vm_exists(service, vm));
        vm_await(service, vm, "running");
}

static void test_name_is_roots(void) {
        g_autoptr(Service) service = start_system();

        if (!service)
                return;
        g_assert_cmpint(call_as_nobody(service->address, "org.freedesktop.DBus",
                                       "/org/freedesktop/DBus", "org.freedesktop.DBus",
                                       "RequestName", "('" MANAGER "', uint32 7)"),
                        ==, DENIED);
}

static void test_session_is_one_users(void) {
        g_autoptr(Service) service = NULL;

        if (getuid() != 0)
                return g_test_skip("needs root");
        service = service_start(NULL);
        g_assert_cmpint(call_as_nobody(service->address, MANAGER, MANAGER_PATH, MANAGER, "ListVMs",
                                       "(@a{sv} {},)"),
                        ==, DENIED);
}

int main(int argc, char **argv) {
        if (argc == 8 && g_str_equal(argv[1], AS_NOBODY))
                return be_nobody(argv + 2);
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/authority/nobody-is-refused", test_nobody_is_refused);
        g_test_add_func("/authority/name-is-roots", test_name_is_roots);
        g_test_add_func("/authority/session-is-one-users", test_session_is_one_users);
        return g_test_run();
}
