/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A worker without a machine: speaks org.cloudhypervisor.Vmm as chv-vmm does and behaves, or misbehaves, as the words
 * in the guest's command line say. So chvd's side of every good and bad end can be tested where there is no KVM.
 *
 *   boot-error boot-crash boot-hang boot-garbage boot-wrong-type   what Boot does instead
 *   deaf        the guest ignores its power button (else it powers off)
 *   deaf-quit   Quit is ignored
 *   flood       100,000 events after Boot
 *   lies        events that only chvd may tell, and devices with wild names
 *   crash-on-M hang-on-M   at the call of method M
 *   fails-on-M  the machine fails at the call of method M
 *   chatty      an opened console gets a numbered line every few milliseconds, for as long as it is open
 *   wild-console   OpenConsole sends a file that is no stream
 *   huge-counters  GetCounters sends 8 MiB
 *   loses       Nmi makes it tell that _disk0, _net0, and a device that is not there, have lost their connections
 *   picky       the first Connect is refused
 *   busy        GetCounters tells of more each time, and lies about the process
 *
 * SIGUSR1 is what a guest that powers off by itself is.
 *
 * GetCounters tells of each descriptor that came with Boot (dev, ino, mode, flags), and under "process" of what the
 * process inherited.
 */

#include <errno.h>
#include <fcntl.h>
#include <gio/gio.h>
#include <gio/gunixfdlist.h>
#include <glib-unix.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "dbus/error.h"
#include "dbus/generated.h"

static GMainLoop *loop;
static GDBusConnection *connection;
static ChvVmm *vmm;
static char **words;
static GVariant *counters;
static GVariant *updated; /* what UpdateDevice was told */
static guint64 disk_size = 1 << 20;
static guint lonely;
static bool booted, ended;
static int status = EXIT_SUCCESS;
static unsigned inherited_fds;
static gboolean preserve;

static bool told(const char *format, const char *argument) {
        g_autofree char *word = g_strdup_printf(format, argument);

        return words && g_strv_contains((const char *const *) words, word);
}

static void set_state(const char *state, const char *reason) {
        chv_vmm_set_state(vmm, state);
        chv_vmm_set_state_reason(vmm, reason);
        g_dbus_interface_skeleton_flush(G_DBUS_INTERFACE_SKELETON(vmm));
}

static GVariant *disk_sizes(void) {
        return g_variant_new_parsed("{'_disk0': %t}", (guint64) disk_size);
}

static void event(const char *source, const char *name) {
        chv_vmm_emit_event(
                        vmm, (guint64) g_get_real_time(), source, name,
                        g_variant_new("a{sv}", NULL));
}

static void end(const char *state, const char *name, const char *reason, int with) {
        ended = true;
        status = with;
        set_state(state, reason);
        event("vm", name);
}

/* Dies of the signal, sanitizers or not; the first process of a namespace dies of none that it sends itself. */
static void crash(void) {
        char *page = mmap(NULL, 1, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

        (void) signal(SIGSEGV, SIG_DFL);
        *(volatile char *) page = 1;
}

/* True: the call is not to be answered as usual. */
static gboolean misbehaves(GDBusMethodInvocation *invocation) {
        const char *method = g_dbus_method_invocation_get_method_name(invocation);

        if (told("crash-on-%s", method))
                crash();
        if (told("fails-on-%s", method)) {
                g_dbus_method_invocation_return_value(invocation, NULL);
                if (preserve)
                        set_state("failed", "the guest broke the machine");
                if (preserve)
                        return true;
                end("failed", "failed", "the guest broke the machine", EXIT_FAILURE);
                return true;
        }
        return told("hang-on-%s", method);
}

static unsigned count_fds(void) {
        g_autoptr(GDir) dir = g_dir_open("/proc/self/fd", 0, NULL);
        unsigned n = 0;

        while (g_dir_read_name(dir))
                n++;
        return n - 1; /* the directory */
}

static GVariant *describe_process(void) {
        int death = 0, listens = 0;
        socklen_t size = sizeof(listens);
        GVariantBuilder b;

        (void) getsockopt(STDIN_FILENO, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size);
        (void) prctl(PR_GET_PDEATHSIG, &death);
        g_variant_builder_init(&b, G_VARIANT_TYPE("a{st}"));
        g_variant_builder_add(&b, "{st}", "fds", (guint64) inherited_fds);
        g_variant_builder_add(&b, "{st}", "session-leader", (guint64) (getsid(0) == getpid()));
        g_variant_builder_add(&b, "{st}", "pid", (guint64) getpid());
        g_variant_builder_add(&b, "{st}", "stdin-listens", (guint64) listens);
        g_variant_builder_add(&b, "{st}", "death-signal", (guint64) death);
        g_variant_builder_add(
                        &b, "{st}", "secret", (guint64) (g_getenv("CHV_TEST_SECRET") != NULL));
        return g_variant_builder_end(&b);
}

static GVariant *describe_fds(GVariant *handles, GUnixFDList *list) {
        GVariantBuilder all;
        GVariantIter iter;
        const char *name;
        gint32 handle;

        g_variant_builder_init(&all, G_VARIANT_TYPE("a{sa{st}}"));
        g_variant_iter_init(&iter, handles);
        while (g_variant_iter_next(&iter, "{&sh}", &name, &handle)) {
                int fd = g_unix_fd_list_get(list, handle, NULL);
                struct stat st = { 0 };

                (void) fstat(fd, &st);
                g_variant_builder_open(&all, G_VARIANT_TYPE("{sa{st}}"));
                g_variant_builder_add(&all, "s", name);
                g_variant_builder_open(&all, G_VARIANT_TYPE("a{st}"));
                g_variant_builder_add(&all, "{st}", "dev", (guint64) st.st_dev);
                g_variant_builder_add(&all, "{st}", "ino", (guint64) st.st_ino);
                g_variant_builder_add(&all, "{st}", "mode", (guint64) st.st_mode);
                g_variant_builder_add(&all, "{st}", "flags", (guint64) fcntl(fd, F_GETFL));
                g_variant_builder_close(&all);
                g_variant_builder_close(&all);
                /* Not closed: the worker is what keeps locks and taps. */
        }
        g_variant_builder_add(&all, "{s@a{st}}", "process", describe_process());
        return g_variant_builder_end(&all);
}

static void flood(void) {
        for (unsigned i = 0; i < 100000; i++)
                event("debug", "code");
}

static void lie(void) {
        event("vm", "deleted");
        event("vm", "stopped");
        event("virtio-device", "activated");
}

static GVariant *devices(void) {
        GVariantBuilder list;

        g_variant_builder_init(&list, G_VARIANT_TYPE("a(sssa{sv})"));
        g_variant_builder_add(
                        &list, "(sss@a{sv})", "_disk0", "disk", "0000:00:01.0",
                        updated ?: g_variant_new("a{sv}", NULL));
        g_variant_builder_add(
                        &list, "(sss@a{sv})", "_rng", "rng", "0000:00:02.0",
                        g_variant_new("a{sv}", NULL));
        if (told("%s", "lies")) {
                g_autofree char *wild = g_strnfill(100, 'x');

                g_variant_builder_add(
                                &list, "(sss@a{sv})", "_rng", "rng", "",
                                g_variant_new("a{sv}", NULL));
                g_variant_builder_add(
                                &list, "(sss@a{sv})", wild, "rng", "",
                                g_variant_new("a{sv}", NULL));
                g_variant_builder_add(
                                &list, "(sss@a{sv})", "../../x", "rng", "",
                                g_variant_new("a{sv}", NULL));
        }
        return g_variant_builder_end(&list);
}

static gboolean misboots(GDBusMethodInvocation *invocation) {
        if (told("%s", "boot-error")) {
                g_dbus_method_invocation_return_error(
                                invocation, CHV_ERROR, CHV_ERROR_IMAGE,
                                "payload.kernel: not a kernel");
                return true;
        }
        if (told("%s", "boot-crash"))
                crash();
        if (told("%s", "boot-garbage")) {
                static const char garbage[] = "l\1\0\1\377\377\377\377 this is no message at all";

                GSocketConnection *stream =
                                G_SOCKET_CONNECTION(g_dbus_connection_get_stream(connection));
                int fd = g_socket_get_fd(g_socket_connection_get_socket(stream));

                (void) !write(fd, garbage, sizeof(garbage));
                return true;
        }
        if (told("%s", "boot-wrong-type")) {
                GDBusMessage *message = g_dbus_method_invocation_get_message(invocation);
                g_autoptr(GDBusMessage) reply = g_dbus_message_new_method_reply(message);

                g_dbus_message_set_body(reply, g_variant_new("(s)", "surprise"));
                (void) g_dbus_connection_send_message(
                                connection, reply, G_DBUS_SEND_MESSAGE_FLAGS_NONE, NULL, NULL);
                return true;
        }
        return told("%s", "boot-hang");
}

static gboolean
on_boot(ChvVmm *skeleton,
        GDBusMethodInvocation *invocation,
        GUnixFDList *list,
        GVariant *config,
        GVariant *fds,
        GVariant *options) {
        g_autoptr(GVariant) payload =
                        g_variant_lookup_value(config, "payload", G_VARIANT_TYPE_VARDICT);
        const char *cmdline = "";
        gboolean paused = false;

        if (payload)
                (void) g_variant_lookup(payload, "cmdline", "&s", &cmdline);
        words = g_strsplit(cmdline, " ", -1);
        if (misboots(invocation))
                return true;
        counters = g_variant_ref_sink(describe_fds(fds, list));
        (void) g_variant_lookup(options, "paused", "b", &paused);
        (void) g_variant_lookup(options, "preserve", "b", &preserve);
        set_state(paused ? "paused" : "running", "");
        booted = true;
        chv_vmm_complete_boot(
                        skeleton, invocation, NULL, devices(), g_variant_new("a{ss}", NULL),
                        disk_sizes());
        event("vm", "booted");
        if (told("%s", "flood"))
                flood();
        if (told("%s", "lies"))
                lie();
        return true;
}

/* Images name what the name of the disk's file says. */
static gboolean on_inspect_image(
                ChvVmm *skeleton,
                GDBusMethodInvocation *invocation,
                GUnixFDList *list,
                GVariant *files,
                const char *format) {
        g_autofree char *link =
                        g_strdup_printf("/proc/self/fd/%d", g_unix_fd_list_peek_fds(list, NULL)[0]);
        g_autofree char *path = g_file_read_link(link, NULL);
        g_autofree char *disk = g_path_get_basename(path);
        unsigned n = (unsigned) g_variant_n_children(files), parent = n - 1;
        const char *name = NULL, *role = "backing";

        if (g_str_equal(disk, "two") && n <= 2)
                name = n == 1 ? "base/first" : "second";
        else if (g_str_equal(disk, "data") && n == 1) {
                name = "first";
                role = "data";
        } else if (g_str_equal(disk, "endless"))
                name = "first";
        else if (g_str_equal(disk, "itself"))
                name = disk;
        else if (g_str_equal(disk, "absolute") && n == 1)
                name = "/proc/1/mem";
        else if (g_str_equal(disk, "owners") && n == 1)
                name = "secret";
        else if (g_str_equal(disk, "control"))
                name = "a\nb";
        else if (g_str_equal(disk, "empty"))
                name = "";
        else if (g_str_equal(disk, "stranger")) {
                name = "first";
                parent = 1;
        } else if (g_str_equal(disk, "crash"))
                crash();
        chv_vmm_complete_inspect_image(
                        skeleton, invocation, NULL, !name, role, name ?: "", "raw", parent);
        return true;
}

static gboolean on_describe(ChvVmm *skeleton, GDBusMethodInvocation *invocation) {
        bool there = booted && !ended;

        if (misbehaves(invocation))
                return true;
        chv_vmm_complete_describe(
                        skeleton, invocation, chv_vmm_get_state(skeleton),
                        chv_vmm_get_state_reason(skeleton),
                        there ? devices() : g_variant_new("a(sssa{sv})", NULL),
                        g_variant_new("a{ss}", NULL), preserve);
        return true;
}

static gboolean on_pause(ChvVmm *skeleton, GDBusMethodInvocation *invocation) {
        if (misbehaves(invocation))
                return true;
        set_state("paused", "");
        chv_vmm_complete_pause(skeleton, invocation);
        event("vm", "paused");
        return true;
}

static gboolean on_resume(ChvVmm *skeleton, GDBusMethodInvocation *invocation) {
        if (misbehaves(invocation))
                return true;
        set_state("running", "");
        chv_vmm_complete_resume(skeleton, invocation);
        event("vm", "resumed");
        return true;
}

static gboolean on_plain(ChvVmm *skeleton, GDBusMethodInvocation *invocation) {
        if (!misbehaves(invocation))
                g_dbus_method_invocation_return_value(invocation, NULL);
        return true;
}

static gboolean on_reset(ChvVmm *skeleton, GDBusMethodInvocation *invocation) {
        if (misbehaves(invocation))
                return true;
        event("vm", "rebooting");
        event("vm", "rebooted");
        chv_vmm_complete_reset(skeleton, invocation);
        return true;
}

static gboolean on_update_device(
                ChvVmm *skeleton,
                GDBusMethodInvocation *invocation,
                const char *id,
                GVariant *config) {
        if (misbehaves(invocation))
                return true;
        g_clear_pointer(&updated, g_variant_unref);
        updated = g_variant_ref(config);
        chv_vmm_complete_update_device(skeleton, invocation, devices());
        return true;
}

/* The size it had, which the disk keeps if it is told to shrink and not that it may. */
static gboolean
on_resize_disk(ChvVmm *skeleton,
               GDBusMethodInvocation *invocation,
               const char *id,
               guint64 size,
               GVariant *options) {
        gboolean shrink = false;

        if (misbehaves(invocation))
                return true;
        (void) g_variant_lookup(options, "shrink", "b", &shrink);
        if (size < disk_size && !shrink) {
                g_dbus_method_invocation_return_error(
                                invocation, CHV_ERROR, CHV_ERROR_INVALID_CONFIG,
                                "size: would cut off the end of %s", id);
                return true;
        }
        disk_size = size;
        if (told("%s", "late-resize"))
                chv_vmm_emit_event(
                                vmm, (guint64) g_get_real_time(), "block", "resized",
                                g_variant_new_parsed("{'id': <'_disk0'>, 'size': <%t>}", size));
        else
                chv_vmm_complete_resize_disk(skeleton, invocation, size);
        return true;
}

static gboolean on_get_disk_sizes(ChvVmm *skeleton, GDBusMethodInvocation *invocation) {
        if (!misbehaves(invocation))
                chv_vmm_complete_get_disk_sizes(skeleton, invocation, disk_sizes());
        return true;
}

/* Its options as text are what is captured. */
static gboolean on_start_capture(
                ChvVmm *skeleton,
                GDBusMethodInvocation *invocation,
                GUnixFDList *list,
                const char *id,
                GVariant *handle,
                GVariant *options) {
        g_autofree char *text = g_variant_print(options, true), *line = NULL;
        int fd;

        if (misbehaves(invocation))
                return true;
        line = g_strdup_printf("%s %s\n", id, text);
        fd = g_unix_fd_list_get(list, g_variant_get_handle(handle), NULL);
        (void) !write(fd, line, strlen(line));
        (void) close(fd);
        chv_vmm_complete_start_capture(skeleton, invocation, NULL);
        return true;
}

static gboolean on_power_button(ChvVmm *skeleton, GDBusMethodInvocation *invocation) {
        if (misbehaves(invocation))
                return true;
        chv_vmm_complete_power_button(skeleton, invocation);
        if (!told("%s", "deaf"))
                end("shutdown", "shutdown", "the guest powered off", EXIT_SUCCESS);
        return true;
}

static gboolean on_quit(ChvVmm *skeleton, GDBusMethodInvocation *invocation) {
        if (told("%s", "deaf-quit"))
                return true;
        if (!ended)
                end("shutdown", "shutdown", "powered off", EXIT_SUCCESS);
        chv_vmm_complete_quit(skeleton, invocation);
        (void) g_dbus_connection_flush_sync(connection, NULL, NULL);
        g_main_loop_quit(loop);
        return true;
}

static gboolean on_get_counters(ChvVmm *skeleton, GDBusMethodInvocation *invocation) {
        if (misbehaves(invocation))
                return true;
        if (told("%s", "huge-counters")) {
                GVariantBuilder all;
                g_autofree char *name = g_strnfill(8 << 20, 'x');

                g_variant_builder_init(&all, G_VARIANT_TYPE("a{sa{st}}"));
                g_variant_builder_add(&all, "{s@a{st}}", name, g_variant_new("a{st}", NULL));
                chv_vmm_complete_get_counters(skeleton, invocation, g_variant_builder_end(&all));
                return true;
        }
        if (told("%s", "busy")) {
                static guint64 n;

                n += 32 << 20;
                chv_vmm_complete_get_counters(
                                skeleton, invocation,
                                g_variant_new_parsed(
                                                "{'_process': {'memory_bytes': uint64 1}, "
                                                "'_disk0': {'read_bytes': %t, 'write_bytes': %t}, "
                                                "'_disk1': {'read_bytes': %t}, "
                                                "'_net0': {'rx_bytes': %t, 'tx_bytes': %t}}",
                                                n, (guint64) 0, n, n, n));
                return true;
        }
        chv_vmm_complete_get_counters(skeleton, invocation, counters);
        return true;
}

static gboolean on_chat(gpointer data) {
        static unsigned line;
        g_autofree char *text = g_strdup_printf("%u\n", line++);
        int fd = GPOINTER_TO_INT(data);

        if (send(fd, text, strlen(text), MSG_DONTWAIT) > 0 || errno == EAGAIN)
                return G_SOURCE_CONTINUE;
        (void) close(fd);
        return G_SOURCE_REMOVE;
}

static gboolean
on_open_console(ChvVmm *skeleton,
                GDBusMethodInvocation *invocation,
                GUnixFDList *list,
                const char *console,
                GVariant *options) {
        g_autoptr(GUnixFDList) out = NULL;
        int pair[2] = { -1, -1 };

        if (misbehaves(invocation))
                return true;
        if (told("%s", "wild-console")) {
                pair[0] = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
        } else {
                (void) socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair);
                (void) !write(pair[1], console, strlen(console));
                if (told("%s", "chatty"))
                        (void) g_timeout_add(5, on_chat, GINT_TO_POINTER(pair[1]));
                else
                        (void) close(pair[1]);
        }
        out = g_unix_fd_list_new_from_array(pair, 1);
        chv_vmm_complete_open_console(skeleton, invocation, out, g_variant_new_handle(0));
        return true;
}

static gboolean on_resize_console(
                ChvVmm *skeleton,
                GDBusMethodInvocation *invocation,
                const char *console,
                guint16 columns,
                guint16 rows) {
        if (!misbehaves(invocation))
                chv_vmm_complete_resize_console(skeleton, invocation);
        return true;
}

static void tell_lost(const char *id) {
        chv_vmm_emit_event(
                        vmm, 1, "vhost-user", "disconnected",
                        g_variant_new_parsed("{'id': <%s>}", id));
}

static gboolean on_nmi(ChvVmm *object, GDBusMethodInvocation *invocation, gpointer data) {
        if (told("%s", "loses")) {
                chv_vmm_emit_event(
                                vmm, 1, "passt", "disconnected",
                                g_variant_new_parsed("{'id': <'_net0'>}"));
                tell_lost("_disk0");
                tell_lost("_disk7");
                chv_vmm_emit_event(
                                vmm, 1, "vhost-user", "disconnected",
                                g_variant_new_parsed("{'id': <1>}"));
        }
        return on_plain(object, invocation);
}

static gboolean
on_connect(ChvVmm *object,
           GDBusMethodInvocation *invocation,
           GUnixFDList *list,
           const char *name,
           GVariant *handle,
           gpointer data) {
        static bool refused;

        g_assert_nonnull(list);
        g_assert_cmpint(g_unix_fd_list_get_length(list), ==, 1);
        if (told("%s", "picky") && !refused) {
                refused = true;
                g_dbus_method_invocation_return_error(
                                invocation, CHV_ERROR, CHV_ERROR_FAILED, "not this one");
                return true;
        }
        chv_vmm_emit_event(
                        vmm, 1, "vhost-user", "connected",
                        g_variant_new_parsed("{'name': <%s>}", name));
        chv_vmm_complete_connect(object, invocation, NULL);
        return true;
}

static gboolean on_power_off(gpointer data) {
        if (booted && !ended)
                end("shutdown", "shutdown", "the guest powered off", EXIT_SUCCESS);
        return G_SOURCE_CONTINUE;
}

static gboolean on_lonely(gpointer data) {
        g_main_loop_quit(loop);
        return G_SOURCE_REMOVE;
}

static void drop_connection(void) {
        if (!connection)
                return;
        (void) g_signal_handlers_disconnect_by_data(connection, vmm);
        g_dbus_interface_skeleton_unexport(G_DBUS_INTERFACE_SKELETON(vmm));
        g_dbus_connection_close(connection, NULL, NULL, NULL);
        g_clear_object(&connection);
        if (!booted)
                lonely = g_timeout_add_seconds(30, on_lonely, NULL);
}

static void on_closed(GDBusConnection *bus, gboolean vanished, GError *error, gpointer data) {
        drop_connection();
}

static gboolean on_incoming(gint fd, GIOCondition condition, gpointer data) {
        g_autoptr(GSocketConnection) stream = NULL;
        g_autoptr(GDBusConnection) newest = NULL;
        g_autoptr(GSocket) socket = NULL;
        g_autoptr(GError) error = NULL;
        int peer = accept4(fd, NULL, NULL, SOCK_CLOEXEC);

        if (peer < 0)
                return G_SOURCE_CONTINUE;
        socket = g_socket_new_from_fd(peer, &error);
        g_assert_no_error(error);
        stream = g_socket_connection_factory_create_connection(socket);
        newest = g_dbus_connection_new_sync(
                        G_IO_STREAM(stream), NULL,
                        G_DBUS_CONNECTION_FLAGS_AUTHENTICATION_CLIENT |
                                        G_DBUS_CONNECTION_FLAGS_DELAY_MESSAGE_PROCESSING,
                        NULL, NULL, &error);
        /* Who connected is gone already. */
        if (!newest)
                return G_SOURCE_CONTINUE;
        drop_connection();
        g_clear_handle_id(&lonely, g_source_remove);
        connection = g_steal_pointer(&newest);
        g_dbus_connection_set_exit_on_close(connection, false);
        (void) g_signal_connect(connection, "closed", G_CALLBACK(on_closed), vmm);
        if (!g_dbus_interface_skeleton_export(
                            G_DBUS_INTERFACE_SKELETON(vmm), connection, "/org/cloudhypervisor/Vmm",
                            &error))
                g_error("%s", error->message);
        g_dbus_connection_start_message_processing(connection);
        return G_SOURCE_CONTINUE;
}

int main(int argc, char **argv) {
        inherited_fds = count_fds();
        (void) signal(SIGPIPE, SIG_IGN);
        loop = g_main_loop_new(NULL, false);
        vmm = chv_vmm_skeleton_new();
        chv_vmm_set_state(vmm, "created");
        chv_vmm_set_state_reason(vmm, "");
        g_object_connect(
                        vmm, "signal::handle-inspect-image", on_inspect_image, NULL,
                        "signal::handle-boot", on_boot, NULL, "signal::handle-describe",
                        on_describe, NULL, "signal::handle-pause", on_pause, NULL,
                        "signal::handle-resume", on_resume, NULL, "signal::handle-reset", on_reset,
                        NULL, "signal::handle-nmi", on_nmi, NULL, "signal::handle-connect",
                        on_connect, NULL, "signal::handle-power-button", on_power_button, NULL,
                        "signal::handle-quit", on_quit, NULL, "signal::handle-get-counters",
                        on_get_counters, NULL, "signal::handle-open-console", on_open_console, NULL,
                        "signal::handle-update-device", on_update_device, NULL,
                        "signal::handle-update-group", on_plain, NULL, "signal::handle-resize-disk",
                        on_resize_disk, NULL, "signal::handle-get-disk-sizes", on_get_disk_sizes,
                        NULL, "signal::handle-start-capture", on_start_capture, NULL,
                        "signal::handle-stop-capture", on_plain, NULL,
                        "signal::handle-resize-console", on_resize_console, NULL, NULL);
        (void) g_unix_signal_add(SIGUSR1, on_power_off, NULL);
        (void) g_unix_fd_add(STDIN_FILENO, G_IO_IN, on_incoming, NULL);
        lonely = g_timeout_add_seconds(30, on_lonely, NULL);
        g_main_loop_run(loop);
        return status;
}
