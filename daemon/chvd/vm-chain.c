/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Files that images name: the one that an image is based on, its parts. chvd parses no image; the worker, which is in its sandbox and has no machine
 * yet, is shown the files that there are and says which one is named next, until there is none. Each is opened like the disk's own path,
 * with the rights of the VM's owner, relative to the folder of the file that names it: what is only read is shared with other readers.
 *
 * Only disks with backing_files=on are asked for. What the worker says is an image's word, so it is bounded and can reach nothing that the
 * owner could not name himself.
 */

#include <string.h>

#include "daemon/chvd/vm-private.h"
#include "dbus/error.h"

#define MAX_FILES 64u
#define MAX_NAME 1023u

typedef struct {
        ChvdVm *vm;
        ChvdWorker *worker; /* compared only */
        size_t disk;        /* being looked at */
        GPtrArray *paths;   /* of its files; its own first */
        ChvResource need;   /* being opened */
        char *option, *fd_name, *path;
        void (*done)(ChvdVm *vm, const GError *error);
} Chain;

static void look(Chain *chain);

static void forget_need(Chain *chain) {
        g_clear_pointer(&chain->option, g_free);
        g_clear_pointer(&chain->fd_name, g_free);
        g_clear_pointer(&chain->path, g_free);
}

static void chain_free(Chain *chain) {
        forget_need(chain);
        g_clear_pointer(&chain->paths, g_ptr_array_unref);
        chvd_vm_unref(chain->vm);
        g_free(chain);
}

/* The run that this belongs to is over, or another one. */
static bool is_void(const Chain *chain) {
        return chain->vm->worker != chain->worker || chvd_vm_is_ending(chain->vm);
}

static void finish(Chain *chain, const GError *error) {
        if (!is_void(chain)) {
                g_clear_object(&chain->vm->chaining);
                chain->done(chain->vm, error);
        }
        chain_free(chain);
}

static const ChvDiskConfig *disk_of(const Chain *chain) {
        return &chain->vm->definition->config->disks[chain->disk];
}

static void on_opened(GObject *source, GAsyncResult *result, gpointer data) {
        Chain *chain = data;
        g_autoptr(GError) error = NULL;

        if (is_void(chain)) {
                chvd_broker_drop(result);
                return chain_free(chain);
        }
        if (!chvd_broker_add_finish(chain->vm->resources, &chain->need, result, &error))
                return finish(chain, error);
        g_ptr_array_add(chain->paths, g_steal_pointer(&chain->path));
        forget_need(chain);
        look(chain);
}

static bool is_good_name(const char *name) {
        if (!*name || strlen(name) > MAX_NAME)
                return false;
        for (const char *p = name; *p; p++)
                if (g_ascii_iscntrl(*p))
                        return false;
        return true;
}

/* NULL: error. */
static char *resolve(Chain *chain, const char *name, unsigned parent, GError **error) {
        const ChvDiskConfig *disk = disk_of(chain);
        g_autofree char *own = g_strconcat("disks/", disk->pci.id, NULL), *folder = NULL;
        const char *wrong = NULL;

        if (!is_good_name(name))
                wrong = "names a file whose name is empty, too long or has control characters";
        else if (chain->paths->len > MAX_FILES)
                wrong = "names too many files";
        else if (!g_path_is_absolute(name) && parent == 0 &&
                 chvd_fd_set_get(chain->vm->definition->given, own) >= 0)
                wrong = "names a file beside itself, and was given as a descriptor";
        if (wrong) {
                g_set_error(error, CHV_ERROR, CHV_ERROR_RESOURCE,
                            "disks[%" G_GSIZE_FORMAT "].backing_files: the image %s", chain->disk,
                            wrong);
                return NULL;
        }
        if (g_path_is_absolute(name))
                return g_strdup(name);
        folder = g_path_get_dirname(chain->paths->pdata[parent]);
        return g_build_filename(folder, name, NULL);
}

static void
open_next(Chain *chain, const char *role, const char *name, unsigned parent, GError **error) {
        ChvdVm *vm = chain->vm;
        const ChvDiskConfig *disk = disk_of(chain);
        bool backing = g_str_equal(role, "backing");

        chain->path = resolve(chain, name, parent, error);
        if (!chain->path)
                return;
        chain->option = g_strdup_printf("disks[%" G_GSIZE_FORMAT "].backing_files", chain->disk);
        chain->fd_name = g_strdup_printf("disks/%s/%u", disk->pci.id, chain->paths->len - 1);
        chain->need = (ChvResource){
                .kind = CHV_RESOURCE_DISK,
                .option = chain->option,
                .path = chain->path,
                .readonly = backing || parent > 0 || disk->readonly,
                .direct = disk->direct,
                .lock_full = chv_disk_lock_full(disk),
                .fd_name = chain->fd_name,
                .config = disk,
        };
        chvd_broker_add_async(vm->context, &chain->need, vm->owner, vm->chaining, on_opened, chain);
}

static void on_looked(gpointer data, GVariant *reply, GUnixFDList *fds, const GError *failed) {
        Chain *chain = data;
        g_autoptr(GError) error = NULL;
        const char *role, *name, *format;
        gboolean complete;
        guint32 parent;

        if (is_void(chain))
                return chain_free(chain);
        if (failed)
                return finish(chain, failed);
        g_variant_get(reply, "(b&s&s&su)", &complete, &role, &name, &format, &parent);
        if (complete) {
                g_clear_pointer(&chain->paths, g_ptr_array_unref);
                chain->disk++;
                return look(chain);
        }
        if (parent >= chain->paths->len) {
                error = g_error_new_literal(
                                CHV_ERROR, CHV_ERROR_FAILED,
                                "the worker's answer to InspectImage is senseless");
                return finish(chain, error);
        }
        open_next(chain, role, name, parent, &error);
        if (error)
                finish(chain, error);
}

/* The descriptors of the disk's files, in order. */
static GVariant *list_files(const Chain *chain, GUnixFDList *list, GError **error) {
        const ChvdFdSet *set = chvd_resources_fds(chain->vm->resources);
        GVariantBuilder files;

        g_variant_builder_init(&files, G_VARIANT_TYPE("ah"));
        for (unsigned i = 0; i < chain->paths->len; i++) {
                const char *id = disk_of(chain)->pci.id;
                g_autofree char *name = i ? g_strdup_printf("disks/%s/%u", id, i - 1)
                                          : g_strdup_printf("disks/%s", id);
                int handle = g_unix_fd_list_append(list, chvd_fd_set_get(set, name), error);

                if (handle < 0) {
                        g_variant_builder_clear(&files);
                        return NULL;
                }
                g_variant_builder_add(&files, "h", handle);
        }
        return g_variant_builder_end(&files);
}

static bool names_files(const ChvDiskConfig *disk) {
        return disk->backing_files && !disk->vhost_user && g_strcmp0(disk->image_type, "raw") != 0;
}

static void look(Chain *chain) {
        const ChvConfig *config = chain->vm->definition->config;
        g_autoptr(GUnixFDList) list = g_unix_fd_list_new();
        g_autoptr(GError) error = NULL;
        GVariant *files;

        while (chain->disk < config->n_disks && !names_files(&config->disks[chain->disk]))
                chain->disk++;
        if (chain->disk == config->n_disks)
                return finish(chain, /* error= */ NULL);
        if (!chain->paths) {
                chain->paths = g_ptr_array_new_with_free_func(g_free);
                g_ptr_array_add(chain->paths, g_strdup(disk_of(chain)->path));
        }
        files = list_files(chain, list, &error);
        if (!files) {
                g_autoptr(GError) ours =
                                g_error_new_literal(CHV_ERROR, CHV_ERROR_FAILED, error->message);

                return finish(chain, ours);
        }
        chvd_worker_call(
                        chain->worker, "InspectImage",
                        g_variant_new("(@ahs)", files, disk_of(chain)->image_type ?: "auto"),
                        "(bsssu)", list, G_MAXINT, /* the deadline of the start is what counts */
                        on_looked, chain);
}

void chvd_vm_open_chains(ChvdVm *vm, void (*done)(ChvdVm *vm, const GError *error)) {
        Chain *chain = g_new0(Chain, 1);

        chain->vm = chvd_vm_ref(vm);
        chain->worker = vm->worker;
        chain->done = done;
        g_clear_object(&vm->chaining);
        vm->chaining = g_cancellable_new();
        look(chain);
}
