/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves who may do what on the system bus, under the D-Bus policy that is installed: that every method answers every
 * kind of caller as the table of docs/authority.md says, what polkit is asked and that nothing but its yes counts as
 * one, that a question ends with its caller, and that nobody but root may own the name. Needs root, to be others.
 */

#include <fcntl.h>
#include <glib/gstdio.h>
#include <pwd.h>
#include <string.h>
#include <unistd.h>

#include "tests/service/polkit.h"

#define OWNER 1
#define ANONYMOUS 65533
#define NOBODY 65534
#define DENIED 4 /* of the columns */

typedef struct {
        const char *head; /* of the table's column */
        uid_t caller;
        bool absent;
        PolkitAnswer answer;
} Column;

static const Column columns[] = {
        { "anonymous", ANONYMOUS, false, POLKIT_DENIES },
        { "owner", OWNER, false, POLKIT_DENIES },
        { "other", NOBODY, false, POLKIT_ASKS },
        { "allowed", NOBODY, false, POLKIT_ALLOWS },
        { "denied", NOBODY, false, POLKIT_DENIES },
        { "no polkit", NOBODY, true, POLKIT_DENIES },
        { "root", 0, true, POLKIT_DENIES },
};

static const struct {
        const char *interface, *method, *arguments;
} calls[] = {
        { MANAGER, "CreateVM", "('new', {'payload': <{'kernel': <'/x'>}>}, @a{sh} {}, @a{sv} {})" },
        { MANAGER, "GetVM", "('a',)" },
        { MANAGER, "CheckConfig", "({'payload': <{'kernel': <'/x'>}>}, @a{sv} {})" },
        { VM, "AddDevice", "('disk', @a{sv} {}, @a{sh} {}, @a{sv} {})" },
        { VM, "RemoveDevice", "('x', @a{sv} {})" },
        { VM, "UpdateGroup", "('g', @a{sv} {}, @a{sv} {})" },
        { VM, "SetConfig", "(@a{sv} {}, @a{sh} {}, @a{sv} {})" },
        { VM, "Rename", "('.', @a{sv} {})" },
        { VM, "OpenConsole", "('serial', @a{sv} {})" },
        { VM, "ResizeConsole", "('serial', uint16 1, uint16 1, @a{sv} {})" },
        { VM, "SetOwner", "(uint32 7, @a{sv} {})" },
        { DEVICE, "Update", "(@a{sv} {}, @a{sv} {})" },
        { DEVICE, "Resize", "(uint64 4194304, @a{sv} {})" },
        { DEVICE, "StartCapture", "(handle 0, @a{sv} {})" },
        { DEVICE, "StopCapture", "(@a{sv} {},)" },
};

static GVariant *arguments_of(const char *interface, const char *method) {
        const char *text = "(@a{sv} {},)";
        g_autoptr(GError) error = NULL;
        GVariant *arguments;

        for (unsigned i = 0; i < G_N_ELEMENTS(calls); i++)
                if (g_str_equal(calls[i].interface, interface) &&
                    g_str_equal(calls[i].method, method))
                        text = calls[i].arguments;
        arguments = g_variant_parse(NULL, text, NULL, NULL, &error);
        g_assert_no_error(error);
        return arguments;
}

static Service *start_system(void) {
        static const char *const extra[] = { "--system", NULL };

        if (getuid() != 0) {
                g_test_skip("needs root");
                return NULL;
        }
        return service_start(extra);
}

static Service *start_with_polkit(PolkitAnswer answer, Polkit **ret) {
        Service *service;

        if (g_str_equal(g_getenv("CHV_HAVE_POLKIT"), "0")) {
                g_test_skip("built without polkit");
                return NULL;
        }
        service = start_system();
        if (service)
                *ret = polkit_start(service, answer);
        return service;
}

/* What a table's cell is about. */
typedef struct {
        Service *service;
        Polkit *polkit;
        GDBusConnection *clients[G_N_ELEMENTS(columns)], *owner;
        unsigned made;
} Table;

static void table_clear(Table *table) {
        for (unsigned i = 0; i < G_N_ELEMENTS(columns); i++)
                g_clear_object(&table->clients[i]);
        g_clear_object(&table->owner);
        polkit_stop(table->polkit);
        service_stop(table->service);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Table, table_clear)

static char *
call_for_path(GDBusConnection *bus,
              const char *path,
              const char *interface,
              const char *method,
              GVariant *params) {
        g_autoptr(GError) error = NULL;
        g_autoptr(GVariant) reply = service_call_as(
                        bus, G_DBUS_CALL_FLAGS_NONE, path, interface, method, params, NULL, &error);
        char *got = NULL;

        g_assert_no_error(error);
        g_variant_get(reply, "(o)", &got);
        return got;
}

static GVariant *creation(Service *service, const char *name, const char *words) {
        return g_variant_new(
                        "(s@a{sv}@a{sh}@a{sv})", name, service_config(service, words, NULL),
                        g_variant_new("a{sh}", NULL), g_variant_new("a{sv}", NULL));
}

/* A VM of the owner's own making. */
static char *create_as_owner(Table *table, const char *words) {
        g_autofree char *name = g_strdup_printf("vm%u", table->made++);

        return call_for_path(
                        table->owner, MANAGER_PATH, MANAGER, "CreateVM",
                        creation(table->service, name, words));
}

static char *object_for(Table *table, const char *interface, char **ret_vm) {
        char *vm, *job;

        *ret_vm = NULL;
        if (g_str_equal(interface, MANAGER))
                return g_strdup(MANAGER_PATH);
        *ret_vm = vm = create_as_owner(table, g_str_equal(interface, JOB) ? "boot-hang" : NULL);
        if (g_str_equal(interface, VM))
                return g_strdup(vm);
        job = call_for_path(table->owner, vm, VM, "Start", g_variant_new("(a{sv})", NULL));
        if (g_str_equal(interface, JOB))
                return job;
        g_free(job);
        vm_await(table->service, vm, "running");
        return g_strconcat(vm, "/device/_5fdisk0", NULL);
}

static void remove_if_there(Service *service, const char *vm) {
        g_autoptr(GError) error = NULL;
        g_autoptr(GVariant) reply = NULL;

        if (vm)
                reply = vm_try(service, vm, "Delete", "{'force': <true>}", &error);
}

/* Whether the handler was reached; anything but an answer of the service fails the test. */
static bool is_let_in(Table *table, unsigned column, const char *interface, const char *method) {
        g_autoptr(GError) error = NULL;
        g_autoptr(GVariant) reply = NULL;
        g_autofree char *vm = NULL, *path = NULL, *asked = NULL;
        bool let_in;

        if (!table->polkit)
                table->polkit = polkit_start(table->service, POLKIT_ALLOWS);
        table->polkit->answer = POLKIT_ALLOWS;
        path = object_for(table, interface, &vm);
        asked = polkit_take_asked(table->polkit);
        if (columns[column].absent)
                g_clear_pointer(&table->polkit, polkit_stop);
        else
                table->polkit->answer = columns[column].answer;
        if (!table->clients[column]) {
                g_assert_cmpuint(columns[column].caller, ==, ANONYMOUS);
                remove_if_there(table->service, vm);
                return false;
        }
        reply = service_call_as(
                        table->clients[column], G_DBUS_CALL_FLAGS_NONE, path, interface, method,
                        arguments_of(interface, method), NULL, &error);
        let_in = !g_error_matches(error, CHV_ERROR, CHV_ERROR_ACCESS_DENIED) &&
                 !g_error_matches(error, CHV_ERROR, CHV_ERROR_NEEDS_INTERACTION);
        if (error && error->domain != CHV_ERROR)
                g_error("%s.%s: %s", interface, method, error->message);
        if (!let_in && !strstr(error->message, method))
                g_error("'%s' does not name %s", error->message, method);
        remove_if_there(table->service, vm);
        remove_if_there(table->service, "/org/cloudhypervisor/vm/new");
        return let_in;
}

static void check_row(Table *table, char **cells) {
        g_autofree char *interface = g_strconcat("org.cloudhypervisor.", cells[1], NULL);

        for (unsigned i = 0; i < G_N_ELEMENTS(columns); i++) {
                /* A bus that lets a uid without a name in leaves it to polkit, which denies. */
                bool unnamed = columns[i].caller == ANONYMOUS && table->clients[i];
                const char *cell = cells[4 + (unnamed ? DENIED : i)];
                bool let_in = is_let_in(table, i, interface, cells[2]);

                if (!g_str_equal(cell, let_in ? "yes" : "no"))
                        g_error("%s.%s by %s: the table says %s", interface, cells[2],
                                columns[i].head, cell);
        }
}

/* "| a | b |" → "", "a", "b", "". */
static GStrv split_cells(const char *line) {
        GStrv cells = g_strsplit(line, "|", -1);

        for (char **cell = cells; *cell; cell++)
                (void) g_strstrip(*cell);
        return cells;
}

static void test_table(void) {
        g_autofree char *text = NULL;
        g_auto(GStrv) lines = NULL;
        g_auto(Table) table = { 0 };
        unsigned rows = 0;
        bool inside = false;

        table.service = start_with_polkit(POLKIT_ALLOWS, &table.polkit);
        if (!table.service)
                return;
        g_assert_null(getpwuid(ANONYMOUS));
        table.owner = service_connect_as(table.service, OWNER);
        for (unsigned i = 0; i < G_N_ELEMENTS(columns); i++)
                table.clients[i] = service_connect_as(table.service, columns[i].caller);
        g_assert_true(g_file_get_contents(g_getenv("CHV_AUTHORITY_TABLE"), &text, NULL, NULL));
        lines = g_strsplit(text, "\n", -1);
        for (char **line = lines; *line; line++) {
                g_auto(GStrv) cells = split_cells(*line);

                if (g_str_has_prefix(*line, "| interface |")) {
                        g_assert_cmpuint(g_strv_length(cells), ==, 5 + G_N_ELEMENTS(columns));
                        for (unsigned i = 0; i < G_N_ELEMENTS(columns); i++)
                                g_assert_cmpstr(cells[4 + i], ==, columns[i].head);
                        inside = true;
                } else if (inside && !g_str_has_prefix(*line, "|"))
                        inside = false;
                else if (inside && !g_str_has_prefix(*line, "|-")) {
                        check_row(&table, cells);
                        rows++;
                }
        }
        g_assert_cmpuint(rows, >, 20);
}

static GVariant *
start_as(GDBusConnection *bus, GDBusCallFlags flags, const char *vm, GError **error) {
        return service_call_as(
                        bus, flags, vm, VM, "Start", g_variant_new("(a{sv})", NULL), NULL, error);
}

static void expect_asked(Polkit *polkit, const char *expected) {
        g_autofree char *asked = polkit_take_asked(polkit);

        g_assert_cmpstr(asked, ==, expected);
}

static void test_details(void) {
        g_autoptr(Polkit) polkit = NULL;
        g_autoptr(Service) service = start_with_polkit(POLKIT_DENIES, &polkit);
        g_autoptr(GDBusConnection) other = NULL;
        g_autoptr(GVariant) reply = NULL;
        g_autofree char *vm = NULL;

        if (!service)
                return;
        other = service_connect_as(service, NOBODY);
        vm = vm_run(service, "web.1", NULL, NULL);
        expect_asked(polkit, "");
        reply = start_as(other, G_DBUS_CALL_FLAGS_NONE, vm, NULL);
        expect_asked(polkit,
                     "org.cloudhypervisor.vm-operate interactive=0 owner=0 verb=Start vm=web.1");
        g_assert_cmpstr(polkit->subject, ==, g_dbus_connection_get_unique_name(other));
        reply = start_as(other, G_DBUS_CALL_FLAGS_ALLOW_INTERACTIVE_AUTHORIZATION, vm, NULL);
        expect_asked(polkit,
                     "org.cloudhypervisor.vm-operate interactive=1 owner=0 verb=Start vm=web.1");
        reply =
                        service_call_as(other, G_DBUS_CALL_FLAGS_NONE,
                                        "/org/cloudhypervisor/vm/web_2e1/device/_5fdisk0", DEVICE,
                                        "Remove", g_variant_new("(a{sv})", NULL), NULL, NULL);
        expect_asked(polkit, "org.cloudhypervisor.vm-configure interactive=0 device=_disk0 owner=0 "
                             "verb=Remove vm=web.1");
        reply =
                        service_call_as(other, G_DBUS_CALL_FLAGS_NONE, MANAGER_PATH, MANAGER,
                                        "CreateVM", creation(service, "new", NULL), NULL, NULL);
        expect_asked(polkit, "org.cloudhypervisor.vm-create interactive=0 verb=CreateVM vm=new");
        /* What is no name is not told as one. */
        reply = service_call_as(
                        other, G_DBUS_CALL_FLAGS_NONE, MANAGER_PATH, MANAGER, "CreateVM",
                        creation(service, "a b\n$(x)", NULL), NULL, NULL);
        expect_asked(polkit, "org.cloudhypervisor.vm-create interactive=0 verb=CreateVM");
        g_assert_null(reply);
}

static void test_only_yes_is_yes(void) {
        static const struct {
                PolkitAnswer answer;
                GDBusCallFlags flags;
                int code; /* -1: let in */
                const char *says;
        } cases[] = {
                { POLKIT_DENIES, 0, CHV_ERROR_ACCESS_DENIED, "polkit says no" },
                { POLKIT_DENIES, G_DBUS_CALL_FLAGS_ALLOW_INTERACTIVE_AUTHORIZATION,
                  CHV_ERROR_ACCESS_DENIED, "polkit says no" },
                { POLKIT_ASKS, 0, CHV_ERROR_NEEDS_INTERACTION, "does not allow to ask" },
                { POLKIT_HAS_NO_AGENT, 0, CHV_ERROR_NEEDS_INTERACTION, "does not allow to ask" },
                { POLKIT_HAS_NO_AGENT, G_DBUS_CALL_FLAGS_ALLOW_INTERACTIVE_AUTHORIZATION,
                  CHV_ERROR_ACCESS_DENIED, "no agent" },
                { POLKIT_IS_DISMISSED, G_DBUS_CALL_FLAGS_ALLOW_INTERACTIVE_AUTHORIZATION,
                  CHV_ERROR_ACCESS_DENIED, "dismissed" },
                { POLKIT_FAILS, 0, CHV_ERROR_ACCESS_DENIED, "the rules are on fire" },
                { POLKIT_ASKS, G_DBUS_CALL_FLAGS_ALLOW_INTERACTIVE_AUTHORIZATION, -1, NULL },
        };
        g_autoptr(Polkit) polkit = NULL;
        g_autoptr(Service) service = start_with_polkit(POLKIT_DENIES, &polkit);
        g_autoptr(GDBusConnection) other = NULL;
        g_autoptr(GError) error = NULL;
        g_autoptr(GVariant) reply = NULL;
        g_autofree char *vm = NULL;

        if (!service)
                return;
        other = service_connect_as(service, NOBODY);
        vm = vm_create(service, "a", NULL, NULL);
        for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
                g_clear_error(&error);
                polkit->answer = cases[i].answer;
                reply = start_as(other, cases[i].flags, vm, &error);
                if (cases[i].code < 0) {
                        g_assert_no_error(error);
                        g_clear_pointer(&reply, g_variant_unref);
                } else {
                        assert_names(error, cases[i].code, cases[i].says);
                        assert_names(error, cases[i].code, "org.cloudhypervisor.VM.Start");
                        assert_names(error, cases[i].code, "org.cloudhypervisor.vm-operate");
                }
        }
        vm_await(service, vm, "running");
        g_clear_pointer(&polkit, polkit_stop);
        reply =
                        service_call_as(other, G_DBUS_CALL_FLAGS_NONE, vm, VM, "PowerOff",
                                        g_variant_new("(a{sv})", NULL), NULL, &error);
        assert_names(error, CHV_ERROR_ACCESS_DENIED, "polkit cannot be asked");
        vm_await(service, vm, "running");
}

static GVariant *creation_with_tap(Service *service, const char *name) {
        return g_variant_new(
                        "(s@a{sv}@a{sh}@a{sv})", name,
                        service_config(service, NULL, "'net': <[{'tap': <'chvnone0'>}]>"),
                        g_variant_new("a{sh}", NULL), g_variant_new("a{sv}", NULL));
}

/* An interface is made with chvd's rights, whoever wants it; a file is opened with the owner's. */
static void test_host_access(void) {
        g_autoptr(Polkit) polkit = NULL;
        g_autoptr(Service) service = start_with_polkit(POLKIT_ALLOWS, &polkit);
        g_autoptr(GDBusConnection) other = NULL;
        g_autoptr(GError) error = NULL;
        g_autoptr(GVariant) reply = NULL;
        g_autofree char *vm = NULL, *owner = NULL, *wired = NULL;

        if (!service)
                return;
        other = service_connect_as(service, NOBODY);
        polkit->only = "org.cloudhypervisor.vm-create";
        reply =
                        service_call_as(other, G_DBUS_CALL_FLAGS_NONE, MANAGER_PATH, MANAGER,
                                        "CreateVM", creation_with_tap(service, "a"), NULL, &error);
        assert_names(error, CHV_ERROR_ACCESS_DENIED, "org.cloudhypervisor.host-access");
        g_assert_false(vm_exists(service, "/org/cloudhypervisor/vm/a"));
        expect_asked(polkit, "org.cloudhypervisor.vm-create interactive=0 verb=CreateVM vm=a\n"
                             "org.cloudhypervisor.host-access interactive=0 verb=CreateVM vm=a");
        vm = call_for_path(other, MANAGER_PATH, MANAGER, "CreateVM", creation(service, "b", NULL));
        expect_asked(polkit, "org.cloudhypervisor.vm-create interactive=0 verb=CreateVM vm=b");
        owner = vm_get(service, vm, "Owner");
        g_assert_cmpstr(owner, ==, "65534");

        polkit->only = NULL;
        wired = call_for_path(
                        other, MANAGER_PATH, MANAGER, "CreateVM", creation_with_tap(service, "c"));
}

static GVariant *change(Service *service, const char *more) {
        return g_variant_new(
                        "(@a{sv}@a{sh}@a{sv})", service_config(service, NULL, more),
                        g_variant_new("a{sh}", NULL), g_variant_new("a{sv}", NULL));
}

/* Whose rights a change of another's VM is made for. */
static void test_host_access_of_others(void) {
        static const char configure[] = "org.cloudhypervisor.vm-configure interactive=0 owner=%d "
                                        "verb=SetConfig vm=%s";
        g_autoptr(Polkit) polkit = NULL;
        g_autoptr(Service) service = start_with_polkit(POLKIT_ALLOWS, &polkit);
        g_autoptr(GDBusConnection) other = NULL, owner = NULL;
        g_autoptr(GError) error = NULL, refused = NULL, wired = NULL;
        g_autoptr(GVariant) done = NULL, given = NULL, reply = NULL;
        g_autofree char *vm = NULL, *roots = NULL, *once = g_strdup_printf(configure, OWNER, "a");

        if (!service)
                return;
        other = service_connect_as(service, NOBODY);
        owner = service_connect_as(service, OWNER);
        vm = call_for_path(owner, MANAGER_PATH, MANAGER, "CreateVM", creation(service, "a", NULL));
        roots = vm_create(service, "roots", NULL, NULL);
        g_free(polkit_take_asked(polkit));
        polkit->only = "org.cloudhypervisor.vm-configure";
        /* Paths of the owner's VM are the owner's to open, whoever names them. */
        done = service_call_as(
                        other, G_DBUS_CALL_FLAGS_NONE, vm, VM, "SetConfig",
                        change(service, "'disks': <[{'path': <'/x'>}]>"), NULL, &error);
        g_assert_no_error(error);
        expect_asked(polkit, once);
        reply = service_call_as(
                        owner, G_DBUS_CALL_FLAGS_NONE, vm, VM, "SetConfig",
                        change(service, "'net': <[{'tap': <'chvnone0'>}]>"), NULL, &wired);
        assert_names(wired, CHV_ERROR_ACCESS_DENIED, "host-access");
        g_free(polkit_take_asked(polkit));
        /* Those of root's are chvd's. */
        reply =
                        service_call_as(other, G_DBUS_CALL_FLAGS_NONE, roots, VM, "SetConfig",
                                        change(service, NULL), NULL, &refused);
        assert_names(refused, CHV_ERROR_ACCESS_DENIED, "host-access");
        g_free(polkit_take_asked(polkit));
        /* And become it when the VM does. */
        polkit->only = "org.cloudhypervisor.vm-set-owner";
        g_clear_error(&refused);
        reply =
                        service_call_as(other, G_DBUS_CALL_FLAGS_NONE, vm, VM, "SetOwner",
                                        g_variant_new("(ua{sv})", 0, NULL), NULL, &refused);
        assert_names(refused, CHV_ERROR_ACCESS_DENIED, "host-access");
        given =
                        service_call_as(other, G_DBUS_CALL_FLAGS_NONE, vm, VM, "SetOwner",
                                        g_variant_new("(ua{sv})", NOBODY, NULL), NULL, &error);
        g_assert_no_error(error);
        polkit->only = NULL;
        g_clear_pointer(&given, g_variant_unref);
        given =
                        service_call_as(other, G_DBUS_CALL_FLAGS_NONE, vm, VM, "SetOwner",
                                        g_variant_new("(ua{sv})", 0, NULL), NULL, &error);
        g_assert_no_error(error);
}

typedef struct {
        GError *error;
        bool done;
} Pending;

static void on_pending(GObject *source, GAsyncResult *result, gpointer data) {
        Pending *pending = data;
        g_autoptr(GVariant) reply = g_dbus_connection_call_finish(
                        G_DBUS_CONNECTION(source), result, &pending->error);

        pending->done = true;
}

static void begin_start(GDBusConnection *bus, const char *vm, Pending *pending) {
        g_dbus_connection_call(
                        bus, MANAGER, vm, VM, "Start", g_variant_new("(a{sv})", NULL), NULL,
                        G_DBUS_CALL_FLAGS_ALLOW_INTERACTIVE_AUTHORIZATION, G_MAXINT, NULL,
                        on_pending, pending);
}

static void await_held(Polkit *polkit, unsigned n) {
        while (polkit->held->len < n)
                (void) g_main_context_iteration(NULL, true);
}

/* Nobody was asked about the new VM of that name. */
static void test_gone_meanwhile(void) {
        g_autoptr(Polkit) polkit = NULL;
        g_autoptr(Service) service = start_with_polkit(POLKIT_HANGS, &polkit);
        g_autoptr(GDBusConnection) other = NULL;
        g_autofree char *vm = NULL, *again = NULL, *state = NULL;
        Pending pending = { 0 };

        if (!service)
                return;
        other = service_connect_as(service, NOBODY);
        vm = vm_create(service, "a", NULL, NULL);
        begin_start(other, vm, &pending);
        await_held(polkit, 1);
        g_variant_unref(vm_call(service, vm, "Delete", NULL));
        again = vm_create(service, "a", NULL, NULL);
        polkit_release(polkit, POLKIT_ALLOWS);
        while (!pending.done)
                (void) g_main_context_iteration(NULL, true);
        assert_chv_error(pending.error, CHV_ERROR_NO_SUCH_VM);
        g_clear_error(&pending.error);
        state = vm_get(service, again, "State");
        g_assert_cmpstr(state, ==, "created");
}

static void test_caller_leaves(void) {
        g_autoptr(Polkit) polkit = NULL;
        g_autoptr(Service) service = start_with_polkit(POLKIT_HANGS, &polkit);
        g_autoptr(GDBusConnection) other = NULL;
        g_autofree char *vm = NULL;
        Pending pending = { 0 };

        if (!service)
                return;
        other = service_connect_as(service, NOBODY);
        vm = vm_create(service, "a", NULL, NULL);
        begin_start(other, vm, &pending);
        await_held(polkit, 1);
        (void) g_dbus_connection_close_sync(other, NULL, NULL);
        while (polkit->cancelled == 0 || !pending.done)
                (void) g_main_context_iteration(NULL, true);
        g_clear_error(&pending.error);
}

/* Who floods polkit through the service runs into a limit, alone. */
static void test_flood(void) {
        enum {
                FLOOD = 40,
                LIMIT = 32
        };
        g_autoptr(Polkit) polkit = NULL;
        g_autoptr(Service) service = start_with_polkit(POLKIT_HANGS, &polkit);
        g_autoptr(GDBusConnection) flooder = NULL, other = NULL;
        g_autofree char *vm = NULL;
        Pending pending[FLOOD] = { 0 }, one = { 0 };
        unsigned refused = 0;

        if (!service)
                return;
        flooder = service_connect_as(service, NOBODY);
        other = service_connect_as(service, OWNER);
        vm = vm_create(service, "a", NULL, NULL);
        for (unsigned i = 0; i < FLOOD; i++)
                begin_start(flooder, vm, &pending[i]);
        await_held(polkit, LIMIT);
        begin_start(other, vm, &one);
        await_held(polkit, LIMIT + 1);
        g_assert_cmpuint(polkit->held->len, ==, LIMIT + 1);
        polkit_release(polkit, POLKIT_DENIES);
        for (unsigned i = 0; i < FLOOD; i++) {
                while (!pending[i].done)
                        (void) g_main_context_iteration(NULL, true);
                refused += g_error_matches(pending[i].error, CHV_ERROR, CHV_ERROR_LIMIT);
                g_clear_error(&pending[i].error);
        }
        g_assert_cmpuint(refused, ==, FLOOD - LIMIT);
        while (!one.done)
                (void) g_main_context_iteration(NULL, true);
        assert_chv_error(one.error, CHV_ERROR_ACCESS_DENIED);
        g_clear_error(&one.error);
}

static void assert_has(const char *text, const char *what, bool has) {
        if ((strstr(text, what) != NULL) != has)
                g_error("'%s' is %s %s", what, has ? "not in" : "in", text);
}

/* What everybody may read tells nothing of a configuration, and no signal does. */
static void test_privacy(void) {
        g_autoptr(Service) service = start_system();
        g_autoptr(GDBusConnection) other = NULL;
        g_autofree char *vm = NULL, *log = NULL, *more = NULL, *public = NULL, *config = NULL,
                        *paths = NULL;
        g_autoptr(GVariant) tree = NULL, device = NULL;
        g_autoptr(GError) error = NULL;

        if (!service)
                return;
        other = service_connect_as(service, NOBODY);
        log = g_build_filename(service->dir, "private.log", NULL);
        more = g_strdup_printf("'serial': <{'mode': <'File'>, 'file': <'%s'>}>", log);
        vm = vm_run(service, "a", "secretword", more);
        tree =
                        service_call_as(other, G_DBUS_CALL_FLAGS_NONE, "/org/cloudhypervisor",
                                        "org.freedesktop.DBus.ObjectManager", "GetManagedObjects",
                                        NULL, NULL, &error);
        g_assert_no_error(error);
        public = g_variant_print(tree, false);
        assert_has(public, "/vm/a/device/", true);
        assert_has(public, "secretword", false);
        assert_has(public, service->kernel, false);
        assert_has(public, log, false);
        g_assert_false(service_has_signal(service, "secretword"));
        g_assert_false(service_has_signal(service, service->kernel));
        g_assert_false(service_has_signal(service, log));

        /* It is there, for who may. */
        config = vm_ask(service, vm, "GetConfig");
        assert_has(config, "secretword", true);
        assert_has(config, service->kernel, true);
        paths = vm_ask(service, vm, "GetConsolePaths");
        assert_has(paths, log, true);
        device =
                        service_call(service, "/org/cloudhypervisor/vm/a/device/_5fdisk0", DEVICE,
                                     "GetConfig", g_variant_new("(a{sv})", NULL), &error);
        g_assert_no_error(error);
}

static GError *set_owner(GDBusConnection *bus, const char *vm, uid_t owner) {
        GError *error = NULL;
        g_autoptr(GVariant) reply =
                        service_call_as(bus, G_DBUS_CALL_FLAGS_NONE, vm, VM, "SetOwner",
                                        g_variant_new("(ua{sv})", owner, NULL), NULL, &error);

        return error;
}

static void test_set_owner(void) {
        g_autoptr(Service) service = start_system();
        g_autoptr(GDBusConnection) one = NULL, two = NULL;
        g_autoptr(GError) no_uid = NULL, running = NULL, own = NULL, old = NULL, fresh = NULL;
        g_autofree char *vm = NULL, *owner = NULL;

        if (!service)
                return;
        one = service_connect_as(service, OWNER);
        two = service_connect_as(service, NOBODY);
        vm = vm_create(service, "a", NULL, NULL);
        no_uid = set_owner(service->bus, vm, (uid_t) -1);
        assert_chv_error(no_uid, CHV_ERROR_INVALID_CONFIG);
        g_assert_null(set_owner(service->bus, vm, OWNER));
        service_await_signal(service, "'Owner': <uint32 1>");
        /* An owner may not pass on what he is charged for. */
        own = set_owner(one, vm, NOBODY);
        assert_chv_error(own, CHV_ERROR_ACCESS_DENIED);
        g_variant_unref(start_as(one, G_DBUS_CALL_FLAGS_NONE, vm, &old));
        g_assert_no_error(old);
        vm_await(service, vm, "running");
        running = set_owner(service->bus, vm, NOBODY);
        assert_names(running, CHV_ERROR_INVALID_STATE, "running");
        g_variant_unref(vm_call(service, vm, "PowerOff", NULL));
        g_assert_null(set_owner(service->bus, vm, NOBODY));
        g_assert_null(start_as(one, G_DBUS_CALL_FLAGS_NONE, vm, &old));
        assert_chv_error(old, CHV_ERROR_ACCESS_DENIED);
        g_variant_unref(start_as(two, G_DBUS_CALL_FLAGS_NONE, vm, &fresh));
        g_assert_no_error(fresh);
        owner = vm_get(service, vm, "Owner");
        g_assert_cmpstr(owner, ==, "65534");
}

static GError *call_on_bus(GDBusConnection *bus, const char *method, GVariant *params) {
        GError *error = NULL;
        g_autoptr(GVariant) reply = g_dbus_connection_call_sync(
                        bus, "org.freedesktop.DBus", "/org/freedesktop/DBus",
                        "org.freedesktop.DBus", method, params, NULL, G_DBUS_CALL_FLAGS_NONE, -1,
                        NULL, &error);

        return error;
}

static void test_bus_policy(void) {
        g_autoptr(Service) service = start_system();
        g_autoptr(GDBusConnection) other = NULL;
        g_autoptr(GError) name = NULL, foreign = NULL, error = NULL;
        g_autoptr(GVariant) reply = NULL;

        if (!service)
                return;
        other = service_connect_as(service, NOBODY);
        name = call_on_bus(other, "RequestName", g_variant_new("(su)", MANAGER, 7));
        g_assert_error(name, G_DBUS_ERROR, G_DBUS_ERROR_ACCESS_DENIED);
        g_assert_null(
                        service_call_as(other, G_DBUS_CALL_FLAGS_NONE, MANAGER_PATH,
                                        "org.example.Other", "Method", NULL, NULL, &foreign));
        g_assert_error(foreign, G_DBUS_ERROR, G_DBUS_ERROR_ACCESS_DENIED);
        reply = service_call_as(
                        other, G_DBUS_CALL_FLAGS_NONE, MANAGER_PATH,
                        "org.freedesktop.DBus.Introspectable", "Introspect", NULL, NULL, &error);
        g_assert_no_error(error);
}

static void test_session_is_one_users(void) {
        g_autoptr(Service) service = NULL;
        g_autoptr(GDBusConnection) other = NULL;
        g_autoptr(GError) error = NULL;

        if (getuid() != 0)
                return g_test_skip("needs root");
        service = service_start(NULL);
        other = service_connect_as(service, NOBODY);
        g_assert_null(
                        service_call_as(other, G_DBUS_CALL_FLAGS_NONE, MANAGER_PATH, MANAGER,
                                        "ListVMs", g_variant_new("(a{sv})", NULL), NULL, &error));
        assert_names(error, CHV_ERROR_ACCESS_DENIED, "only the service's own user");
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/authority/table", test_table);
        g_test_add_func("/authority/details", test_details);
        g_test_add_func("/authority/only-yes-is-yes", test_only_yes_is_yes);
        g_test_add_func("/authority/host-access", test_host_access);
        g_test_add_func("/authority/host-access-of-others", test_host_access_of_others);
        g_test_add_func("/authority/gone-meanwhile", test_gone_meanwhile);
        g_test_add_func("/authority/caller-leaves", test_caller_leaves);
        g_test_add_func("/authority/flood", test_flood);
        g_test_add_func("/authority/privacy", test_privacy);
        g_test_add_func("/authority/set-owner", test_set_owner);
        g_test_add_func("/authority/bus-policy", test_bus_policy);
        g_test_add_func("/authority/session-is-one-users", test_session_is_one_users);
        return g_test_run();
}
