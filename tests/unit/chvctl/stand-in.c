/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/* The stand-in for chvd. It follows the documented order of signals: job exported, reply, state, Completed, job gone. */

#include "stand-in.h"

#include <gio/gunixfdlist.h>
#include <glib-unix.h>
#include <string.h>
#include <sys/socket.h>

#include "dbus/config.h"
#include "dbus/error.h"
#include "dbus/generated.h"
#include "dbus/state.h"

#define DELAY_MS 20

struct StandIn {
        GDBusConnection *connection;
        GDBusObjectManagerServer *server;
        ChvManager *manager;
        GHashTable *vms; /* name -> Vm */
        GString *calls;
        GPtrArray *works; /* under way */
        unsigned n_jobs;
};

typedef struct {
        StandIn *owner;
        char *path;
        ChvVm *skeleton;
        GVariant *config;
        ChvObjectSkeleton *object;
        int console; /* our end; -1 */
        guint console_source;
} Vm;

typedef struct {
        StandIn *owner;
        Vm *vm;
        ChvJob *job;
        guint timer;
        char *path;
        const char *to; /* state when done; NULL: fails */
        const char *event;
} Work;

static void note(StandIn *stand_in, const char *what) {
        g_string_append_printf(stand_in->calls, "%s%s", stand_in->calls->len ? " " : "", what);
}

static void emit(Vm *vm, const char *event) {
        guint64 now = (guint64) g_get_real_time();
        g_autoptr(GVariant) none =
                        g_variant_ref_sink(g_variant_new_parsed("{'message': <'it \033 broke'>}"));

        chv_vm_emit_event(vm->skeleton, now, "vm", event, none);
        chv_manager_emit_event(vm->owner->manager, vm->path, now, "vm", event, none);
}

static void close_console(Vm *vm) {
        g_clear_handle_id(&vm->console_source, g_source_remove);
        if (vm->console >= 0)
                close(vm->console);
        vm->console = -1;
}

static void remove_vm(Vm *vm) {
        g_dbus_object_manager_server_unexport(vm->owner->server, vm->path);
        g_hash_table_remove(vm->owner->vms, chv_vm_get_name(vm->skeleton));
}

static void set_state(Vm *vm, const char *state, const char *event) {
        bool off = strcmp(state, "shutdown") == 0 || strcmp(state, "failed") == 0;

        chv_vm_set_state(vm->skeleton, state);
        g_dbus_interface_skeleton_flush(G_DBUS_INTERFACE_SKELETON(vm->skeleton));
        emit(vm, event);
        if (off)
                close_console(vm);
        if (off && chv_vm_get_transient(vm->skeleton))
                remove_vm(vm);
}

static void work_free(gpointer data) {
        Work *work = data;

        g_clear_handle_id(&work->timer, g_source_remove);
        g_object_unref(work->job);
        g_free(work->path);
        g_free(work);
}

static gboolean work_done(gpointer data) {
        Work *work = data;
        bool good = work->to != NULL;

        if (good)
                set_state(work->vm, work->to, work->event);
        else
                chv_vm_set_state(work->vm->skeleton, "created");
        chv_job_emit_completed(work->job, good, good ? "" : "disks[0].path: no such file");
        g_dbus_object_manager_server_unexport(work->owner->server, work->path);
        work->timer = 0;
        g_ptr_array_remove(work->owner->works, work);
        return G_SOURCE_REMOVE;
}

static char *begin(Vm *vm, const char *to, const char *event) {
        Work *work = g_new0(Work, 1);
        g_autoptr(ChvObjectSkeleton) object = NULL;

        work->owner = vm->owner;
        work->vm = vm;
        g_ptr_array_add(vm->owner->works, work);
        work->path = g_strdup_printf("/org/cloudhypervisor/job/%u", ++vm->owner->n_jobs);
        work->job = chv_job_skeleton_new();
        work->to = to;
        work->event = event;
        object = chv_object_skeleton_new(work->path);
        chv_object_skeleton_set_job(object, work->job);
        g_dbus_object_manager_server_export(vm->owner->server, G_DBUS_OBJECT_SKELETON(object));
        if (!g_str_has_prefix(chv_vm_get_name(vm->skeleton), "silent"))
                work->timer = g_timeout_add(DELAY_MS, work_done, work);
        return work->path;
}

static bool allowed(Vm *vm, GDBusMethodInvocation *invocation, ChvVmVerb verb) {
        const char *state = chv_vm_get_state(vm->skeleton);

        note(vm->owner, g_dbus_method_invocation_get_method_name(invocation));
        if (chv_vm_verb_allowed(verb, chv_vm_state_from_string(state)))
                return true;
        g_dbus_method_invocation_return_error(
                        invocation, CHV_ERROR, CHV_ERROR_INVALID_STATE, "not while it is %s",
                        state);
        return false;
}

static gboolean
on_start(ChvVm *skeleton, GDBusMethodInvocation *invocation, GVariant *options, Vm *vm) {
        gboolean paused = FALSE;

        if (!allowed(vm, invocation, CHV_VM_VERB_START))
                return TRUE;
        g_variant_lookup(options, "paused", "b", &paused);
        chv_vm_set_state(skeleton, "starting");
        if (g_str_has_prefix(chv_vm_get_name(skeleton), "broken"))
                chv_vm_complete_start(skeleton, invocation, begin(vm, NULL, NULL));
        else
                chv_vm_complete_start(
                                skeleton, invocation,
                                begin(vm, paused ? "paused" : "running", "booted"));
        return TRUE;
}

static gboolean run_again(gpointer data) {
        set_state(data, "running", "booted");
        return G_SOURCE_REMOVE;
}

static gboolean shut_down(gpointer data) {
        set_state(data, "shutdown", "shutdown");
        return G_SOURCE_REMOVE;
}

static gboolean
on_shutdown(ChvVm *skeleton, GDBusMethodInvocation *invocation, GVariant *options, Vm *vm) {
        if (!allowed(vm, invocation, CHV_VM_VERB_SHUTDOWN))
                return TRUE;
        chv_vm_complete_shutdown(skeleton, invocation);
        if (!g_str_has_prefix(chv_vm_get_name(skeleton), "stubborn"))
                g_timeout_add(DELAY_MS, shut_down, vm);
        return TRUE;
}

static gboolean
on_power_off(ChvVm *skeleton, GDBusMethodInvocation *invocation, GVariant *options, Vm *vm) {
        if (allowed(vm, invocation, CHV_VM_VERB_POWER_OFF))
                chv_vm_complete_power_off(skeleton, invocation, begin(vm, "shutdown", "shutdown"));
        return TRUE;
}

static gboolean
on_reboot(ChvVm *skeleton, GDBusMethodInvocation *invocation, GVariant *options, Vm *vm) {
        if (allowed(vm, invocation, CHV_VM_VERB_REBOOT))
                chv_vm_complete_reboot(skeleton, invocation, begin(vm, "running", "booted"));
        return TRUE;
}

static gboolean
on_reset(ChvVm *skeleton, GDBusMethodInvocation *invocation, GVariant *options, Vm *vm) {
        if (allowed(vm, invocation, CHV_VM_VERB_RESET))
                chv_vm_complete_reset(skeleton, invocation);
        return TRUE;
}

static gboolean
on_pause(ChvVm *skeleton, GDBusMethodInvocation *invocation, GVariant *options, Vm *vm) {
        if (!allowed(vm, invocation, CHV_VM_VERB_PAUSE))
                return TRUE;
        set_state(vm, "paused", "paused");
        chv_vm_complete_pause(skeleton, invocation);
        return TRUE;
}

static gboolean
on_resume(ChvVm *skeleton, GDBusMethodInvocation *invocation, GVariant *options, Vm *vm) {
        if (!allowed(vm, invocation, CHV_VM_VERB_RESUME))
                return TRUE;
        set_state(vm, "running", "resumed");
        chv_vm_complete_resume(skeleton, invocation);
        return TRUE;
}

static gboolean
on_nmi(ChvVm *skeleton, GDBusMethodInvocation *invocation, GVariant *options, Vm *vm) {
        GDBusMessage *message = g_dbus_method_invocation_get_message(invocation);

        if (g_str_has_prefix(chv_vm_get_name(skeleton), "locked") &&
            !(g_dbus_message_get_flags(message) &
              G_DBUS_MESSAGE_FLAGS_ALLOW_INTERACTIVE_AUTHORIZATION)) {
                note(vm->owner, "refused");
                g_dbus_method_invocation_return_error(
                                invocation, CHV_ERROR, CHV_ERROR_NEEDS_INTERACTION, "who are you?");
        } else if (allowed(vm, invocation, CHV_VM_VERB_NMI))
                chv_vm_complete_nmi(skeleton, invocation);
        return TRUE;
}

static gboolean
on_get_config(ChvVm *skeleton, GDBusMethodInvocation *invocation, GVariant *options, Vm *vm) {
        if (g_str_has_prefix(chv_vm_get_name(skeleton), "secret"))
                g_dbus_method_invocation_return_error(
                                invocation, CHV_ERROR, CHV_ERROR_ACCESS_DENIED, "not for you");
        else
                chv_vm_complete_get_config(skeleton, invocation, vm->config);
        return TRUE;
}

static gboolean on_get_console_paths(
                ChvVm *skeleton, GDBusMethodInvocation *invocation, GVariant *options, Vm *vm) {
        chv_vm_complete_get_console_paths(
                        skeleton, invocation, g_variant_new_parsed("{'serial': '/dev/pts/7'}"));
        return TRUE;
}

static gboolean
on_set_owner(ChvVm *skeleton,
             GDBusMethodInvocation *invocation,
             guint owner,
             GVariant *options,
             Vm *vm) {
        chv_vm_set_owner(skeleton, owner);
        chv_vm_complete_set_owner(skeleton, invocation);
        return TRUE;
}

static gboolean
on_set_options(ChvVm *skeleton, GDBusMethodInvocation *invocation, GVariant *options, Vm *vm) {
        g_autofree char *text = g_strdup_printf("SetOptions:%zu", g_variant_n_children(options));
        guint weight;

        note(vm->owner, text);
        if (g_variant_lookup(options, "cpu-weight", "u", &weight))
                chv_vm_set_cpuweight(skeleton, weight);
        chv_vm_complete_set_options(skeleton, invocation);
        return TRUE;
}

static gboolean
on_delete(ChvVm *skeleton, GDBusMethodInvocation *invocation, GVariant *options, Vm *vm) {
        gboolean force = FALSE;

        g_variant_lookup(options, "force", "b", &force);
        if (!force && !allowed(vm, invocation, CHV_VM_VERB_DELETE))
                return TRUE;
        chv_vm_complete_delete(skeleton, invocation);
        remove_vm(vm);
        return TRUE;
}

static gboolean
on_counters(ChvVm *skeleton, GDBusMethodInvocation *invocation, GVariant *options, Vm *vm) {
        if (g_str_equal(chv_vm_get_name(vm->skeleton), "secret")) {
                note(vm->owner, "counters-refused");
                g_dbus_method_invocation_return_error(
                                invocation, CHV_ERROR, CHV_ERROR_ACCESS_DENIED, "not for you");
                return TRUE;
        }
        if (allowed(vm, invocation, CHV_VM_VERB_COUNTERS))
                chv_vm_complete_get_counters(
                                skeleton, invocation,
                                g_variant_new_parsed("{'_disk0': {'read_bytes': uint64 4096}}"));
        return TRUE;
}

static gboolean on_typed(gint fd, GIOCondition condition, gpointer data) {
        Vm *vm = data;
        char buffer[512];
        ssize_t n = read(fd, buffer, sizeof(buffer));
        bool off = n >= 4 && memcmp(buffer + n - 4, "off\n", 4) == 0;
        bool again = n >= 6 && memcmp(buffer, "again\n", 6) == 0;

        if (n <= 0) {
                vm->console_source = 0;
                close_console(vm);
                return G_SOURCE_REMOVE;
        }
        for (ssize_t i = 0; i < n; i++)
                buffer[i] = g_ascii_toupper(buffer[i]);
        /* The other end may have left. */
        (void) send(fd, buffer, (size_t) n, MSG_NOSIGNAL);
        if (!off && !again)
                return G_SOURCE_CONTINUE;
        vm->console_source = 0;
        /* The order a real worker has: the console closes first. */
        close_console(vm);
        if (again)
                chv_vm_set_state(vm->skeleton, "stopping");
        g_timeout_add(DELAY_MS, again ? run_again : shut_down, vm);
        return G_SOURCE_REMOVE;
}

static gboolean
on_open_console(ChvVm *skeleton,
                GDBusMethodInvocation *invocation,
                GUnixFDList *fds,
                const char *console,
                GVariant *options,
                Vm *vm) {
        g_autoptr(GUnixFDList) list = NULL;
        gboolean read_only = FALSE, replay = TRUE;
        int pair[2];

        if (!allowed(vm, invocation, CHV_VM_VERB_OPEN_CONSOLE))
                return TRUE;
        g_variant_lookup(options, "read-only", "b", &read_only);
        g_variant_lookup(options, "replay", "b", &replay);
        g_string_append_printf(vm->owner->calls, ":%s%s", console, read_only ? ":read-only" : "");
        close_console(vm);
        g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), ==, 0);
        vm->console = pair[0];
        vm->console_source = g_unix_fd_add(pair[0], G_IO_IN | G_IO_HUP, on_typed, vm);
        if (replay)
                g_assert_cmpint(write(pair[0], "boot\n", 5), ==, 5);
        list = g_unix_fd_list_new_from_array(&pair[1], 1);
        chv_vm_complete_open_console(skeleton, invocation, list, g_variant_new_handle(0));
        return TRUE;
}

static void vm_free(gpointer data) {
        Vm *vm = data;

        close_console(vm);
        g_object_unref(vm->skeleton);
        g_object_unref(vm->object);
        g_variant_unref(vm->config);
        g_free(vm->path);
        g_free(vm);
}

static Vm *vm_new(StandIn *stand_in, const char *name, GVariant *config, gboolean transient) {
        static const struct {
                const char *signal;
                GCallback handler;
        } methods[] = {
                { "handle-start", G_CALLBACK(on_start) },
                { "handle-shutdown", G_CALLBACK(on_shutdown) },
                { "handle-power-off", G_CALLBACK(on_power_off) },
                { "handle-reboot", G_CALLBACK(on_reboot) },
                { "handle-reset", G_CALLBACK(on_reset) },
                { "handle-pause", G_CALLBACK(on_pause) },
                { "handle-resume", G_CALLBACK(on_resume) },
                { "handle-nmi", G_CALLBACK(on_nmi) },
                { "handle-set-options", G_CALLBACK(on_set_options) },
                { "handle-delete", G_CALLBACK(on_delete) },
                { "handle-get-config", G_CALLBACK(on_get_config) },
                { "handle-get-console-paths", G_CALLBACK(on_get_console_paths) },
                { "handle-set-owner", G_CALLBACK(on_set_owner) },
                { "handle-get-counters", G_CALLBACK(on_counters) },
                { "handle-open-console", G_CALLBACK(on_open_console) },
        };
        Vm *vm = g_new0(Vm, 1);
        g_autofree char *id = g_strdelimit(g_strdup(name), "-", 'x');
        g_autoptr(ChvConfig) parsed = chv_config_from_variant(config, NULL);

        vm->owner = stand_in;
        vm->console = -1;
        vm->path = g_strdup_printf("/org/cloudhypervisor/vm/%s", id);
        vm->skeleton = chv_vm_skeleton_new();
        chv_vm_set_name(vm->skeleton, name);
        chv_vm_set_state(vm->skeleton, "created");
        vm->config = g_variant_ref_sink(config);
        chv_vm_set_vcpus(vm->skeleton, parsed->cpus.boot_vcpus);
        chv_vm_set_memory_size(vm->skeleton, parsed->memory.size);
        chv_vm_set_transient(vm->skeleton, transient);
        chv_vm_set_memory_max(vm->skeleton, G_MAXUINT64);
        chv_vm_set_unit(vm->skeleton, g_str_has_prefix(name, "unit") ? "chv-u\033.service" : "");
        chv_vm_set_limits_in_force(vm->skeleton, g_str_has_prefix(name, "group"));
        chv_vm_set_worker_pid(vm->skeleton, g_str_has_prefix(name, "child") ? 7 : 0);
        chv_vm_set_uuid(vm->skeleton, "00000000-0000-4000-8000-000000000000");
        for (size_t i = 0; i < G_N_ELEMENTS(methods); i++)
                g_signal_connect(vm->skeleton, methods[i].signal, methods[i].handler, vm);
        vm->object = chv_object_skeleton_new(vm->path);
        chv_object_skeleton_set_vm(vm->object, vm->skeleton);
        g_dbus_object_manager_server_export(stand_in->server, G_DBUS_OBJECT_SKELETON(vm->object));
        g_hash_table_insert(stand_in->vms, g_strdup(name), vm);
        return vm;
}

static gboolean
on_create(ChvManager *manager,
          GDBusMethodInvocation *invocation,
          GUnixFDList *fd_list,
          const char *name,
          GVariant *config,
          GVariant *fds,
          GVariant *options,
          StandIn *stand_in) {
        g_autoptr(GError) error = NULL;
        g_autoptr(ChvConfig) parsed = chv_config_from_variant(config, &error);
        gboolean transient = FALSE;
        Vm *vm;

        note(stand_in, "CreateVM");
        if (!parsed || !chv_config_validate(parsed, &error)) {
                g_dbus_method_invocation_return_gerror(invocation, error);
                return TRUE;
        }
        if (g_hash_table_contains(stand_in->vms, name)) {
                g_dbus_method_invocation_return_error(
                                invocation, CHV_ERROR, CHV_ERROR_EXISTS, "there is one already");
                return TRUE;
        }
        g_variant_lookup(options, "transient", "b", &transient);
        vm = vm_new(stand_in, name, config, transient);
        chv_manager_complete_create_vm(manager, invocation, NULL, vm->path);
        return TRUE;
}

static gboolean
on_get(ChvManager *manager,
       GDBusMethodInvocation *invocation,
       const char *name,
       StandIn *stand_in) {
        Vm *vm = g_hash_table_lookup(stand_in->vms, name);

        if (vm)
                chv_manager_complete_get_vm(manager, invocation, vm->path);
        else
                g_dbus_method_invocation_return_error(
                                invocation, CHV_ERROR, CHV_ERROR_NO_SUCH_VM, "there is no '%s'",
                                name);
        return TRUE;
}

static gboolean
on_check(ChvManager *manager,
         GDBusMethodInvocation *invocation,
         GVariant *config,
         GVariant *options,
         StandIn *stand_in) {
        note(stand_in, "CheckConfig");
        chv_manager_complete_check_config(manager, invocation, config);
        return TRUE;
}

StandIn *stand_in_new(GDBusConnection *connection) {
        StandIn *stand_in = g_new0(StandIn, 1);
        g_autoptr(ChvObjectSkeleton) object =
                        chv_object_skeleton_new("/org/cloudhypervisor/Manager");

        stand_in->connection = connection;
        stand_in->calls = g_string_new(NULL);
        stand_in->works = g_ptr_array_new_with_free_func(work_free);
        stand_in->vms = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, vm_free);
        stand_in->server = g_dbus_object_manager_server_new("/org/cloudhypervisor");
        stand_in->manager = chv_manager_skeleton_new();
        chv_manager_set_version(stand_in->manager, "7.7");
        g_signal_connect(stand_in->manager, "handle-create-vm", G_CALLBACK(on_create), stand_in);
        g_signal_connect(stand_in->manager, "handle-get-vm", G_CALLBACK(on_get), stand_in);
        g_signal_connect(stand_in->manager, "handle-check-config", G_CALLBACK(on_check), stand_in);
        chv_object_skeleton_set_manager(object, stand_in->manager);
        g_dbus_object_manager_server_export(stand_in->server, G_DBUS_OBJECT_SKELETON(object));
        g_dbus_object_manager_server_set_connection(stand_in->server, connection);
        return stand_in;
}

void stand_in_free(StandIn *stand_in) {
        if (!stand_in)
                return;
        g_dbus_object_manager_server_set_connection(stand_in->server, NULL);
        g_ptr_array_unref(stand_in->works);
        g_hash_table_unref(stand_in->vms);
        g_object_unref(stand_in->server);
        g_object_unref(stand_in->manager);
        g_string_free(stand_in->calls, TRUE);
        g_free(stand_in);
}

const char *stand_in_state(StandIn *stand_in, const char *name) {
        Vm *vm = g_hash_table_lookup(stand_in->vms, name);

        return vm ? chv_vm_get_state(vm->skeleton) : NULL;
}

GVariant *stand_in_config(StandIn *stand_in, const char *name) {
        Vm *vm = g_hash_table_lookup(stand_in->vms, name);

        return vm->config;
}

guint stand_in_owner(StandIn *stand_in, const char *name) {
        Vm *vm = g_hash_table_lookup(stand_in->vms, name);

        return chv_vm_get_owner(vm->skeleton);
}

gboolean stand_in_transient(StandIn *stand_in, const char *name) {
        Vm *vm = g_hash_table_lookup(stand_in->vms, name);

        return chv_vm_get_transient(vm->skeleton);
}

char *stand_in_calls(StandIn *stand_in) {
        char *calls = g_strdup(stand_in->calls->str);

        g_string_truncate(stand_in->calls, 0);
        return calls;
}

void stand_in_emit(StandIn *stand_in, const char *name, const char *event) {
        emit(g_hash_table_lookup(stand_in->vms, name), event);
}
