/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * chv-vmm: the process of one VM. chvd starts it with a listening socket as standard input, connects to that, and speaks
 * org.cloudhypervisor.Vmm over the connection; everything else the VM needs arrives through it. The machine lives on
 * when the connection goes, for the next chvd to connect.
 */

#include "config.h"

#include <gio/gio.h>
#include <glib-unix.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "daemon/vmm/channel.h"
#include "daemon/vmm/service.h"

#define CHANNEL_FD STDIN_FILENO

typedef struct {
        GMainLoop *loop;
        VmmService *service;
        int status;
} Program;

static void on_finished(void *opaque, int status) {
        Program *program = opaque;

        program->status = status;
        g_main_loop_quit(program->loop);
}

static gboolean on_terminate(gpointer data) {
        Program *program = data;

        g_main_loop_quit(program->loop);
        return G_SOURCE_CONTINUE;
}

static void on_connected(void *opaque, GDBusConnection *connection) {
        Program *program = opaque;

        vmm_service_connect(program->service, connection);
}

static void on_lost(void *opaque) {
        Program *program = opaque;

        vmm_service_connect(program->service, /* connection= */ NULL);
}

static const ChannelOps channel_ops = {
        .connected = on_connected,
        .lost = on_lost,
};

static int run(GError **error) {
        g_autoptr(GMainLoop) loop = g_main_loop_new(/* context= */ NULL, /* is_running= */ false);
        Program program = { .loop = loop, .status = EXIT_SUCCESS };
        g_autoptr(VmmService) service = program.service = vmm_service_new(on_finished, &program);
        g_autoptr(Channel) channel = channel_new(CHANNEL_FD, &channel_ops, &program, error);

        if (!channel)
                return EXIT_FAILURE;
        g_unix_signal_add(SIGTERM, on_terminate, &program);
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
