/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves what systemd-machined is told of running VMs, that it is told as little as it needs and again when that helps, and that whatever
 * it answers does no harm, against a stand-in that has machines of its own and fails on demand.
 */

#include <string.h>

#include "daemon/chvd/machines.h"
#include "tests/service/stand-in-bus.h"

#define MACHINE1 "org.freedesktop.machine1"
#define MACHINE1_PATH "/org/freedesktop/machine1"
#define MACHINE1_MANAGER MACHINE1 ".Manager"
#define OBJECT MACHINE1_PATH "/machine/web_2d1"
#define UUID "00112233-4455-6677-8899-aabbccddeeff"
#define UNIT "chv-web-1.service"
#define PID 4242
#define IN(type) "<arg type='" type "' direction='in'/>"
#define OUT(type) "<arg type='" type "' direction='out'/>"

static const char xml[] =
                "<node><interface name='" MACHINE1_MANAGER "'>"
                "<method name='RegisterMachine'>" IN("s") IN("ay") IN("s") IN("s") IN("u") IN("s") OUT(
                                "o") "</method>"
                                     "<method name='RegisterMachineWithNetwork'>" IN("s") IN(
                                                     "ay") IN("s") IN("s") IN("u") IN("s") IN("ai")
                                                     OUT("o") "</method>"
                                                              "<method name='GetMachine'>" IN("s") OUT(
                                                                              "o") "</method>"
                                                                                   "<method "
                                                                                   "name='"
                                                                                   "UnregisterMachi"
                                                                                   "ne'>" IN("s") "</method>"
                                                                                                  "</interface><interface name='org.freedesktop.DBus.Properties'>"
                                                                                                  "<method name='GetAll'>" IN(
                                                                                                                  "s")
                                                                                                                  OUT("a{sv}") "</method></interface></node>";

/* The stand-in. */
typedef struct {
        GTestDBus *daemon;
        GDBusConnection *ours, *theirs;
        ChvdMachines *machines;
        GString *calls;       /* names of methods, each followed by a space */
        GVariant *parameters; /* of the last registration */
        const char *error;    /* of registrations; NULL: none */
        unsigned exists;      /* so many registrations find one of that name */
        bool gone;            /* which then cannot be found */
        bool silent;          /* registrations are not answered */
        GDBusMethodInvocation *held;
        const char *unit; /* of the one of that name */
        guint32 leader;
        unsigned messages; /* in the log */
} Rig;

static Rig *the_rig; /* for the log */

static void on_log(const char *domain, GLogLevelFlags level, const char *message, gpointer data) {
        if (!(level & G_LOG_LEVEL_DEBUG)) {
                the_rig->messages++;
                g_assert_nonnull(strstr(message, "systemd-machined"));
        }
}

static void refuse(GDBusMethodInvocation *invocation, const char *name) {
        g_dbus_method_invocation_return_dbus_error(invocation, name, "because");
}

static void on_register(Rig *rig, GVariant *parameters, GDBusMethodInvocation *invocation) {
        g_clear_pointer(&rig->parameters, g_variant_unref);
        rig->parameters = g_variant_ref(parameters);
        if (rig->silent) {
                rig->held = invocation;
                return;
        }
        if (rig->error)
                return refuse(invocation, rig->error);
        if (rig->exists > 0) {
                rig->exists--;
                return refuse(invocation, MACHINE1 ".MachineExists");
        }
        g_dbus_method_invocation_return_value(invocation, g_variant_new("(o)", OBJECT));
}

static GVariant *all_properties(Rig *rig) {
        return g_variant_new_parsed(
                        "({'Leader': <%u>, 'Unit': <%s>, 'Service': <'somebody'>},)", rig->leader,
                        rig->unit);
}

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

        g_string_append_printf(rig->calls, "%s ", method);
        if (g_str_has_prefix(method, "Register"))
                return on_register(rig, parameters, invocation);
        if (g_str_equal(method, "GetAll"))
                return g_dbus_method_invocation_return_value(invocation, all_properties(rig));
        if (g_str_equal(method, "UnregisterMachine"))
                return g_dbus_method_invocation_return_value(invocation, NULL);
        if (rig->gone)
                return refuse(invocation, MACHINE1 ".NoSuchMachine");
        g_dbus_method_invocation_return_value(invocation, g_variant_new("(o)", OBJECT));
}

static void own_name(Rig *rig) {
        static const GDBusInterfaceVTable vtable = { .method_call = on_call };
        static const char *const paths[] = { MACHINE1_PATH, OBJECT };

        stand_in_serve(rig->theirs, MACHINE1, xml, paths, &vtable, rig);
}

static Rig *rig_new_without(void) {
        Rig *rig = g_new0(Rig, 1);

        rig->daemon = g_test_dbus_new(G_TEST_DBUS_NONE);
        g_test_dbus_up(rig->daemon);
        rig->ours = stand_in_connect(rig->daemon);
        rig->theirs = stand_in_connect(rig->daemon);
        rig->calls = g_string_new(NULL);
        rig->leader = PID;
        rig->unit = UNIT;
        rig->machines = chvd_machines_new(rig->ours);
        chvd_machines_set_enabled(rig->machines, true);
        the_rig = rig;
        return rig;
}

static Rig *rig_new(void) {
        Rig *rig = rig_new_without();

        own_name(rig);
        return rig;
}

/* All that has been sent by us has been answered, and the answers have been heard, and so what was sent for those. */
static void settle(Rig *rig) {
        for (unsigned i = 0; i < 20; i++) {
                g_autoptr(GVariant) reply = g_dbus_connection_call_sync(
                                rig->ours, "org.freedesktop.DBus", "/org/freedesktop/DBus",
                                "org.freedesktop.DBus", "GetId", NULL, NULL, 0, -1, NULL, NULL);

                g_assert_nonnull(reply);
                while (g_main_context_iteration(NULL, false))
                        continue;
                (void) g_dbus_connection_flush_sync(rig->theirs, NULL, NULL);
        }
}

static void rig_free(Rig *rig) {
        chvd_machines_free(rig->machines);
        settle(rig);
        for (unsigned i = 0; i < 2; i++)
                (void) g_dbus_connection_close_sync(i ? rig->theirs : rig->ours, NULL, NULL);
        while (g_main_context_iteration(NULL, false))
                continue;
        g_object_unref(rig->ours);
        g_object_unref(rig->theirs);
        g_test_dbus_down(rig->daemon);
        g_object_unref(rig->daemon);
        g_string_free(rig->calls, true);
        g_clear_pointer(&rig->parameters, g_variant_unref);
        g_free(rig);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Rig, rig_free)

static void await_calls(Rig *rig, const char *calls) {
        while (strlen(rig->calls->str) < strlen(calls))
                g_main_context_iteration(NULL, true);
        settle(rig);
        g_assert_cmpstr(rig->calls->str, ==, calls);
        g_string_truncate(rig->calls, 0);
}

static void add(Rig *rig, const char *name) {
        const ChvdMachine machine = { .name = name, .uuid = UUID, .unit = UNIT, .pid = PID };

        chvd_machines_add(rig->machines, &machine);
}

static void assert_parameters(Rig *rig, const char *text) {
        g_autoptr(GVariant) expected = g_variant_ref_sink(g_variant_new_parsed(text));
        g_autofree char *is = g_variant_print(rig->parameters, false),
                        *should = g_variant_print(expected, false);

        g_assert_cmpstr(is, ==, should);
}

static void test_names(void) {
        static const char *const good[] = {
                "a", "web-1", "A.b-c.9", "1",
                "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
                "aaaaaaa"
        };
        static const char *const bad[] = {
                "",
                ".",
                ".host",
                "a.",
                "a..b",
                "-a",
                "a-",
                "a-.b",
                "a.-b",
                "a_b",
                "a b",
                "\xc3\xa9",
                "a/b",
                "a\n",
                "_",
                "-",
                "a.b-",
                "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
                "aaaaaaa"
        };
        g_autoptr(Rig) rig = rig_new();

        for (unsigned i = 0; i < G_N_ELEMENTS(good); i++)
                if (!chvd_machines_name_fits(good[i]))
                        g_error("'%s' does not fit", good[i]);
        for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
                if (chvd_machines_name_fits(bad[i]))
                        g_error("'%s' fits", bad[i]);
                add(rig, bad[i]);
        }
        settle(rig);
        await_calls(rig, "");
        g_assert_cmpuint(rig->messages, ==, 0);
}

static void test_told(void) {
        static const int interfaces[] = { 7, 9 };
        ChvdMachine machine = { .name = "web-1", .uuid = UUID, .unit = UNIT, .pid = PID };
        g_autoptr(Rig) rig = rig_new();

        add(rig, "web-1");
        await_calls(rig, "RegisterMachine ");
        assert_parameters(
                        rig, "('web-1', [byte 0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88,"
                             " 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff], 'chvd', 'vm', "
                             "uint32 4242, '')");
        /* It is told again of the next run. */
        machine.interfaces = interfaces;
        machine.n_interfaces = G_N_ELEMENTS(interfaces);
        machine.uuid = "00112233-zz";
        chvd_machines_remove(rig->machines, "web-1");
        chvd_machines_add(rig->machines, &machine);
        await_calls(rig, "RegisterMachineWithNetwork ");
        assert_parameters(rig, "('web-1', @ay [], 'chvd', 'vm', uint32 4242, '', [7, 9])");
        machine.uuid = NULL;
        machine.n_interfaces = 0;
        chvd_machines_add(rig->machines, &machine);
        await_calls(rig, "RegisterMachine ");
        assert_parameters(rig, "('web-1', @ay [], 'chvd', 'vm', uint32 4242, '')");
        g_assert_cmpuint(rig->messages, ==, 0);
}

/* One whose process is no unit would have that of chvd, and be terminated with it. */
static void test_not_told(void) {
        ChvdMachine machine = { .name = "web-1", .uuid = UUID, .unit = "", .pid = PID };
        g_autoptr(Rig) rig = rig_new();

        chvd_machines_add(rig->machines, &machine);
        machine.unit = UNIT;
        machine.pid = 0;
        chvd_machines_add(rig->machines, &machine);
        chvd_machines_remove(rig->machines, "web-1");
        chvd_machines_add(NULL, &machine);
        chvd_machines_remove(NULL, "web-1");
        chvd_machines_set_enabled(NULL, true);
        settle(rig);
        await_calls(rig, "");
}

static void test_switch(void) {
        g_autoptr(Rig) rig = rig_new();

        chvd_machines_set_enabled(rig->machines, false);
        add(rig, "web-1");
        add(rig, "web-2");
        chvd_machines_remove(rig->machines, "web-2");
        settle(rig);
        await_calls(rig, "");
        chvd_machines_set_enabled(rig->machines, true);
        await_calls(rig, "RegisterMachine ");
        chvd_machines_set_enabled(rig->machines, false);
        chvd_machines_set_enabled(rig->machines, true);
        settle(rig);
        await_calls(rig, "");
}

/* Not installed: nobody is to be bothered. When it is there at the next reload, it is told. */
static void test_absent(void) {
        g_autoptr(Rig) rig = rig_new_without();

        add(rig, "web-1");
        settle(rig);
        g_assert_cmpuint(rig->messages, ==, 0);
        own_name(rig);
        chvd_machines_set_enabled(rig->machines, true);
        await_calls(rig, "RegisterMachine ");
}

static void test_errors(void) {
        static const char *const errors[] = {
                "org.freedesktop.DBus.Error.AccessDenied",
                "org.freedesktop.DBus.Error.NoReply",
                "org.freedesktop.systemd1.UnitMasked",
                "org.freedesktop.DBus.Error.UnknownMethod",
        };

        for (unsigned i = 0; i < G_N_ELEMENTS(errors); i++) {
                g_autoptr(Rig) rig = rig_new();

                rig->error = errors[i];
                add(rig, "web-1");
                await_calls(rig, "RegisterMachine ");
                add(rig, "web-2");
                await_calls(rig, "RegisterMachine ");
                g_assert_cmpuint(rig->messages, ==, 1);
                rig->error = NULL;
                add(rig, "web-3");
                await_calls(rig, "RegisterMachine ");
                rig->error = errors[i];
                add(rig, "web-4");
                await_calls(rig, "RegisterMachine ");
                g_assert_cmpuint(rig->messages, ==, 2);
        }
}

/* An earlier chvd has told of it. */
static void test_known(void) {
        g_autoptr(Rig) rig = rig_new();

        rig->exists = 1;
        add(rig, "web-1");
        await_calls(rig, "RegisterMachine GetMachine GetAll ");
        chvd_machines_set_enabled(rig->machines, true);
        settle(rig);
        await_calls(rig, "");
        g_assert_cmpuint(rig->messages, ==, 0);
}

/* One of our unit, which is another process by now. */
static void test_left_over(void) {
        g_autoptr(Rig) rig = rig_new();

        rig->exists = 2;
        rig->leader = PID - 1;
        add(rig, "web-1");
        await_calls(rig, "RegisterMachine GetMachine GetAll UnregisterMachine "
                         "RegisterMachine GetMachine GetAll UnregisterMachine RegisterMachine ");
        g_assert_cmpuint(rig->messages, ==, 0);
}

/* One that comes and goes: that has to end. */
static void test_endless(void) {
        g_autoptr(Rig) rig = rig_new();

        rig->exists = G_MAXUINT;
        rig->gone = true;
        add(rig, "web-1");
        await_calls(rig, "RegisterMachine GetMachine RegisterMachine GetMachine RegisterMachine "
                         "GetMachine RegisterMachine GetMachine RegisterMachine GetMachine ");
        g_assert_cmpuint(rig->messages, ==, 1);
}

static void emit_removed(Rig *rig, GVariant *parameters) {
        g_assert_true(g_dbus_connection_emit_signal(
                        rig->theirs, NULL, MACHINE1_PATH, MACHINE1_MANAGER, "MachineRemoved",
                        parameters, NULL));
        settle(rig);
}

/* A container that was there before: it is left alone, and its name is taken when it has gone. */
static void test_others(void) {
        g_autoptr(Rig) rig = rig_new();

        rig->exists = 1;
        rig->leader = 1234;
        rig->unit = "systemd-nspawn@web-1.service";
        add(rig, "web-1");
        await_calls(rig, "RegisterMachine GetMachine GetAll ");
        emit_removed(rig, g_variant_new("(so)", "web-2", OBJECT));
        emit_removed(rig, g_variant_new("(s)", "web-1"));
        await_calls(rig, "");
        emit_removed(rig, g_variant_new("(so)", "web-1", OBJECT));
        await_calls(rig, "RegisterMachine ");
        /* What an administrator has taken off the list stays off. */
        emit_removed(rig, g_variant_new("(so)", "web-1", OBJECT));
        await_calls(rig, "");
        g_assert_cmpuint(rig->messages, ==, 0);
}

/* The VM ends before the answer comes; or chvd does. */
static void test_late_answer(void) {
        for (unsigned i = 0; i < 2; i++) {
                g_autoptr(Rig) rig = rig_new();

                rig->silent = true;
                add(rig, "web-1");
                await_calls(rig, "RegisterMachine ");
                if (i == 0)
                        chvd_machines_remove(rig->machines, "web-1");
                else
                        chvd_machines_free(g_steal_pointer(&rig->machines));
                refuse(g_steal_pointer(&rig->held), MACHINE1 ".MachineExists");
                settle(rig);
                await_calls(rig, "");
                g_assert_cmpuint(rig->messages, ==, 0);
        }
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        (void) g_log_set_default_handler(on_log, NULL);
        g_test_add_func("/machined/names", test_names);
        g_test_add_func("/machined/told", test_told);
        g_test_add_func("/machined/not-told", test_not_told);
        g_test_add_func("/machined/switch", test_switch);
        g_test_add_func("/machined/absent", test_absent);
        g_test_add_func("/machined/errors", test_errors);
        g_test_add_func("/machined/known", test_known);
        g_test_add_func("/machined/left-over", test_left_over);
        g_test_add_func("/machined/endless", test_endless);
        g_test_add_func("/machined/others", test_others);
        g_test_add_func("/machined/late-answer", test_late_answer);
        return g_test_run();
}
