/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The manager: creates VMs, finds them, and tells of their events in one place. It owns the table of names; a VM that
 * is gone leaves the table and gives back its owner's charge before anything else can happen, so that its name is
 * free when the reply to Delete arrives. What is to last is on disk before anybody can see it, and off the disk before
 * its object goes.
 */

#include "config.h"

#include "daemon/chvd/manager.h"

#include <string.h>

#include "daemon/chvd/adopt.h"
#include "daemon/chvd/authority.h"
#include "daemon/chvd/autostart.h"
#include "daemon/chvd/gate.h"
#include "daemon/chvd/host.h"
#include "daemon/chvd/log.h"
#include "daemon/chvd/opener.h"
#include "daemon/chvd/options.h"
#include "daemon/chvd/path.h"
#include "daemon/chvd/peers.h"
#include "daemon/chvd/quota.h"
#include "daemon/chvd/runtime.h"
#include "daemon/chvd/store-queue.h"
#include "daemon/chvd/vm-run.h"
#include "daemon/chvd/vm.h"
#include "dbus/error.h"
#include "dbus/generated.h"

struct ChvdManager {
        ChvdContext *context;
        ChvObjectSkeleton *object;
        ChvManager *skeleton;
        GHashTable *vms;    /* name → ChvdVm, which owns itself */
        GHashTable *taken;  /* names that no VM has and none may take → why */
        GHashTable *broken; /* name → what is wrong with its record */
        GHashTable *found;  /* name → ChvdRecord, while runs are adopted */
        GHashTable *over; /* name → whether it is to be started again: VMs whose runs ended while nobody watched */
        ChvdAdoption *adoption;
        void (*loaded)(gpointer data); /* of chvd_manager_load() */
        gpointer loaded_data;
        ChvdAutostart *autostart;
        bool leaving; /* what runs goes on */
        guint stop_check;
        void (*changed)(gpointer data); /* of chvd_manager_watch() */
        gpointer changed_data;
        guint change;                   /* it is to be told of */
        void (*stopped)(gpointer data); /* of chvd_manager_stop() */
        gpointer stopped_data;
};

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
        g_autoptr(GPtrArray) vms = all_vms(manager);
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

static void
on_vm_rename(gpointer data, ChvdVm *vm, const char *name, GDBusMethodInvocation *invocation);

static const ChvdVmHooks vm_hooks = {
        .event = on_vm_event,
        .charge = on_vm_charge,
        .release = on_vm_release,
        .gone = on_vm_gone,
        .rename = on_vm_rename,
};

/* The owner has been charged. */
static ChvdVm *
add_vm(ChvdManager *manager, ChvdDefinition *definition, const ChvdVmOrigin *origin) {
        ChvdVm *vm = chvd_vm_new(manager->context, &vm_hooks, manager, definition, origin);

        (void) g_hash_table_insert(manager->vms, g_strdup(definition->name), vm);
        tell_change(manager);
        return vm;
}

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
        request->vm = chvd_vm_ref(add_vm(request->manager, request->definition, &request->origin));
        chvd_vm_event(request->vm, "created", /* properties= */ NULL);
}

static void on_kept(gpointer data, const GError *error) {
        g_autoptr(Request) request = data;

        if (!error)
                return reply_created(request);
        /* It is still transient, so this is the end of it. */
        chvd_vm_stop(request->vm, error->message, /* grace_ms= */ 0);
        (void) refuse(request->invocation, error);
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
        (void) refuse(request->invocation, error);
}

static void on_stored(gpointer data, const GError *error) {
        g_autoptr(Request) request = data;
        ChvdManager *manager = request->manager;

        (void) g_hash_table_remove(manager->taken, request->definition->name);
        if (error) {
                chvd_quota_release(manager->context->quota, CHVD_CHARGE_VM, request->origin.owner);
                (void) refuse(request->invocation, error);
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
                (void) refuse(request->invocation, error);
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
        static const char *const known[] = { "transient",         "b", "start", "b",
                                             CHVD_POLICY_OPTIONS, NULL };
        g_autoptr(Request) request = g_new0(Request, 1);
        g_autoptr(GError) error = NULL;
        ChvdSubject subject;

        if (!chvd_options_check(options, known, &error))
                return refuse(invocation, error);
        request->manager = manager;
        request->invocation = invocation;
        request->transient = chvd_options_bool(options, "transient", false);
        request->start = chvd_options_bool(options, "start", false);
        if (!chvd_policy_update(&request->policy, request->transient, options, &error))
                return refuse(invocation, error);
        request->definition = chvd_definition_new(name, config, fds, list, &error);
        if (!request->definition)
                return refuse(invocation, error);
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
        vm = add_vm(manager, definition, &origin);
        chvd_vm_remove(old);
        g_dbus_method_invocation_return_value(
                        renaming->invocation, g_variant_new("(o)", chvd_vm_path(vm)));
}

static void on_renamed(gpointer data, const GError *error) {
        g_autoptr(Renaming) renaming = data;

        (void) g_hash_table_remove(renaming->manager->taken, renaming->name);
        chvd_vm_end_change(renaming->vm);
        if (error)
                (void) refuse(renaming->invocation, error);
        else
                rename_now(renaming);
}

static void
on_vm_rename(gpointer data, ChvdVm *vm, const char *name, GDBusMethodInvocation *invocation) {
        ChvdManager *manager = data;
        g_autoptr(Renaming) renaming = g_new0(Renaming, 1);
        g_autoptr(GError) error = NULL;

        renaming->manager = manager;
        renaming->invocation = invocation;
        renaming->vm = chvd_vm_ref(vm);
        renaming->name = g_strdup(name);
        if (!chv_name_valid(name, &error) || !is_free(manager, name, &error)) {
                (void) refuse(invocation, error);
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

static void add_broken(ChvdManager *manager, const char *name, char *why) {
        chvd_log(CHVD_LOG_BROKEN, name, /* uuid= */ NULL, "VM '%s': %s", name, why);
        (void) g_hash_table_insert(manager->broken, g_strdup(name), why);
}

/* From a record of whatever kind. NULL: it can't be used. */
static ChvdDefinition *define(ChvdManager *manager, const char *name, const ChvdRecord *record) {
        g_autoptr(GVariant) no_fds = g_variant_ref_sink(g_variant_new("a{sh}", NULL));
        g_autoptr(GError) error = NULL;
        ChvdDefinition *definition =
                        chvd_definition_new(name, record->config, no_fds, /* list= */ NULL, &error);

        if (!definition)
                add_broken(manager, name,
                           g_strdup_printf("its definition can't be used: %s", error->message));
        else if (g_variant_n_children(record->given) > 0)
                g_variant_get_child(record->given, 0, "s", &definition->lost);
        return definition;
}

static ChvdVm *
add_recorded(ChvdManager *manager,
             const char *name,
             const ChvdRecord *record,
             ChvdVmOrigin origin) {
        g_autoptr(ChvdDefinition) definition = define(manager, name, record);

        if (!definition)
                return NULL;
        origin.owner = record->owner;
        origin.created = record->created;
        chvd_quota_charge_again(manager->context->quota, CHVD_CHARGE_VM, record->owner);
        return add_vm(manager, definition, &origin);
}

static void
on_found(gpointer data, const char *name, const ChvdRecord *record, const GError *error) {
        ChvdManager *manager = data;

        if (record)
                (void) g_hash_table_insert(
                                manager->found, g_strdup(name), chvd_record_copy(record));
        else
                add_broken(manager, name,
                           g_strdup_printf("its stored definition can't be used: %s",
                                           error ? error->message : "unknown"));
}

/* What is stored holds for what can change while a machine runs, the run's record for what it runs with. */
static void on_adopted(gpointer data, const char *name, const ChvdAdopted *adopted) {
        ChvdManager *manager = data;
        const ChvdRun *run = adopted->run;
        const ChvdRecord *stored = g_hash_table_lookup(manager->found, name);
        bool was_start = run->phase == CHVD_RUN_STARTING && !adopted->worker;
        ChvdVm *vm = add_recorded(
                        manager, name, adopted->worker || !stored ? run->record : stored,
                        (ChvdVmOrigin){
                                        .transient = run->transient && !stored,
                                        .policy = stored ? stored->policy : run->record->policy,
                                        .stored = stored,
                                        .has_run = stored ? stored->has_run : !was_start,
                                        .state = adopted->state,
                                        .reason = adopted->reason,
                        });

        (void) g_hash_table_remove(manager->found, name);
        if (vm && adopted->worker)
                chvd_vm_adopt(vm, adopted);
        else if (vm)
                (void) g_hash_table_insert(
                                manager->over, g_strdup(name), GINT_TO_POINTER(run->restart));
        else if (adopted->worker)
                chvd_worker_abandon(adopted->worker);
}

static void on_broken_run(gpointer data, const char *name, const GError *error) {
        ChvdManager *manager = data;

        (void) g_hash_table_remove(manager->found, name);
        add_broken(manager, name,
                   g_strdup_printf("%s/vm/%s/run: %s; it may be running",
                                   manager->context->runtime_dir, name, error->message));
}

/* What is left has no run. */
static void on_all_adopted(gpointer data) {
        ChvdManager *manager = data;
        const ChvdRecord *record;
        GHashTableIter iter;
        const char *name;

        g_clear_pointer(&manager->adoption, chvd_adoption_free);
        g_hash_table_iter_init(&iter, manager->found);
        while (g_hash_table_iter_next(&iter, (gpointer *) &name, (gpointer *) &record))
                (void) add_recorded(
                                manager, name, record,
                                (ChvdVmOrigin){
                                                .policy = record->policy,
                                                .stored = true,
                                                .has_run = record->has_run,
                                                .state = record->has_run ? CHV_VM_STATE_SHUTDOWN
                                                                         : CHV_VM_STATE_CREATED,
                                });
        g_hash_table_remove_all(manager->found);
        manager->loaded(manager->loaded_data);
}

static const ChvdAdoptionOps adoption_ops = {
        .adopted = on_adopted,
        .broken = on_broken_run,
        .done = on_all_adopted,
};

void chvd_manager_load(ChvdManager *manager, void (*done)(gpointer data), gpointer data) {
        ChvdStore *store = chvd_store_queue_store(manager->context->store);
        g_autoptr(GError) error = NULL;

        manager->loaded = done;
        manager->loaded_data = data;
        if (!chvd_store_load(store, on_found, manager, &error))
                g_message("no definitions are loaded: %s", error->message);
        manager->adoption = chvd_adoption_new(manager->context, &adoption_ops, manager);
}

static ChvdVm *find_vm(gpointer data, const char *name) {
        ChvdManager *manager = data;

        return g_hash_table_lookup(manager->vms, name);
}

static void on_autostarted(gpointer data) {
        ChvdManager *manager = data;

        chvd_runtime_set_up(manager->context->runtime_dir);
        /* Where that can't be kept, another chvd would do it again: then it is not over while this one lasts. */
        if (chvd_runtime_is_up(manager->context->runtime_dir))
                g_clear_pointer(&manager->autostart, chvd_autostart_free);
}

static void on_kept_late(gpointer data, const GError *error) {
        g_autoptr(ChvdVm) vm = data;

        if (error)
                g_message("VM '%s' stays transient: %s", chvd_vm_name(vm), error->message);
}

/* Its run ended while nobody watched: what would have followed follows now. */
static void go_on(ChvdVm *vm, bool restart) {
        g_autoptr(GError) error = NULL;

        chvd_vm_event(vm, "stopped",
                      g_variant_new_parsed(
                                      "{'state': <%s>, 'reason': <%s>}",
                                      chv_vm_state_to_string(chvd_vm_state(vm)),
                                      chvd_vm_state_reason(vm)));
        if (restart && chvd_vm_state(vm) == CHV_VM_STATE_SHUTDOWN &&
            chvd_vm_start(vm, chvd_vm_owner(vm), /* paused= */ false, CHVD_START_TIMEOUT_S,
                          /* done= */ NULL, /* data= */ NULL, /* ret_job= */ NULL, &error))
                return;
        if (error)
                g_message("VM '%s' is not started again: %s", chvd_vm_name(vm), error->message);
        if (chvd_vm_state(vm) == CHV_VM_STATE_FAILED &&
            chvd_vm_policy(vm)->crash == CHVD_CRASH_RESTART)
                chvd_vm_crash_restart(vm);
        else
                chvd_vm_settle(vm);
}

void chvd_manager_begin(ChvdManager *manager) {
        g_autoptr(GPtrArray) vms = NULL;
        GHashTableIter iter;
        gpointer name, why;

        g_hash_table_iter_init(&iter, manager->broken);
        while (g_hash_table_iter_next(&iter, &name, &why)) {
                g_autofree char *path = chvd_path(CHVD_PATH_VM, name);

                chv_manager_emit_event(
                                manager->skeleton, path, (uint64_t) g_get_real_time(), "vm",
                                "definition-broken",
                                g_variant_new_parsed(
                                                "{'name': <%s>, 'message': <%s>}",
                                                (const char *) name, (const char *) why));
        }
        g_hash_table_iter_init(&iter, manager->over);
        while (g_hash_table_iter_next(&iter, &name, &why))
                go_on(g_hash_table_lookup(manager->vms, name), why != NULL);
        g_hash_table_remove_all(manager->over);
        vms = all_vms(manager);
        for (unsigned i = 0; i < vms->len; i++) {
                ChvdVm *vm = g_ptr_array_index(vms, i);

                if (chvd_vm_is_to_keep(vm))
                        chvd_vm_keep(vm, on_kept_late, chvd_vm_ref(vm));
        }
        if (!chvd_runtime_is_up(manager->context->runtime_dir))
                manager->autostart = chvd_autostart_new(vms, find_vm, on_autostarted, manager);
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
                        manager->skeleton, "signal::handle-create-vm", on_create_vm, manager,
                        "signal::handle-get-vm", on_get_vm, manager, "signal::handle-list-vms",
                        on_list_vms, manager, "signal::handle-check-config", on_check_config,
                        manager, NULL);
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
        vms = all_vms(manager);
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
        return all_vms(manager);
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
