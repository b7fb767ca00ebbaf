/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * chv-vmm: the process of one VM. chvd starts it with a listening socket as standard input, connects to that, and speaks
 * org.cloudhypervisor.Vmm over the connection; everything else the VM needs arrives through it. The machine lives on
 * when the connection goes, for the next chvd to connect. What it gives up on the way, and when, is in sandbox/sandbox.c.
 */

#include "config.h"

#include <gio/gio.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/vmm/channel.h"
#include "daemon/vmm/sandbox/detach.h"
#include "daemon/vmm/sandbox/sandbox.h"
#include "daemon/vmm/service.h"
#include "daemon/vmm/signals.h"

#define CHANNEL_FD STDIN_FILENO
#define STACK_SIZE (512u * 1024u)
#define LARGE_BLOCK (16u * 1024u)

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

static void on_connected(void *opaque, GDBusConnection *connection) {
        Program *program = opaque;

        sandbox_set_connection(connection);
        vmm_service_connect(program->service, connection);
}

static void on_lost(void *opaque) {
        Program *program = opaque;

        sandbox_set_connection(/* connection= */ NULL);
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
        if (!signals_watch(service, error) || !sandbox_filter(CHANNEL_FD, error))
                return EXIT_FAILURE;
        detach_finish();
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

static gboolean on_detach(const gchar *name, const gchar *value, gpointer config, GError **error) {
        ((SandboxConfig *) config)->detach = true;
        return true;
}

static gboolean on_version(const gchar *name, const gchar *value, gpointer data, GError **error) {
        g_print("chv-vmm %s\n", CHV_VERSION);
        exit(EXIT_SUCCESS);
}

static bool parse_options(int argc, char **argv, SandboxConfig *config, GError **error) {
        static const GOptionEntry entries[] = {
                { "detach", 0, G_OPTION_FLAG_NO_ARG, G_OPTION_ARG_CALLBACK, on_detach,
                  "Go on in a child with a process namespace of its own", NULL },
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

/* Of every thread, GLib's too. What is as long as a huge page is given one by kernels that do so unasked, at the first touch of a stack;
 * nothing here goes that deep. */
static void keep_stacks_small(void) {
        pthread_attr_t attr;

        if (pthread_attr_init(&attr) != 0)
                return;
        if (pthread_attr_setstacksize(&attr, STACK_SIZE) == 0)
                (void) pthread_setattr_default_np(&attr);
        (void) pthread_attr_destroy(&attr);
}

/* A worker allocates little, and nothing while a guest's requests are served: one arena does for all threads. Large blocks, of which little may ever be
 * touched, are mapped each by itself, and go when they are freed, as does what the start has left over. */
static void keep_heap_small(void) {
        (void) mallopt(M_ARENA_MAX, 1);
        (void) mallopt(M_MMAP_THRESHOLD, LARGE_BLOCK);
        (void) mallopt(M_TOP_PAD, LARGE_BLOCK);
        (void) mallopt(M_TRIM_THRESHOLD, 4 * LARGE_BLOCK);
}

int main(int argc, char **argv) {
        SandboxConfig sandbox = { .seccomp = SANDBOX_SECCOMP_ON };
        g_autoptr(GError) error = NULL;
        int status = EXIT_FAILURE;

        keep_heap_small();
        keep_stacks_small();
        g_log_set_writer_func(write_log, NULL, NULL);
        (void) signal(SIGPIPE, SIG_IGN);
        (void) signal(SIGXFSZ, SIG_IGN); /* a write beyond a limit is an error of that request */
        if (parse_options(argc, argv, &sandbox, &error) && sandbox_enter(&sandbox, &error))
                status = run(&error);
        if (error)
                dprintf(STDERR_FILENO, "chv-vmm: %s\n", error->message);
        return status;
}
