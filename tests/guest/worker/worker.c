/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The test's end of a worker: what chvd does, in little. The process gets a listening socket as standard input;
 * the descriptors of a boot are collected beforehand by name.
 */

#include "tests/guest/worker/worker.h"

#include <fcntl.h>
#include <gio/gunixfdlist.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "dbus/error.h"

#define LIMIT_SECONDS 60

typedef struct {
        char *name;
        GVariant *properties;
        bool taken;
} SeenEvent;

struct Worker {
        unsigned number; /* of its channel, which outlives it while somebody else has it open */
        GPid pid;
        guint child_source;
        bool ended, closed; /* the process; the connection, and every event has been seen */
        int status;
        GDBusConnection *connection;
        ChvVmm *proxy;
        GUnixFDList *fds;
        GVariantBuilder names;
        int text;
        GString *output;
        GPtrArray *events;
};

static void seen_event_free(gpointer data) {
        SeenEvent *seen = data;

        g_free(seen->name);
        g_variant_unref(seen->properties);
        g_free(seen);
}

static void
on_event(ChvVmm *proxy,
         guint64 timestamp,
         const char *source,
         const char *event,
         GVariant *properties,
         Worker *worker) {
        SeenEvent *seen = g_new0(SeenEvent, 1);

        seen->name = g_strdup_printf("%s/%s", source, event);
        seen->properties = g_variant_ref(properties);
        g_test_message("event %s", seen->name);
        g_ptr_array_add(worker->events, seen);
        /* A machine that has ended leaves its process waiting for this. */
        if (g_str_equal(seen->name, "vm/shutdown") || g_str_equal(seen->name, "vm/failed"))
                chv_vmm_call_quit(proxy, NULL, NULL, NULL);
}

static void on_child_exit(GPid pid, int status, gpointer data) {
        Worker *worker = data;

        worker->child_source = 0;
        worker->ended = true;
        worker->status = status;
}

static void
on_closed(GDBusConnection *connection, gboolean vanished, GError *error, Worker *worker) {
        worker->closed = true;
}

static gboolean on_tick(gpointer data) {
        return G_SOURCE_CONTINUE;
}

static void read_text(Worker *worker) {
        char buf[4096];
        ssize_t n;

        while (worker->text >= 0 && (n = recv(worker->text, buf, sizeof(buf), MSG_DONTWAIT)) > 0)
                g_string_append_len(worker->output, buf, n);
}

/* Runs the main loop until done says so; false when the time is up. */
static bool
wait_until(Worker *worker, bool (*done)(Worker *worker, const void *what), const void *what) {
        gint64 end = g_get_monotonic_time() + LIMIT_SECONDS * G_USEC_PER_SEC;
        guint tick = g_timeout_add(2, on_tick, NULL);
        bool ok;

        while (!(ok = done(worker, what)) && g_get_monotonic_time() < end)
                g_main_context_iteration(NULL, /* may_block= */ true);
        g_source_remove(tick);
        return ok;
}

static struct sockaddr_un address_of(const Worker *worker) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };

        /* In the abstract name space: nothing is left behind. */
        (void) snprintf(address.sun_path + 1, sizeof(address.sun_path) - 1, "chv-test-%d-%u",
                        getpid(), worker->number);
        return address;
}

static void forget_connection(Worker *worker) {
        g_clear_object(&worker->proxy);
        if (worker->connection)
                (void) g_signal_handlers_disconnect_by_data(worker->connection, worker);
        g_clear_object(&worker->connection);
        worker->closed = true;
}

void worker_disconnect(Worker *worker) {
        g_dbus_connection_close_sync(worker->connection, NULL, NULL);
        forget_connection(worker);
}

void worker_connect(Worker *worker) {
        struct sockaddr_un address = address_of(worker);
        g_autofree char *guid = g_dbus_generate_guid();
        g_autoptr(GSocketConnection) stream = NULL;
        g_autoptr(GSocket) socket_object = NULL;
        g_autoptr(GError) error = NULL;
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        g_assert_cmpint(fd, >=, 0);
        g_assert_cmpint(connect(fd, (struct sockaddr *) &address, sizeof(address)), ==, 0);
        socket_object = g_socket_new_from_fd(fd, &error);
        g_assert_no_error(error);
        stream = g_socket_connection_factory_create_connection(socket_object);
        forget_connection(worker);
        worker->connection = g_dbus_connection_new_sync(
                        G_IO_STREAM(stream), guid,
                        G_DBUS_CONNECTION_FLAGS_AUTHENTICATION_SERVER |
                                        G_DBUS_CONNECTION_FLAGS_AUTHENTICATION_ALLOW_ANONYMOUS,
                        NULL, NULL, &error);
        g_assert_no_error(error);
        worker->closed = false;
        g_signal_connect(worker->connection, "closed", G_CALLBACK(on_closed), worker);
        worker->proxy = chv_vmm_proxy_new_sync(
                        worker->connection, G_DBUS_PROXY_FLAGS_NONE, NULL,
                        "/org/cloudhypervisor/Vmm", NULL, &error);
        g_assert_no_error(error);
        g_dbus_proxy_set_default_timeout(G_DBUS_PROXY(worker->proxy), LIMIT_SECONDS * 1000);
        g_signal_connect(worker->proxy, "event", G_CALLBACK(on_event), worker);
}

/* It would go on without us if a test fails. */
static void in_child(gpointer data) {
        (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
}

Worker *worker_new(void) {
        return worker_new_with(/* argument= */ NULL, /* environment= */ NULL);
}

/* The first process leaves, and its child becomes ours, the last of all. */
static void follow(Worker *worker) {
        g_autofree char *file = g_strdup_printf("/proc/self/task/%d/children", getpid()),
                        *text = NULL;
        g_autoptr(GError) error = NULL;
        const char *last;
        int status;

        g_assert_cmpint(waitpid(worker->pid, &status, 0), ==, worker->pid);
        g_assert_cmpint(status, ==, 0);
        (void) g_file_get_contents(file, &text, NULL, &error);
        g_assert_no_error(error);
        last = strrchr(g_strchomp(text), ' ');
        worker->pid = atoi(last ? last : text);
        g_assert_cmpint(worker->pid, >, 0);
}

Worker *worker_new_with(const char *argument, char **environment) {
        const char *program = g_getenv("CHV_WORKER");
        const char *const argv[] = { program, argument, NULL };
        g_autoptr(GError) error = NULL;
        Worker *worker = g_new0(Worker, 1);
        static unsigned n_workers;
        struct sockaddr_un address;
        bool detached;
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        (void) CHV_ERROR; /* registers the names of the errors that will come back */
        g_assert_nonnull(program);
        worker->number = n_workers++;
        address = address_of(worker);
        worker->text = -1;
        worker->output = g_string_new(NULL);
        worker->events = g_ptr_array_new_with_free_func(seen_event_free);
        worker->fds = g_unix_fd_list_new();
        g_variant_builder_init(&worker->names, G_VARIANT_TYPE("a{sh}"));
        g_assert_cmpint(fd, >=, 0);
        g_assert_cmpint(bind(fd, (struct sockaddr *) &address, sizeof(address)), ==, 0);
        g_assert_cmpint(listen(fd, 8), ==, 0);
        (void) g_spawn_async_with_fds(
                        NULL, (char **) argv, environment, G_SPAWN_DO_NOT_REAP_CHILD, in_child,
                        NULL, &worker->pid, fd, -1, -1, &error);
        g_assert_no_error(error);
        close(fd);
        detached = g_strcmp0(argument, "--detach") == 0;
        if (detached)
                g_assert_cmpint(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), ==, 0);
        worker_connect(worker);
        if (detached)
                follow(worker);
        worker->child_source = g_child_watch_add(worker->pid, on_child_exit, worker);
        return worker;
}

void worker_free(Worker *worker) {
        if (!worker)
                return;
        if (!worker->ended)
                (void) kill(worker->pid, SIGKILL);
        if (!worker->ended || !worker->closed)
                (void) worker_wait(worker);
        if (worker->text >= 0)
                close(worker->text);
        g_variant_builder_clear(&worker->names);
        g_clear_object(&worker->fds);
        forget_connection(worker);
        g_ptr_array_unref(worker->events);
        g_string_free(worker->output, true);
        g_free(worker);
}

void worker_add_fd(Worker *worker, const char *name, int fd) {
        g_autoptr(GError) error = NULL;
        int handle = g_unix_fd_list_append(worker->fds, fd, &error);

        g_assert_no_error(error);
        close(fd);
        g_variant_builder_add(&worker->names, "{sh}", name, handle);
}

int worker_open_console(Worker *worker, const char *console, const char *options, GError **error) {
        g_autoptr(GUnixFDList) list = NULL;
        g_autoptr(GVariant) handle = NULL;

        if (!chv_vmm_call_open_console_sync(
                            worker->proxy, console, g_variant_new_parsed(options),
                            /* fd_list= */ NULL, &handle, &list, NULL, error))
                return -1;
        return g_unix_fd_list_get(list, g_variant_get_handle(handle), error);
}

/* Before its first instruction, so that not a word is lost. */
static void listen_and_resume(Worker *worker) {
        worker->text = worker_open_console(worker, "debug_console", "{'read-only': <true>}", NULL);
        if (chv_vmm_call_resume_sync(worker->proxy, NULL, NULL))
                worker_expect_event(worker, "vm/resumed", NULL);
}

bool worker_boot(Worker *worker, const char *guest, const char *config, GError **error) {
        g_autoptr(GVariant) dict = g_variant_ref_sink(
                        g_variant_parse(G_VARIANT_TYPE_VARDICT, config, NULL, NULL, error));
        int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC), kernel = open(guest, O_RDONLY | O_CLOEXEC);
        GVariant *names;

        g_assert_nonnull(dict);
        g_assert_cmpint(kvm, >=, 0);
        g_assert_cmpint(kernel, >=, 0);
        worker_add_fd(worker, "kvm", kvm);
        worker_add_fd(worker, "payload/kernel", kernel);
        names = g_variant_builder_end(&worker->names);
        g_variant_builder_init(&worker->names, G_VARIANT_TYPE("a{sh}"));
        if (!chv_vmm_call_boot_sync(
                            worker->proxy, dict, names, g_variant_new_parsed("{'paused': <true>}"),
                            worker->fds,
                            /* ret_devices= */ NULL,
                            /* ret_console_paths= */ NULL,
                            /* ret_disk_sizes= */ NULL,
                            /* ret_fds= */ NULL, NULL, error))
                return false;
        listen_and_resume(worker);
        return true;
}

ChvVmm *worker_proxy(Worker *worker) {
        return worker->proxy;
}

static bool has_said(Worker *worker, const void *what) {
        read_text(worker);
        if (strstr(worker->output->str, ", value 0x")) /* check_failed() of the guests' library */
                g_error("a check failed in the guest: %s", worker->output->str);
        return strstr(worker->output->str, what) != NULL;
}

void worker_expect(Worker *worker, const char *text) {
        if (wait_until(worker, has_said, text))
                return;
        g_test_message("guest said: %s", worker->output->str);
        g_error("the guest did not say '%s'", text);
}

const char *worker_output(Worker *worker) {
        read_text(worker);
        return worker->output->str;
}

static SeenEvent *find_event(Worker *worker, const char *name) {
        for (guint i = 0; i < worker->events->len; i++) {
                SeenEvent *seen = g_ptr_array_index(worker->events, i);

                if (!seen->taken && g_str_equal(seen->name, name))
                        return seen;
        }
        return NULL;
}

static bool has_event(Worker *worker, const void *what) {
        return find_event(worker, what) != NULL;
}

void worker_expect_event(Worker *worker, const char *name, GVariant **ret_properties) {
        SeenEvent *seen;

        if (!wait_until(worker, has_event, name))
                g_error("no event %s; guest said: %s", name, worker_output(worker));
        seen = find_event(worker, name);
        seen->taken = true;
        if (ret_properties)
                *ret_properties = g_variant_ref(seen->properties);
}

unsigned worker_count_events(Worker *worker, const char *name) {
        unsigned n = 0;

        for (guint i = 0; i < worker->events->len; i++)
                n += g_str_equal(((SeenEvent *) g_ptr_array_index(worker->events, i))->name, name);
        return n;
}

static bool has_ended(Worker *worker, const void *what) {
        read_text(worker);
        return worker->ended && worker->closed;
}

int worker_wait(Worker *worker) {
        if (!wait_until(worker, has_ended, NULL))
                g_error("the worker did not end; guest said: %s", worker->output->str);
        return worker->status;
}

bool worker_alive(Worker *worker) {
        worker_idle(1);
        return !worker->ended;
}

pid_t worker_pid(Worker *worker) {
        return worker->pid;
}

static gboolean on_idle_over(gpointer data) {
        *(bool *) data = true;
        return G_SOURCE_REMOVE;
}

void worker_idle(unsigned ms) {
        bool over = false;

        g_timeout_add(ms, on_idle_over, &over);
        while (!over)
                g_main_context_iteration(NULL, /* may_block= */ true);
}
