/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The manager: creates VMs, finds them, and tells of their events in one place. It owns the table of names; a VM that
 * is gone leaves the table and gives back its owner's charge before anything else can happen, so that its name is
 * free when the reply to Delete arrives.
 */

#include "config.h"

#include "daemon/chvd/manager.h"

#include <string.h>

#include "daemon/chvd/authority.h"
#include "daemon/chvd/gate.h"
#include "daemon/chvd/host.h"
#include "daemon/chvd/options.h"
#include "daemon/chvd/quota.h"
#include "daemon/chvd/vm-run.h"
#include "daemon/chvd/vm.h"
#include "dbus/error.h"
#include "dbus/generated.h"

struct ChvdManager {
        ChvdContext *context;
        ChvObjectSkeleton *object;
        ChvManager *skeleton;
        GHashTable *vms; /* name → ChvdVm, which owns itself */
        guint stop_check;
        void (*stopped)(gpointer data); /* of chvd_manager_stop() */
        gpointer stopped_data;
};

/* A CreateVM. */
typedef struct {
        ChvdManager *manager;
        GDBusMethodInvocation *invocation;
        ChvdDefinition *definition;
        bool transient, start;
} Request;

static void request_free(Request *request) {
        g_clear_pointer(&request->definition, chvd_definition_unref);
        g_free(request);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Request, request_free)

/* A CreateVM that also starts. */
typedef struct {
        ChvdVm *vm;
        bool transient;
        GDBusMethodInvocation *invocation;
} Creation;

/* What is to be created has a name, if that is one, and no owner yet. */
static void subject(gpointer data, GDBusMethodInvocation *invocation, ChvdSubject *ret_subject) {
        const char *name;

        if (!g_str_equal(g_dbus_method_invocation_get_method_name(invocation), "CreateVM"))
                return;
        g_variant_get_child(g_dbus_method_invocation_get_parameters(invocation), 0, "&s", &name);
        if (chv_name_valid(name, /* error= */ NULL))
                ret_subject->vm = name;
}

/* A snapshot: a VM may leave the table while its caller walks over them. */
static GPtrArray *all_vms(ChvdManager *manager) {
        GPtrArray *vms = g_ptr_array_sized_new(g_hash_table_size(manager->vms));
        GHashTableIter iter;
        gpointer vm;

        g_hash_table_iter_init(&iter, manager->vms);
        while (g_hash_table_iter_next(&iter, NULL, &vm))
                g_ptr_array_add(vms, vm);
        return vms;
}

static gboolean refuse(GDBusMethodInvocation *invocation, const GError *error) {
        g_dbus_method_invocation_return_gerror(invocation, error);
        return true;
}

static bool any_run(ChvdManager *manager) {
        GHashTableIter iter;
        gpointer vm;

        g_hash_table_iter_init(&iter, manager->vms);
        while (g_hash_table_iter_next(&iter, NULL, &vm))
                if (chvd_vm_has_run(vm))
                        return true;
        return false;
}

static gboolean on_stop_check(gpointer data) {
        ChvdManager *manager = data;

        manager->stop_check = 0;
        if (!any_run(manager))
                manager->stopped(manager->stopped_data);
        return G_SOURCE_REMOVE;
}

static void check_stopped_later(ChvdManager *manager) {
        if (!manager->stop_check)
                manager->stop_check = g_idle_add(on_stop_check, manager);
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
        /* The end of a run is an event. */
        if (manager->context->stopping)
                check_stopped_later(manager);
}

static void on_vm_gone(gpointer data, ChvdVm *vm) {
        ChvdManager *manager = data;

        (void) g_hash_table_remove(manager->vms, chvd_vm_name(vm));
        chvd_quota_release(manager->context->quota, CHVD_CHARGE_VM, chvd_vm_owner(vm));
}

static bool on_vm_chown(gpointer data, ChvdVm *vm, uid_t owner, GError **error) {
        ChvdManager *manager = data;
        uid_t before = chvd_vm_owner(vm);

        if (owner == before)
                return true;
        if (!chvd_quota_charge(manager->context->quota, CHVD_CHARGE_VM, owner, error))
                return false;
        chvd_quota_release(manager->context->quota, CHVD_CHARGE_VM, before);
        chvd_vm_set_owner(vm, owner);
        return true;
}

static const ChvdVmHooks vm_hooks = {
        .event = on_vm_event,
        .chown = on_vm_chown,
        .gone = on_vm_gone,
};

static void on_started(gpointer data, const char *job_path, const GError *error) {
        g_autofree Creation *creation = data;
        g_autoptr(ChvdVm) vm = creation->vm;

        if (error)
                return g_dbus_method_invocation_return_gerror(creation->invocation, error);
        chvd_vm_set_transient(vm, creation->transient);
        g_dbus_method_invocation_return_value(
                        creation->invocation, g_variant_new("(o)", chvd_vm_path(vm)));
}

/* Until it has started it is transient: one that fails to start leaves nothing behind. */
static gboolean create_and_start(ChvdVm *vm, GDBusMethodInvocation *invocation, bool transient) {
        g_autoptr(GError) error = NULL;
        Creation *creation = g_new0(Creation, 1);

        creation->vm = chvd_vm_ref(vm);
        creation->transient = transient;
        creation->invocation = invocation;
        if (chvd_vm_start(vm, chvd_gate_caller(invocation),
                          /* paused= */ false, CHVD_START_TIMEOUT_S, on_started, creation,
                          /* ret_job= */ NULL, &error))
                return true;
        g_free(creation);
        chvd_vm_remove(vm);
        chvd_vm_unref(vm);
        return refuse(invocation, error);
}

static bool may_create(ChvdManager *manager, const char *name, uid_t caller, GError **error) {
        if (manager->context->stopping) {
                g_set_error(error, CHV_ERROR, CHV_ERROR_BUSY, "the service is stopping");
                return false;
        }
        if (g_hash_table_contains(manager->vms, name)) {
                g_set_error(error, CHV_ERROR, CHV_ERROR_EXISTS, "there is a VM named '%s' already",
                            name);
                return false;
        }
        return chvd_quota_charge(manager->context->quota, CHVD_CHARGE_VM, caller, error);
}

static void create(ChvdManager *manager, Request *request) {
        uid_t caller = chvd_gate_caller(request->invocation);
        g_autoptr(GError) error = NULL;
        ChvdVm *vm;

        if (!may_create(manager, request->definition->name, caller, &error)) {
                (void) refuse(request->invocation, error);
                return;
        }
        vm =
                        chvd_vm_new(manager->context, &vm_hooks, manager, request->definition,
                                    caller, request->transient || request->start);
        (void) g_hash_table_insert(manager->vms, (gpointer) chvd_vm_name(vm), vm);
        if (request->start)
                (void) create_and_start(vm, request->invocation, request->transient);
        else
                chv_manager_complete_create_vm(
                                manager->skeleton, request->invocation, /* fd_list= */ NULL,
                                chvd_vm_path(vm));
}

static void on_host_access(GObject *source, GAsyncResult *result, gpointer data) {
        g_autoptr(Request) request = data;
        g_autoptr(GError) error = NULL;
        uid_t caller;

        if (chvd_authority_check_finish(
                            request->manager->context->authority, result, &caller, &error))
                create(request->manager, request);
        else
                (void) refuse(request->invocation, error);
}

static gboolean
on_create_vm(ChvManager *skeleton,
             GDBusMethodInvocation *invocation,
             GUnixFDList *list,
             const char *name,
             GVariant *config,
             GVariant *fds,
             GVariant *options,
             ChvdManager *manager) {
        static const char *const known[] = { "transient", "b", "start", "b", NULL };
        g_autoptr(Request) request = g_new0(Request, 1);
        g_autoptr(GError) error = NULL;
        ChvdSubject subject;

        if (!chvd_options_check(options, known, &error))
                return refuse(invocation, error);
        request->definition = chvd_definition_new(name, config, fds, list, &error);
        if (!request->definition)
                return refuse(invocation, error);
        request->manager = manager;
        request->invocation = invocation;
        request->transient = chvd_options_bool(options, "transient", false);
        request->start = chvd_options_bool(options, "start", false);
        if (!chvd_definition_names_host(request->definition)) {
                create(manager, request);
                return true;
        }
        subject = (ChvdSubject){ .vm = name };
        chvd_authority_check_action_async(
                        manager->context->authority, invocation, chvd_gate_caller(invocation),
                        CHVD_ACTION_HOST_ACCESS, &subject, on_host_access,
                        g_steal_pointer(&request));
        return true;
}

static gboolean
on_get_vm(ChvManager *skeleton,
          GDBusMethodInvocation *invocation,
          const char *name,
          ChvdManager *manager) {
        ChvdVm *vm = g_hash_table_lookup(manager->vms, name);

        if (vm)
                chv_manager_complete_get_vm(skeleton, invocation, chvd_vm_path(vm));
        else
                g_dbus_method_invocation_return_error(
                                invocation, CHV_ERROR, CHV_ERROR_NO_SUCH_VM,
                                "there is no VM named '%.64s'", name);
        return true;
}

static int compare_names(gconstpointer a, gconstpointer b) {
        return strcmp(chvd_vm_name(*(ChvdVm *const *) a), chvd_vm_name(*(ChvdVm *const *) b));
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
                return refuse(invocation, error);
        vms = all_vms(manager);
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
                return refuse(invocation, error);
        definition = chvd_definition_new("check", config, no_fds, /* list= */ NULL, &error);
        if (!definition)
                return refuse(invocation, error);
        chv_manager_complete_check_config(skeleton, invocation, definition->dict);
        return true;
}

ChvdManager *chvd_manager_new(ChvdContext *context) {
        g_auto(GStrv) features = chvd_host_features();
        ChvdManager *manager = g_new0(ChvdManager, 1);

        (void) CHV_ERROR; /* registered, so that errors of workers arrive as what they are */
        manager->context = context;
        manager->vms = g_hash_table_new(g_str_hash, g_str_equal);
        manager->skeleton = chvd_gate_new(
                        CHV_TYPE_MANAGER_SKELETON, context->authority, subject, manager);
        chv_manager_set_version(manager->skeleton, CHV_VERSION);
        chv_manager_set_features(manager->skeleton, (const char *const *) features);
        chv_manager_set_host_capabilities(
                        manager->skeleton, chvd_host_capabilities(context->kvm_path));
        g_object_connect(
                        manager->skeleton, "signal::handle-create-vm", on_create_vm, manager,
                        "signal::handle-get-vm", on_get_vm, manager, "signal::handle-list-vms",
                        on_list_vms, manager, "signal::handle-check-config", on_check_config,
                        manager, NULL);
        manager->object = chv_object_skeleton_new(CHVD_PATH_MANAGER);
        chv_object_skeleton_set_manager(manager->object, manager->skeleton);
        g_dbus_object_manager_server_export(
                        context->objects, G_DBUS_OBJECT_SKELETON(manager->object));
        return manager;
}

void chvd_manager_free(ChvdManager *manager) {
        g_autoptr(GPtrArray) vms = NULL;

        if (!manager)
                return;
        vms = all_vms(manager);
        for (unsigned i = 0; i < vms->len; i++)
                chvd_vm_remove(g_ptr_array_index(vms, i));
        g_clear_handle_id(&manager->stop_check, g_source_remove);
        (void) g_dbus_object_manager_server_unexport(manager->context->objects, CHVD_PATH_MANAGER);
        (void) g_signal_handlers_disconnect_by_data(manager->skeleton, manager);
        g_object_unref(manager->skeleton);
        g_object_unref(manager->object);
        g_hash_table_unref(manager->vms);
        g_free(manager);
}

void chvd_manager_stop(
                ChvdManager *manager,
                unsigned grace_ms,
                void (*done)(gpointer data),
                gpointer data) {
        g_autoptr(GPtrArray) vms = all_vms(manager);

        manager->context->stopping = true;
        manager->stopped = done;
        manager->stopped_data = data;
        for (unsigned i = 0; i < vms->len; i++)
                chvd_vm_stop(g_ptr_array_index(vms, i), "the service stops", grace_ms);
        check_stopped_later(manager);
}
