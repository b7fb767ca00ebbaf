/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What a chvd before has left: definitions on disk, and runs that go on or that have ended while nobody watched. First
 * all of it is read and adopted (chvd_manager_load()), then, when the service is somebody's to call, what follows from
 * it happens (chvd_manager_begin()).
 */

#include "daemon/chvd/log.h"
#include "daemon/chvd/manager-private.h"
#include "daemon/chvd/path.h"
#include "daemon/chvd/quota.h"
#include "daemon/chvd/runtime.h"
#include "daemon/chvd/store-queue.h"
#include "daemon/chvd/vm-run.h"

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
        return chvd_manager_add_vm(manager, definition, &origin);
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
        vms = chvd_manager_all_vms(manager);
        for (unsigned i = 0; i < vms->len; i++) {
                ChvdVm *vm = g_ptr_array_index(vms, i);

                if (chvd_vm_is_to_keep(vm))
                        chvd_vm_keep(vm, on_kept_late, chvd_vm_ref(vm));
        }
        if (!chvd_runtime_is_up(manager->context->runtime_dir))
                manager->autostart = chvd_autostart_new(vms, find_vm, on_autostarted, manager);
}
