/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * New VMs and new names. What is to last is on disk before anybody can see it, and off the disk before its object goes.
 * While a call waits for the disk its name is taken.
 */

#include "daemon/chvd/authority.h"
#include "daemon/chvd/gate.h"
#include "daemon/chvd/manager-private.h"
#include "daemon/chvd/opener.h"
#include "daemon/chvd/options.h"
#include "daemon/chvd/quota.h"
#include "daemon/chvd/store-queue.h"
#include "daemon/chvd/vm-run.h"
#include "dbus/error.h"

/* A CreateVM. */
typedef struct {
        ChvdManager *manager;
        GDBusMethodInvocation *invocation;
        ChvdDefinition *definition;
        ChvdPolicy policy;
        bool transient, start;
        ChvdVmOrigin origin;
        ChvdVm *vm; /* NULL: not made yet */
} Request;

static void request_free(Request *request) {
        g_clear_pointer(&request->definition, chvd_definition_unref);
        chvd_vm_unref(request->vm);
        g_free(request);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Request, request_free)

/* A Rename. */
typedef struct {
        ChvdManager *manager;
        GDBusMethodInvocation *invocation;
        ChvdVm *vm;
        char *name;
} Renaming;

static void renaming_free(Renaming *renaming) {
        chvd_vm_unref(renaming->vm);
        g_free(renaming->name);
        g_free(renaming);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Renaming, renaming_free)

static bool is_free(ChvdManager *manager, const char *name, GError **error) {
        const char *why = g_hash_table_lookup(manager->taken, name);

        if (!why)
                why = g_hash_table_lookup(manager->broken, name);
        if (!why && g_hash_table_contains(manager->vms, name))
                why = "there is a VM of that name already";
        if (why)
                g_set_error(error, CHV_ERROR, CHV_ERROR_EXISTS, "name '%s': %s", name, why);
        return !why;
}

static void take(ChvdManager *manager, const char *name) {
        (void) g_hash_table_insert(manager->taken, g_strdup(name), "another call is making it");
}

static bool may_create(ChvdManager *manager, const char *name, uid_t caller, GError **error) {
        if (manager->context->stopping) {
                g_set_error(error, CHV_ERROR, CHV_ERROR_BUSY, "the service is stopping");
                return false;
        }
        return is_free(manager, name, error) &&
               chvd_quota_charge(manager->context->quota, CHVD_CHARGE_VM, caller, error);
}

static void reply_created(const Request *request) {
        g_dbus_method_invocation_return_value(
                        request->invocation, g_variant_new("(o)", chvd_vm_path(request->vm)));
}

static void make(Request *request) {
        request->vm = chvd_vm_ref(chvd_manager_add_vm(
                        request->manager, request->definition, &request->origin));
        chvd_vm_event(request->vm, "created", /* properties= */ NULL);
}

static void on_kept(gpointer data, const GError *error) {
        g_autoptr(Request) request = data;

        if (!error)
                return reply_created(request);
        /* It is still transient, so this is the end of it. */
        chvd_vm_stop(request->vm, error->message, /* grace_ms= */ 0);
        (void) chvd_manager_refuse(request->invocation, error);
}

static void on_started(gpointer data, const char *job_path, const GError *error) {
        g_autoptr(Request) request = data;
        ChvdVm *vm = request->vm;

        if (error)
                return g_dbus_method_invocation_return_gerror(request->invocation, error);
        if (request->transient)
                return reply_created(request);
        chvd_vm_keep(vm, on_kept, g_steal_pointer(&request));
}

/* Until it has started it is transient: one that fails to start leaves nothing behind. */
static void make_and_start(Request *request) {
        g_autoptr(Request) owned = request;
        g_autoptr(GError) error = NULL;

        make(request);
        if (!request->transient)
                chvd_vm_set_to_keep(request->vm);
        if (chvd_vm_start(request->vm, request->origin.owner,
                          /* paused= */ false, CHVD_START_TIMEOUT_S, on_started, request,
                          /* ret_job= */ NULL, &error)) {
                (void) g_steal_pointer(&owned);
                return;
        }
        chvd_vm_remove(request->vm);
        (void) chvd_manager_refuse(request->invocation, error);
}

static void on_stored(gpointer data, const GError *error) {
        g_autoptr(Request) request = data;
        ChvdManager *manager = request->manager;

        (void) g_hash_table_remove(manager->taken, request->definition->name);
        if (error) {
                chvd_quota_release(manager->context->quota, CHVD_CHARGE_VM, request->origin.owner);
                (void) chvd_manager_refuse(request->invocation, error);
                return;
        }
        request->origin.stored = true;
        make(request);
        reply_created(request);
}

/* What is to last is stored before it is there for anybody. */
static void make_stored(Request *request) {
        ChvdManager *manager = request->manager;
        g_autoptr(ChvdRecord) record = chvd_definition_record(
                        request->definition, request->origin.owner, request->origin.created,
                        &request->policy);

        take(manager, request->definition->name);
        chvd_store_queue_save(
                        manager->context->store, request->definition->name, record,
                        /* create= */ true, on_stored, request);
}

static void create(Request *request) {
        g_autoptr(Request) owned = request;
        uid_t caller = chvd_gate_caller(request->invocation);
        g_autoptr(GError) error = NULL;

        if (!may_create(request->manager, request->definition->name, caller, &error)) {
                (void) chvd_manager_refuse(request->invocation, error);
                return;
        }
        request->origin = (ChvdVmOrigin){
                .owner = caller,
                .created = (uint64_t) g_get_real_time(),
                .transient = request->transient || request->start,
                .policy = request->policy,
                .state = CHV_VM_STATE_CREATED,
        };
        if (request->start)
                return make_and_start(g_steal_pointer(&owned));
        if (!request->transient)
                return make_stored(g_steal_pointer(&owned));
        make(request);
        reply_created(request);
}

static void on_host_access(GObject *source, GAsyncResult *result, gpointer data) {
        g_autoptr(Request) request = data;
        g_autoptr(GError) error = NULL;
        uid_t caller;

        if (chvd_authority_check_finish(
                            request->manager->context->authority, result, &caller, &error))
                create(g_steal_pointer(&request));
        else
                (void) chvd_manager_refuse(request->invocation, error);
}

gboolean chvd_manager_on_create_vm(
                ChvManager *skeleton,
                GDBusMethodInvocation *invocation,
                GUnixFDList *list,
                const char *name,
                GVariant *config,
                GVariant *fds,
                GVariant *options,
                ChvdManager *manager) {
        static const char *const known[] = { "transient",         "b", "start", "b",
                                             CHVD_POLICY_OPTIONS, NULL };
        g_autoptr(Request) request = g_new0(Request, 1);
        g_autoptr(GError) error = NULL;
        ChvdSubject subject;

        if (!chvd_options_check(options, known, &error))
                return chvd_manager_refuse(invocation, error);
        request->manager = manager;
        request->invocation = invocation;
        request->transient = chvd_options_bool(options, "transient", false);
        request->start = chvd_options_bool(options, "start", false);
        if (!chvd_policy_update(&request->policy, request->transient, options, &error))
                return chvd_manager_refuse(invocation, error);
        request->definition = chvd_definition_new(name, config, fds, list, &error);
        if (!request->definition)
                return chvd_manager_refuse(invocation, error);
        if (!chvd_definition_names_host(
                            request->definition,
                            chvd_opener_is_self(manager->context, chvd_gate_caller(invocation)))) {
                create(g_steal_pointer(&request));
                return true;
        }
        subject = (ChvdSubject){ .vm = name };
        chvd_authority_check_action_async(
                        manager->context->authority, invocation, chvd_gate_caller(invocation),
                        CHVD_ACTION_HOST_ACCESS, &subject, on_host_access,
                        g_steal_pointer(&request));
        return true;
}

/* A new object of the new name takes the place of the old one. */
static void rename_now(Renaming *renaming) {
        ChvdManager *manager = renaming->manager;
        ChvdVm *old = renaming->vm;
        ChvdVmOrigin origin = chvd_vm_origin(old);
        g_autoptr(ChvdDefinition) definition =
                        chvd_definition_renamed(chvd_vm_definition(old), renaming->name);
        ChvdVm *vm;

        chvd_vm_event(old, "renamed",
                      g_variant_new_parsed(
                                      "{'name': <%s>, 'to': <%s>}", chvd_vm_name(old),
                                      renaming->name));
        chvd_quota_charge_again(manager->context->quota, CHVD_CHARGE_VM, origin.owner);
        vm = chvd_manager_add_vm(manager, definition, &origin);
        chvd_vm_remove(old);
        g_dbus_method_invocation_return_value(
                        renaming->invocation, g_variant_new("(o)", chvd_vm_path(vm)));
}

static void on_renamed(gpointer data, const GError *error) {
        g_autoptr(Renaming) renaming = data;

        (void) g_hash_table_remove(renaming->manager->taken, renaming->name);
        chvd_vm_end_change(renaming->vm);
        if (error)
                (void) chvd_manager_refuse(renaming->invocation, error);
        else
                rename_now(renaming);
}

void chvd_manager_on_vm_rename(
                gpointer data, ChvdVm *vm, const char *name, GDBusMethodInvocation *invocation) {
        ChvdManager *manager = data;
        g_autoptr(Renaming) renaming = g_new0(Renaming, 1);
        g_autoptr(GError) error = NULL;

        renaming->manager = manager;
        renaming->invocation = invocation;
        renaming->vm = chvd_vm_ref(vm);
        renaming->name = g_strdup(name);
        if (!chv_name_valid(name, &error) || !is_free(manager, name, &error)) {
                (void) chvd_manager_refuse(invocation, error);
                return;
        }
        if (!chvd_vm_origin(vm).stored)
                return rename_now(renaming);
        take(manager, name);
        chvd_vm_begin_change(vm);
        chvd_store_queue_rename(
                        manager->context->store, chvd_vm_name(vm), name, on_renamed,
                        g_steal_pointer(&renaming));
}
