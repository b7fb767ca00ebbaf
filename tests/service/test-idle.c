/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves the end of a service that nobody needs: it ends well, and not while there is anything that would be missed;
 * the bus or the owner of its socket starts it again, with everything as it was; no call is lost, however many come at
 * the moment of its end; and who only listens hears on.
 */

#include <fcntl.h>
#include <gio/gunixfdlist.h>
#include <gio/gunixsocketaddress.h>
#include <glib/gstdio.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/service/service.h"

#define PATIENCE_S 20

/* A chvd that stays until it is told otherwise, through its configuration. */
typedef struct {
        Service *service;
        char *dir, *file;
} Rig;

static void rig_setup(Rig *rig, gconstpointer data) {
        rig->dir = g_dir_make_tmp("chvd-idle-XXXXXX", NULL);
        rig->file = g_build_filename(rig->dir, "chvd.conf", NULL);
        rig->service = service_start((const char *[]){ "--config-dir", rig->dir, NULL });
}

static void rig_teardown(Rig *rig, gconstpointer data) {
        service_stop(rig->service);
        (void) g_unlink(rig->file);
        (void) g_rmdir(rig->dir);
        g_free(rig->dir);
        g_free(rig->file);
}

static void set_time(Rig *rig, const char *time) {
        g_autofree char *text = g_strdup_printf("[Service]\nIdleExit=%s\n", time);

        g_assert_true(g_file_set_contents(rig->file, text, -1, NULL));
        g_assert_cmpint(kill(service_pid(rig->service), SIGHUP), ==, 0);
}

static bool is_there(Rig *rig) {
        return g_subprocess_get_identifier(rig->service->chvd) != NULL;
}

/* Long enough for a chvd that does not mind to have gone. */
static void assert_stays(Rig *rig) {
        set_time(rig, "50ms");
        service_linger(400);
        g_assert_true(is_there(rig));
}

static void assert_goes(Rig *rig) {
        g_assert_cmpint(service_wait(rig->service), ==, 0);
}

/* With the same files; it stays. */
static void begin_again(Rig *rig) {
        (void) g_unlink(rig->file);
        service_restart(rig->service, 0);
}

static void call(Rig *rig, const char *vm, const char *method, const char *options) {
        g_autoptr(GVariant) reply = vm_call(rig->service, vm, method, options);
}

static void test_options(void) {
        static const char *const wrong[] = {
                "", "-1", "1d", "soon", "5 min", "1.5", "99999999999999999999"
        };

        for (unsigned i = 0; i < G_N_ELEMENTS(wrong); i++) {
                g_autofree char *err = NULL;
                g_autoptr(GSubprocess) chvd = g_subprocess_new(
                                G_SUBPROCESS_FLAGS_STDERR_PIPE, NULL, g_getenv("CHVD"), "--session",
                                "--idle-exit", wrong[i], NULL);

                g_assert_true(g_subprocess_communicate_utf8(chvd, NULL, NULL, NULL, &err, NULL));
                g_assert_cmpint(g_subprocess_get_exit_status(chvd), ==, 1);
                g_assert_nonnull(strstr(err, "--idle-exit"));
        }
}

/* The option goes before the configuration. */
static void test_option(void) {
        g_autofree char *dir = g_dir_make_tmp("chvd-idle-XXXXXX", NULL);
        g_autofree char *file = g_build_filename(dir, "chvd.conf", NULL);
        Service *service;

        g_assert_true(g_file_set_contents(file, "[Service]\nIdleExit=infinity\n", -1, NULL));
        service = service_start((const char *[]){ "--config-dir", dir, "--idle-exit", "3s", NULL });
        g_assert_cmpint(service_wait(service), ==, 0);
        service_stop(service);
        (void) g_unlink(file);
        (void) g_rmdir(dir);
}

static void test_exit(Rig *rig, gconstpointer data) {
        g_autofree char *vm = vm_create(rig->service, "vm", NULL, NULL);

        set_time(rig, "0");
        service_linger(200);
        set_time(rig, "infinity");
        service_linger(200);
        g_assert_true(is_there(rig));
        set_time(rig, "50ms");
        assert_goes(rig);
        begin_again(rig);
        g_assert_true(vm_exists(rig->service, vm));
}

/* Calls keep it, for as long as they come. */
static void test_calls(Rig *rig, gconstpointer data) {
        gint64 longest = 0, last = g_get_monotonic_time();
        g_autofree char *vm = vm_create(rig->service, "vm", NULL, NULL);

        set_time(rig, "2");
        for (unsigned i = 0; i < 40 && is_there(rig); i++) {
                gint64 now;

                if (is_there(rig))
                        g_assert_true(vm_exists(rig->service, vm) || !is_there(rig));
                service_linger(100);
                now = g_get_monotonic_time();
                longest = MAX(longest, now - last);
                last = now;
        }
        /* Else this machine had other things to do than to call. */
        g_assert_true(is_there(rig) || longest > G_USEC_PER_SEC);
        set_time(rig, "50ms");
        assert_goes(rig);
}

static void test_runs(Rig *rig, gconstpointer data) {
        g_autofree char *vm = vm_run(rig->service, "vm", "fails-on-Nmi", NULL), *reason = NULL;

        assert_stays(rig);
        call(rig, vm, "Pause", NULL);
        assert_stays(rig);
        call(rig, vm, "PowerOff", NULL);
        assert_goes(rig);
        begin_again(rig);
        call(rig, vm, "Start", NULL);
        /* How it failed is known to nobody else. */
        call(rig, vm, "NMI", NULL);
        vm_await(rig->service, vm, "failed");
        assert_stays(rig);
        reason = vm_get(rig->service, vm, "StateReason");
        g_assert_cmpstr(reason, !=, "");
        call(rig, vm, "Delete", "{'force': <true>}");
        assert_goes(rig);
}

/* One that is found again, and one that is kept. */
static void test_found(Rig *rig, gconstpointer data) {
        g_autofree char *vm = NULL, *kept = NULL;

        vm = vm_run(rig->service, "vm", NULL, NULL);
        service_kill(rig->service);
        begin_again(rig);
        assert_stays(rig);
        call(rig, vm, "PowerOff", NULL);
        assert_goes(rig);
        begin_again(rig);
        kept = vm_create(rig->service, "kept", "fails-on-Nmi", NULL);
        call(rig, kept, "SetOptions", "{'crash-policy': <'preserve'>}");
        call(rig, kept, "Start", NULL);
        call(rig, kept, "NMI", NULL);
        vm_await(rig->service, kept, "failed");
        assert_stays(rig);
        call(rig, kept, "PowerOff", NULL);
        assert_goes(rig);
}

static void test_memory_alone(Rig *rig, gconstpointer data) {
        g_autofree char *transient = NULL, *given = NULL, *failing = NULL, *reason = NULL;
        g_autoptr(GUnixFDList) list = g_unix_fd_list_new();
        g_autoptr(GError) error = NULL;
        int fd = open(rig->service->kernel, O_RDONLY | O_CLOEXEC);

        transient = vm_create_full(
                        rig->service, "transient", service_config(rig->service, NULL, NULL), NULL,
                        NULL, "{'transient': <true>}", &error);
        g_assert_no_error(error);
        assert_stays(rig);
        call(rig, transient, "Delete", NULL);
        assert_goes(rig);
        begin_again(rig);
        g_assert_cmpint(g_unix_fd_list_append(list, fd, NULL), ==, 0);
        (void) close(fd);
        given = vm_create_full(
                        rig->service, "given", service_config(rig->service, NULL, NULL),
                        g_variant_new_parsed("{'payload/kernel': handle 0}"), list, NULL, &error);
        g_assert_no_error(error);
        assert_stays(rig);
        call(rig, given, "Delete", NULL);
        assert_goes(rig);
        begin_again(rig);
        failing = vm_create(rig->service, "failing", "boot-error", NULL);
        vm_call_fails(rig->service, failing, "Start", NULL, CHV_ERROR_IMAGE);
        assert_stays(rig);
        reason = vm_get(rig->service, failing, "StateReason");
        g_assert_cmpstr(reason, !=, "");
        call(rig, failing, "Delete", NULL);
        assert_goes(rig);
}

/* Nobody waits for a start that has a job, and nothing runs between two of an autostart. */
static void test_under_way(Rig *rig, gconstpointer data) {
        g_autofree char *slow = vm_create(rig->service, "slow", "boot-hang", NULL);
        g_autofree char *one = NULL, *two = NULL;
        g_autoptr(GVariant) job = NULL;
        g_autoptr(GError) error = NULL;

        job =
                        service_call(rig->service, slow, VM, "Start",
                                     g_variant_new_parsed("(@a{sv} {},)"), &error);
        g_assert_no_error(error);
        assert_stays(rig);
        call(rig, slow, "PowerOff", NULL);
        call(rig, slow, "Delete", NULL);
        one = vm_create(rig->service, "one", NULL, NULL);
        two = vm_create(rig->service, "two", NULL, NULL);
        call(rig, one, "SetOptions", "{'autostart': <true>, 'autostart-delay': <uint32 3600>}");
        call(rig, two, "SetOptions", "{'autostart': <true>}");
        assert_goes(rig);
        service_forget_boot(rig->service);
        begin_again(rig);
        vm_await(rig->service, one, "running");
        call(rig, one, "PowerOff", NULL);
        assert_stays(rig);
}

static void fill(GSocketAddress *address) {
        g_autoptr(GSocket) socket =
                        g_socket_new(G_SOCKET_FAMILY_UNIX, G_SOCKET_TYPE_DATAGRAM,
                                     G_SOCKET_PROTOCOL_DEFAULT, NULL);
        g_autoptr(GError) error = NULL;

        g_socket_set_blocking(socket, false);
        while (g_socket_send_to(socket, address, "X=1", 3, NULL, &error) == 3)
                ;
        g_assert_error(error, G_IO_ERROR, G_IO_ERROR_WOULD_BLOCK);
}

/* systemd's part: it is told, and then it is told no more; what comes in until the name is gone is done to its end. */
static void test_told(void) {
        g_autofree char *dir = g_dir_make_tmp("chvd-idle-XXXXXX", NULL);
        g_autofree char *path = g_build_filename(dir, "notify", NULL), *vm = NULL;
        g_autoptr(GSocketAddress) address = g_unix_socket_address_new(path);
        g_autoptr(GString) heard = g_string_new(NULL);
        g_autoptr(GSocket) socket = NULL;
        g_autoptr(GError) error = NULL;
        Rig rig;
        bool over = false;

        socket =
                        g_socket_new(G_SOCKET_FAMILY_UNIX, G_SOCKET_TYPE_DATAGRAM,
                                     G_SOCKET_PROTOCOL_DEFAULT, &error);
        g_assert_no_error(error);
        g_assert_true(g_socket_bind(socket, address, true, &error));
        g_socket_set_blocking(socket, false);
        (void) g_setenv("NOTIFY_SOCKET", path, true);
        rig_setup(&rig, NULL);
        g_unsetenv("NOTIFY_SOCKET");
        vm = vm_create(rig.service, "vm", NULL, NULL);
        /* The socket is full, so that it is at telling for as long as we like. */
        fill(address);
        set_time(&rig, "50ms");
        service_linger(400);
        g_assert_true(is_there(&rig));
        call(&rig, vm, "Start", NULL);
        while (!over) {
                char buffer[4096];
                gssize n = g_socket_receive(socket, buffer, sizeof(buffer), NULL, NULL);

                if (n > 0)
                        g_string_append_printf(heard, "%.*s\n", (int) n, buffer);
                else if (!is_there(&rig))
                        over = true;
                else
                        service_linger(5);
        }
        g_assert_nonnull(strstr(heard->str, "STOPPING=1\n"));
        g_assert_nonnull(strstr(strstr(heard->str, "STOPPING=1\n"), "EXTEND_TIMEOUT_USEC="));
        /* The VM runs on, and another chvd is wanted. */
        g_assert_cmpint(WEXITSTATUS(service_wait(rig.service)), ==, 75);
        begin_again(&rig);
        vm_await(rig.service, vm, "running");
        rig_teardown(&rig, NULL);
        (void) g_unlink(path);
        (void) g_rmdir(dir);
}

/* A bus that starts the service, as buses do without systemd. */
typedef struct {
        GTestDBus *daemon;
        GDBusConnection *bus;
        char *dir, *kernel;
        guint watch;
        unsigned n_lost;
        bool owned;
} Bus;

static void
on_owned(GDBusConnection *connection, const char *name, const char *owner, gpointer data) {
        ((Bus *) data)->owned = true;
}

static void on_unowned(GDBusConnection *connection, const char *name, gpointer data) {
        Bus *bus = data;

        bus->n_lost += bus->owned;
        bus->owned = false;
}

static GDBusConnection *bus_connect(Bus *bus) {
        g_autoptr(GError) error = NULL;
        GDBusConnection *connection = g_dbus_connection_new_for_address_sync(
                        g_test_dbus_get_bus_address(bus->daemon),
                        G_DBUS_CONNECTION_FLAGS_AUTHENTICATION_CLIENT |
                                        G_DBUS_CONNECTION_FLAGS_MESSAGE_BUS_CONNECTION,
                        NULL, NULL, &error);

        g_assert_no_error(error);
        return connection;
}

static void bus_start(Bus *bus, const char *time) {
        g_autofree char *file = NULL, *text = NULL;

        bus->dir = g_dir_make_tmp("chvd-idle-XXXXXX", NULL);
        bus->kernel = g_build_filename(bus->dir, "kernel", NULL);
        g_assert_true(g_file_set_contents(bus->kernel, "kernel", -1, NULL));
        file = g_build_filename(bus->dir, MANAGER ".service", NULL);
        text = g_strdup_printf(
                        "[D-BUS Service]\nName=" MANAGER "\n"
                        "Exec=%s --session --kvm /dev/null --state-dir %s/state "
                        "--runtime-dir %s/run --config-dir %s --worker %s --idle-exit %s\n",
                        g_getenv("CHVD"), bus->dir, bus->dir, bus->dir, g_getenv("CHV_STAND_IN"),
                        time);
        g_assert_true(g_file_set_contents(file, text, -1, NULL));
        bus->daemon = g_test_dbus_new(G_TEST_DBUS_NONE);
        g_test_dbus_add_service_dir(bus->daemon, bus->dir);
        g_test_dbus_up(bus->daemon);
        bus->bus = bus_connect(bus);
        bus->watch = g_bus_watch_name_on_connection(
                        bus->bus, MANAGER, G_BUS_NAME_WATCHER_FLAGS_NONE, on_owned, on_unowned, bus,
                        NULL);
}

/* It has ended so often, and not begun again. */
static void bus_await_ends(Bus *bus, unsigned n) {
        gint64 until = g_get_monotonic_time() + PATIENCE_S * G_USEC_PER_SEC;

        while (bus->n_lost < n || bus->owned) {
                g_assert_cmpint(g_get_monotonic_time(), <, until);
                service_linger(2);
        }
}

static void bus_stop(Bus *bus) {
        const char *const tidy[] = { "rm", "-rf", bus->dir, NULL };
        g_autofree char *lock = g_build_filename(bus->dir, "run", "lock", NULL);
        g_autoptr(GSubprocess) rm = NULL;

        bus_await_ends(bus, 0);
        g_bus_unwatch_name(bus->watch);
        /* It has ended when nobody has the lock. */
        rm = g_subprocess_new(G_SUBPROCESS_FLAGS_NONE, NULL, "flock", lock, "true", NULL);
        g_assert_true(g_subprocess_wait_check(rm, NULL, NULL));
        g_object_unref(bus->bus);
        g_test_dbus_down(bus->daemon);
        g_object_unref(bus->daemon);
        g_object_unref(rm);
        rm = g_subprocess_newv(tidy, G_SUBPROCESS_FLAGS_NONE, NULL);
        g_assert_true(g_subprocess_wait_check(rm, NULL, NULL));
        g_free(bus->dir);
        g_free(bus->kernel);
}

static GVariant *
bus_call(Bus *bus,
         const char *path,
         const char *interface,
         const char *method,
         GVariant *parameters) {
        g_autoptr(GError) error = NULL;
        GVariant *reply =
                        service_call_as(bus->bus, G_DBUS_CALL_FLAGS_NONE, path, interface, method,
                                        parameters, NULL, &error);

        g_assert_no_error(error);
        return reply;
}

/* Creates it and returns its path. */
static char *bus_create(Bus *bus, const char *name, const char *options) {
        g_autoptr(GVariant) reply = NULL;
        g_autofree char *text = g_strdup_printf(
                        "('%s', {'payload': <{'kernel': <'%s'>}>}, @a{sh} {}, @a{sv} %s)", name,
                        bus->kernel, options);
        char *path;

        reply = bus_call(bus, MANAGER_PATH, MANAGER, "CreateVM", g_variant_new_parsed(text));
        g_variant_get(reply, "(o)", &path);
        return path;
}

static char *bus_state(Bus *bus, const char *vm) {
        g_autoptr(GVariant) reply =
                        bus_call(bus, vm, "org.freedesktop.DBus.Properties", "Get",
                                 g_variant_new("(ss)", VM, "State"));

        return g_variant_print(reply, false);
}

static void bus_vm(Bus *bus, const char *vm, const char *method) {
        g_autoptr(GVariant) reply =
                        bus_call(bus, vm, VM, method, g_variant_new_parsed("({'wait': <true>},)"));
}

static void test_activation(void) {
        Bus bus = { 0 };
        g_autofree char *vm = NULL, *state = NULL, *later = NULL;
        unsigned n_ends;

        bus_start(&bus, "200ms");
        g_assert_false(bus.owned);
        vm = bus_create(&bus, "vm", "{'autostart': <true>}");
        bus_vm(&bus, vm, "Start");
        n_ends = bus.n_lost;
        service_linger(600);
        g_assert_true(bus.owned);
        g_assert_cmpuint(bus.n_lost, ==, n_ends);
        bus_vm(&bus, vm, "PowerOff");
        bus_await_ends(&bus, n_ends + 1);
        /* What was powered off stays so, though it starts with the host. */
        state = bus_state(&bus, vm);
        g_assert_cmpstr(state, ==, "(<'shutdown'>,)");
        service_linger(100);
        later = bus_state(&bus, vm);
        g_assert_cmpstr(later, ==, "(<'shutdown'>,)");
        bus_stop(&bus);
}

/* A client that only listens does not keep the service, and hears on. */
static void test_monitor(void) {
        Bus bus = { 0 };
        g_autofree char *vm = NULL, *out = NULL;
        g_autoptr(GVariant) deleted = NULL;
        g_autoptr(GSubprocess) monitor = NULL;
        g_autoptr(GError) error = NULL;

        bus_start(&bus, "200ms");
        monitor = g_subprocess_new(
                        G_SUBPROCESS_FLAGS_STDOUT_PIPE, &error, g_getenv("CHVCTL"), "--address",
                        g_test_dbus_get_bus_address(bus.daemon), "monitor", "--lines", "2", NULL);
        g_assert_no_error(error);
        bus_await_ends(&bus, 1);
        vm = bus_create(&bus, "vm", "{}");
        bus_await_ends(&bus, 2);
        deleted = bus_call(&bus, vm, VM, "Delete", g_variant_new_parsed("(@a{sv} {},)"));
        g_assert_true(g_subprocess_communicate_utf8(monitor, NULL, NULL, &out, NULL, &error));
        g_assert_cmpint(g_subprocess_get_exit_status(monitor), ==, 0);
        g_assert_nonnull(strstr(out, "vm vm created"));
        g_assert_nonnull(strstr(out, "vm vm deleted"));
        bus_stop(&bus);
}

#define N_CLIENTS 4
#define N_ROUNDS 150
#define BURST 8
#define IDLE_MS 30

typedef struct {
        unsigned waiting, answered;
} Hammer;

static void on_hammered(GObject *source, GAsyncResult *result, gpointer data) {
        Hammer *hammer = data;
        g_autoptr(GError) error = NULL;
        g_autoptr(GVariant) reply =
                        g_dbus_connection_call_finish(G_DBUS_CONNECTION(source), result, &error);

        g_assert_no_error(error);
        hammer->waiting--;
        hammer->answered++;
}

static void hammer_on(Hammer *hammer, GDBusConnection *client) {
        for (unsigned i = 0; i < BURST; i++) {
                hammer->waiting++;
                g_dbus_connection_call(
                                client, MANAGER, MANAGER_PATH,
                                i % 2 ? MANAGER : "org.freedesktop.DBus.Properties",
                                i % 2 ? "ListVMs" : "Get",
                                i % 2 ? g_variant_new("(a{sv})", NULL)
                                      : g_variant_new("(ss)", MANAGER, "Version"),
                                NULL, G_DBUS_CALL_FLAGS_NONE, 60 * 1000, NULL, on_hammered, hammer);
        }
}

/* Calls from all sides at the moment when nobody has needed it for long enough. */
static void test_hammer(void) {
        Bus bus = { 0 };
        Hammer hammer = { 0 };
        GDBusConnection *clients[N_CLIENTS];

        bus_start(&bus, G_STRINGIFY(IDLE_MS) "ms");
        for (unsigned i = 0; i < N_CLIENTS; i++)
                clients[i] = bus_connect(&bus);
        for (unsigned round = 0; round < N_ROUNDS; round++) {
                g_usleep((gulong) g_random_int_range((IDLE_MS - 5) * 1000, (IDLE_MS + 10) * 1000));
                for (unsigned i = 0; i < N_CLIENTS; i++) {
                        hammer_on(&hammer, clients[i]);
                        g_usleep((gulong) g_random_int_range(1, 1500));
                }
                if (round % 10 == 0) {
                        g_autofree char *vm = bus_create(&bus, "vm", "{'start': <true>}");
                        g_autoptr(GVariant) reply =
                                        bus_call(&bus, vm, VM, "Delete",
                                                 g_variant_new_parsed("({'force': <true>},)"));
                }
                while (hammer.waiting > 0)
                        (void) g_main_context_iteration(NULL, true);
        }
        g_test_message("%u calls, the name was lost %u times", hammer.answered, bus.n_lost);
        g_assert_cmpuint(hammer.answered, ==, N_CLIENTS * N_ROUNDS * BURST);
        g_assert_cmpuint(bus.n_lost, >, 0);
        for (unsigned i = 0; i < N_CLIENTS; i++)
                g_object_unref(clients[i]);
        bus_stop(&bus);
}

/* What systemd does with a socket: start the service when somebody comes and it does not run. */
typedef struct {
        char *dir, *path;
        int fd;
        GSubprocess *chvd;
        unsigned n_started;
        GThread *client;
        int done;
} Activator;

static int listen_on(const char *path) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        (void) g_strlcpy(address.sun_path, path, sizeof(address.sun_path));
        g_assert_cmpint(bind(fd, (struct sockaddr *) &address, sizeof(address)), ==, 0);
        g_assert_cmpint(listen(fd, 64), ==, 0);
        return fd;
}

static void activate(Activator *activator) {
        g_autoptr(GSubprocessLauncher) launcher =
                        g_subprocess_launcher_new(G_SUBPROCESS_FLAGS_STDERR_SILENCE);
        g_autoptr(GError) error = NULL;

        g_subprocess_launcher_setenv(launcher, "LISTEN_FDS", "1", true);
        g_subprocess_launcher_take_fd(launcher, fcntl(activator->fd, F_DUPFD_CLOEXEC, 10), 3);
        activator->chvd = g_subprocess_launcher_spawn(
                        launcher, &error, "/bin/sh", "-c", "LISTEN_PID=$$ exec \"$0\" \"$@\"",
                        g_getenv("CHVD"), "--session", "--address", "unix:path=/nonexistent",
                        "--kvm", "/dev/null", "--state-dir", activator->dir, "--runtime-dir",
                        activator->dir, "--config-dir", activator->dir, "--idle-exit", "30ms",
                        NULL);
        g_assert_no_error(error);
        activator->n_started++;
}

static gpointer call_socket(gpointer data) {
        const Activator *activator = data;
        g_autofree char *address = g_strconcat("unix:path=", activator->path, NULL);

        for (unsigned i = 0; i < 60; i++) {
                g_autoptr(GError) error = NULL;
                g_autoptr(GVariant) reply = NULL;
                g_autoptr(GDBusConnection) connection = g_dbus_connection_new_for_address_sync(
                                address, G_DBUS_CONNECTION_FLAGS_AUTHENTICATION_CLIENT, NULL, NULL,
                                &error);

                g_assert_no_error(error);
                /* It stays for who is there, whether he says anything or not. */
                if (i == 0)
                        g_usleep(300 * 1000);
                reply = g_dbus_connection_call_sync(
                                connection, NULL, MANAGER_PATH, MANAGER, "ListVMs",
                                g_variant_new("(a{sv})", NULL), NULL, G_DBUS_CALL_FLAGS_NONE,
                                60 * 1000, NULL, &error);
                g_assert_no_error(error);
                (void) g_dbus_connection_close_sync(connection, NULL, NULL);
                g_usleep((gulong) g_random_int_range(20 * 1000, 50 * 1000));
        }
        return NULL;
}

static gpointer call_and_tell(gpointer data) {
        Activator *activator = data;

        (void) call_socket(activator);
        g_atomic_int_set(&activator->done, true);
        return NULL;
}

static void test_socket(void) {
        Activator activator = { 0 };
        const char *tidy[] = { "rm", "-rf", NULL, NULL };
        g_autoptr(GSubprocess) rm = NULL;

        activator.dir = g_dir_make_tmp("chvd-idle-XXXXXX", NULL);
        activator.path = g_build_filename(activator.dir, "bus", NULL);
        activator.fd = listen_on(activator.path);
        activator.client = g_thread_new("client", call_and_tell, &activator);
        while (!g_atomic_int_get(&activator.done)) {
                struct pollfd wanted = { .fd = activator.fd, .events = POLLIN };

                if (poll(&wanted, 1, 20) <= 0)
                        continue;
                activate(&activator);
                g_assert_true(g_subprocess_wait(activator.chvd, NULL, NULL));
                g_assert_cmpint(g_subprocess_get_status(activator.chvd), ==, 0);
                g_clear_object(&activator.chvd);
        }
        g_thread_join(activator.client);
        g_test_message("started %u times", activator.n_started);
        g_assert_cmpuint(activator.n_started, >, 1);
        (void) close(activator.fd);
        tidy[2] = activator.dir;
        rm = g_subprocess_newv(tidy, G_SUBPROCESS_FLAGS_NONE, NULL);
        g_assert_true(g_subprocess_wait_check(rm, NULL, NULL));
        g_free(activator.dir);
        g_free(activator.path);
}

static void add(const char *path, void (*test)(Rig *rig, gconstpointer data)) {
        g_test_add(path, Rig, NULL, rig_setup, test, rig_teardown);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/idle/options", test_options);
        g_test_add_func("/idle/option", test_option);
        add("/idle/exit", test_exit);
        add("/idle/calls", test_calls);
        add("/idle/runs", test_runs);
        add("/idle/found", test_found);
        add("/idle/memory-alone", test_memory_alone);
        add("/idle/under-way", test_under_way);
        g_test_add_func("/idle/told", test_told);
        g_test_add_func("/idle/activation", test_activation);
        g_test_add_func("/idle/monitor", test_monitor);
        g_test_add_func("/idle/hammer", test_hammer);
        g_test_add_func("/idle/socket", test_socket);
        return g_test_run();
}
