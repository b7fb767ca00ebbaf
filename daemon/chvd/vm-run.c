/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The run of a VM: from Start until everything of it is released again.
 *
 *   begin ─ broker opens ─ worker starts ─ connection ready ─ Boot ─ running … ─ worker exits ─ ended
 *
 * Each arrow can fail, be cancelled or time out, and each such end takes the same way out: the worker is ended, and
 * when its process has gone (or there was none) ended() releases what is left, sets the final state, and only then
 * finishes the jobs. So whoever sees a job completed or a final state can rely on locks, taps and files being free.
 *
 * end_state says that the run is ending and in what; start_error says that it ends because the start failed.
 */

#include "daemon/chvd/vm-run.h"

#include <string.h>
#include <sys/wait.h>

#include "daemon/chvd/device.h"
#include "daemon/chvd/log.h"
#include "daemon/chvd/machines.h"
#include "daemon/chvd/runtime.h"
#include "daemon/chvd/terminal.h"
#include "daemon/chvd/timer.h"
#include "daemon/chvd/vm-private.h"
#include "dbus/error.h"

#define MAX_DEVICES 1024

static void begin(ChvdVm *vm);
static void ended(ChvdVm *vm);

typedef struct {
        ChvdVm *vm;
        ChvdWorker *worker; /* compared before it is used: the call may outlive it */
} BootCall;

static void boot_call_free(BootCall *call) {
        chvd_vm_unref(call->vm);
        g_free(call);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(BootCall, boot_call_free)

bool chvd_vm_has_run(const ChvdVm *vm) {
        return vm->opening || vm->worker || vm->releasing;
}

bool chvd_vm_is_ending(const ChvdVm *vm) {
        return vm->end_state != CHV_VM_STATE_INVALID || vm->start_error;
}

static void set_end(ChvdVm *vm, ChvVmState state, const char *reason) {
        if (vm->end_state != CHV_VM_STATE_INVALID)
                return;
        vm->end_state = state;
        vm->end_reason = g_strdup(reason);
}

/* again: another run follows, whose record takes the place of this one's. */
static void release(ChvdVm *vm, bool again) {
        g_clear_handle_id(&vm->deadline, g_source_remove);
        vm->deadline_at = 0;
        g_clear_object(&vm->chaining);
        chvd_vm_forget_links(vm);
        chvd_machines_remove(vm->context->machines, chvd_vm_name(vm));
        g_clear_pointer(&vm->worker, chvd_worker_free);
        if (!again)
                chvd_runtime_remove(vm->context->runtime_dir, chvd_vm_name(vm));
        g_ptr_array_set_size(vm->devices, 0);
        g_clear_pointer(&vm->console_paths, g_variant_unref);
        chv_vm_set_worker_pid(vm->skeleton, 0);
        chv_vm_set_unit(vm->skeleton, "");
        chv_vm_set_limits_in_force(vm->skeleton, false);
        chv_vm_set_memory_actual_size(vm->skeleton, 0);
        chv_vm_set_started_at(vm->skeleton, 0);
}

/* Why a start or a reboot that was under way did not come about. */
static GError *start_failure(const ChvdVm *vm) {
        if (vm->start_error)
                return g_error_copy(vm->start_error);
        return g_error_new(
                        CHV_ERROR,
                        vm->end_state == CHV_VM_STATE_FAILED ? CHV_ERROR_WORKER_DIED
                                                             : CHV_ERROR_CANCELLED,
                        "VM '%s': %s", vm->definition->name, vm->end_reason ?: "ended");
}

static void on_released(gpointer data) {
        g_autoptr(ChvdVm) vm = data;

        vm->releasing = false;
        ended(vm);
}

/* False: ended() will be called again when that is so. */
static bool resources_are_released(ChvdVm *vm) {
        ChvdResources *resources = g_steal_pointer(&vm->resources);

        if (vm->releasing)
                return false;
        vm->releasing = resources && !chvd_resources_release(resources, on_released, vm);
        if (vm->releasing)
                (void) chvd_vm_ref(vm);
        return !vm->releasing;
}

/* The run is over: nothing of it is left but what release() clears. */
static void settle_end(ChvdVm *vm) {
        g_autoptr(ChvdVm) self = chvd_vm_ref(vm);
        g_autoptr(GError) failure = start_failure(vm);
        g_autofree char *reason = g_steal_pointer(&vm->end_reason);
        bool failed_start = vm->end_state == CHV_VM_STATE_INVALID;
        ChvVmState final = failed_start ? vm->before : vm->end_state;
        bool again = vm->restart && final == CHV_VM_STATE_SHUTDOWN && !vm->start_error &&
                     vm->deletions->len == 0;
        bool crashed = vm->policy.crash == CHVD_CRASH_RESTART && final == CHV_VM_STATE_FAILED &&
                       (!failed_start || vm->crash_start) &&
                       !g_error_matches(vm->start_error, CHV_ERROR, CHV_ERROR_CANCELLED);

        release(vm, again);
        g_clear_error(&vm->start_error);
        vm->end_state = vm->told = CHV_VM_STATE_INVALID;
        vm->restart = false;
        vm->again = again;

        chvd_vm_set_state(vm, final, failed_start ? failure->message : reason);
        vm->start_failed =
                        failed_start && !g_error_matches(failure, CHV_ERROR, CHV_ERROR_CANCELLED);
        if (failed_start)
                chvd_vm_event(vm, "start-failed",
                              g_variant_new_parsed("{'reason': <%s>}", failure->message));
        else
                chvd_vm_event(vm, "stopped",
                              g_variant_new_parsed(
                                              "{'state': <%s>, 'reason': <%s>}",
                                              chv_vm_state_to_string(final), reason ?: ""));
        if (again)
                return begin(vm);
        chvd_vm_release_run(vm);
        chvd_job_finish(g_steal_pointer(&vm->start_job), failure);
        chvd_job_finish(g_steal_pointer(&vm->stop_job), /* error= */ NULL);
        if (crashed && vm->deletions->len == 0)
                return chvd_vm_crash_restart(vm);
        chvd_vm_settle(vm);
}

static void ended(ChvdVm *vm) {
        if (resources_are_released(vm))
                settle_end(vm);
}

/* Takes the way out from wherever the run is. */
static void leave(ChvdVm *vm, unsigned grace_ms) {
        g_clear_handle_id(&vm->deadline, g_source_remove);
        if (vm->releasing)
                return;
        if (vm->chaining)
                g_cancellable_cancel(vm->chaining);
        if (vm->opening)
                g_cancellable_cancel(vm->opening);
        else if (vm->worker)
                chvd_worker_end(vm->worker, grace_ms);
        else
                ended(vm);
}

static void fail_start(ChvdVm *vm, const GError *error) {
        if (!vm->start_error)
                vm->start_error = g_error_copy(error);
        leave(vm, /* grace_ms= */ 0);
}

static gboolean on_start_deadline(gpointer data) {
        ChvdVm *vm = data;
        g_autoptr(GError) error = g_error_new(
                        CHV_ERROR, CHV_ERROR_TIMED_OUT, "VM '%s' did not start within %u s",
                        vm->definition->name, vm->start_timeout_s);

        vm->deadline = 0;
        fail_start(vm, error);
        return G_SOURCE_REMOVE;
}

static char *describe_exit(const ChvdExit *exit) {
        int status = exit->status;

        if (!exit->known)
                return g_strdup("the worker is gone");
        if (WIFSIGNALED(status))
                return g_strdup_printf(
                                "the worker was killed by signal %d (%s)", WTERMSIG(status),
                                g_strsignal(WTERMSIG(status)));
        return g_strdup_printf("the worker exited with status %d", WEXITSTATUS(status));
}

static void tell_death(ChvdVm *vm, const ChvdExit *exit, const char *text) {
        GVariantDict dict;

        g_variant_dict_init(&dict, NULL);
        if (exit->known && WIFSIGNALED(exit->status))
                g_variant_dict_insert(&dict, "signal", "u", (guint32) WTERMSIG(exit->status));
        else if (exit->known)
                g_variant_dict_insert(&dict, "status", "u", (guint32) WEXITSTATUS(exit->status));
        g_variant_dict_insert(&dict, "reason", "s", text);
        chvd_vm_event(vm, "worker-died", g_variant_dict_end(&dict));
}

static void on_exited(gpointer data, const ChvdExit *exit) {
        ChvdVm *vm = data;

        if (!chvd_vm_is_ending(vm)) {
                g_autofree char *text = describe_exit(exit);
                bool clean = exit->known && WIFEXITED(exit->status) &&
                             WEXITSTATUS(exit->status) == 0;

                if (vm->state == CHV_VM_STATE_STARTING)
                        vm->start_error =
                                        g_error_new_literal(CHV_ERROR, CHV_ERROR_WORKER_DIED, text);
                set_end(vm,
                        clean && vm->state != CHV_VM_STATE_STARTING ? CHV_VM_STATE_SHUTDOWN
                                                                    : CHV_VM_STATE_FAILED,
                        text);
                if (!clean)
                        tell_death(vm, exit, text);
        }
        ended(vm);
}

static void on_started(gpointer data) {
        ChvdVm *vm = data;
        g_autoptr(GError) error = NULL;

        chv_vm_set_worker_pid(vm->skeleton, (guint32) chvd_worker_pid(vm->worker));
        chv_vm_set_unit(vm->skeleton, chvd_worker_unit(vm->worker));
        chv_vm_set_limits_in_force(vm->skeleton, chvd_worker_has_limits(vm->worker));
        /* Whatever has no record never boots. */
        if (!chvd_vm_is_ending(vm) && !chvd_vm_note(vm, &error))
                fail_start(vm, error);
}

/* The worker is no more; there was no process. */
static void on_failed(gpointer data, const GError *error) {
        ChvdVm *vm = data;

        g_clear_pointer(&vm->worker, chvd_worker_free);
        fail_start(vm, error);
}

static void
on_event(gpointer data,
         uint64_t timestamp,
         const char *source,
         const char *event,
         GVariant *properties) {
        static const char *const of_worker[] = {
                "booted",    "events-lost", "failed",   "paused", "rebooted",
                "rebooting", "resumed",     "shutdown", NULL,
        };

        /* What becomes of a VM is for chvd to tell. */
        if (g_str_equal(source, "vm") && !g_strv_contains(of_worker, event))
                return;
        chvd_vm_forward_event(data, timestamp, source, event, properties);
        if ((g_str_equal(source, "vhost-user") || g_str_equal(source, "passt")) &&
            g_str_equal(event, "disconnected"))
                chvd_vm_link_lost(data, properties);
        /* Images may have changed outside. */
        if (g_str_equal(source, "vm") && g_str_equal(event, "rebooted"))
                chvd_vm_ask_sizes(data);
        /* The answer may be for a chvd that is gone. */
        if (g_str_equal(source, "block") && g_str_equal(event, "resized"))
                chvd_vm_resized(data, properties);
}

/* The process of a machine that failed is kept, for whoever wants to look into it, until it is powered off. */
static bool preserve(ChvdVm *vm, const char *reason) {
        if (!vm->keeps || vm->policy.crash != CHVD_CRASH_PRESERVE || vm->restart ||
            vm->context->stopping)
                return false;
        g_clear_handle_id(&vm->deadline, g_source_remove);
        chvd_vm_set_state(vm, CHV_VM_STATE_FAILED, reason[0] ? reason : "the machine failed");
        chvd_log(CHVD_LOG_FAILED, chvd_vm_name(vm), vm->definition->config->platform.uuid,
                 "VM '%s' has failed and is preserved: %s", chvd_vm_name(vm),
                 chvd_vm_state_reason(vm));
        return true;
}

static void on_state(gpointer data, const char *name, const char *reason) {
        ChvdVm *vm = data;
        ChvVmState state = chv_vm_state_from_string(name);

        if (chvd_vm_is_ending(vm) || vm->state == CHV_VM_STATE_FAILED)
                return;
        switch (state) {
        case CHV_VM_STATE_RUNNING:
        case CHV_VM_STATE_PAUSED:
                /* While it boots, the reply to Boot tells. */
                if (vm->state != CHV_VM_STATE_STARTING && vm->state != state)
                        chvd_vm_set_state(vm, state, reason);
                return;
        case CHV_VM_STATE_SHUTDOWN:
        case CHV_VM_STATE_FAILED:
                if (vm->state == CHV_VM_STATE_STARTING) {
                        vm->told = state;
                        return;
                }
                if (state == CHV_VM_STATE_FAILED && preserve(vm, reason))
                        return;
                set_end(vm, state,
                        reason[0]                        ? reason
                        : state == CHV_VM_STATE_SHUTDOWN ? "the guest powered off"
                                                         : "the machine failed");
                chvd_vm_set_state(vm, CHV_VM_STATE_STOPPING, vm->end_reason);
                chvd_vm_note_change(vm);
                leave(vm, CHVD_QUIT_GRACE_S * 1000);
                return;
        default:
                g_debug("VM '%s': its worker tells of state '%s'", vm->definition->name, name);
        }
}

static void add_devices(ChvdVm *vm, GVariant *devices) {
        g_autoptr(GHashTable) seen = g_hash_table_new(g_str_hash, g_str_equal);
        const char *id, *kind, *address;
        GVariantIter iter;
        GVariant *config;

        g_variant_iter_init(&iter, devices);
        while (g_variant_iter_next(&iter, "(&s&s&s@a{sv})", &id, &kind, &address, &config)) {
                g_autoptr(GVariant) owned = config;

                if (vm->devices->len >= MAX_DEVICES || strlen(id) > 64 || strlen(kind) > 64 ||
                    strlen(address) > 32 || !g_hash_table_add(seen, (gpointer) id))
                        continue;
                g_ptr_array_add(vm->devices,
                                chvd_device_new(vm->context, vm, id, kind, address, owned));
        }
}

static void
add_console(ChvdVm *vm, GVariantBuilder *paths, const char *name, const ChvConsoleConfig *console) {
        g_autofree char *pty = NULL;

        if (console->mode == CHV_CONSOLE_PTY)
                pty = chvd_terminal_path(chvd_fd_set_get(chvd_resources_fds(vm->resources), name));
        if (pty)
                g_variant_builder_add(paths, "{ss}", name, pty);
        else if (console->mode == CHV_CONSOLE_FILE || console->mode == CHV_CONSOLE_SOCKET)
                g_variant_builder_add(paths, "{ss}", name, console->path);
}

/* Paths are told from what was opened here: a worker must not be able to send clients to a file of its choice. */
static void set_console_paths(ChvdVm *vm) {
        const ChvConfig *config = vm->definition->config;
        g_auto(GVariantBuilder) paths = G_VARIANT_BUILDER_INIT(G_VARIANT_TYPE("a{ss}"));

        add_console(vm, &paths, "serial", &config->serial);
        add_console(vm, &paths, "console", &config->console);
        add_console(vm, &paths, "debug_console", &config->debug_console);
        vm->console_paths = g_variant_ref_sink(g_variant_builder_end(&paths));
}

/* There is nobody any more who could go on with it. True: that is seen to. */
static bool has_lost_worker(const BootCall *call, const GError *error) {
        if (call->vm->worker != call->worker || chvd_vm_is_ending(call->vm))
                return true;
        if (!g_error_matches(error, CHV_ERROR, CHV_ERROR_WORKER_DIED))
                return false;
        /* Its exit status will say more. */
        chvd_worker_end(call->worker, CHVD_QUIT_GRACE_S * 1000);
        return true;
}

static void on_booted(gpointer data, GVariant *reply, GUnixFDList *fds, const GError *error) {
        g_autoptr(BootCall) call = data;
        g_autoptr(GVariant) devices = NULL, sizes = NULL;
        ChvdVm *vm = call->vm;

        if (has_lost_worker(call, error))
                return;
        if (error)
                return fail_start(vm, error);
        devices = g_variant_get_child_value(reply, 0);
        sizes = g_variant_get_child_value(reply, 2);
        g_clear_handle_id(&vm->deadline, g_source_remove);
        add_devices(vm, devices);
        chvd_vm_set_sizes(vm, sizes);
        set_console_paths(vm);
        chvd_vm_register(vm);
        chvd_resources_passed(vm->resources);
        chv_vm_set_memory_actual_size(vm->skeleton, vm->definition->config->memory.size);
        chv_vm_set_started_at(vm->skeleton, (guint64) g_get_real_time());
        chvd_vm_set_state(
                        vm, vm->start_paused ? CHV_VM_STATE_PAUSED : CHV_VM_STATE_RUNNING,
                        /* reason= */ NULL);
        vm->booted_at = g_get_monotonic_time();
        vm->crash_start = vm->again = false;
        chvd_vm_note_change(vm);
        if (vm->stored && !vm->has_run)
                chvd_store_queue_mark_run(vm->context->store, chvd_vm_name(vm));
        vm->has_run = true;
        chvd_vm_event(vm, "started", /* properties= */ NULL);
        chvd_job_finish(g_steal_pointer(&vm->start_job), /* error= */ NULL);
        if (vm->told != CHV_VM_STATE_INVALID)
                on_state(vm, chv_vm_state_to_string(vm->told), "");
}

static void boot(ChvdVm *vm, const GError *chain_error) {
        g_autoptr(GUnixFDList) list = NULL;
        g_autoptr(GError) error = NULL;
        GVariantBuilder options;
        BootCall *call;
        GVariant *fds;

        if (chain_error)
                return fail_start(vm, chain_error);
        fds = chvd_fd_set_to_variant(chvd_resources_fds(vm->resources), &list, &error);
        if (!fds) {
                g_autoptr(GError) ours =
                                g_error_new_literal(CHV_ERROR, CHV_ERROR_FAILED, error->message);

                return fail_start(vm, ours);
        }
        g_variant_builder_init(&options, G_VARIANT_TYPE("a{sv}"));
        if (vm->start_paused)
                g_variant_builder_add(&options, "{sv}", "paused", g_variant_new_boolean(true));
        vm->keeps = vm->policy.crash == CHVD_CRASH_PRESERVE;
        if (vm->keeps)
                g_variant_builder_add(&options, "{sv}", "preserve", g_variant_new_boolean(true));
        call = g_new0(BootCall, 1);
        call->vm = chvd_vm_ref(vm);
        call->worker = vm->worker;
        chvd_worker_call(
                        vm->worker, "Boot",
                        g_variant_new("(@a{sv}@a{sh}a{sv})", vm->definition->dict, fds, &options),
                        "(a(sssa{sv})a{ss}a{st})", list,
                        G_MAXINT, /* the deadline of the start is what counts */
                        on_booted, call);
}

static void on_ready(gpointer data) {
        ChvdVm *vm = data;

        if (!chvd_vm_is_ending(vm))
                chvd_vm_open_chains(vm, boot);
}

static const ChvdWorkerOps worker_ops = {
        .started = on_started,
        .failed = on_failed,
        .ready = on_ready,
        .event = on_event,
        .state = on_state,
        .exited = on_exited,
};

static void on_opened(GObject *source, GAsyncResult *result, gpointer data) {
        g_autoptr(ChvdVm) vm = data;
        g_autoptr(GError) error = NULL;

        vm->resources = chvd_broker_open_finish(result, &error);
        g_clear_object(&vm->opening);
        if (chvd_vm_is_ending(vm))
                return ended(vm);
        if (vm->resources && chvd_vm_note(vm, &error))
                vm->worker = chvd_worker_start(
                                vm->context, chvd_vm_name(vm),
                                vm->definition->config->platform.uuid,
                                chv_config_pins_memory(vm->definition->config), chvd_vm_limits(vm),
                                &worker_ops, vm, &error);
        if (!vm->worker)
                return fail_start(vm, error);
}

static void begin(ChvdVm *vm) {
        g_autoptr(GError) error = NULL;

        vm->before = vm->state;
        chvd_vm_set_state(vm, CHV_VM_STATE_STARTING, /* reason= */ NULL);
        chvd_vm_event(vm, "starting", /* properties= */ NULL);
        if (vm->again && !chvd_vm_note(vm, &error))
                g_warning("VM '%s': %s", chvd_vm_name(vm), error->message);
        vm->deadline = chvd_timer_new(vm->start_timeout_s, on_start_deadline, vm);
        vm->opening = g_cancellable_new();
        chvd_broker_open_async(
                        vm->context, vm->definition, vm->owner, vm->opening, on_opened,
                        chvd_vm_ref(vm));
}

static void on_cancel_start(gpointer data) {
        ChvdVm *vm = data;
        g_autoptr(GError) error =
                        g_error_new(CHV_ERROR, CHV_ERROR_CANCELLED,
                                    "the start of VM '%s' was cancelled", vm->definition->name);

        if (!vm->restart)
                return fail_start(vm, error);
        /* A reboot that has not come to the start: whatever ends the present run goes on. */
        vm->restart = false;
        if (!chvd_vm_is_ending(vm))
                g_clear_handle_id(&vm->deadline, g_source_remove);
        chvd_job_finish(g_steal_pointer(&vm->start_job), error);
}

static ChvdJob *
new_job(ChvdVm *vm,
        const char *operation,
        uid_t caller,
        void (*cancel)(gpointer data),
        ChvdJobDone done,
        gpointer data,
        char **ret_job,
        GError **error) {
        ChvdJob *job =
                        chvd_job_new(vm->context, operation, vm->path, vm->definition->name,
                                     vm->owner, caller, cancel, vm, error);

        if (job && done)
                chvd_job_wait(job, done, data);
        if (job && ret_job)
                *ret_job = g_strdup(chvd_job_path(job));
        return job;
}

bool chvd_vm_start(
                ChvdVm *vm,
                uid_t caller,
                bool paused,
                unsigned timeout_s,
                ChvdJobDone done,
                gpointer data,
                char **ret_job,
                GError **error) {
        ChvdJob *job;

        if (!chvd_vm_may_change(vm, error))
                return false;
        if (chvd_vm_has_run(vm)) {
                g_set_error(error, CHV_ERROR, CHV_ERROR_INVALID_STATE,
                            "VM '%s' is failed and its process is preserved; power it off first",
                            vm->definition->name);
                return false;
        }
        /* The path beside it may be anything: who named it was not asked for the right to have it opened. */
        if (vm->definition->lost) {
                g_set_error(error, CHV_ERROR, CHV_ERROR_RESOURCE,
                            "%s: was given to VM '%s' as a descriptor, which the service has no "
                            "more since it was restarted; set the configuration anew",
                            vm->definition->lost, vm->definition->name);
                return false;
        }
        if (!chvd_vm_charge_run(vm, error))
                return false;
        job = new_job(vm, "start", caller, on_cancel_start, done, data, ret_job, error);
        if (!job) {
                chvd_vm_release_run(vm);
                return false;
        }
        chvd_vm_crash_forget(vm);
        vm->start_job = job;
        vm->start_paused = paused;
        vm->start_timeout_s = timeout_s;
        begin(vm);
        return true;
}

static void stop(ChvdVm *vm, const char *reason, unsigned grace_ms) {
        bool starting = vm->state == CHV_VM_STATE_STARTING;

        if (starting && !vm->start_error)
                vm->start_error = g_error_new(
                                CHV_ERROR, CHV_ERROR_CANCELLED, "VM '%s' was not started: %s",
                                vm->definition->name, reason);
        set_end(vm, CHV_VM_STATE_SHUTDOWN, reason);
        if (vm->state != CHV_VM_STATE_STOPPING)
                chvd_vm_set_state(vm, CHV_VM_STATE_STOPPING, reason);
        chvd_vm_note_change(vm);
        /* A guest that has not run has nothing to lose. */
        leave(vm, starting ? 0 : grace_ms);
}

void chvd_vm_stop(ChvdVm *vm, const char *reason, unsigned grace_ms) {
        vm->restart = vm->again = false;
        if (chvd_vm_has_run(vm))
                stop(vm, reason, grace_ms);
}

bool chvd_vm_power_off(
                ChvdVm *vm,
                uid_t caller,
                unsigned grace_s,
                ChvdJobDone done,
                gpointer data,
                char **ret_job,
                GError **error) {
        ChvdJob *job = new_job(
                        vm, "power-off", caller, /* cancel= */ NULL, done, data, ret_job, error);

        if (!job)
                return false;
        if (chvd_vm_has_run(vm)) {
                vm->stop_job = job;
                chvd_vm_stop(vm, "powered off", grace_s * 1000);
                return true;
        }
        /* Failed, and its worker has gone already. */
        chvd_vm_crash_forget(vm);
        chvd_vm_set_state(vm, CHV_VM_STATE_SHUTDOWN, "powered off");
        chvd_job_finish(job, /* error= */ NULL);
        chvd_vm_settle(vm);
        return true;
}

static gboolean on_press_deadline(gpointer data) {
        ChvdVm *vm = data;

        vm->deadline = 0;
        stop(vm, "the guest did not power off in time", CHVD_QUIT_GRACE_S * 1000);
        return G_SOURCE_REMOVE;
}

static void arm_deadline(ChvdVm *vm) {
        gint64 left = vm->deadline_at - g_get_monotonic_time();

        g_clear_handle_id(&vm->deadline, g_source_remove);
        vm->deadline = chvd_timer_new(
                        left > 0 ? (unsigned) MIN((left + G_USEC_PER_SEC - 1) / G_USEC_PER_SEC,
                                                  G_MAXINT)
                                 : 0,
                        on_press_deadline, vm);
}

void chvd_vm_take_worker(ChvdVm *vm, ChvdWorker *worker, GVariant *devices) {
        vm->worker = worker;
        chvd_worker_set_ops(worker, &worker_ops, vm);
        chv_vm_set_worker_pid(vm->skeleton, (guint32) chvd_worker_pid(worker));
        chv_vm_set_unit(vm->skeleton, chvd_worker_unit(worker));
        chv_vm_set_limits_in_force(vm->skeleton, chvd_worker_has_limits(worker));
        add_devices(vm, devices);
        chvd_vm_ask_sizes(vm);
        if (vm->deadline_at)
                arm_deadline(vm);
}

typedef struct {
        ChvdVm *vm;
        ChvdWorker *worker; /* compared only */
        unsigned timeout_s;
        ChvdPressed done;
        gpointer data;
} PressCall;

static void on_pressed(gpointer data, GVariant *reply, GUnixFDList *fds, const GError *error) {
        g_autofree PressCall *call = data;
        g_autoptr(ChvdVm) vm = call->vm;

        if (!error && call->timeout_s > 0 && vm->worker == call->worker && !chvd_vm_is_ending(vm)) {
                vm->deadline_at =
                                g_get_monotonic_time() + (gint64) call->timeout_s * G_USEC_PER_SEC;
                chvd_vm_note_change(vm);
                arm_deadline(vm);
        }
        call->done(call->data, error);
}

bool chvd_vm_hears_power_button(const ChvdVm *vm) {
        return vm->state == CHV_VM_STATE_RUNNING && vm->worker &&
               chvd_worker_is_ready(vm->worker) && !chvd_vm_is_ending(vm);
}

void chvd_vm_press_power_button(ChvdVm *vm, unsigned timeout_s, ChvdPressed done, gpointer data) {
        PressCall *call = g_new0(PressCall, 1);

        call->vm = chvd_vm_ref(vm);
        call->worker = vm->worker;
        call->timeout_s = timeout_s;
        call->done = done;
        call->data = data;
        chvd_worker_call(
                        vm->worker, "PowerButton",
                        /* parameters= */ NULL, "()",
                        /* fds= */ NULL,
                        /* timeout_ms= */ -1, on_pressed, call);
}

static void on_pressed_for_reboot(gpointer data, const GError *error) {
        g_autoptr(ChvdVm) vm = data;

        if (!error || !vm->restart || chvd_vm_is_ending(vm))
                return;
        vm->restart = false;
        chvd_vm_note_change(vm);
        chvd_job_finish(g_steal_pointer(&vm->start_job), error);
}

bool chvd_vm_reboot(
                ChvdVm *vm,
                uid_t caller,
                bool force,
                unsigned timeout_s,
                ChvdJobDone done,
                gpointer data,
                char **ret_job,
                GError **error) {
        ChvdJob *job;

        if (vm->start_job && !force) {
                g_set_error(error, CHV_ERROR, CHV_ERROR_BUSY, "VM '%s' is being rebooted already",
                            vm->definition->name);
                return false;
        }
        job = new_job(vm, "reboot", caller, on_cancel_start, done, data, ret_job, error);
        if (!job)
                return false;
        if (vm->start_job)
                on_cancel_start(vm);
        vm->start_job = job;
        vm->start_paused = false;
        vm->start_timeout_s = CHVD_START_TIMEOUT_S;
        vm->restart = true;
        chvd_vm_note_change(vm);
        /* A paused guest cannot react to a button. */
        if (force || vm->state == CHV_VM_STATE_PAUSED)
                stop(vm, "rebooting", CHVD_QUIT_GRACE_S * 1000);
        else
                chvd_vm_press_power_button(vm, timeout_s, on_pressed_for_reboot, chvd_vm_ref(vm));
        return true;
}
