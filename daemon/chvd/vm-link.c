/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Connections that a running machine has lost: a device's back end has died, or was restarted. The socket is connected to again (or passt
 * started again) with the rights of the VM's owner as at the start, and the worker gets the new connection; until it has taken one, this is tried again,
 * less and less often.
 *
 * That a connection is lost is the worker's word. It can only name one that its definition has, and its lies cost no more than a
 * connection now and then. A descriptor that the creator gave cannot be made again, and the path beside it is not touched.
 */

#include <unistd.h>

#include "daemon/chvd/vm-private.h"

#define FIRST_DELAY_MS 50
#define MAX_DOUBLINGS 7

/* Of the VM's list, and of each call under way. */
typedef struct {
        ChvdVm *vm; /* NULL: forgotten */
        ChvdDefinition *definition;
        const ChvResource *need; /* of the definition */
        GCancellable *opening;
        guint timer;
        unsigned tries;
} ChvdLink;

static void link_clear(gpointer data) {
        ChvdLink *l = data;

        g_clear_object(&l->opening);
        chvd_definition_unref(l->definition);
}

static void link_unref(gpointer data) {
        g_rc_box_release_full(data, link_clear);
}

/* The list's reference goes. */
static void link_forget(gpointer data) {
        ChvdLink *l = data;

        l->vm = NULL;
        g_clear_handle_id(&l->timer, g_source_remove);
        g_cancellable_cancel(l->opening);
        link_unref(l);
}

static gboolean on_time(gpointer data);

static void schedule(ChvdLink *l) {
        unsigned delay = FIRST_DELAY_MS << MIN(l->tries, MAX_DOUBLINGS);

        l->tries++;
        if (!l->timer)
                l->timer = g_timeout_add(delay, on_time, l);
}

static void on_taken(gpointer data, GVariant *reply, GUnixFDList *fds, const GError *error) {
        ChvdLink *l = data;

        if (l->vm && error) {
                g_debug("VM '%s': %s: %s", chvd_vm_name(l->vm), l->need->fd_name, error->message);
                schedule(l);
        } else if (l->vm)
                g_ptr_array_remove_fast(l->vm->links, l);
        link_unref(l);
}

static void on_connected(GObject *source, GAsyncResult *result, gpointer data) {
        ChvdLink *l = data;
        g_autoptr(GError) error = NULL;
        g_autoptr(GUnixFDList) list = NULL;
        int fd = chvd_broker_connect_finish(result, &error);

        if (fd >= 0)
                list = g_unix_fd_list_new_from_array(&fd, 1);
        if (l->vm && list && l->vm->worker && chvd_worker_is_ready(l->vm->worker)) {
                chvd_worker_call(
                                l->vm->worker, "Connect",
                                g_variant_new("(sh)", l->need->fd_name, 0), "()", list,
                                /* timeout_ms= */ -1, on_taken, g_rc_box_acquire(l));
        } else if (l->vm) {
                g_debug("VM '%s': %s", chvd_vm_name(l->vm),
                        error ? error->message : "its worker cannot be told");
                schedule(l);
        }
        link_unref(l);
}

static gboolean on_time(gpointer data) {
        ChvdLink *l = data;

        l->timer = 0;
        chvd_broker_connect_async(
                        l->vm->context, l->definition, l->need, l->vm->owner, l->opening,
                        on_connected, g_rc_box_acquire(l));
        return G_SOURCE_REMOVE;
}

static const ChvResource *find_need(const ChvdDefinition *definition, const char *id) {
        g_autofree char *disk = g_strdup_printf("disks/%s", id);
        g_autofree char *net = g_strdup_printf("net/%s/0", id);

        for (unsigned i = 0; i < definition->needs->len; i++) {
                const ChvResource *need = &g_array_index(definition->needs, ChvResource, i);

                if ((need->kind == CHV_RESOURCE_VHOST_USER || need->kind == CHV_RESOURCE_PASST) &&
                    (g_str_equal(need->fd_name, disk) || g_str_equal(need->fd_name, net)))
                        return need;
        }
        return NULL;
}

void chvd_vm_link_lost(ChvdVm *vm, GVariant *properties) {
        const ChvResource *need;
        const char *id;
        ChvdLink *l;

        if (!g_variant_lookup(properties, "id", "&s", &id))
                return;
        need = find_need(vm->definition, id);
        if (!need || (need->kind == CHV_RESOURCE_VHOST_USER && !need->path) ||
            vm->definition->lost || chvd_fd_set_get(vm->definition->given, need->fd_name) >= 0)
                return;
        if (!vm->links)
                vm->links = g_ptr_array_new_with_free_func(link_forget);
        for (unsigned i = 0; i < vm->links->len; i++)
                if (((ChvdLink *) vm->links->pdata[i])->need == need)
                        return;
        l = g_rc_box_new0(ChvdLink);
        l->vm = vm;
        l->definition = chvd_definition_ref(vm->definition);
        l->need = need;
        l->opening = g_cancellable_new();
        g_ptr_array_add(vm->links, l);
        schedule(l);
}

void chvd_vm_forget_links(ChvdVm *vm) {
        g_clear_pointer(&vm->links, g_ptr_array_unref);
}
