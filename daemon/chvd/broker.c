/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The broker opens the host's side of a VM, so that the worker opens nothing: descriptors given by the creator are
 * duplicated, everything else is opened by name with the daemon's rights. Either all of it is had, or nothing stays
 * behind.
 */

#include "daemon/chvd/broker.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/chvd/resource.h"
#include "daemon/chvd/socket.h"
#include "daemon/chvd/tap.h"
#include "daemon/chvd/terminal.h"
#include "dbus/error.h"
#include "dbus/fd.h"

/* A socket file that we made. */
typedef struct {
        char *path;
        dev_t device;
        ino_t inode;
} Made;

struct ChvdResources {
        ChvdDefinition *definition; /* owns the descriptors in `locked` */
        ChvdFdSet *fds;
        GArray *made;   /* Made */
        GArray *locked; /* int: given descriptors that we locked */
};

typedef struct {
        ChvdDefinition *definition;
        char *kvm_path;
} Request;

static void request_free(gpointer data) {
        Request *request = data;

        chvd_definition_unref(request->definition);
        g_free(request->kvm_path);
        g_free(request);
}

static void made_clear(gpointer data) {
        Made *made = data;
        struct stat st;

        /* Somebody may have put a socket of their own there since. */
        if (lstat(made->path, &st) == 0 && st.st_dev == made->device && st.st_ino == made->inode)
                (void) unlink(made->path);
        g_free(made->path);
}

static ChvdResources *resources_new(ChvdDefinition *definition) {
        ChvdResources *resources = g_new0(ChvdResources, 1);

        resources->definition = chvd_definition_ref(definition);
        resources->fds = chvd_fd_set_new();
        resources->made = g_array_new(false, false, sizeof(Made));
        g_array_set_clear_func(resources->made, made_clear);
        resources->locked = g_array_new(false, false, sizeof(int));
        return resources;
}

void chvd_resources_free(ChvdResources *resources) {
        if (!resources)
                return;
        for (unsigned i = 0; i < resources->locked->len; i++)
                chvd_resource_unlock(g_array_index(resources->locked, int, i));
        chvd_fd_set_free(resources->fds);
        g_array_unref(resources->made);
        g_array_unref(resources->locked);
        chvd_definition_unref(resources->definition);
        g_free(resources);
}

const ChvdFdSet *chvd_resources_fds(const ChvdResources *resources) {
        return resources->fds;
}

void chvd_resources_passed(ChvdResources *resources) {
        g_clear_pointer(&resources->fds, chvd_fd_set_free);
}

static int open_socket(ChvdResources *resources, const ChvResource *need, GError **error) {
        Made made = { 0 };
        struct stat st;
        int fd = chvd_socket_listen(need, error);

        if (fd < 0)
                return -1;
        if (lstat(need->path, &st) == 0) {
                made = (Made){ g_strdup(need->path), st.st_dev, st.st_ino };
                (void) g_array_append_val(resources->made, made);
        }
        return fd;
}

static int open_tap(ChvdResources *resources, const ChvResource *need, GError **error) {
        g_autofree char *interface = NULL;

        /* Queue pairs of one interface follow each other. */
        if (need->index > 0) {
                size_t last = chvd_fd_set_size(resources->fds) - 1;

                interface = chvd_tap_interface(chvd_fd_set_get(
                                resources->fds, chvd_fd_set_name(resources->fds, last)));
        }
        return chvd_tap_open(need, interface, error);
}

static int open_need(ChvdResources *resources, const ChvResource *need, GError **error) {
        int given = chvd_fd_set_get(resources->definition->given, need->fd_name);

        if (given >= 0) {
                int fd = fcntl(given, F_DUPFD_CLOEXEC, 3);

                if (fd < 0)
                        (void) chvd_resource_fail(need, errno, "cannot duplicate", error);
                return fd;
        }
        switch (need->kind) {
        case CHV_RESOURCE_TAP:
                return open_tap(resources, need, error);
        case CHV_RESOURCE_SOCKET:
                return open_socket(resources, need, error);
        default:
                return chvd_resource_open(need, error);
        }
}

static bool add_need(ChvdResources *resources, const ChvResource *need, GError **error) {
        int given = chvd_fd_set_get(resources->definition->given, need->fd_name);
        chv_autofd fd = open_need(resources, need, error);

        if (fd < 0)
                return false;
        if (need->kind == CHV_RESOURCE_DISK) {
                if (!chvd_resource_lock(need, fd, error))
                        return false;
                if (given >= 0)
                        (void) g_array_append_val(resources->locked, given);
        }
        chvd_fd_set_take(resources->fds, need->fd_name, chv_fd_steal(&fd));
        return true;
}

static bool add_kvm(ChvdResources *resources, const char *path, GError **error) {
        chv_autofd fd = open(path, O_RDWR | O_CLOEXEC | O_NOCTTY);
        struct stat st;

        if (fd < 0 || fstat(fd, &st) < 0) {
                g_set_error(error, CHV_ERROR, CHV_ERROR_RESOURCE, "cannot open %s: %s", path,
                            g_strerror(errno));
                return false;
        }
        if (!S_ISCHR(st.st_mode)) {
                g_set_error(error, CHV_ERROR, CHV_ERROR_RESOURCE, "%s is not a character device",
                            path);
                return false;
        }
        chvd_fd_set_take(resources->fds, "kvm", chv_fd_steal(&fd));
        return true;
}

/* Consoles whose other end is a terminal; those are no resources of the table. */
static bool
add_terminal(ChvdResources *resources,
             const char *name,
             const ChvConsoleConfig *console,
             GError **error) {
        int given = chvd_fd_set_get(resources->definition->given, name);
        int fd;

        if (console->mode != CHV_CONSOLE_TTY && console->mode != CHV_CONSOLE_PTY)
                return true;
        fd = chvd_terminal_open(name, console->mode, given, error);
        if (fd < 0)
                return false;
        chvd_fd_set_take(resources->fds, name, fd);
        return true;
}

static bool add_terminals(ChvdResources *resources, const ChvConfig *config, GError **error) {
        return add_terminal(resources, "serial", &config->serial, error) &&
               add_terminal(resources, "console", &config->console, error) &&
               add_terminal(resources, "debug_console", &config->debug_console, error);
}

static void open_in_thread(GTask *task, gpointer source, gpointer data, GCancellable *cancellable) {
        Request *request = data;
        const ChvdDefinition *definition = request->definition;
        g_autoptr(ChvdResources) resources = resources_new(request->definition);
        GError *error = NULL;
        bool ok = add_kvm(resources, request->kvm_path, &error);

        for (unsigned i = 0; ok && i < definition->needs->len; i++)
                ok = !g_cancellable_set_error_if_cancelled(cancellable, &error) &&
                     add_need(resources, &g_array_index(definition->needs, ChvResource, i), &error);
        ok = ok && add_terminals(resources, definition->config, &error);
        if (ok)
                g_task_return_pointer(
                                task, g_steal_pointer(&resources),
                                (GDestroyNotify) chvd_resources_free);
        else
                g_task_return_error(task, error);
}

void chvd_broker_open_async(
                ChvdDefinition *definition,
                const char *kvm_path,
                GCancellable *cancellable,
                GAsyncReadyCallback callback,
                gpointer data) {
        g_autoptr(GTask) task = g_task_new(/* source_object= */ NULL, cancellable, callback, data);
        Request *request = g_new0(Request, 1);

        request->definition = chvd_definition_ref(definition);
        request->kvm_path = g_strdup(kvm_path);
        g_task_set_task_data(task, request, request_free);
        g_task_set_return_on_cancel(task, true);
        g_task_run_in_thread(task, open_in_thread);
}

ChvdResources *chvd_broker_open_finish(GAsyncResult *result, GError **error) {
        return g_task_propagate_pointer(G_TASK(result), error);
}
