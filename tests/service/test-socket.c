/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves the service's own socket: nobody gets in without saying who he is, who does not finish his greeting holds
 * nobody up for long, clients see the same objects, changes and signals as those on the bus, come and go as they like,
 * and there need not be a bus.
 */

#include <gio/gunixsocketaddress.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "tests/service/service.h"

#define ROOT "/org/cloudhypervisor"
#define OBJECT_MANAGER "org.freedesktop.DBus.ObjectManager"

typedef struct {
        char *dir, *path;
        Service *service;
} Rig;

static void rig_start(Rig *rig, const char *mode) {
        rig->dir = g_dir_make_tmp("chvd-socket-XXXXXX", NULL);
        g_assert_cmpint(g_chmod(rig->dir, 0755), ==, 0);
        rig->path = g_build_filename(rig->dir, "bus", NULL);
        rig->service = service_start((const char *[]){ "--socket", rig->path, mode, NULL });
}

static void rig_stop(Rig *rig) {
        service_stop(rig->service);
        /* It has taken its socket away. */
        g_assert_false(g_file_test(rig->path, G_FILE_TEST_EXISTS));
        g_assert_cmpint(g_rmdir(rig->dir), ==, 0);
        g_free(rig->dir);
        g_free(rig->path);
}

static GDBusConnection *try_connect(const char *path, GError **error) {
        g_autofree char *address = g_strconcat("unix:path=", path, NULL);

        return g_dbus_connection_new_for_address_sync(
                        address, G_DBUS_CONNECTION_FLAGS_AUTHENTICATION_CLIENT, NULL, NULL, error);
}

/* The socket is there as soon as the service is, which may be before the name is. */
static GDBusConnection *connect_to(const char *path) {
        g_autoptr(GError) error = NULL;

        for (unsigned i = 0; i < 1000; i++) {
                GDBusConnection *connection;

                g_clear_error(&error);
                connection = try_connect(path, &error);
                if (connection)
                        return connection;
                g_usleep(20000);
        }
        g_error("nobody answers at %s: %s", path, error->message);
}

static int connect_raw(const char *path) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        g_assert_cmpuint(strlen(path), <, sizeof(address.sun_path));
        (void) strcpy(address.sun_path, path);
        g_assert_cmpint(connect(fd, (struct sockaddr *) &address, sizeof(address)), ==, 0);
        return fd;
}

/* What the service answers until it closes, or as far as the text. */
static char *converse(const char *path, const char *words, gssize length, const char *until) {
        int fd = connect_raw(path);
        GString *heard = g_string_new(NULL);
        char buffer[512];
        ssize_t n;

        g_assert_cmpint(send(fd, words, length < 0 ? strlen(words) : (gsize) length, MSG_NOSIGNAL),
                        >, 0);
        while (!(until && strstr(heard->str, until)) && (n = read(fd, buffer, sizeof(buffer))) > 0)
                g_string_append_len(heard, buffer, n);
        (void) close(fd);
        return g_string_free(heard, false);
}

static GVariant *
call(GDBusConnection *connection,
     const char *path,
     const char *interface,
     const char *method,
     GVariant *parameters,
     GError **error) {
        return service_call_as(
                        connection, G_DBUS_CALL_FLAGS_NONE, path, interface, method, parameters,
                        NULL, error);
}

static int compare(gconstpointer a, gconstpointer b) {
        return strcmp(*(char *const *) a, *(char *const *) b);
}

/* A line for each. */
static char *objects(GDBusConnection *connection) {
        g_autoptr(GVariant) reply =
                        call(connection, ROOT, OBJECT_MANAGER, "GetManagedObjects", NULL, NULL);
        g_autoptr(GVariant) all = NULL;
        g_autoptr(GPtrArray) lines = g_ptr_array_new_with_free_func(g_free);

        g_assert_nonnull(reply);
        g_assert_cmpstr(g_variant_get_type_string(reply), ==, "(a{oa{sa{sv}}})");
        all = g_variant_get_child_value(reply, 0);
        for (gsize i = 0; i < g_variant_n_children(all); i++) {
                g_autoptr(GVariant) object = g_variant_get_child_value(all, i);

                g_ptr_array_add(lines, g_variant_print(object, false));
        }
        g_ptr_array_sort(lines, compare);
        g_ptr_array_add(lines, NULL);
        return g_strjoinv("\n", (char **) lines->pdata);
}

static void test_strangers(void) {
        static const char *const greetings[] = {
                "\n",
                "AUTH EXTERNAL 30\r\n",
                "\0AUTH ANONYMOUS 6869\r\n",
                "\0AUTH DBUS_COOKIE_SHA1 726f6f74\r\n",
                "\0BEGIN\r\n",
        };
        Rig rig = { 0 };
        g_autoptr(GDBusConnection) good = NULL;
        g_autofree char *mechanisms = NULL;
        int silent[12];

        rig_start(&rig, NULL);
        good = connect_to(rig.path);
        for (unsigned i = 0; i < G_N_ELEMENTS(greetings); i++) {
                gssize length = (gssize) strlen(greetings[i] + 1) + 1;
                g_autofree char *heard = converse(rig.path, greetings[i], length, "REJECTED");

                g_assert_null(strstr(heard, "OK "));
        }
        mechanisms = converse(rig.path, "\0AUTH\r\n", 7, "\r\n");
        g_assert_cmpstr(mechanisms, ==, "REJECTED EXTERNAL\r\n");

        /* More than are greeted at a time: whoever comes behind them is let in when their time is over. */
        for (unsigned i = 0; i < G_N_ELEMENTS(silent); i++)
                silent[i] = connect_raw(rig.path);
        g_clear_object(&good);
        good = connect_to(rig.path);
        g_free(objects(good));
        for (unsigned i = 0; i < G_N_ELEMENTS(silent); i++)
                (void) close(silent[i]);
        rig_stop(&rig);
}

static void test_others(void) {
        Rig rig = { 0 };
        g_autoptr(GDBusConnection) root = NULL, other = NULL;
        g_autoptr(GVariant) reply = NULL, none = NULL;
        g_autoptr(GError) error = NULL, denied = NULL;
        g_autofree char *vm = NULL;
        struct stat st;

        if (getuid() != 0) {
                g_test_skip("needs root");
                return;
        }
        rig_start(&rig, "--system");
        root = connect_to(rig.path);
        vm = vm_create(rig.service, "vm", NULL, NULL);
        g_assert_cmpint(stat(rig.path, &st), ==, 0);
        g_assert_cmpint(st.st_mode & 07777, ==, 0600);
        g_assert_cmpint(seteuid(65534), ==, 0);
        other = try_connect(rig.path, &error);
        g_assert_cmpint(seteuid(0), ==, 0);
        g_assert_null(other);
        g_assert_nonnull(error);

        /* Even if an administrator lets them in, they may what they may: nobody can ask polkit about them. */
        g_assert_cmpint(g_chmod(rig.path, 0666), ==, 0);
        g_assert_cmpint(seteuid(65534), ==, 0);
        other = connect_to(rig.path);
        g_assert_cmpint(seteuid(0), ==, 0);
        reply = call(other, MANAGER_PATH, MANAGER, "ListVMs", g_variant_new("(a{sv})", NULL), NULL);
        g_assert_nonnull(reply);
        none = call(other, vm, VM, "Start", g_variant_new("(a{sv})", NULL), &denied);
        g_assert_null(none);
        assert_names(denied, CHV_ERROR_ACCESS_DENIED, "uid 65534");
        rig_stop(&rig);
}

static void
on_signal(GDBusConnection *connection,
          const char *sender,
          const char *path,
          const char *interface,
          const char *name,
          GVariant *parameters,
          gpointer data) {
        g_autofree char *arguments = g_variant_print(parameters, false);

        g_string_append_printf(data, "%s %s.%s %s\n", path, interface, name, arguments);
}

static void await_text(const GString *heard, const char *text) {
        for (unsigned i = 0; !strstr(heard->str, text); i++) {
                if (i > 4000)
                        g_error("no '%s' in '%s'", text, heard->str);
                service_linger(5);
        }
}

static void test_same(void) {
        Rig rig = { 0 };
        g_autoptr(GString) heard = g_string_new(NULL);
        g_autoptr(GDBusConnection) peer = NULL, passer = NULL;
        g_autofree char *vm = NULL, *early = NULL, *on_bus = NULL, *on_socket = NULL, *later = NULL;
        g_autoptr(GVariant) started = NULL, gone = NULL, console = NULL;
        g_autoptr(GError) error = NULL;
        guint subscription;

        rig_start(&rig, NULL);
        early = vm_run(rig.service, "early", NULL, NULL);
        peer = connect_to(rig.path);
        passer = connect_to(rig.path);
        subscription = g_dbus_connection_signal_subscribe(
                        peer, NULL, NULL, NULL, NULL, NULL, G_DBUS_SIGNAL_FLAGS_NONE, on_signal,
                        heard, NULL);
        on_bus = objects(rig.service->bus);
        on_socket = objects(peer);
        g_assert_cmpstr(on_socket, ==, on_bus);
        g_assert_nonnull(strstr(on_socket, "/vm/early/device/"));

        /* One who leaves takes nothing from the others. */
        g_free(objects(passer));
        g_assert_true(g_dbus_connection_close_sync(passer, NULL, NULL));
        vm = vm_create(rig.service, "vm", NULL, NULL);
        await_text(heard, "/org/cloudhypervisor " OBJECT_MANAGER ".InterfacesAdded "
                          "('/org/cloudhypervisor/vm/vm', {'org.cloudhypervisor.VM': {");
        started = call(peer, vm, VM, "Start", g_variant_new_parsed("({'wait': <true>},)"), &error);
        g_assert_no_error(error);
        await_text(heard, "vm/vm org.freedesktop.DBus.Properties.PropertiesChanged "
                          "('org.cloudhypervisor.VM', {");
        await_text(heard, ".Completed (true, '')");
        await_text(heard,
                   "Manager org.cloudhypervisor.Manager.Event ('/org/cloudhypervisor/vm/vm'");
        await_text(heard, OBJECT_MANAGER ".InterfacesRemoved ('/org/cloudhypervisor/job/");
        console = call(peer, vm, VM, "OpenConsole", g_variant_new("(sa{sv})", "serial", NULL),
                       &error);
        g_assert_no_error(error);
        service_await_signal(rig.service, "/vm/vm org.cloudhypervisor.VM.Event");
        g_clear_pointer(&on_bus, g_free);
        on_bus = objects(rig.service->bus);
        later = objects(peer);
        g_assert_cmpstr(later, ==, on_bus);
        gone = call(peer, vm, VM, "Delete", g_variant_new_parsed("({'force': <true>},)"), &error);
        g_assert_no_error(error);
        await_text(heard, OBJECT_MANAGER ".InterfacesRemoved ('/org/cloudhypervisor/vm/vm', "
                                         "['org.cloudhypervisor.VM'])");
        g_assert_false(vm_exists(rig.service, vm));
        g_dbus_connection_signal_unsubscribe(peer, subscription);
        for (unsigned i = 0; i < 100; i++) {
                g_autoptr(GDBusConnection) visitor = connect_to(rig.path);

                if (i % 2)
                        g_free(objects(visitor));
                g_assert_true(g_dbus_connection_close_sync(visitor, NULL, NULL));
        }
        g_clear_pointer(&later, g_free);
        later = objects(peer);
        g_assert_nonnull(strstr(later, "/vm/early"));
        rig_stop(&rig);
}

static char *chvctl(const char *path, const char *words, int status) {
        g_autofree char *line =
                        g_strdup_printf("%s --socket %s %s", g_getenv("CHVCTL"), path, words);
        g_auto(GStrv) argv = g_strsplit(line, " ", -1);
        g_autoptr(GError) error = NULL;
        g_autoptr(GSubprocess) process = g_subprocess_newv(
                        (const char *const *) argv,
                        G_SUBPROCESS_FLAGS_STDOUT_PIPE | G_SUBPROCESS_FLAGS_STDERR_MERGE, &error);
        char *out = NULL;

        g_assert_no_error(error);
        g_assert_true(g_subprocess_communicate_utf8(process, NULL, NULL, &out, NULL, &error));
        if (g_subprocess_get_exit_status(process) != status)
                g_error("%s: %d, %s", words, g_subprocess_get_exit_status(process), out);
        return out;
}

/* The service of a host without a bus. */
static void test_no_bus(void) {
        g_autofree char *dir = g_dir_make_tmp("chvd-socket-XXXXXX", NULL);
        g_autofree char *path = g_build_filename(dir, "bus", NULL);
        g_autofree char *state = g_build_filename(dir, "state", NULL);
        g_autofree char *runtime = g_build_filename(dir, "run", NULL);
        g_autofree char *top = NULL, *monitor = NULL, *list = NULL, *missing = NULL;
        const char *const tidy[] = { "rm", "-rf", dir, NULL };
        g_autoptr(GSubprocessLauncher) launcher =
                        g_subprocess_launcher_new(G_SUBPROCESS_FLAGS_NONE);
        g_autoptr(GError) error = NULL;
        g_autoptr(GSubprocess) chvd = NULL, rm = NULL;

        missing = chvctl(path, "list", 5);
        /* What is in the way may be anybody's: it stays. */
        g_assert_true(g_file_set_contents(path, "mine", -1, NULL));
        g_subprocess_launcher_setenv(launcher, "CHV_WORKER", g_getenv("CHV_STAND_IN"), true);
        for (unsigned i = 0; i < 2; i++) {
                g_clear_object(&chvd);
                chvd = g_subprocess_launcher_spawn(
                                launcher, &error, g_getenv("CHVD"), "--session", "--address",
                                "unix:path=/nonexistent", "--socket", path, "--kvm", "/dev/null",
                                "--state-dir", state, "--runtime-dir", runtime, NULL);
                g_assert_no_error(error);
                if (i > 0)
                        break;
                g_assert_false(g_subprocess_wait_check(chvd, NULL, NULL));
                g_assert_true(g_file_test(path, G_FILE_TEST_IS_REGULAR));
                (void) g_unlink(path);
        }
        g_object_unref(connect_to(path));
        g_free(chvctl(path, "create web --kernel /bin/true", 0));
        g_free(chvctl(path, "create web --kernel /bin/true", 1));
        g_free(chvctl(path, "start web", 0));
        list = chvctl(path, "list --no-legend", 0);
        g_assert_true(g_str_has_prefix(list, "web  running"));
        top = chvctl(path, "top --count 1 --no-legend", 0);
        g_assert_true(g_str_has_prefix(top, "web  running"));
        g_free(chvctl(path, "info web", 0));
        g_free(chvctl(path, "shutdown --wait web", 0));
        g_free(chvctl(path, "delete web", 0));
        g_subprocess_send_signal(chvd, SIGTERM);
        g_assert_true(g_subprocess_wait_check(chvd, NULL, NULL));
        g_assert_false(g_file_test(path, G_FILE_TEST_EXISTS));
        rm = g_subprocess_newv(tidy, G_SUBPROCESS_FLAGS_NONE, NULL);
        g_assert_true(g_subprocess_wait_check(rm, NULL, NULL));
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/socket/strangers", test_strangers);
        g_test_add_func("/socket/others", test_others);
        g_test_add_func("/socket/same", test_same);
        g_test_add_func("/socket/no-bus", test_no_bus);
        return g_test_run();
}
