/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * chv-vmm: the process of one VM. chvd starts it with a socket as descriptor 3 and speaks
 * org.cloudhypervisor.Vmm over it; everything else the VM needs arrives through that socket. When the
 * connection goes, so does the VM.
 */

#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <gio/gio.h>
#include <gio/gunixfdlist.h>
#include <glib-unix.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

#include "daemon/vmm/service.h"

#define CONNECTION_FD 3

typedef struct {
        GMainLoop *loop;
        int status;
} Program;

static void on_finished(void *opaque, int status) {
        Program *program = opaque;

        program->status = status;
        g_main_loop_quit(program->loop);
}

static void
on_closed(GDBusConnection *connection, gboolean vanished, GError *error, gpointer data) {
        Program *program = data;

        g_main_loop_quit(program->loop);
}

static gboolean on_terminate(gpointer data) {
        Program *program = data;

        g_main_loop_quit(program->loop);
        return G_SOURCE_CONTINUE;
}

static GDBusConnection *connect_to_parent(GError **error) {
        g_autoptr(GSocket) socket = NULL;
        g_autoptr(GSocketConnection) stream = NULL;

        if (fcntl(CONNECTION_FD, F_SETFD, FD_CLOEXEC) < 0) {
                g_set_error(error, G_IO_ERROR, g_io_error_from_errno(errno),
                            "descriptor %d: %s (chv-vmm is started by chvd)", CONNECTION_FD,
                            g_strerror(errno));
                return NULL;
        }
        socket = g_socket_new_from_fd(CONNECTION_FD, error);
        if (!socket)
                return NULL;
        stream = g_socket_connection_factory_create_connection(socket);
        return g_dbus_connection_new_sync(
                        G_IO_STREAM(stream),
                        /* guid= */ NULL,
                        G_DBUS_CONNECTION_FLAGS_AUTHENTICATION_CLIENT |
                                        G_DBUS_CONNECTION_FLAGS_DELAY_MESSAGE_PROCESSING,
                        /* observer= */ NULL,
                        /* cancellable= */ NULL, error);
}

static int run(GError **error) {
        g_autoptr(GMainLoop) loop = g_main_loop_new(/* context= */ NULL, /* is_running= */ false);
        Program program = { .loop = loop, .status = EXIT_SUCCESS };
        g_autoptr(GDBusConnection) connection = connect_to_parent(error);
        g_autoptr(VmmService) service = NULL;

        if (!connection)
                return EXIT_FAILURE;
        g_dbus_connection_set_exit_on_close(connection, false);
        g_signal_connect(connection, "closed", G_CALLBACK(on_closed), &program);
        service = vmm_service_new(connection, on_finished, &program, error);
        if (!service)
                return EXIT_FAILURE;
        g_unix_signal_add(SIGTERM, on_terminate, &program);
        g_dbus_connection_start_message_processing(connection);
        g_main_loop_run(loop);
        return program.status;
}

int main(int argc, char **argv) {
        g_autoptr(GError) error = NULL;
        int status;

        if (argc > 1 && strcmp(argv[1], "--version") == 0) {
                g_print("chv-vmm %s\n", CHV_VERSION);
                return EXIT_SUCCESS;
        }
        (void) signal(SIGPIPE, SIG_IGN);
        (void) signal(SIGXFSZ, SIG_IGN); /* a write beyond a limit is an error of that request */
        (void) prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        status = run(&error);
        if (error)
                g_printerr("chv-vmm: %s\n", error->message);
        return status;
}
