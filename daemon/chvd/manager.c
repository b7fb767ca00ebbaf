/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The manager: finds VMs, and tells of their events in one place. It owns the table of names; a VM that is gone leaves
 * the table and gives back its owner's charge before anything else can happen, so that its name is free when the reply
 * to Delete arrives.
 */

#include "config.h"

#include "daemon/chvd/manager.h"

#include <string.h>

#include "daemon/chvd/authority.h"
#include "daemon/chvd/gate.h"
#include "daemon/chvd/host.h"
#include "daemon/chvd/manager-private.h"
#include "daemon/chvd/options.h"
#include "daemon/chvd/path.h"
#include "daemon/chvd/peers.h"
#include "daemon/chvd/quota.h"
#include "daemon/chvd/store-queue.h"
#include "daemon/chvd/vm-run.h"
#include "dbus/error.h"

/* What is to be created has a name, if that is one, and no owner yet. */
static void subject(gpointer data, GDBusMethodInvocation *invocation, ChvdSubject *ret_subject) {
        const char *name;

        if (!g_str_equal(g_dbus_method_invocation_get_method_name(invocation), "CreateVM"))
                return;
        g_variant_get_child(g_dbus_method_invocation_get_parameters(invocation), 0, "&s", &name);
        if (chv_name_valid(name, /* error= */ NULL))
                ret_subject->vm = name;
}

GPtrArray *chvd_manager_all_vms(ChvdManager *manager) {
        GPtrArray *vms = g_ptr_array_sized_new(g_hash_table_size(manager->vms));
        GHashTableIter iter;
        gpointer vm;

        g_hash_table_iter_init(&iter, manager->vms);
        while (g_hash_table_iter_next(&iter, NULL, &vm))
                g_ptr_array_add(vms, vm);
        return vms;
}

gboolean chvd_manager_refuse(GDBusMethodInvocation *invocation, const GError *error) {
        g_dbus_method_invocation_return_gerror(invocation, error);
        return true;
}

/* Without us as it does with us. */
static bool goes_on(ChvdVm *vm) {
        ChvVmState state = chvd_vm_state(vm);

        return state == CHV_VM_STATE_RUNNING || state == CHV_VM_STATE_PAUSED ||
               state == CHV_VM_STATE_FAILED;
}

/* Neither a VM nor an answer that waits for the disk. */
static bool is_busy(ChvdManager *manager) {
        GHashTableIter iter;
        gpointer vm;

        if (!chvd_store_queue_is_empty(manager->context->store))
                return true;
        g_hash_table_iter_init(&iter, manager->vms);
        while (g_hash_table_iter_next(&iter, NULL, &vm))
                if (chvd_vm_has_run(vm) && !(manager->leaving && goes_on(vm)))
                        return true;
        return false;
}

static gboolean on_stop_check(gpointer data) {
        ChvdManager *manager = data;

        manager->stop_check = 0;
        if (!is_busy(manager))
                manager->stopped(manager->stopped_data);
        return G_SOURCE_REMOVE;
}

static void check_stopped_later(ChvdManager *manager) {
        if (!manager->stop_check)
                manager->stop_check = g_idle_add(on_stop_check, manager);
}

static void on_store_idle(gpointer data) {
        ChvdManager *manager = data;

        if (manager->context->stopping)
                check_stopped_later(manager);
}

static gboolean on_change(gpointer data) {
        ChvdManager *manager = data;

        manager->change = 0;
        manager->changed(manager->changed_data);
        return G_SOURCE_REMOVE;
}

/* Changes of one turn of the main loop are told together. */
static void tell_change(ChvdManager *manager) {
        if (manager->changed && !manager->change)
                manager->change = g_idle_add(on_change, manager);
}

void chvd_manager_watch(ChvdManager *manager, void (*changed)(gpointer data), gpointer data) {
        manager->changed = changed;
        manager->changed_data = data;
        tell_change(manager);
}

unsigned chvd_manager_count(const ChvdManager *manager, unsigned *ret_running) {
        GHashTableIter iter;
        gpointer vm;

        *ret_running = 0;
        g_hash_table_iter_init(&iter, manager->vms);
        while (g_hash_table_iter_next(&iter, NULL, &vm))
                if (chvd_vm_has_run(vm))
                        (*ret_running)++;
        return g_hash_table_size(manager->vms);
}

static ChvdNeed need_of(ChvdVm *vm) {
        if (chvd_vm_is_volatile(vm))
                return CHVD_NEED_THIS;
        if (!chvd_vm_has_run(vm))
                return CHVD_NEED_NOTHING;
        return goes_on(vm) ? CHVD_NEED_RUNS : CHVD_NEED_THIS;
}

ChvdNeed chvd_manager_need(const ChvdManager *manager) {
        ChvdNeed need = CHVD_NEED_NOTHING;
        GHashTableIter iter;
        gpointer vm;

        if (manager->autostart || !chvd_store_queue_is_empty(manager->context->store))
                return CHVD_NEED_THIS;
        g_hash_table_iter_init(&iter, manager->vms);
        while (g_hash_table_iter_next(&iter, NULL, &vm))
                need = MAX(need, need_of(vm));
        return need;
}

static void on_button_pressed(gpointer data, const GError *error) {
        g_autoptr(ChvdVm) vm = data;

        if (error)
                g_message("VM '%s' does not hear its power button: %s", chvd_vm_name(vm),
                          error->message);
}

static int compare_names(gconstpointer a, gconstpointer b) {
        return strcmp(chvd_vm_name(*(ChvdVm *const *) a), chvd_vm_name(*(ChvdVm *const *) b));
}

char **chvd_manager_press_power_buttons(ChvdManager *manager) {
        g_autoptr(GPtrArray) vms = chvd_manager_all_vms(manager);
        g_autoptr(GStrvBuilder) names = g_strv_builder_new();

        g_ptr_array_sort(vms, compare_names);
        for (unsigned i = 0; i < vms->len; i++) {
                ChvdVm *vm = g_ptr_array_index(vms, i);

                if (!chvd_vm_has_run(vm))
                        continue;
                g_strv_builder_add(names, chvd_vm_name(vm));
                if (chvd_vm_hears_power_button(vm))
                        chvd_vm_press_power_button(
                                        vm, /* timeout_s= */ 0, on_button_pressed, chvd_vm_ref(vm));
        }
        return g_strv_builder_end(names);
}

static void
on_vm_event(gpointer data,
            ChvdVm *vm,
            uint64_t timestamp,
            const char *source,
            const char *event,
            GVariant *properties) {
        ChvdManager *manager = data;

        chv_manager_emit_event(
                        manager->skeleton, chvd_vm_path(vm), timestamp, source, event, properties);
        if (g_str_equal(source, "vm"))
                tell_change(manager);
        /* The end of a run is an event. */
        if (manager->context->stopping)
                check_stopped_later(manager);
}

static void on_vm_gone(gpointer data, ChvdVm *vm) {
        ChvdManager *manager = data;

        (void) g_hash_table_remove(manager->vms, chvd_vm_name(vm));
        tell_change(manager);
        chvd_quota_release(manager->context->quota, CHVD_CHARGE_VM, chvd_vm_owner(vm));
}

static bool on_vm_charge(gpointer data, uid_t owner, GError **error) {
        ChvdManager *manager = data;

        return chvd_quota_charge(manager->context->quota, CHVD_CHARGE_VM, owner, error);
}

static void on_vm_release(gpointer data, uid_t owner) {
        ChvdManager *manager = data;

        chvd_quota_release(manager->context->quota, CHVD_CHARGE_VM, owner);
}

static const ChvdVmHooks vm_hooks = {
        .event = on_vm_event,
        .charge = on_vm_charge,
        .release = on_vm_release,
        .gone = on_vm_gone,
        .rename = chvd_manager_on_vm_rename,
};

ChvdVm *
chvd_manager_add_vm(ChvdManager *manager, ChvdDefinition *definition, const ChvdVmOrigin *origin) {
        ChvdVm *vm = chvd_vm_new(manager->context, &vm_hooks, manager, definition, origin);

        (void) g_hash_table_insert(manager->vms, g_strdup(definition->name), vm);
        tell_change(manager);
        return vm;
}

static gboolean
on_get_vm(ChvManager *skeleton,
          GDBusMethodInvocation *invocation,
          const char *name,
          ChvdManager *manager) {
        ChvdVm *vm = g_hash_table_lookup(manager->vms, name);

        if (vm)
                chv_manager_complete_get_vm(skeleton, invocation, chvd_vm_path(vm));
        else {
                g_autofree char *quoted = chv_quote_text(name);

                g_dbus_method_invocation_return_error(
                                invocation, CHV_ERROR, CHV_ERROR_NO_SUCH_VM,
                                "there is no VM named %s", quoted);
        }
        return true;
}

static gboolean
on_list_vms(ChvManager *skeleton,
            GDBusMethodInvocation *invocation,
            GVariant *options,
            ChvdManager *manager) {
        static const char *const known[] = { NULL };
        g_auto(GVariantBuilder) rows = G_VARIANT_BUILDER_INIT(G_VARIANT_TYPE("a(soss)"));
        g_autoptr(GPtrArray) vms = NULL;
        g_autoptr(GError) error = NULL;

        if (!chvd_options_check(options, known, &error))
                return chvd_manager_refuse(invocation, error);
        vms = chvd_manager_all_vms(manager);
        g_ptr_array_sort(vms, compare_names);
        for (unsigned i = 0; i < vms->len; i++) {
                ChvdVm *vm = g_ptr_array_index(vms, i);

                g_variant_builder_add(
                                &rows, "(soss)", chvd_vm_name(vm), chvd_vm_path(vm),
                                chv_vm_state_to_string(chvd_vm_state(vm)),
                                chvd_vm_state_reason(vm));
        }
        chv_manager_complete_list_vms(skeleton, invocation, g_variant_builder_end(&rows));
        return true;
}

static gboolean
on_check_config(ChvManager *skeleton,
                GDBusMethodInvocation *invocation,
                GVariant *config,
                GVariant *options,
                ChvdManager *manager) {
        static const char *const known[] = { NULL };
        g_autoptr(GVariant) no_fds = g_variant_ref_sink(g_variant_new("a{sh}", NULL));
        g_autoptr(ChvdDefinition) definition = NULL;
        g_autoptr(GError) error = NULL;

        if (!chvd_options_check(options, known, &error))
                return chvd_manager_refuse(invocation, error);
        definition = chvd_definition_new("check", config, no_fds, /* list= */ NULL, &error);
        if (!definition)
                return chvd_manager_refuse(invocation, error);
        chv_manager_complete_check_config(skeleton, invocation, definition->dict);
        return true;
}

ChvdManager *chvd_manager_new(ChvdContext *context) {
        g_auto(GStrv) features = chvd_host_features();
        ChvdManager *manager = g_new0(ChvdManager, 1);

        (void) CHV_ERROR; /* registered, so that errors of workers arrive as what they are */
        manager->context = context;
        manager->vms = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
        manager->taken = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
        manager->broken = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
        manager->found = g_hash_table_new_full(
                        g_str_hash, g_str_equal, g_free, (GDestroyNotify) chvd_record_free);
        manager->over = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
        chvd_store_queue_on_idle(context->store, on_store_idle, manager);
        manager->skeleton = chvd_gate_new(
                        CHV_TYPE_MANAGER_SKELETON, context->authority, subject, manager);
        chv_manager_set_version(manager->skeleton, CHV_VERSION);
        chv_manager_set_features(manager->skeleton, (const char *const *) features);
        chv_manager_set_host_capabilities(
                        manager->skeleton, chvd_host_capabilities(context->kvm_path));
        g_object_connect(
                        manager->skeleton, "signal::handle-create-vm", chvd_manager_on_create_vm,
                        manager, "signal::handle-get-vm", on_get_vm, manager,
                        "signal::handle-list-vms", on_list_vms, manager,
                        "signal::handle-check-config", on_check_config, manager, NULL);
        manager->object = chv_object_skeleton_new(CHVD_PATH_MANAGER);
        chv_object_skeleton_set_manager(manager->object, manager->skeleton);
        chvd_objects_export(manager->context, manager->object);
        return manager;
}

void chvd_manager_free(ChvdManager *manager) {
        g_autoptr(GPtrArray) vms = NULL;

        if (!manager)
                return;
        g_clear_pointer(&manager->autostart, chvd_autostart_free);
        g_clear_pointer(&manager->adoption, chvd_adoption_free);
        vms = chvd_manager_all_vms(manager);
        for (unsigned i = 0; i < vms->len; i++) {
                chvd_vm_abandon(g_ptr_array_index(vms, i));
                chvd_vm_remove(g_ptr_array_index(vms, i));
        }
        g_clear_handle_id(&manager->change, g_source_remove);
        g_clear_handle_id(&manager->stop_check, g_source_remove);
        chvd_objects_unexport(manager->context, CHVD_PATH_MANAGER);
        (void) g_signal_handlers_disconnect_by_data(manager->skeleton, manager);
        g_object_unref(manager->skeleton);
        g_object_unref(manager->object);
        g_hash_table_unref(manager->vms);
        g_hash_table_unref(manager->taken);
        g_hash_table_unref(manager->broken);
        g_hash_table_unref(manager->found);
        g_hash_table_unref(manager->over);
        g_free(manager);
}

static GPtrArray *begin_stop(ChvdManager *manager, void (*done)(gpointer data), gpointer data) {
        manager->context->stopping = true;
        g_clear_pointer(&manager->autostart, chvd_autostart_free);
        manager->stopped = done;
        manager->stopped_data = data;
        check_stopped_later(manager);
        return chvd_manager_all_vms(manager);
}

void chvd_manager_stop(
                ChvdManager *manager,
                unsigned grace_ms,
                void (*done)(gpointer data),
                gpointer data) {
        g_autoptr(GPtrArray) vms = begin_stop(manager, done, data);

        manager->leaving = false;
        for (unsigned i = 0; i < vms->len; i++)
                chvd_vm_stop(g_ptr_array_index(vms, i), "the service stops", grace_ms);
}

void chvd_manager_leave(ChvdManager *manager, void (*done)(gpointer data), gpointer data) {
        g_autoptr(GPtrArray) vms = begin_stop(manager, done, data);

        manager->leaving = true;
        for (unsigned i = 0; i < vms->len; i++) {
                ChvdVm *vm = g_ptr_array_index(vms, i);

                /* What of it goes on would be ended by the next chvd. */
                if (chvd_vm_state(vm) == CHV_VM_STATE_STARTING)
                        chvd_vm_stop(vm, "the service stops", /* grace_ms= */ 0);
        }
}
