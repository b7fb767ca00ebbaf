/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * chv-vmm: the process of one VM. chvd starts it with a socket as descriptor 3 and speaks
 * org.cloudhypervisor.Vmm over it; everything else the VM needs arrives through that socket. When the
 * connection goes, so does the VM. What it gives up on the way, and when, is in sandbox/sandbox.c.
 */

#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <gio/gio.h>
#include <gio/gunixfdlist.h>
#include <glib-unix.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/vmm/sandbox/sandbox.h"
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
        if (!sandbox_filter(CONNECTION_FD, error))
                return EXIT_FAILURE;
        g_dbus_connection_start_message_processing(connection);
        g_main_loop_run(loop);
        return program.status;
}

/* GLib's own writer asks for the time zone, the journal and the terminal: all behind paths. */
static GLogWriterOutput
write_log(GLogLevelFlags level, const GLogField *fields, gsize n_fields, gpointer data) {
        const char *message = "", *domain = NULL;

        for (gsize i = 0; i < n_fields; i++)
                if (strcmp(fields[i].key, "MESSAGE") == 0)
                        message = fields[i].value;
                else if (strcmp(fields[i].key, "GLIB_DOMAIN") == 0)
                        domain = fields[i].value;
        if (!g_log_writer_default_would_drop(level, domain))
                dprintf(STDERR_FILENO, "chv-vmm: %s\n", message);
        return G_LOG_WRITER_HANDLED;
}

static gboolean on_seccomp(const gchar *name, const gchar *value, gpointer config, GError **error) {
        if (sandbox_seccomp_from_string(value, &((SandboxConfig *) config)->seccomp))
                return true;
        g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                    "%s: '%s' is none of on, log, errno and off", name, value);
        return false;
}

static gboolean on_user(const gchar *name, const gchar *value, gpointer config, GError **error) {
        if (sandbox_user_from_string(value, config))
                return true;
        g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                    "%s: '%s' is not UID:GID, two numbers from 1 to 4294967294", name, value);
        return false;
}

static gboolean on_version(const gchar *name, const gchar *value, gpointer data, GError **error) {
        g_print("chv-vmm %s\n", CHV_VERSION);
        exit(EXIT_SUCCESS);
}

static bool parse_options(int argc, char **argv, SandboxConfig *config, GError **error) {
        static const GOptionEntry entries[] = {
                { "seccomp", 0, 0, G_OPTION_ARG_CALLBACK, on_seccomp,
                  "What a forbidden system call leads to: on (death), log, errno, off", "MODE" },
                { "user", 0, 0, G_OPTION_ARG_CALLBACK, on_user,
                  "User and group to become, as numbers", "UID:GID" },
                { "version", 0, G_OPTION_FLAG_NO_ARG, G_OPTION_ARG_CALLBACK, on_version,
                  "Print the version", NULL },
                { NULL },
        };
        g_autoptr(GOptionContext) context = g_option_context_new("- the process of one VM");
        GOptionGroup *group = g_option_group_new("vmm", NULL, NULL, config, NULL);

        g_option_group_add_entries(group, entries);
        g_option_context_set_main_group(context, group); /* takes it */
        if (!g_option_context_parse(context, &argc, &argv, error))
                return false;
        if (argc > 1)
                g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_UNKNOWN_OPTION,
                            "unknown argument '%s'", argv[1]);
        return argc == 1;
}

int main(int argc, char **argv) {
        SandboxConfig sandbox = { .seccomp = SANDBOX_SECCOMP_ON };
        g_autoptr(GError) error = NULL;
        int status = EXIT_FAILURE;

        g_log_set_writer_func(write_log, NULL, NULL);
        (void) signal(SIGPIPE, SIG_IGN);
        if (parse_options(argc, argv, &sandbox, &error) &&
            sandbox_enter(&sandbox, CONNECTION_FD, &error))
                status = run(&error);
        if (error)
                dprintf(STDERR_FILENO, "chv-vmm: %s\n", error->message);
        return status;
}
