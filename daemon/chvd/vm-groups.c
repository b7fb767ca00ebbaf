/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Changes of the limits that disks of a machine share. As with those of a device (device.c): tried on the definition, so that nothing
 * wrong gets any further; then in force in the worker; then stored.
 */

#include "daemon/chvd/options.h"
#include "daemon/chvd/vm-private.h"
#include "dbus/error.h"

typedef struct {
        ChvdVm *vm;
        GDBusMethodInvocation *invocation;
        char *group;
        GVariant *changes; /* a{sv} */
} GroupUpdate;

static void update_free(GroupUpdate *update) {
        chvd_vm_unref(update->vm);
        g_free(update->group);
        g_variant_unref(update->changes);
        g_free(update);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GroupUpdate, update_free)

static void on_stored(gpointer data, const GError *error) {
        g_autoptr(GroupUpdate) update = data;

        if (error)
                g_dbus_method_invocation_return_error(
                                update->invocation, CHV_ERROR, error->code,
                                "config: in force, but not stored: %s", error->message);
        else
                chv_vm_complete_update_group(update->vm->skeleton, update->invocation);
}

static void on_updated(gpointer data, GVariant *reply, GUnixFDList *fds, const GError *error) {
        g_autoptr(GroupUpdate) update = data;
        g_autoptr(ChvdDefinition) definition = NULL;
        g_autoptr(GError) failed = NULL;
        ChvdVm *vm = update->vm;

        if (error)
                return g_dbus_method_invocation_return_gerror(update->invocation, error);
        if (chvd_vm_may_change(vm, &failed))
                definition = chvd_definition_group_updated(
                                vm->definition, update->group, update->changes, &failed);
        if (!definition)
                return on_stored(g_steal_pointer(&update), failed);
        chvd_vm_change(vm, /* policy= */ NULL, definition, on_stored, g_steal_pointer(&update));
}

static bool may_update(ChvdVm *vm, GVariant *options, GError **error) {
        static const char *const known[] = { NULL };

        if (!chvd_options_check(options, known, error))
                return false;
        if (vm->state == CHV_VM_STATE_RUNNING || vm->state == CHV_VM_STATE_PAUSED)
                return chvd_vm_may_change(vm, error);
        g_set_error(error, CHV_ERROR, CHV_ERROR_INVALID_STATE, "VM '%s' is %s", chvd_vm_name(vm),
                    chv_vm_state_to_string(vm->state));
        return false;
}

gboolean chvd_vm_on_update_group(
                ChvVm *skeleton,
                GDBusMethodInvocation *invocation,
                const char *group,
                GVariant *config,
                GVariant *options,
                ChvdVm *vm) {
        g_autoptr(ChvdDefinition) trial = NULL;
        g_autoptr(GError) error = NULL;
        GroupUpdate *update;

        if (may_update(vm, options, &error))
                trial = chvd_definition_group_updated(vm->definition, group, config, &error);
        if (!trial) {
                g_dbus_method_invocation_return_gerror(invocation, error);
                return true;
        }
        update = g_new0(GroupUpdate, 1);
        update->vm = chvd_vm_ref(vm);
        update->invocation = invocation;
        update->group = g_strdup(group);
        update->changes = g_variant_ref(config);
        chvd_worker_call(
                        vm->worker, "UpdateGroup", g_variant_new("(s@a{sv})", group, config), "()",
                        /* fds= */ NULL,
                        /* timeout_ms= */ -1, on_updated, update);
        return true;
}
