/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves what a shutdown of the host does, with a stand-in for logind on the service's bus: a lock is held while a VM
 * runs and only then, a shutdown asks the guests and writes down who ran, the lock is given back when the last has gone,
 * and a logind that refuses, lies, dies or comes late costs nothing.
 */

#include <fcntl.h>
#include <gio/gunixfdlist.h>
#include <string.h>
#include <unistd.h>

#include "tests/service/service.h"

#define LOGIN1 "org.freedesktop.login1"

typedef enum {
        LOCKS,
        REFUSES,
        SENDS_NOTHING
} Manner;

typedef struct {
        Service *service;
        GDBusConnection *bus; /* logind's */
        guint object;
        Manner manner;
        unsigned asked;
        int end; /* ours of the lock; -1: none was given */
} Rig;

static void
on_call(GDBusConnection *connection,
        const char *sender,
        const char *path,
        const char *interface,
        const char *method,
        GVariant *parameters,
        GDBusMethodInvocation *invocation,
        gpointer data) {
        Rig *rig = data;
        g_autofree char *words = g_variant_print(parameters, false);
        g_autoptr(GUnixFDList) list = g_unix_fd_list_new();
        int ends[2];

        rig->asked++;
        g_assert_cmpstr(method, ==, "Inhibit");
        g_assert_true(g_str_has_prefix(words, "('shutdown', 'chvd', '"));
        g_assert_true(g_str_has_suffix(words, "', 'delay')"));
        if (rig->manner == REFUSES)
                return g_dbus_method_invocation_return_dbus_error(
                                invocation, "org.freedesktop.DBus.Error.AccessDenied", "no");
        if (rig->manner == SENDS_NOTHING)
                return g_dbus_method_invocation_return_value(invocation, g_variant_new("(h)", 7));
        if (rig->end >= 0)
                (void) close(rig->end);
        g_assert_cmpint(pipe2(ends, O_CLOEXEC | O_NONBLOCK), ==, 0);
        rig->end = ends[0];
        g_assert_cmpint(g_unix_fd_list_append(list, ends[1], NULL), ==, 0);
        (void) close(ends[1]);
        g_dbus_method_invocation_return_value_with_unix_fd_list(
                        invocation, g_variant_new("(h)", 0), list);
}

static void logind_appears(Rig *rig, Manner manner) {
        static const char xml[] =
                        "<node><interface name='org.freedesktop.login1.Manager'>"
                        "<method name='Inhibit'><arg type='s' direction='in'/>"
                        "<arg type='s' direction='in'/><arg type='s' direction='in'/>"
                        "<arg type='s' direction='in'/><arg type='h' direction='out'/></method>"
                        "</interface></node>";
        static const GDBusInterfaceVTable vtable = { .method_call = on_call };
        g_autoptr(GDBusNodeInfo) info = g_dbus_node_info_new_for_xml(xml, NULL);
        g_autoptr(GVariant) reply = NULL;

        rig->manner = manner;
        rig->end = -1;
        rig->asked = 0;
        rig->bus = service_connect(rig->service);
        rig->object = g_dbus_connection_register_object(
                        rig->bus, "/org/freedesktop/login1", info->interfaces[0], &vtable, rig,
                        NULL, NULL);
        reply = g_dbus_connection_call_sync(
                        rig->bus, "org.freedesktop.DBus", "/org/freedesktop/DBus",
                        "org.freedesktop.DBus", "RequestName", g_variant_new("(su)", LOGIN1, 0),
                        G_VARIANT_TYPE("(u)"), G_DBUS_CALL_FLAGS_NONE, -1, NULL, NULL);
        g_assert_nonnull(reply);
}

static void logind_dies(Rig *rig) {
        g_assert_true(g_dbus_connection_unregister_object(rig->bus, rig->object));
        g_assert_true(g_dbus_connection_close_sync(rig->bus, NULL, NULL));
        g_clear_object(&rig->bus);
}

static bool is_held(Rig *rig) {
        char byte;

        /* At the end of the file nobody has the other end. */
        return rig->end >= 0 && read(rig->end, &byte, 1) < 0;
}

static void await_lock(Rig *rig, bool held) {
        for (unsigned i = 0; is_held(rig) != held; i++) {
                g_assert_cmpuint(i, <, 4000);
                service_linger(5);
        }
}

static void prepare(Rig *rig, bool begins) {
        g_assert_true(g_dbus_connection_emit_signal(
                        rig->bus, NULL, "/org/freedesktop/login1", "org.freedesktop.login1.Manager",
                        "PrepareForShutdown", g_variant_new("(b)", begins), NULL));
}

static char *record_path(const Rig *rig) {
        return g_build_filename(rig->service->state_dir, "running-at-shutdown", NULL);
}

static void assert_recorded(const Rig *rig, const char *names) {
        g_autofree char *path = record_path(rig), *joined = NULL;
        g_autoptr(GKeyFile) file = g_key_file_new();
        g_auto(GStrv) vms = NULL;

        g_assert_true(g_key_file_load_from_file(file, path, G_KEY_FILE_NONE, NULL));
        vms = g_key_file_get_string_list(file, "Shutdown", "VMs", NULL, NULL);
        joined = g_strjoinv(" ", vms);
        g_assert_cmpstr(joined, ==, names);
        g_assert_cmpint(g_key_file_get_int64(file, "Shutdown", "Time", NULL), >, 0);
}

static void call(Rig *rig, const char *vm, const char *method) {
        g_autoptr(GVariant) reply = vm_call(rig->service, vm, method, NULL);
}

/* An answer means that what came before has been worked on. */
static void settle(Rig *rig) {
        g_autoptr(GVariant) reply =
                        service_call(rig->service, MANAGER_PATH, MANAGER, "ListVMs",
                                     g_variant_new("(a{sv})", NULL), NULL);

        g_assert_nonnull(reply);
        service_linger(50);
}

static bool rig_start(Rig *rig) {
        if (getuid() != 0) {
                g_test_skip("needs root");
                return false;
        }
        rig->service = service_start((const char *[]){ "--system", NULL });
        return true;
}

static void rig_stop(Rig *rig) {
        if (rig->bus)
                logind_dies(rig);
        if (rig->end >= 0)
                (void) close(rig->end);
        service_stop(rig->service);
}

static void test_bad_logind(void) {
        Rig rig = { .end = -1 };
        g_autofree char *vm = NULL, *path = NULL;

        if (!rig_start(&rig))
                return;
        /* None at all. */
        vm = vm_run(rig.service, "vm", NULL, NULL);
        for (Manner manner = REFUSES; manner <= SENDS_NOTHING; manner++) {
                logind_appears(&rig, manner);
                while (rig.asked == 0)
                        service_linger(5);
                /* It is not asked again and again. */
                call(&rig, vm, "PowerOff");
                call(&rig, vm, "Start");
                settle(&rig);
                g_assert_cmpuint(rig.asked, ==, 1);
                logind_dies(&rig);
        }
        /* Somebody else says so, or logind says something else. */
        path = record_path(&rig);
        logind_appears(&rig, LOCKS);
        await_lock(&rig, true);
        g_assert_true(g_dbus_connection_emit_signal(
                        rig.service->bus, NULL, "/org/freedesktop/login1",
                        "org.freedesktop.login1.Manager", "PrepareForShutdown",
                        g_variant_new("(b)", true), NULL));
        g_assert_true(g_dbus_connection_emit_signal(
                        rig.bus, NULL, "/org/freedesktop/login1", "org.freedesktop.login1.Manager",
                        "PrepareForShutdown", g_variant_new("(s)", "true"), NULL));
        prepare(&rig, false);
        settle(&rig);
        vm_await(rig.service, vm, "running");
        g_assert_false(g_file_test(path, G_FILE_TEST_EXISTS));
        rig_stop(&rig);
}

static void test_lock(void) {
        Rig rig = { .end = -1 };
        g_autofree char *one = NULL, *two = NULL;

        if (!rig_start(&rig))
                return;
        logind_appears(&rig, LOCKS);
        one = vm_create(rig.service, "one", NULL, NULL);
        two = vm_create(rig.service, "two", NULL, NULL);
        settle(&rig);
        g_assert_cmpuint(rig.asked, ==, 0);
        call(&rig, one, "Start");
        await_lock(&rig, true);
        call(&rig, two, "Start");
        call(&rig, one, "PowerOff");
        settle(&rig);
        g_assert_true(is_held(&rig));
        g_assert_cmpuint(rig.asked, ==, 1);
        call(&rig, two, "PowerOff");
        await_lock(&rig, false);
        call(&rig, two, "Start");
        await_lock(&rig, true);
        /* Its lock dies with it, and is asked for again when it comes back. */
        logind_dies(&rig);
        await_lock(&rig, false);
        logind_appears(&rig, LOCKS);
        await_lock(&rig, true);
        rig_stop(&rig);
}

static void test_shutdown(void) {
        Rig rig = { .end = -1 };
        g_autofree char *good = NULL, *deaf = NULL, *still = NULL, *off = NULL;

        if (!rig_start(&rig))
                return;
        logind_appears(&rig, LOCKS);
        off = vm_create(rig.service, "off", NULL, NULL);
        good = vm_run(rig.service, "good", NULL, NULL);
        deaf = vm_run(rig.service, "deaf", "deaf", NULL);
        still = vm_run(rig.service, "still", NULL, NULL);
        call(&rig, still, "Pause");
        await_lock(&rig, true);
        prepare(&rig, true);
        vm_await(rig.service, good, "shutdown");
        /* Nobody is forced, and the lock stays for them. */
        settle(&rig);
        vm_await(rig.service, deaf, "running");
        vm_await(rig.service, still, "paused");
        g_assert_true(is_held(&rig));
        call(&rig, deaf, "PowerOff");
        call(&rig, still, "PowerOff");
        await_lock(&rig, false);
        assert_recorded(&rig, "deaf good still");

        /* The next one; the last of them goes at once, yet the record is complete when the lock goes. */
        call(&rig, off, "Start");
        await_lock(&rig, true);
        prepare(&rig, true);
        await_lock(&rig, false);
        assert_recorded(&rig, "off");
        rig_stop(&rig);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/shutdown/bad-logind", test_bad_logind);
        g_test_add_func("/shutdown/lock", test_lock);
        g_test_add_func("/shutdown/shutdown", test_shutdown);
        return g_test_run();
}
