/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The worker's side of the private interface. It holds what outlives a machine (configuration, descriptors,
 * consoles) and at most one machine made of it. A guest's reset replaces the machine, a guest's power-off or failure releases all of
 * that; then the worker waits to be told Quit, because who is to hear of the end may not be there yet.
 *
 * Whatever arrives is checked again here: chvd is trusted to be honest, not to be without faults.
 */

#include "daemon/vmm/service.h"

#include <fcntl.h>
#include <unistd.h>

#include "daemon/vmm/disk.h"
#include "daemon/vmm/machine.h"
#include "daemon/vmm/sandbox/sandbox.h"
#include "dbus/error.h"
#include "dbus/generated.h"
#include "dbus/state.h"

#define OBJECT_PATH "/org/cloudhypervisor/Vmm"
#define LONELY_MS (30 * 1000) /* without a machine and without chvd */

enum {
        CONSOLE_SERIAL,
        CONSOLE_VIRTIO,
        CONSOLE_DEBUG,
        CONSOLE_MAX
};

struct VmmService {
        GDBusConnection *connection; /* NULL: none */
        guint lonely_timer;
        ChvVmm *skeleton;
        void (*finished)(void *opaque, int status);
        void *opaque;
        gboolean preserve; /* a machine that fails is kept */
        bool kept;         /* one is */
        bool ended;        /* the state is final, and there is no machine any more */
        bool quitting;     /* told to */
        bool terminated;   /* by a signal: with the machine, the process goes */
        bool restart;      /* when the guest has powered off, as a signal wants it */
        bool replacing;    /* a machine is being replaced: what its vCPUs still ask for is void */

        ChvConfig *config;
        FdTable *fds;
        Console *consoles[CONSOLE_MAX];
        Events *events;
        Machine *machine;
};

static const char *const console_keys[CONSOLE_MAX] = { "serial", "console", "debug_console" };

static void
emit(VmmService *service,
     gint64 time_us,
     const char *source,
     const char *event,
     GVariant *properties) {
        chv_vmm_emit_event(service->skeleton, (guint64) time_us, source, event, properties);
}

static void emit_vm(VmmService *service, const char *event, const char *message) {
        GVariantDict dict;

        g_variant_dict_init(&dict, NULL);
        if (message)
                g_variant_dict_insert(&dict, "message", "s", message);
        emit(service, g_get_real_time(), "vm", event, g_variant_dict_end(&dict));
}

static void set_state(VmmService *service, ChvVmState state, const char *reason) {
        chv_vmm_set_state(service->skeleton, chv_vm_state_to_string(state));
        chv_vmm_set_state_reason(service->skeleton, reason);
        g_dbus_interface_skeleton_flush(G_DBUS_INTERFACE_SKELETON(service->skeleton));
}

static void drop_machine(VmmService *service) {
        if (!service->machine)
                return;
        service->replacing = true;
        g_clear_pointer(&service->machine, machine_free);
        events_flush(service->events);
        service->replacing = false;
}

static void forget(VmmService *service) {
        drop_machine(service);
        for (unsigned i = 0; i < CONSOLE_MAX; i++)
                g_clear_pointer(&service->consoles[i], console_free);
        g_clear_pointer(&service->fds, fd_table_free);
        g_clear_pointer(&service->config, chv_config_free);
}

static gboolean on_left_alone(gpointer data);

/* Nobody can take it back, so chvd may come late to hear of it. */
static void end(VmmService *service, ChvVmState state, const char *event, const char *reason) {
        if (service->ended)
                return;
        service->ended = true;
        drop_machine(service);
        for (unsigned i = 0; i < CONSOLE_MAX; i++)
                if (service->consoles[i])
                        console_flush(service->consoles[i]);
        forget(service);
        set_state(service, state, reason);
        emit_vm(service, event, reason);
        if (service->terminated)
                (void) g_idle_add(on_left_alone, service);
}

static void finish(VmmService *service) {
        bool failed = g_strcmp0(chv_vmm_get_state(service->skeleton), "failed") == 0;

        service->finished(service->opaque, failed ? EXIT_FAILURE : EXIT_SUCCESS);
}

static gboolean on_lonely(gpointer data) {
        VmmService *service = data;

        service->lonely_timer = 0;
        finish(service);
        return G_SOURCE_REMOVE;
}

/* A worker that chvd forgot before it had a machine would wait for ever. */
static void check_lonely(VmmService *service) {
        if (service->connection || service->config || service->ended)
                g_clear_handle_id(&service->lonely_timer, g_source_remove);
        else if (!service->lonely_timer)
                service->lonely_timer = g_timeout_add(LONELY_MS, on_lonely, service);
}

static bool build_machine(VmmService *service, GError **error) {
        MachineParts parts = {
                .config = service->config,
                .fds = service->fds,
                .events = service->events,
                .serial = service->consoles[CONSOLE_SERIAL],
                .console = service->consoles[CONSOLE_VIRTIO],
                .debug_console = service->consoles[CONSOLE_DEBUG],
                .vcpu_thread_start = sandbox_vcpu_thread,
                .io_thread_start = sandbox_io_thread,
        };

        service->machine = machine_new(&parts, error);
        return service->machine != NULL;
}

static void replace_machine(VmmService *service) {
        g_autoptr(GError) error = NULL;

        service->restart = false;
        emit_vm(service, "rebooting", NULL);
        drop_machine(service);
        if (!build_machine(service, &error)) {
                end(service, CHV_VM_STATE_FAILED, "failed", error->message);
                return;
        }
        machine_resume(service->machine);
        set_state(service, CHV_VM_STATE_RUNNING, "");
        emit_vm(service, "rebooted", NULL);
}

/* What is left of a machine that failed, for whoever looks into this process: memory, devices, consoles. */
static void keep(VmmService *service, const char *reason) {
        service->kept = true;
        (void) machine_pause(service->machine, /* error= */ NULL);
        set_state(service, CHV_VM_STATE_FAILED, reason);
        emit_vm(service, "failed", reason);
}

static void
on_event(void *opaque,
         gint64 time_us,
         const char *source,
         const char *event,
         GVariant *properties) {
        VmmService *service = opaque;
        const char *message = "";

        if (!g_str_equal(source, EVENTS_MACHINE)) {
                emit(service, time_us, source, event, properties);
                return;
        }
        if (service->replacing || service->ended || service->kept)
                return;
        (void) g_variant_lookup(properties, "message", "&s", &message);
        if (g_str_equal(event, "reset") ||
            (g_str_equal(event, "power-off") && service->restart && !service->terminated))
                replace_machine(service);
        else if (g_str_equal(event, "power-off"))
                end(service, CHV_VM_STATE_SHUTDOWN, "shutdown", "the guest powered off");
        else if (service->preserve)
                keep(service, message);
        else
                end(service, CHV_VM_STATE_FAILED, "failed", message);
}

static bool has_machine(VmmService *service, GDBusMethodInvocation *invocation) {
        if (service->machine)
                return true;
        g_dbus_method_invocation_return_error(
                        invocation, CHV_ERROR, CHV_ERROR_INVALID_STATE,
                        "The worker has no machine");
        return false;
}

static const ChvConsoleConfig *console_config(const ChvConfig *config, unsigned which) {
        switch (which) {
        case CONSOLE_SERIAL:
                return &config->serial;
        case CONSOLE_VIRTIO:
                return &config->console;
        default:
                return &config->debug_console;
        }
}

static bool build_consoles(VmmService *service, GError **error) {
        for (unsigned i = 0; i < CONSOLE_MAX; i++) {
                const ChvConsoleConfig *config = console_config(service->config, i);

                if (config->mode == CHV_CONSOLE_OFF)
                        continue;
                service->consoles[i] =
                                console_new(console_keys[i], config->mode,
                                            fd_table_get(service->fds, console_keys[i]), error);
                if (!service->consoles[i])
                        return false;
        }
        return true;
}

static bool
boot(VmmService *service, GUnixFDList *fd_list, GVariant *config, GVariant *fds, GError **error) {
        service->config = chv_config_from_variant(config, error);
        if (!service->config)
                return false;
        chv_config_complete(service->config);
        if (!chv_config_validate(service->config, error))
                return false;
        service->fds = fd_table_new(fds, fd_list, error);
        if (!service->fds)
                return false;
        return build_consoles(service, error) && build_machine(service, error);
}

static GVariant *console_paths(VmmService *service) {
        GVariantBuilder builder;

        g_variant_builder_init(&builder, G_VARIANT_TYPE("a{ss}"));
        for (unsigned i = 0; i < CONSOLE_MAX; i++)
                if (service->consoles[i] && console_path(service->consoles[i]))
                        g_variant_builder_add(
                                        &builder, "{ss}", console_keys[i],
                                        console_path(service->consoles[i]));
        return g_variant_builder_end(&builder);
}

static gboolean
on_boot(ChvVmm *skeleton,
        GDBusMethodInvocation *invocation,
        GUnixFDList *fd_list,
        GVariant *config,
        GVariant *fds,
        GVariant *options,
        VmmService *service) {
        g_autoptr(GError) error = NULL;
        gboolean paused = false;

        if (service->config || service->ended) {
                g_dbus_method_invocation_return_error(
                                invocation, CHV_ERROR, CHV_ERROR_INVALID_STATE, "The worker %s",
                                service->ended ? "has had its machine" : "has a machine already");
                return true;
        }
        if (!boot(service, fd_list, config, fds, &error)) {
                forget(service);
                g_dbus_method_invocation_return_gerror(invocation, error);
                return true;
        }
        sandbox_main_thread(); /* the last moment before a guest runs */
        (void) g_variant_lookup(options, "paused", "b", &paused);
        (void) g_variant_lookup(options, "preserve", "b", &service->preserve);
        if (!paused)
                machine_resume(service->machine);
        set_state(service, paused ? CHV_VM_STATE_PAUSED : CHV_VM_STATE_RUNNING, "");
        chv_vmm_complete_boot(
                        skeleton, invocation,
                        /* fd_list= */ NULL, machine_devices(service->machine),
                        console_paths(service), machine_disk_sizes(service->machine));
        emit_vm(service, "booted", NULL);
        return true;
}

/* Descriptors in list's order; still the list's. NULL: a handle is wrong. */
static int *files_of(GVariant *handles, GUnixFDList *list, size_t *ret_n) {
        size_t n = g_variant_n_children(handles);
        int n_fds = 0;
        const int *fds = list ? g_unix_fd_list_peek_fds(list, &n_fds) : NULL;
        g_autofree int *files = g_new(int, n + 1);

        for (size_t i = 0; i < n; i++) {
                gint32 handle;

                g_variant_get_child(handles, i, "h", &handle);
                if (handle < 0 || handle >= n_fds)
                        return NULL;
                files[i] = fds[handle];
        }
        *ret_n = n;
        return g_steal_pointer(&files);
}

static gboolean on_inspect_image(
                ChvVmm *skeleton,
                GDBusMethodInvocation *invocation,
                GUnixFDList *fd_list,
                GVariant *handles,
                const char *format,
                VmmService *service) {
        g_autoptr(DiskReference) found = NULL;
        g_autofree int *files = NULL;
        size_t n = 0;

        if (!service->config && !service->ended)
                files = files_of(handles, fd_list, &n);
        if (!files || n == 0) {
                g_dbus_method_invocation_return_error(
                                invocation, CHV_ERROR, CHV_ERROR_INVALID_STATE, "InspectImage: %s",
                                files ? "there is no file"
                                      : "a handle is wrong, or it is too late");
                return true;
        }
        found = disk_find_reference(files, n, format);
        chv_vmm_complete_inspect_image(
                        skeleton, invocation, /* fd_list= */ NULL, !found, found ? found->role : "",
                        found ? found->name : "", found && found->format ? found->format : "",
                        found ? found->parent : 0);
        return true;
}

static gboolean
on_describe(ChvVmm *skeleton, GDBusMethodInvocation *invocation, VmmService *service) {
        chv_vmm_complete_describe(
                        skeleton, invocation, chv_vmm_get_state(skeleton),
                        chv_vmm_get_state_reason(skeleton),
                        service->machine ? machine_devices(service->machine)
                                         : g_variant_new("a(sssa{sv})", NULL),
                        console_paths(service), service->preserve);
        return true;
}

static gboolean on_pause(ChvVmm *skeleton, GDBusMethodInvocation *invocation, VmmService *service) {
        g_autoptr(GError) error = NULL;

        if (!has_machine(service, invocation))
                return true;
        if (!machine_pause(service->machine, &error)) {
                g_dbus_method_invocation_return_gerror(invocation, error);
                return true;
        }
        set_state(service, CHV_VM_STATE_PAUSED, "");
        chv_vmm_complete_pause(skeleton, invocation);
        emit_vm(service, "paused", NULL);
        return true;
}

static gboolean
on_resume(ChvVmm *skeleton, GDBusMethodInvocation *invocation, VmmService *service) {
        if (!has_machine(service, invocation))
                return true;
        machine_resume(service->machine);
        set_state(service, CHV_VM_STATE_RUNNING, "");
        chv_vmm_complete_resume(skeleton, invocation);
        emit_vm(service, "resumed", NULL);
        return true;
}

static gboolean on_reset(ChvVmm *skeleton, GDBusMethodInvocation *invocation, VmmService *service) {
        if (!has_machine(service, invocation))
                return true;
        replace_machine(service);
        if (service->machine)
                chv_vmm_complete_reset(skeleton, invocation);
        else
                g_dbus_method_invocation_return_error(
                                invocation, CHV_ERROR, CHV_ERROR_FAILED, "Reset: %s",
                                chv_vmm_get_state_reason(skeleton));
        return true;
}

static gboolean
on_power_button(ChvVmm *skeleton, GDBusMethodInvocation *invocation, VmmService *service) {
        if (!has_machine(service, invocation))
                return true;
        /* What is to follow is for chvd to say. */
        service->restart = false;
        machine_press_power_button(service->machine);
        chv_vmm_complete_power_button(skeleton, invocation);
        return true;
}

static gboolean on_nmi(ChvVmm *skeleton, GDBusMethodInvocation *invocation, VmmService *service) {
        g_autoptr(GError) error = NULL;

        if (!has_machine(service, invocation))
                return true;
        if (machine_nmi(service->machine, &error))
                chv_vmm_complete_nmi(skeleton, invocation);
        else
                g_dbus_method_invocation_return_gerror(invocation, error);
        return true;
}

static void on_flushed(GObject *source, GAsyncResult *result, gpointer data) {
        (void) g_dbus_connection_flush_finish(G_DBUS_CONNECTION(source), result, NULL);
        finish(data);
}

/* The last words: nothing is done after them but to let them reach chvd. */
static void leave(VmmService *service) {
        service->quitting = true;
        if (service->connection)
                g_dbus_connection_flush(
                                service->connection, /* cancellable= */ NULL, on_flushed, service);
        else
                finish(service);
}

static gboolean on_left_alone(gpointer data) {
        VmmService *service = data;

        if (!service->quitting)
                leave(service);
        return G_SOURCE_REMOVE;
}

void vmm_service_terminate(VmmService *service) {
        bool runs = service->machine && !service->kept &&
                    g_strcmp0(chv_vmm_get_state(service->skeleton), "running") == 0;

        if (service->quitting)
                return finish(service);
        if (runs && !service->terminated) {
                service->terminated = true;
                machine_press_power_button(service->machine);
                return;
        }
        service->terminated = true;
        end(service, CHV_VM_STATE_SHUTDOWN, "shutdown", "powered off");
        leave(service);
}

void vmm_service_restart(VmmService *service) {
        if (!service->machine || service->kept || service->quitting || service->terminated)
                return;
        /* A guest that stands still has no ear for a button. */
        if (g_strcmp0(chv_vmm_get_state(service->skeleton), "running") != 0)
                return replace_machine(service);
        service->restart = true;
        machine_press_power_button(service->machine);
}

static gboolean on_quit(ChvVmm *skeleton, GDBusMethodInvocation *invocation, VmmService *service) {
        if (service->quitting) {
                chv_vmm_complete_quit(skeleton, invocation);
                return true;
        }
        service->quitting = true;
        end(service, CHV_VM_STATE_SHUTDOWN, "shutdown", "powered off");
        chv_vmm_complete_quit(skeleton, invocation);
        leave(service);
        return true;
}

static gboolean
on_get_counters(ChvVmm *skeleton, GDBusMethodInvocation *invocation, VmmService *service) {
        if (has_machine(service, invocation))
                chv_vmm_complete_get_counters(
                                skeleton, invocation, machine_counters(service->machine));
        return true;
}

/* Of a device, or of a group. Tried on a copy first: what the machine reads is changed at once or not at all. */
static bool
update(VmmService *service, bool group, const char *id, GVariant *changes, GError **error) {
        g_autoptr(ChvConfig) trial = chv_config_copy(service->config);
        bool (*change)(ChvConfig *, const char *, GVariant *, GError **) =
                        group ? chv_config_update_group : chv_config_update;
        bool (*apply)(Machine *, const char *, const ChvConfig *, GError **) =
                        group ? machine_set_group_limits : machine_set_limits;

        return change(trial, id, changes, error) && chv_config_validate(trial, error) &&
               apply(service->machine, id, trial, error) &&
               change(service->config, id, changes, error);
}

static gboolean on_update_device(
                ChvVmm *skeleton,
                GDBusMethodInvocation *invocation,
                const char *id,
                GVariant *changes,
                VmmService *service) {
        g_autoptr(GError) error = NULL;

        if (!has_machine(service, invocation))
                return true;
        if (update(service, /* group= */ false, id, changes, &error))
                chv_vmm_complete_update_device(
                                skeleton, invocation, machine_devices(service->machine));
        else
                g_dbus_method_invocation_return_gerror(invocation, error);
        return true;
}

static gboolean
on_update_group(ChvVmm *skeleton,
                GDBusMethodInvocation *invocation,
                const char *id,
                GVariant *changes,
                VmmService *service) {
        g_autoptr(GError) error = NULL;

        if (!has_machine(service, invocation))
                return true;
        if (update(service, /* group= */ true, id, changes, &error))
                chv_vmm_complete_update_group(skeleton, invocation);
        else
                g_dbus_method_invocation_return_gerror(invocation, error);
        return true;
}

static void on_disk_resized(void *opaque, uint64_t size, const GError *error) {
        GDBusMethodInvocation *invocation = opaque;

        if (error)
                g_dbus_method_invocation_return_gerror(invocation, error);
        else
                chv_vmm_complete_resize_disk(/* object= */ NULL, invocation, size);
}

static gboolean
on_resize_disk(ChvVmm *skeleton,
               GDBusMethodInvocation *invocation,
               const char *id,
               guint64 size,
               GVariant *options,
               VmmService *service) {
        g_autoptr(GError) error = NULL;
        gboolean shrink = false;

        if (!has_machine(service, invocation))
                return true;
        (void) g_variant_lookup(options, "shrink", "b", &shrink);
        if (!machine_resize_disk(
                            service->machine, id, size, shrink, on_disk_resized, invocation,
                            &error))
                g_dbus_method_invocation_return_gerror(invocation, error);
        return true;
}

static gboolean
on_get_disk_sizes(ChvVmm *skeleton, GDBusMethodInvocation *invocation, VmmService *service) {
        if (has_machine(service, invocation))
                chv_vmm_complete_get_disk_sizes(
                                skeleton, invocation, machine_disk_sizes(service->machine));
        return true;
}

/* -1 and an error, or the descriptor, which is the caller's. */
static int take_handle(GUnixFDList *list, GVariant *handle, GError **error) {
        gint32 index = g_variant_get_handle(handle);

        if (list && index >= 0 && index < g_unix_fd_list_get_length(list))
                return g_unix_fd_list_get(list, index, error);
        g_set_error(error, CHV_ERROR, CHV_ERROR_FAILED, "The descriptor is missing");
        return -1;
}

static gboolean on_start_capture(
                ChvVmm *skeleton,
                GDBusMethodInvocation *invocation,
                GUnixFDList *list,
                const char *id,
                GVariant *handle,
                GVariant *options,
                VmmService *service) {
        g_autoptr(GError) error = NULL;
        guint32 snaplen = 0;
        guint64 count = 0;
        int fd;

        if (!has_machine(service, invocation))
                return true;
        (void) g_variant_lookup(options, "snaplen", "u", &snaplen);
        (void) g_variant_lookup(options, "count", "t", &count);
        fd = take_handle(list, handle, &error);
        if (fd >= 0 && machine_start_capture(service->machine, id, fd, snaplen, count, &error))
                chv_vmm_complete_start_capture(skeleton, invocation, /* fd_list= */ NULL);
        else
                g_dbus_method_invocation_return_gerror(invocation, error);
        return true;
}

static gboolean
on_stop_capture(ChvVmm *skeleton,
                GDBusMethodInvocation *invocation,
                const char *id,
                VmmService *service) {
        g_autoptr(GError) error = NULL;

        if (!has_machine(service, invocation))
                return true;
        if (machine_stop_capture(service->machine, id, &error))
                chv_vmm_complete_stop_capture(skeleton, invocation);
        else
                g_dbus_method_invocation_return_gerror(invocation, error);
        return true;
}

static Console *
find_console(VmmService *service, GDBusMethodInvocation *invocation, const char *name) {
        for (unsigned i = 0; i < CONSOLE_MAX; i++) {
                if (!g_str_equal(name, console_keys[i]))
                        continue;
                if (service->consoles[i])
                        return service->consoles[i];
                g_dbus_method_invocation_return_error(
                                invocation, CHV_ERROR, CHV_ERROR_NO_SUCH_DEVICE,
                                "Console '%s' is off", name);
                return NULL;
        }
        g_dbus_method_invocation_return_error(
                        invocation, CHV_ERROR, CHV_ERROR_NO_SUCH_DEVICE,
                        "There is no console '%s' (there are serial, console and debug_console)",
                        name);
        return NULL;
}

static gboolean
on_open_console(ChvVmm *skeleton,
                GDBusMethodInvocation *invocation,
                GUnixFDList *fd_list,
                const char *name,
                GVariant *options,
                VmmService *service) {
        Console *console = find_console(service, invocation, name);
        gboolean read_only = false, force = false, replay = true;
        g_autoptr(GUnixFDList) list = NULL;
        g_autoptr(GError) error = NULL;
        ConsoleClientFlags flags = 0;
        int fd;

        if (!console)
                return true;
        (void) g_variant_lookup(options, "read-only", "b", &read_only);
        (void) g_variant_lookup(options, "force", "b", &force);
        (void) g_variant_lookup(options, "replay", "b", &replay);
        flags |= read_only ? 0 : CONSOLE_CLIENT_WRITE;
        flags |= force ? CONSOLE_CLIENT_FORCE : 0;
        flags |= replay ? CONSOLE_CLIENT_REPLAY : 0;
        fd = console_open(console, flags, &error);
        if (fd < 0) {
                g_dbus_method_invocation_return_gerror(invocation, error);
                return true;
        }
        list = g_unix_fd_list_new_from_array(&fd, 1); /* takes fd */
        chv_vmm_complete_open_console(skeleton, invocation, list, g_variant_new_handle(0));
        return true;
}

static gboolean on_resize_console(
                ChvVmm *skeleton,
                GDBusMethodInvocation *invocation,
                const char *name,
                guint16 columns,
                guint16 rows,
                VmmService *service) {
        Console *console = find_console(service, invocation, name);

        if (!console)
                return true;
        console_resize(console, columns, rows);
        chv_vmm_complete_resize_console(skeleton, invocation);
        return true;
}

static gboolean
on_connect(ChvVmm *skeleton,
           GDBusMethodInvocation *invocation,
           GUnixFDList *fd_list,
           const char *name,
           GVariant *handle,
           VmmService *service) {
        g_autoptr(GError) error = NULL;
        bool taken, connected;
        int fd, copy;

        if (!has_machine(service, invocation))
                return true;
        fd = fd_list ? g_unix_fd_list_get(fd_list, g_variant_get_handle(handle), &error) : -1;
        copy = fd >= 0 ? fcntl(fd, F_DUPFD_CLOEXEC, 0) : -1;
        if (copy < 0) {
                g_dbus_method_invocation_return_error(
                                invocation, CHV_ERROR, CHV_ERROR_RESOURCE,
                                "descriptor '%s' did not arrive", name);
                if (fd >= 0)
                        (void) close(fd);
                return true;
        }
        connected = machine_connect(service->machine, name, fd, &taken, &error);
        /* For the next machine. */
        if (connected && taken)
                fd_table_replace(service->fds, name, copy);
        else
                (void) close(copy);
        if (connected)
                chv_vmm_complete_connect(skeleton, invocation, /* fd_list= */ NULL);
        else
                g_dbus_method_invocation_return_gerror(invocation, error);
        return true;
}

VmmService *vmm_service_new(void (*finished)(void *opaque, int status), void *opaque) {
        VmmService *service = g_new0(VmmService, 1);
        static const struct {
                const char *signal;
                GCallback handler;
        } methods[] = {
                { "handle-boot", G_CALLBACK(on_boot) },
                { "handle-inspect-image", G_CALLBACK(on_inspect_image) },
                { "handle-describe", G_CALLBACK(on_describe) },
                { "handle-pause", G_CALLBACK(on_pause) },
                { "handle-resume", G_CALLBACK(on_resume) },
                { "handle-reset", G_CALLBACK(on_reset) },
                { "handle-power-button", G_CALLBACK(on_power_button) },
                { "handle-nmi", G_CALLBACK(on_nmi) },
                { "handle-quit", G_CALLBACK(on_quit) },
                { "handle-get-counters", G_CALLBACK(on_get_counters) },
                { "handle-update-device", G_CALLBACK(on_update_device) },
                { "handle-update-group", G_CALLBACK(on_update_group) },
                { "handle-resize-disk", G_CALLBACK(on_resize_disk) },
                { "handle-get-disk-sizes", G_CALLBACK(on_get_disk_sizes) },
                { "handle-start-capture", G_CALLBACK(on_start_capture) },
                { "handle-stop-capture", G_CALLBACK(on_stop_capture) },
                { "handle-open-console", G_CALLBACK(on_open_console) },
                { "handle-connect", G_CALLBACK(on_connect) },
                { "handle-resize-console", G_CALLBACK(on_resize_console) },
        };

        service->finished = finished;
        service->opaque = opaque;
        service->events = events_new(on_event, service);
        service->skeleton = chv_vmm_skeleton_new();
        chv_vmm_set_state(service->skeleton, chv_vm_state_to_string(CHV_VM_STATE_CREATED));
        chv_vmm_set_state_reason(service->skeleton, "");
        for (unsigned i = 0; i < G_N_ELEMENTS(methods); i++)
                g_signal_connect(service->skeleton, methods[i].signal, methods[i].handler, service);
        check_lonely(service);
        return service;
}

void vmm_service_connect(VmmService *service, GDBusConnection *connection) {
        GDBusInterfaceSkeleton *skeleton = G_DBUS_INTERFACE_SKELETON(service->skeleton);
        g_autoptr(GError) error = NULL;

        if (service->connection)
                g_dbus_interface_skeleton_unexport_from_connection(skeleton, service->connection);
        g_clear_object(&service->connection);
        if (connection &&
            g_dbus_interface_skeleton_export(skeleton, connection, OBJECT_PATH, &error)) {
                service->connection = g_object_ref(connection);
                g_dbus_connection_start_message_processing(connection);
                /* Whoever was there before may not have done anything about it. */
                if (service->machine)
                        machine_tell_connections(service->machine);
        } else if (connection)
                g_warning("no interface for chvd: %s", error->message);
        check_lonely(service);
}

void vmm_service_free(VmmService *service) {
        if (!service)
                return;
        g_clear_handle_id(&service->lonely_timer, g_source_remove);
        if (service->connection)
                vmm_service_connect(service, /* connection= */ NULL);
        g_clear_handle_id(&service->lonely_timer, g_source_remove);
        forget(service);
        g_clear_pointer(&service->events, events_free);
        g_clear_object(&service->skeleton);
        g_free(service);
}
