/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Calls of clients on a VM. Each handler checks its options, then whether the state allows its verb, then does or
 * begins the work; the gate has seen to authority before. Properties changed by a call are sent before its reply, so
 * that a client which has its answer sees what it brought about.
 */

#include <sys/stat.h>
#include <unistd.h>

#include "daemon/chvd/gate.h"
#include "daemon/chvd/opener.h"
#include "daemon/chvd/options.h"
#include "daemon/chvd/usage.h"
#include "daemon/chvd/vm-private.h"
#include "daemon/chvd/vm-run.h"
#include "dbus/error.h"
#include "dbus/fd.h"

#define MAX_TIMEOUT_S 3600

static const char *const no_options[] = { NULL };

/* An unanswered call, and the VM it is about. */
typedef struct {
        ChvdVm *vm;
        GDBusMethodInvocation *invocation;
        ChvVmState becomes; /* when it succeeds; INVALID: nothing else */
} Pending;

static Pending *pending_new(ChvdVm *vm, GDBusMethodInvocation *invocation) {
        Pending *pending = g_new0(Pending, 1);

        pending->vm = chvd_vm_ref(vm);
        pending->invocation = invocation;
        pending->becomes = CHV_VM_STATE_INVALID;
        return pending;
}

static void pending_free(Pending *pending) {
        chvd_vm_unref(pending->vm);
        g_free(pending);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Pending, pending_free)

static gboolean refuse(GDBusMethodInvocation *invocation, const GError *error) {
        g_dbus_method_invocation_return_gerror(invocation, error);
        return true;
}

static bool
admit(ChvdVm *vm, GVariant *options, const char *const *known, ChvVmVerb verb, GError **error) {
        if (!chvd_options_check(options, known, error))
                return false;
        if (!chv_vm_verb_allowed(verb, vm->state)) {
                g_set_error(error, CHV_ERROR, CHV_ERROR_INVALID_STATE,
                            "VM '%s' is %s, which does not allow '%s'", chvd_vm_name(vm),
                            chv_vm_state_to_string(vm->state), chv_vm_verb_to_string(verb));
                return false;
        }
        return true;
}

/* For verbs that the worker carries out: there has to be one that listens. */
static bool
admit_to_worker(ChvdVm *vm,
                GVariant *options,
                const char *const *known,
                ChvVmVerb verb,
                GError **error) {
        if (!admit(vm, options, known, verb, error))
                return false;
        if (!vm->worker || !chvd_worker_is_ready(vm->worker)) {
                g_set_error(error, CHV_ERROR, CHV_ERROR_BUSY, "VM '%s' is %s and cannot answer yet",
                            chvd_vm_name(vm), chv_vm_state_to_string(vm->state));
                return false;
        }
        return true;
}

static bool timeout_option(GVariant *options, unsigned fallback, unsigned *ret, GError **error) {
        unsigned value = chvd_options_uint(options, "timeout", fallback);

        if (value > MAX_TIMEOUT_S) {
                g_set_error(error, CHV_ERROR, CHV_ERROR_INVALID_CONFIG,
                            "options: 'timeout' is %u s, more than %d s", value, MAX_TIMEOUT_S);
                return false;
        }
        *ret = value;
        return true;
}

static void on_job_done(gpointer data, const char *job_path, const GError *error) {
        g_autoptr(Pending) pending = data;

        g_dbus_interface_skeleton_flush(G_DBUS_INTERFACE_SKELETON(pending->vm->skeleton));
        if (error)
                g_dbus_method_invocation_return_gerror(pending->invocation, error);
        else
                g_dbus_method_invocation_return_value(
                                pending->invocation, g_variant_new("(o)", job_path));
}

/* The work has begun, or could not. With the option "wait" the reply comes when it is over, and a failure is an error
 * with its name; without, the job's path is the reply, now. */
static gboolean reply_begun(Pending *pending, bool wait, char *job, const GError *error) {
        g_autoptr(Pending) owned = wait && job ? NULL : pending;
        g_autofree char *path = job;

        if (!path)
                return refuse(pending->invocation, error);
        if (!wait)
                g_dbus_method_invocation_return_value(
                                pending->invocation, g_variant_new("(o)", path));
        return true;
}

static gboolean
on_start(ChvVm *skeleton, GDBusMethodInvocation *invocation, GVariant *options, ChvdVm *vm) {
        static const char *const known[] = { "paused", "b", "timeout", "u", "wait", "b", NULL };
        g_autoptr(GError) error = NULL;
        bool wait;
        char *job = NULL;
        Pending *pending;
        unsigned timeout;

        if (!admit(vm, options, known, CHV_VM_VERB_START, &error) ||
            !timeout_option(options, CHVD_START_TIMEOUT_S, &timeout, &error))
                return refuse(invocation, error);
        wait = chvd_options_bool(options, "wait", false);
        pending = pending_new(vm, invocation);
        (void) chvd_vm_start(
                        vm, chvd_gate_caller(invocation),
                        chvd_options_bool(options, "paused", false), MAX(timeout, 1),
                        wait ? on_job_done : NULL, pending, &job, &error);
        return reply_begun(pending, wait, job, error);
}

static gboolean
on_power_off(ChvVm *skeleton, GDBusMethodInvocation *invocation, GVariant *options, ChvdVm *vm) {
        static const char *const known[] = { "timeout", "u", "wait", "b", NULL };
        g_autoptr(GError) error = NULL;
        bool wait;
        char *job = NULL;
        Pending *pending;
        unsigned grace;

        if (!admit(vm, options, known, CHV_VM_VERB_POWER_OFF, &error) ||
            !timeout_option(options, CHVD_QUIT_GRACE_S, &grace, &error))
                return refuse(invocation, error);
        wait = chvd_options_bool(options, "wait", false);
        pending = pending_new(vm, invocation);
        (void) chvd_vm_power_off(
                        vm, chvd_gate_caller(invocation), grace, wait ? on_job_done : NULL, pending,
                        &job, &error);
        return reply_begun(pending, wait, job, error);
}

static gboolean
on_reboot(ChvVm *skeleton, GDBusMethodInvocation *invocation, GVariant *options, ChvdVm *vm) {
        static const char *const known[] = { "force", "b", "timeout", "u", "wait", "b", NULL };
        g_autoptr(GError) error = NULL;
        bool wait;
        char *job = NULL;
        Pending *pending;
        unsigned timeout;

        if (!admit_to_worker(vm, options, known, CHV_VM_VERB_REBOOT, &error) ||
            !timeout_option(options, 0, &timeout, &error))
                return refuse(invocation, error);
        wait = chvd_options_bool(options, "wait", false);
        pending = pending_new(vm, invocation);
        (void) chvd_vm_reboot(
                        vm, chvd_gate_caller(invocation),
                        chvd_options_bool(options, "force", false), timeout,
                        wait ? on_job_done : NULL, pending, &job, &error);
        return reply_begun(pending, wait, job, error);
}

static void on_pressed(gpointer data, const GError *error) {
        g_autoptr(Pending) pending = data;

        if (error)
                g_dbus_method_invocation_return_gerror(pending->invocation, error);
        else
                g_dbus_method_invocation_return_value(pending->invocation, /* parameters= */ NULL);
}

static gboolean
on_shutdown(ChvVm *skeleton, GDBusMethodInvocation *invocation, GVariant *options, ChvdVm *vm) {
        static const char *const known[] = { "timeout", "u", NULL };
        g_autoptr(GError) error = NULL;
        unsigned timeout;

        if (!admit_to_worker(vm, options, known, CHV_VM_VERB_SHUTDOWN, &error) ||
            !timeout_option(options, 0, &timeout, &error))
                return refuse(invocation, error);
        chvd_vm_press_power_button(vm, timeout, on_pressed, pending_new(vm, invocation));
        return true;
}

static void on_verb_done(gpointer data, GVariant *reply, GUnixFDList *fds, const GError *error) {
        g_autoptr(Pending) pending = data;
        ChvdVm *vm = pending->vm;

        if (error)
                return g_dbus_method_invocation_return_gerror(pending->invocation, error);
        /* Unless the machine has ended meanwhile. */
        if (pending->becomes != CHV_VM_STATE_INVALID &&
            (vm->state == CHV_VM_STATE_RUNNING || vm->state == CHV_VM_STATE_PAUSED))
                chvd_vm_set_state(vm, pending->becomes, /* reason= */ NULL);
        g_dbus_interface_skeleton_flush(G_DBUS_INTERFACE_SKELETON(vm->skeleton));
        g_dbus_method_invocation_return_value(pending->invocation, reply);
}

static gboolean
pass_on(ChvdVm *vm,
        GDBusMethodInvocation *invocation,
        GVariant *options,
        ChvVmVerb verb,
        const char *method,
        const char *reply_type,
        ChvVmState becomes) {
        g_autoptr(GError) error = NULL;
        Pending *pending;

        if (!admit_to_worker(vm, options, no_options, verb, &error))
                return refuse(invocation, error);
        pending = pending_new(vm, invocation);
        pending->becomes = becomes;
        chvd_worker_call(
                        vm->worker, method,
                        /* parameters= */ NULL, reply_type,
                        /* fds= */ NULL,
                        /* timeout_ms= */ -1, on_verb_done, pending);
        return true;
}

static gboolean
on_reset(ChvVm *skeleton, GDBusMethodInvocation *invocation, GVariant *options, ChvdVm *vm) {
        return pass_on(vm, invocation, options, CHV_VM_VERB_RESET, "Reset", "()",
                       CHV_VM_STATE_INVALID);
}

static gboolean
on_pause(ChvVm *skeleton, GDBusMethodInvocation *invocation, GVariant *options, ChvdVm *vm) {
        return pass_on(vm, invocation, options, CHV_VM_VERB_PAUSE, "Pause", "()",
                       CHV_VM_STATE_PAUSED);
}

static gboolean
on_resume(ChvVm *skeleton, GDBusMethodInvocation *invocation, GVariant *options, ChvdVm *vm) {
        return pass_on(vm, invocation, options, CHV_VM_VERB_RESUME, "Resume", "()",
                       CHV_VM_STATE_RUNNING);
}

static gboolean
on_nmi(ChvVm *skeleton, GDBusMethodInvocation *invocation, GVariant *options, ChvdVm *vm) {
        return pass_on(vm, invocation, options, CHV_VM_VERB_NMI, "Nmi", "()", CHV_VM_STATE_INVALID);
}

static void on_counters(gpointer data, GVariant *reply, GUnixFDList *fds, const GError *error) {
        g_autoptr(Pending) pending = data;
        ChvdVm *vm = pending->vm;
        g_autoptr(GVariant) counters = NULL;
        ChvdUsage usage;
        bool known;

        if (error)
                return g_dbus_method_invocation_return_gerror(pending->invocation, error);
        counters = g_variant_get_child_value(reply, 0);
        known = chvd_usage_read(
                        (pid_t) chv_vm_get_worker_pid(vm->skeleton), chvd_vm_name(vm), &usage);
        g_dbus_method_invocation_return_value(
                        pending->invocation,
                        g_variant_new("(@a{sa{st}})",
                                      chvd_usage_add(counters, known ? &usage : NULL)));
}

static gboolean
on_get_counters(ChvVm *skeleton, GDBusMethodInvocation *invocation, GVariant *options, ChvdVm *vm) {
        g_autoptr(GError) error = NULL;

        if (!admit_to_worker(vm, options, no_options, CHV_VM_VERB_COUNTERS, &error))
                return refuse(invocation, error);
        chvd_worker_call(
                        vm->worker, "GetCounters",
                        /* parameters= */ NULL, "(a{sa{st}})",
                        /* fds= */ NULL,
                        /* timeout_ms= */ -1, on_counters, pending_new(vm, invocation));
        return true;
}

static gboolean
on_get_config(ChvVm *skeleton, GDBusMethodInvocation *invocation, GVariant *options, ChvdVm *vm) {
        g_autoptr(GError) error = NULL;

        if (!chvd_options_check(options, no_options, &error))
                return refuse(invocation, error);
        chv_vm_complete_get_config(skeleton, invocation, vm->definition->dict);
        return true;
}

static gboolean on_get_console_paths(
                ChvVm *skeleton, GDBusMethodInvocation *invocation, GVariant *options, ChvdVm *vm) {
        g_autoptr(GError) error = NULL;

        if (!chvd_options_check(options, no_options, &error))
                return refuse(invocation, error);
        chv_vm_complete_get_console_paths(
                        skeleton, invocation, vm->console_paths ?: g_variant_new("a{ss}", NULL));
        return true;
}

static void on_changed(gpointer data, const GError *error) {
        g_autoptr(Pending) pending = data;

        if (error)
                g_dbus_method_invocation_return_gerror(pending->invocation, error);
        else
                g_dbus_method_invocation_return_value(pending->invocation, /* parameters= */ NULL);
}

typedef struct {
        Pending *pending;
        uid_t owner;
} NewOwner;

static bool admit_owner(ChvdVm *vm, uid_t owner, GError **error) {
        /* What the old owner has opened of a running machine cannot be taken back. */
        if (chvd_vm_has_run(vm)) {
                g_set_error(error, CHV_ERROR, CHV_ERROR_INVALID_STATE,
                            "VM '%s' is %s, which does not allow to change its owner",
                            chvd_vm_name(vm), chv_vm_state_to_string(vm->state));
                return false;
        }
        return chvd_vm_may_change(vm, error) &&
               (owner == vm->owner || vm->hooks->charge(vm->hooks_data, owner, error));
}

static void give_to(Pending *pending, uid_t owner) {
        ChvdVm *vm = pending->vm;
        g_autoptr(GError) error = NULL;

        if (vm->gone)
                g_set_error(&error, CHV_ERROR, CHV_ERROR_NO_SUCH_VM, "VM '%s' is gone",
                            chvd_vm_name(vm));
        if (error || !admit_owner(vm, owner, &error) || owner == vm->owner)
                on_changed(pending, error);
        else
                chvd_vm_change_owner(vm, owner, on_changed, pending);
}

static void on_owner_access(GObject *source, GAsyncResult *result, gpointer data) {
        g_autofree NewOwner *new = data;
        g_autoptr(GError) error = NULL;
        uid_t caller;

        if (chvd_authority_check_finish(
                            new->pending->vm->context->authority, result, &caller, &error))
                give_to(new->pending, new->owner);
        else
                on_changed(new->pending, error);
}

static gboolean
on_set_owner(ChvVm *skeleton,
             GDBusMethodInvocation *invocation,
             guint32 owner,
             GVariant *options,
             ChvdVm *vm) {
        const ChvdSubject subject = { .vm = chvd_vm_name(vm), .owned = true, .owner = vm->owner };
        g_autoptr(GError) error = NULL;
        NewOwner *new;

        if (!chvd_options_check(options, no_options, &error))
                return refuse(invocation, error);
        if (owner == (uid_t) -1) {
                g_set_error(&error, CHV_ERROR, CHV_ERROR_INVALID_CONFIG, "owner: %u is no uid",
                            owner);
                return refuse(invocation, error);
        }
        /* What somebody else has named would be opened with our rights from now on. */
        if (owner == vm->owner || !chvd_opener_is_self(vm->context, owner) ||
            !chvd_definition_names_host(vm->definition, /* privileged= */ true)) {
                give_to(pending_new(vm, invocation), owner);
                return true;
        }
        new = g_new0(NewOwner, 1);
        new->pending = pending_new(vm, invocation);
        new->owner = owner;
        chvd_authority_check_action_async(
                        vm->context->authority, invocation, chvd_gate_caller(invocation),
                        CHVD_ACTION_HOST_ACCESS, &subject, on_owner_access, new);
        return true;
}

static gboolean
on_delete(ChvVm *skeleton, GDBusMethodInvocation *invocation, GVariant *options, ChvdVm *vm) {
        static const char *const known[] = { "force", "b", NULL };
        g_autoptr(GError) error = NULL;

        if (!chvd_options_check(options, known, &error) ||
            (!chvd_options_bool(options, "force", false) &&
             !admit(vm, options, known, CHV_VM_VERB_DELETE, &error)) ||
            (!chvd_vm_has_run(vm) && !chvd_vm_may_change(vm, &error)))
                return refuse(invocation, error);
        g_ptr_array_add(vm->deletions, invocation);
        if (chvd_vm_has_run(vm))
                chvd_vm_stop(vm, "deleted", /* grace_ms= */ 0);
        else
                chvd_vm_settle(vm);
        return true;
}

/* For changes of what a run is made of: a preserved process is one. */
static bool
admit_change(ChvdVm *vm,
             GVariant *options,
             const char *const *known,
             ChvVmVerb verb,
             GError **error) {
        if (!admit(vm, options, known, verb, error))
                return false;
        if (!chvd_vm_has_run(vm))
                return chvd_vm_may_change(vm, error);
        g_set_error(error, CHV_ERROR, CHV_ERROR_INVALID_STATE,
                    "VM '%s' is failed and its process is preserved; power it off first",
                    chvd_vm_name(vm));
        return false;
}

static void on_limits_set(gpointer data, const GError *error) {
        g_autoptr(Pending) pending = data;

        if (error)
                g_dbus_method_invocation_return_error(
                                pending->invocation, CHV_ERROR, error->code,
                                "options: stored, but not in force: %s", error->message);
        else
                g_dbus_method_invocation_return_value(pending->invocation, /* parameters= */ NULL);
}

static void on_options_stored(gpointer data, const GError *error) {
        g_autoptr(Pending) pending = data;

        if (error)
                g_dbus_method_invocation_return_gerror(pending->invocation, error);
        else {
                ChvdVm *vm = pending->vm;

                chvd_vm_apply_limits(vm, on_limits_set, g_steal_pointer(&pending));
        }
}

static gboolean
on_set_options(ChvVm *skeleton, GDBusMethodInvocation *invocation, GVariant *options, ChvdVm *vm) {
        static const char *const known[] = { CHVD_POLICY_OPTIONS, NULL };
        ChvdPolicy policy = vm->policy;
        g_autoptr(GError) error = NULL;

        if (!chvd_options_check(options, known, &error) ||
            !chvd_policy_update(&policy, vm->transient, options, &error) ||
            !chvd_vm_may_change(vm, &error))
                return refuse(invocation, error);
        chvd_vm_change(vm, &policy, /* definition= */ NULL,
                       chvd_shares_equal(&policy.shares, &vm->policy.shares) ? on_changed
                                                                             : on_options_stored,
                       pending_new(vm, invocation));
        return true;
}

typedef struct {
        Pending *pending;
        ChvdDefinition *definition;
} NewConfig;

/* What the caller may do was looked into meanwhile, and the VM may have gone on. */
static void on_host_access(GObject *source, GAsyncResult *result, gpointer data) {
        g_autofree NewConfig *new = data;
        g_autoptr(Pending) pending = new->pending;
        g_autoptr(ChvdDefinition) definition = new->definition;
        g_autoptr(GVariant) options = g_variant_ref_sink(g_variant_new("a{sv}", NULL));
        ChvdVm *vm = pending->vm;
        g_autoptr(GError) error = NULL;
        uid_t caller;

        if (vm->gone)
                g_set_error(&error, CHV_ERROR, CHV_ERROR_NO_SUCH_VM, "VM '%s' is gone",
                            chvd_vm_name(vm));
        if (vm->gone ||
            !chvd_authority_check_finish(vm->context->authority, result, &caller, &error) ||
            !admit_change(vm, options, no_options, CHV_VM_VERB_SET_CONFIG, &error)) {
                (void) refuse(pending->invocation, error);
                return;
        }
        chvd_vm_change(vm, /* policy= */ NULL, definition, on_changed, g_steal_pointer(&pending));
}

static gboolean
on_set_config(ChvVm *skeleton,
              GDBusMethodInvocation *invocation,
              GUnixFDList *list,
              GVariant *config,
              GVariant *fds,
              GVariant *options,
              ChvdVm *vm) {
        g_autoptr(ChvdDefinition) definition = NULL;
        g_autoptr(GError) error = NULL;

        if (!admit_change(vm, options, no_options, CHV_VM_VERB_SET_CONFIG, &error))
                return refuse(invocation, error);
        definition = chvd_definition_new(chvd_vm_name(vm), config, fds, list, &error);
        if (!definition)
                return refuse(invocation, error);
        if (chvd_definition_names_host(definition, chvd_opener_is_self(vm->context, vm->owner))) {
                const ChvdSubject subject = {
                        .vm = chvd_vm_name(vm),
                        .owned = true,
                        .owner = vm->owner,
                };
                NewConfig *new = g_new0(NewConfig, 1);

                new->pending = pending_new(vm, invocation);
                new->definition = g_steal_pointer(&definition);
                chvd_authority_check_action_async(
                                vm->context->authority, invocation, chvd_gate_caller(invocation),
                                CHVD_ACTION_HOST_ACCESS, &subject, on_host_access, new);
                return true;
        }
        chvd_vm_change(vm, /* policy= */ NULL, definition, on_changed, pending_new(vm, invocation));
        return true;
}

static gboolean
on_rename(ChvVm *skeleton,
          GDBusMethodInvocation *invocation,
          const char *name,
          GVariant *options,
          ChvdVm *vm) {
        g_autoptr(GError) error = NULL;

        if (!admit_change(vm, options, no_options, CHV_VM_VERB_RENAME, &error))
                return refuse(invocation, error);
        vm->hooks->rename(vm->hooks_data, vm, name, invocation);
        return true;
}

/* A console is a stream: whatever else a worker sends is not passed on to clients. */
static bool is_stream(int fd) {
        struct stat st;

        return fstat(fd, &st) == 0 && (S_ISSOCK(st.st_mode) || isatty(fd));
}

static void on_console(gpointer data, GVariant *reply, GUnixFDList *fds, const GError *error) {
        g_autoptr(Pending) pending = data;
        g_autoptr(GUnixFDList) list = NULL;
        chv_autofd fd = -1;
        gint32 handle;

        if (error)
                return g_dbus_method_invocation_return_gerror(pending->invocation, error);
        g_variant_get(reply, "(h)", &handle);
        if (fds && handle >= 0 && handle < g_unix_fd_list_get_length(fds))
                fd = g_unix_fd_list_get(fds, handle, /* error= */ NULL);
        if (fd < 0 || !is_stream(fd))
                return g_dbus_method_invocation_return_error(
                                pending->invocation, CHV_ERROR, CHV_ERROR_FAILED,
                                "the worker sent no console");
        list = g_unix_fd_list_new_from_array((int[]){ chv_fd_steal(&fd) }, 1);
        g_dbus_method_invocation_return_value_with_unix_fd_list(
                        pending->invocation, g_variant_new("(h)", 0), list);
}

static bool is_console(const char *name, GError **error) {
        g_autofree char *quoted = NULL;

        if (g_str_equal(name, "serial") || g_str_equal(name, "console") ||
            g_str_equal(name, "debug_console"))
                return true;
        quoted = chv_quote_text(name);
        g_set_error(error, CHV_ERROR, CHV_ERROR_INVALID_CONFIG,
                    "console: %s is none of serial, console and debug_console", quoted);
        return false;
}

static gboolean
on_open_console(ChvVm *skeleton,
                GDBusMethodInvocation *invocation,
                GUnixFDList *fds,
                const char *console,
                GVariant *options,
                ChvdVm *vm) {
        static const char *const known[] = { "read-only", "b", "force", "b", "replay", "b", NULL };
        g_autoptr(GError) error = NULL;

        if (!is_console(console, &error) ||
            !admit_to_worker(vm, options, known, CHV_VM_VERB_OPEN_CONSOLE, &error))
                return refuse(invocation, error);
        chvd_worker_call(
                        vm->worker, "OpenConsole", g_variant_new("(s@a{sv})", console, options),
                        "(h)",
                        /* fds= */ NULL,
                        /* timeout_ms= */ -1, on_console, pending_new(vm, invocation));
        return true;
}

static gboolean on_resize_console(
                ChvVm *skeleton,
                GDBusMethodInvocation *invocation,
                const char *console,
                guint16 columns,
                guint16 rows,
                GVariant *options,
                ChvdVm *vm) {
        g_autoptr(GError) error = NULL;

        if (!is_console(console, &error) ||
            !admit_to_worker(vm, options, no_options, CHV_VM_VERB_OPEN_CONSOLE, &error))
                return refuse(invocation, error);
        chvd_worker_call(
                        vm->worker, "ResizeConsole", g_variant_new("(sqq)", console, columns, rows),
                        "()",
                        /* fds= */ NULL,
                        /* timeout_ms= */ -1, on_verb_done, pending_new(vm, invocation));
        return true;
}

static gboolean not_supported(GDBusMethodInvocation *invocation, const char *what) {
        g_dbus_method_invocation_return_error(
                        invocation, CHV_ERROR, CHV_ERROR_NOT_SUPPORTED, "%s is not supported yet",
                        what);
        return true;
}

static gboolean
on_resize(ChvVm *skeleton, GDBusMethodInvocation *invocation, GVariant *options, ChvdVm *vm) {
        return not_supported(invocation, "resizing a VM");
}

static gboolean
on_add_device(ChvVm *skeleton,
              GDBusMethodInvocation *invocation,
              GUnixFDList *list,
              const char *kind,
              GVariant *config,
              GVariant *fds,
              GVariant *options,
              ChvdVm *vm) {
        return not_supported(invocation, "adding a device");
}

static gboolean on_remove_device(
                ChvVm *skeleton,
                GDBusMethodInvocation *invocation,
                const char *id,
                GVariant *options,
                ChvdVm *vm) {
        return not_supported(invocation, "removing a device");
}

void chvd_vm_connect_methods(ChvdVm *vm) {
        static const struct {
                const char *signal;
                GCallback handler;
        } handlers[] = {
                { "handle-start", G_CALLBACK(on_start) },
                { "handle-shutdown", G_CALLBACK(on_shutdown) },
                { "handle-power-off", G_CALLBACK(on_power_off) },
                { "handle-reboot", G_CALLBACK(on_reboot) },
                { "handle-reset", G_CALLBACK(on_reset) },
                { "handle-pause", G_CALLBACK(on_pause) },
                { "handle-resume", G_CALLBACK(on_resume) },
                { "handle-nmi", G_CALLBACK(on_nmi) },
                { "handle-delete", G_CALLBACK(on_delete) },
                { "handle-set-options", G_CALLBACK(on_set_options) },
                { "handle-update-group", G_CALLBACK(chvd_vm_on_update_group) },
                { "handle-set-config", G_CALLBACK(on_set_config) },
                { "handle-rename", G_CALLBACK(on_rename) },
                { "handle-resize", G_CALLBACK(on_resize) },
                { "handle-add-device", G_CALLBACK(on_add_device) },
                { "handle-remove-device", G_CALLBACK(on_remove_device) },
                { "handle-get-counters", G_CALLBACK(on_get_counters) },
                { "handle-get-config", G_CALLBACK(on_get_config) },
                { "handle-get-console-paths", G_CALLBACK(on_get_console_paths) },
                { "handle-set-owner", G_CALLBACK(on_set_owner) },
                { "handle-open-console", G_CALLBACK(on_open_console) },
                { "handle-resize-console", G_CALLBACK(on_resize_console) },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(handlers); i++)
                (void) g_signal_connect(vm->skeleton, handlers[i].signal, handlers[i].handler, vm);
}
