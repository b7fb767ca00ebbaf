/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The broker opens the host's side of a VM, so that the worker opens nothing: descriptors given by the creator are
 * duplicated, paths are opened with the rights of the VM's owner (opener.c), interfaces, /dev/kvm and the host's
 * randomness with the daemon's. Either all of it is had, or nothing stays behind.
 */

#include "daemon/chvd/broker.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/chvd/back-end.h"
#include "daemon/chvd/image.h"
#include "daemon/chvd/opener.h"
#include "daemon/chvd/passt.h"
#include "daemon/chvd/resource.h"
#include "daemon/chvd/tap.h"
#include "daemon/chvd/thread.h"
#include "daemon/chvd/vhost.h"
#include "dbus/error.h"
#include "dbus/fd.h"

/* How long it may take an owner's process to remove files: his file system may be one that never answers. */
#define REMOVE_TIMEOUT_S 10

/* A socket file that was made. */
typedef struct {
        char *path;
        ChvdSocketFile file;
} Made;

struct ChvdResources {
        ChvdDefinition *definition; /* owns the descriptors in `locked` */
        ChvdRights *rights;
        ChvdFdSet *fds;
        GArray *made;      /* Made */
        GArray *locked;    /* int: given descriptors that we locked */
        GPtrArray *images; /* ChvdImage */
};

typedef struct {
        ChvdResources *resources;
        char *kvm_path;
} Request;

/* Files that their owner removes. */
typedef struct {
        ChvdRights *rights;
        GArray *made;
        void (*done)(gpointer data); /* NULL: nobody waits */
        gpointer data;
} Removal;

static void made_clear(gpointer data) {
        Made *made = data;

        g_free(made->path);
}

static ChvdResources *
resources_new(const ChvdContext *context, ChvdDefinition *definition, uid_t owner) {
        ChvdResources *resources = g_new0(ChvdResources, 1);

        resources->definition = chvd_definition_ref(definition);
        resources->rights = chvd_rights_new(context, owner);
        resources->fds = chvd_fd_set_new();
        resources->made = g_array_new(false, false, sizeof(Made));
        g_array_set_clear_func(resources->made, made_clear);
        resources->locked = g_array_new(false, false, sizeof(int));
        resources->images = g_ptr_array_new_with_free_func((GDestroyNotify) chvd_image_release);
        return resources;
}

/* Files that could not be removed are left for who finds them: nobody listens on them. */
static void remove_made(ChvdOpener *opener, GArray *files, GCancellable *cancellable) {
        for (unsigned i = 0; i < files->len; i++) {
                const Made *made = &g_array_index(files, Made, i);
                g_autoptr(GError) error = NULL;

                if (!chvd_opener_remove(opener, made->path, &made->file, cancellable, &error)) {
                        g_debug("%s is not removed: %s", made->path, error->message);
                        return;
                }
        }
}

static void removal_free(gpointer data) {
        Removal *removal = data;

        chvd_rights_free(removal->rights);
        g_array_unref(removal->made);
        g_free(removal);
}

static gpointer remove_in_thread(gpointer data, GCancellable *cancellable, GError **error) {
        const Removal *removal = data;
        g_autoptr(ChvdOpener) opener = chvd_opener_new(removal->rights);

        remove_made(opener, removal->made, cancellable);
        return NULL;
}

static void on_removed(GObject *source, GAsyncResult *result, gpointer data) {
        const Removal *removal = g_task_get_task_data(G_TASK(result));

        if (removal->done)
                removal->done(removal->data);
}

static gboolean on_remove_timeout(gpointer data) {
        g_cancellable_cancel(data);
        return G_SOURCE_REMOVE;
}

/* True: there is nothing to wait for. */
static bool release(ChvdResources *resources, void (*done)(gpointer data), gpointer data) {
        g_autoptr(GCancellable) cancellable = NULL;
        g_autoptr(GTask) task = NULL;
        Removal *removal;

        if (resources->made->len == 0)
                return true;
        if (resources->rights->self) {
                g_autoptr(ChvdOpener) opener = chvd_opener_new(resources->rights);

                remove_made(opener, resources->made, NULL);
                return true;
        }
        removal = g_new0(Removal, 1);
        removal->rights = chvd_rights_copy(resources->rights);
        removal->made = g_array_ref(resources->made);
        removal->done = done;
        removal->data = data;
        cancellable = g_cancellable_new();
        (void) g_timeout_add_seconds_full(
                        G_PRIORITY_DEFAULT, REMOVE_TIMEOUT_S, on_remove_timeout,
                        g_object_ref(cancellable), g_object_unref);
        task = g_task_new(/* source_object= */ NULL, cancellable, on_removed, NULL);
        g_task_set_task_data(task, removal, removal_free);
        chvd_thread_run(task, remove_in_thread, /* free_result= */ NULL);
        return false;
}

bool chvd_resources_release(ChvdResources *resources, void (*done)(gpointer data), gpointer data) {
        bool released = release(resources, done, data);

        for (unsigned i = 0; i < resources->locked->len; i++)
                chvd_resource_unlock(g_array_index(resources->locked, int, i));
        chvd_fd_set_free(resources->fds);
        g_array_unref(resources->made);
        g_array_unref(resources->locked);
        g_ptr_array_unref(resources->images);
        chvd_rights_free(resources->rights);
        chvd_definition_unref(resources->definition);
        g_free(resources);
        return released;
}

void chvd_resources_free(ChvdResources *resources) {
        if (resources)
                (void) chvd_resources_release(resources, /* done= */ NULL, /* data= */ NULL);
}

void chvd_resources_abandon(ChvdResources *resources) {
        g_array_set_size(resources->made, 0);
        g_array_set_size(resources->locked, 0);
        chvd_resources_free(resources);
}

const ChvdFdSet *chvd_resources_fds(const ChvdResources *resources) {
        return resources->fds;
}

void chvd_resources_passed(ChvdResources *resources) {
        g_clear_pointer(&resources->fds, chvd_fd_set_free);
}

GVariant *chvd_resources_save(const ChvdResources *resources) {
        GVariantBuilder made, images;

        g_variant_builder_init(&made, G_VARIANT_TYPE("a(stt)"));
        for (unsigned i = 0; i < resources->made->len; i++) {
                const Made *one = &g_array_index(resources->made, Made, i);

                g_variant_builder_add(&made, "(stt)", one->path, one->file.device, one->file.inode);
        }
        g_variant_builder_init(&images, G_VARIANT_TYPE("a(bytt)"));
        for (unsigned i = 0; i < resources->images->len; i++) {
                const ChvdImage *image = resources->images->pdata[i];
                const ChvdImageId *id = chvd_image_id(image);

                g_variant_builder_add(
                                &images, "(bytt)", chvd_image_is_readonly(image), (guint8) id->kind,
                                id->device, id->inode);
        }
        return g_variant_new_parsed(
                        "{'sockets': <%@a(stt)>, 'images': <%@a(bytt)>}",
                        g_variant_builder_end(&made), g_variant_builder_end(&images));
}

ChvdResources *chvd_resources_restore(
                const ChvdContext *context,
                ChvdDefinition *definition,
                uid_t owner,
                GVariant *saved) {
        ChvdResources *resources = resources_new(context, definition, owner);
        g_autoptr(GVariant) made =
                        g_variant_lookup_value(saved, "sockets", G_VARIANT_TYPE("a(stt)"));
        g_autoptr(GVariant) images =
                        g_variant_lookup_value(saved, "images", G_VARIANT_TYPE("a(bytt)"));
        ChvResource need = { .kind = CHV_RESOURCE_DISK, .option = "disks" };
        gboolean readonly;
        guint8 kind;
        ChvdImageId id = { 0 };
        Made one = { 0 };
        GVariantIter iter;

        chvd_resources_passed(resources);
        if (made) {
                g_variant_iter_init(&iter, made);
                while (g_variant_iter_next(
                                &iter, "(stt)", &one.path, &one.file.device, &one.file.inode))
                        (void) g_array_append_val(resources->made, one);
        }
        if (images) {
                g_variant_iter_init(&iter, images);
                while (g_variant_iter_next(
                                &iter, "(bytt)", &readonly, &kind, &id.device, &id.inode)) {
                        ChvdImage *image;

                        need.readonly = readonly;
                        id.kind = kind;
                        image = chvd_image_hold(definition->name, &need, &id, /* error= */ NULL);
                        if (image)
                                g_ptr_array_add(resources->images, image);
                }
        }
        return resources;
}

/* One opening. */
typedef struct {
        ChvdResources *resources;
        ChvdOpener *opener; /* with the owner's rights */
        ChvdOpener *own;    /* with ours */
        GCancellable *cancellable;
} Opening;

static int open_socket(const Opening *opening, const ChvResource *need, GError **error) {
        GArray *all = opening->resources->made;
        ChvdSocketFile file = { 0 };
        int fd = chvd_opener_listen(opening->opener, need, &file, opening->cancellable, error);

        if (fd < 0)
                return -1;
        g_array_set_size(all, all->len + 1);
        g_array_index(all, Made, all->len - 1) =
                        (Made){ .path = g_strdup(need->path), .file = file };
        return fd;
}

/* The socket is there as long as it is waited for. */
static int accept_back_end(const Opening *opening, const ChvResource *need, GError **error) {
        GArray *all = opening->resources->made;
        ChvResource socket = *need;
        chv_autofd listener = -1, fd = -1;
        Made *made;

        socket.kind = CHV_RESOURCE_SOCKET;
        listener = open_socket(opening, &socket, error);
        if (listener < 0)
                return -1;
        fd = chvd_back_end_accept(listener, need, opening->cancellable, error);
        made = &g_array_index(all, Made, all->len - 1);
        if (fd >= 0 && chvd_opener_remove(
                                       opening->opener, made->path, &made->file,
                                       opening->cancellable, /* error= */ NULL))
                g_array_set_size(all, all->len - 1);
        return chv_fd_steal(&fd);
}

static int open_back_end(const Opening *opening, const ChvResource *need, GError **error) {
        if (need->kind == CHV_RESOURCE_PASST)
                return chvd_passt_start(
                                opening->resources->rights, need, opening->cancellable, error);
        return need->listens ? accept_back_end(opening, need, error)
                             : chvd_opener_connect(
                                               opening->opener, need, opening->cancellable, error);
}

static bool
hold(ChvdResources *resources, const ChvResource *need, const ChvdImageId *id, GError **error) {
        ChvdImage *image = chvd_image_hold(resources->definition->name, need, id, error);

        if (image)
                g_ptr_array_add(resources->images, image);
        return image;
}

static bool
hold_interface(ChvdResources *resources, const ChvResource *need, unsigned index, GError **error) {
        return hold(resources, need, &(ChvdImageId){ CHVD_IMAGE_INTERFACE, index, 0 }, error);
}

/* One that another VM has is not touched. */
static int open_first_queue(ChvdResources *resources, const ChvResource *need, GError **error) {
        unsigned index = need->path ? if_nametoindex(need->path) : 0;
        g_autofree char *interface = NULL;
        chv_autofd fd = -1;

        if (index > 0 && !hold_interface(resources, need, index, error))
                return -1;
        fd = chvd_tap_open(need, /* interface= */ NULL, error);
        if (fd < 0 || index > 0)
                return chv_fd_steal(&fd);
        interface = chvd_tap_interface(fd);
        index = interface ? if_nametoindex(interface) : 0;
        return index == 0 || hold_interface(resources, need, index, error) ? chv_fd_steal(&fd) : -1;
}

static int open_tap(ChvdResources *resources, const ChvResource *need, GError **error) {
        g_autofree char *interface = NULL;
        size_t last;

        /* Queue pairs of one interface follow each other. */
        if (need->index == 0)
                return open_first_queue(resources, need, error);
        last = chvd_fd_set_size(resources->fds) - 1;
        interface = chvd_tap_interface(
                        chvd_fd_set_get(resources->fds, chvd_fd_set_name(resources->fds, last)));
        return chvd_tap_open(need, interface, error);
}

static int open_need(Opening *opening, const ChvResource *need, bool *ret_busy, GError **error) {
        *ret_busy = false;
        switch (need->kind) {
        case CHV_RESOURCE_TAP:
                return open_tap(opening->resources, need, error);
        case CHV_RESOURCE_SOCKET:
                return open_socket(opening, need, error);
        case CHV_RESOURCE_VHOST_USER:
        case CHV_RESOURCE_PASST:
                return open_back_end(opening, need, error);
        default:
                return chvd_opener_open(
                                chvd_definition_is_anybodys(need) ? opening->own : opening->opener,
                                need, ret_busy, opening->cancellable, error);
        }
}

static int
take_given(ChvdResources *resources,
           const ChvResource *need,
           int given,
           bool *ret_busy,
           GError **error) {
        int fd = fcntl(given, F_DUPFD_CLOEXEC, 3);
        ChvdFault fault;

        *ret_busy = false;
        if (fd < 0)
                (void) chvd_resource_fail(need, errno, "cannot duplicate", error);
        if (fd < 0 || need->kind != CHV_RESOURCE_DISK)
                return fd;
        if (chvd_resource_lock(need, fd, ret_busy, &fault)) {
                (void) g_array_append_val(resources->locked, given);
                return fd;
        }
        if (*ret_busy)
                return fd;
        (void) chvd_resource_fail(need, fault.errnum, fault.what, error);
        (void) close(fd);
        return -1;
}

/* busy: the file's lock is another's. Who that is, is said if it is one of ours. */
static bool
hold_image(ChvdResources *resources, const ChvResource *need, int fd, bool busy, GError **error) {
        ChvdImageId id;

        if (!chvd_image_identify(fd, &id))
                return chvd_resource_fail(need, errno, "cannot inspect", error);
        if (!hold(resources, need, &id, error))
                return false;
        return !busy || chvd_resource_fail(need, 0, "is in use by another program", error);
}

static bool add_need(Opening *opening, const ChvResource *need, GError **error) {
        ChvdResources *resources = opening->resources;
        int given = chvd_fd_set_get(resources->definition->given, need->fd_name);
        bool busy;
        chv_autofd fd = given >= 0 ? take_given(resources, need, given, &busy, error)
                                   : open_need(opening, need, &busy, error);

        if (fd < 0)
                return false;
        if (need->kind == CHV_RESOURCE_DISK && !hold_image(resources, need, fd, busy, error))
                return false;
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

/* Consoles whose other end is a terminal; those are no resources of the table. In tty mode it is the creator's own. */
static bool
add_terminal(Opening *opening, const char *name, const ChvConsoleConfig *console, GError **error) {
        ChvdResources *resources = opening->resources;
        int given = chvd_fd_set_get(resources->definition->given, name), fd;
        g_autofree char *option = g_strconcat(name, ".mode", NULL);
        const ChvResource need = { .option = option };

        if (console->mode != CHV_CONSOLE_TTY && console->mode != CHV_CONSOLE_PTY)
                return true;
        if (given < 0 && console->mode == CHV_CONSOLE_TTY)
                return chvd_resource_fail(
                                &need, 0, "tty needs the creator's terminal as a descriptor",
                                error);
        fd = given < 0 ? chvd_opener_terminal(opening->opener, name, opening->cancellable, error)
                       : fcntl(given, F_DUPFD_CLOEXEC, 3);
        if (fd < 0)
                return given < 0 ? false
                                 : chvd_resource_fail(
                                                   &need, errno, "cannot duplicate the terminal",
                                                   error);
        chvd_fd_set_take(resources->fds, name, fd);
        return true;
}

static bool add_terminals(Opening *opening, const ChvConfig *config, GError **error) {
        return add_terminal(opening, "serial", &config->serial, error) &&
               add_terminal(opening, "console", &config->console, error) &&
               add_terminal(opening, "debug_console", &config->debug_console, error);
}

/* Neither are these: nobody gives them, and a host may do without. */
static bool add_kernel_nets(ChvdResources *resources, const ChvConfig *config, GError **error) {
        for (size_t i = 0; i < config->n_net; i++)
                if (!chvd_vhost_add(resources->fds, &config->net[i], i, error))
                        return false;
        return true;
}

static bool add_all(Opening *opening, const char *kvm_path, GError **error) {
        ChvdResources *resources = opening->resources;
        const ChvdDefinition *definition = resources->definition;

        if (!add_kvm(resources, kvm_path, error))
                return false;
        for (unsigned i = 0; i < definition->needs->len; i++)
                if (g_cancellable_set_error_if_cancelled(opening->cancellable, error) ||
                    !add_need(opening, &g_array_index(definition->needs, ChvResource, i), error))
                        return false;
        return add_terminals(opening, definition->config, error) &&
               add_kernel_nets(resources, definition->config, error);
}

static gpointer open_in_thread(gpointer data, GCancellable *cancellable, GError **error) {
        Request *request = data;
        g_autoptr(ChvdResources) resources = g_steal_pointer(&request->resources);
        const ChvdRights ours = { .self = true };
        g_autoptr(ChvdOpener) opener = chvd_opener_new(resources->rights);
        g_autoptr(ChvdOpener) own = chvd_opener_new(&ours);
        Opening opening = { resources, opener, own, cancellable };

        if (add_all(&opening, request->kvm_path, error))
                return g_steal_pointer(&resources);
        /* Before anybody is told. */
        remove_made(opener, resources->made, cancellable);
        if (!g_cancellable_is_cancelled(cancellable))
                g_array_set_size(resources->made, 0);
        return NULL;
}

static void request_free(gpointer data) {
        Request *request = data;

        chvd_resources_free(request->resources);
        g_free(request->kvm_path);
        g_free(request);
}

void chvd_broker_open_async(
                const ChvdContext *context,
                ChvdDefinition *definition,
                uid_t owner,
                GCancellable *cancellable,
                GAsyncReadyCallback callback,
                gpointer data) {
        g_autoptr(GTask) task = g_task_new(/* source_object= */ NULL, cancellable, callback, data);
        Request *request = g_new0(Request, 1);

        request->resources = resources_new(context, definition, owner);
        request->kvm_path = g_strdup(context->kvm_path);
        g_task_set_task_data(task, request, request_free);
        chvd_thread_run(task, open_in_thread, (GDestroyNotify) chvd_resources_free);
}

ChvdResources *chvd_broker_open_finish(GAsyncResult *result, GError **error) {
        return g_task_propagate_pointer(G_TASK(result), error);
}

/* A file that an image names. */
typedef struct {
        ChvResource need; /* its texts are ours */
        ChvdRights *rights;
} Adding;

typedef struct {
        int fd;
        bool busy;
} Added;

static void adding_free(gpointer data) {
        Adding *a = data;

        g_free((char *) a->need.option);
        g_free((char *) a->need.path);
        chvd_rights_free(a->rights);
        g_free(a);
}

static void added_free(gpointer data) {
        Added *added = data;

        if (added->fd >= 0)
                (void) close(added->fd);
        g_free(added);
}

static gpointer add_in_thread(gpointer data, GCancellable *cancellable, GError **error) {
        const Adding *a = data;
        g_autoptr(ChvdOpener) opener = chvd_opener_new(a->rights);
        Added *added;
        bool busy;
        int fd = chvd_opener_open(opener, &a->need, &busy, cancellable, error);

        if (fd < 0)
                return NULL;
        added = g_new0(Added, 1);
        *added = (Added){ fd, busy };
        return added;
}

void chvd_broker_add_async(
                const ChvdContext *context,
                const ChvResource *need,
                uid_t owner,
                GCancellable *cancellable,
                GAsyncReadyCallback callback,
                gpointer data) {
        g_autoptr(GTask) task = g_task_new(/* source_object= */ NULL, cancellable, callback, data);
        Adding *a = g_new0(Adding, 1);

        a->need = *need;
        a->need.option = g_strdup(need->option);
        a->need.path = g_strdup(need->path);
        a->need.config = NULL;
        a->rights = chvd_rights_new(context, owner);
        g_task_set_task_data(task, a, adding_free);
        chvd_thread_run(task, add_in_thread, added_free);
}

bool chvd_broker_add_finish(
                ChvdResources *resources,
                const ChvResource *need,
                GAsyncResult *result,
                GError **error) {
        Added *added = g_task_propagate_pointer(G_TASK(result), error);
        bool held = added && hold_image(resources, need, added->fd, added->busy, error);

        if (held)
                chvd_fd_set_take(resources->fds, need->fd_name, chv_fd_steal(&added->fd));
        if (added)
                added_free(added);
        return held;
}

void chvd_broker_drop(GAsyncResult *result) {
        Added *added = g_task_propagate_pointer(G_TASK(result), /* error= */ NULL);

        if (added)
                added_free(added);
}

/* Another connection for one that was lost. */
typedef struct {
        ChvdResources *resources; /* of this connection alone; its definition owns need */
        const ChvResource *need;
} Connecting;

static void connecting_free(gpointer data) {
        Connecting *c = data;

        chvd_resources_free(c->resources);
        g_free(c);
}

static void close_connection(gpointer data) {
        (void) close(GPOINTER_TO_INT(data));
}

/* Never 0, which standard input has. */
static gpointer connect_in_thread(gpointer data, GCancellable *cancellable, GError **error) {
        const Connecting *c = data;
        g_autoptr(ChvdOpener) opener = chvd_opener_new(c->resources->rights);
        const Opening opening = { c->resources, opener, /* own= */ NULL, cancellable };
        int fd = open_back_end(&opening, c->need, error);

        return fd < 0 ? NULL : GINT_TO_POINTER(fd);
}

void chvd_broker_connect_async(
                const ChvdContext *context,
                ChvdDefinition *definition,
                const ChvResource *need,
                uid_t owner,
                GCancellable *cancellable,
                GAsyncReadyCallback callback,
                gpointer data) {
        g_autoptr(GTask) task = g_task_new(/* source_object= */ NULL, cancellable, callback, data);
        Connecting *c = g_new0(Connecting, 1);

        c->resources = resources_new(context, definition, owner);
        c->need = need;
        g_task_set_task_data(task, c, connecting_free);
        chvd_thread_run(task, connect_in_thread, close_connection);
}

int chvd_broker_connect_finish(GAsyncResult *result, GError **error) {
        gpointer fd = g_task_propagate_pointer(G_TASK(result), error);

        return fd ? GPOINTER_TO_INT(fd) : -1;
}
