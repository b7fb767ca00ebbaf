/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A device object. It lives as long as the machine that has the device: made when the worker has booted, removed when
 * the run ends. It holds no state of its own but properties; counters are the worker's.
 */

#include "daemon/chvd/device.h"

#include <sys/stat.h>

#include "daemon/chvd/gate.h"
#include "daemon/chvd/options.h"
#include "daemon/chvd/path.h"
#include "daemon/chvd/peers.h"
#include "daemon/chvd/vm-private.h"
#include "dbus/error.h"
#include "dbus/fd.h"

struct ChvdDevice {
        ChvdContext *context;
        ChvdVm *vm; /* owns the device */
        char *path;
        ChvObjectSkeleton *object;
        ChvDevice *skeleton;
        GVariant *config; /* a{sv} */
};

typedef struct {
        ChvDevice *skeleton;
        GDBusMethodInvocation *invocation;
} CountersCall;

/* A change that is under way: first in the worker, then on disk. */
typedef struct {
        ChvdVm *vm;
        ChvDevice *skeleton;
        GDBusMethodInvocation *invocation;
        GVariant *changes; /* a{sv} */
} Update;

static void subject(gpointer data, GDBusMethodInvocation *invocation, ChvdSubject *ret_subject) {
        ChvdDevice *device = data;

        *ret_subject = (ChvdSubject){
                .vm = chvd_vm_name(device->vm),
                .owned = true,
                .owner = chvd_vm_owner(device->vm),
                .device = chv_device_get_id(device->skeleton),
        };
}

static gboolean not_supported(GDBusMethodInvocation *invocation, const char *what) {
        g_dbus_method_invocation_return_error(
                        invocation, CHV_ERROR, CHV_ERROR_NOT_SUPPORTED,
                        "%s a device of a running VM is not supported yet", what);
        return true;
}

static void update_free(Update *update) {
        chvd_vm_unref(update->vm);
        g_object_unref(update->skeleton);
        g_variant_unref(update->changes);
        g_free(update);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Update, update_free)

static void on_update_stored(gpointer data, const GError *error) {
        g_autoptr(Update) update = data;

        if (error)
                g_dbus_method_invocation_return_error(
                                update->invocation, CHV_ERROR, error->code,
                                "config: in force, but not stored: %s", error->message);
        else
                chv_device_complete_update(update->skeleton, update->invocation);
}

/* What the worker says the device is like now; the object may have gone meanwhile. */
static void take_config(const Update *update, GVariant *reply) {
        g_autoptr(GVariant) devices = g_variant_get_child_value(reply, 0);
        const char *id;
        GVariantIter iter;
        GVariant *config;

        g_variant_iter_init(&iter, devices);
        while (g_variant_iter_next(&iter, "(&s&s&s@a{sv})", &id, NULL, NULL, &config)) {
                g_autoptr(GVariant) owned = config;

                for (guint i = 0; i < update->vm->devices->len; i++) {
                        ChvdDevice *device = g_ptr_array_index(update->vm->devices, i);

                        if (device->skeleton != update->skeleton ||
                            !g_str_equal(id, chv_device_get_id(device->skeleton)))
                                continue;
                        g_variant_unref(device->config);
                        device->config = g_variant_ref(owned);
                }
        }
}

static void on_updated(gpointer data, GVariant *reply, GUnixFDList *fds, const GError *error) {
        g_autoptr(Update) update = data;
        g_autoptr(ChvdDefinition) definition = NULL;
        g_autoptr(GError) failed = NULL;
        ChvdVm *vm = update->vm;

        if (error)
                return g_dbus_method_invocation_return_gerror(update->invocation, error);
        take_config(update, reply);
        if (chvd_vm_may_change(vm, &failed))
                definition = chvd_definition_updated(
                                vm->definition, chv_device_get_id(update->skeleton),
                                update->changes, &failed);
        if (!definition)
                return on_update_stored(g_steal_pointer(&update), failed);
        chvd_vm_change(vm, /* policy= */ NULL, definition, on_update_stored,
                       g_steal_pointer(&update));
}

static bool refuse(GDBusMethodInvocation *invocation, const GError *error) {
        g_dbus_method_invocation_return_gerror(invocation, error);
        return true;
}

static bool has_guest(const ChvdDevice *device, GError **error) {
        ChvVmState state = device->vm->state;

        if (state == CHV_VM_STATE_RUNNING || state == CHV_VM_STATE_PAUSED)
                return true;
        g_set_error(error, CHV_ERROR, CHV_ERROR_INVALID_STATE, "VM '%s' is %s",
                    chvd_vm_name(device->vm), chv_vm_state_to_string(state));
        return false;
}

static gboolean
on_update(ChvDevice *skeleton,
          GDBusMethodInvocation *invocation,
          GVariant *config,
          GVariant *options,
          ChvdDevice *device) {
        static const char *const known[] = { NULL };
        const char *id = chv_device_get_id(skeleton);
        g_autoptr(ChvdDefinition) trial = NULL;
        g_autoptr(GError) error = NULL;
        Update *update;

        if (!chvd_options_check(options, known, &error) || !has_guest(device, &error) ||
            !chvd_vm_may_change(device->vm, &error))
                return refuse(invocation, error);
        trial = chvd_definition_updated(device->vm->definition, id, config, &error);
        if (!trial)
                return refuse(invocation, error);
        update = g_new0(Update, 1);
        update->vm = chvd_vm_ref(device->vm);
        update->skeleton = g_object_ref(skeleton);
        update->invocation = invocation;
        update->changes = g_variant_ref(config);
        chvd_worker_call(
                        device->vm->worker, "UpdateDevice", g_variant_new("(s@a{sv})", id, config),
                        "(a(sssa{sv}))",
                        /* fds= */ NULL,
                        /* timeout_ms= */ -1, on_updated, update);
        return true;
}

/* A call of the worker whose answer is the client's. */
typedef struct {
        ChvDevice *skeleton;
        GDBusMethodInvocation *invocation;
} PlainCall;

static void on_plain_done(gpointer data, GVariant *reply, GUnixFDList *fds, const GError *error) {
        g_autofree PlainCall *call = data;
        g_autoptr(ChvDevice) skeleton = call->skeleton;

        if (error)
                g_dbus_method_invocation_return_gerror(call->invocation, error);
        else
                g_dbus_method_invocation_return_value(call->invocation, /* parameters= */ NULL);
}

static gboolean
pass_on(ChvdDevice *device,
        GDBusMethodInvocation *invocation,
        const char *method,
        GVariant *parameters,
        GUnixFDList *fds) {
        PlainCall *call = g_new0(PlainCall, 1);

        call->skeleton = g_object_ref(device->skeleton);
        call->invocation = invocation;
        chvd_worker_call(
                        device->vm->worker, method, parameters, "()", fds,
                        /* timeout_ms= */ -1, on_plain_done, call);
        return true;
}

/* The one descriptor that the handle names, in a list of its own; NULL: *error. */
static GUnixFDList *take_sink(GUnixFDList *list, GVariant *handle, GError **error) {
        gint32 index = g_variant_get_handle(handle);
        chv_autofd fd = -1;
        struct stat st;

        if (list && index >= 0 && index < g_unix_fd_list_get_length(list))
                fd = g_unix_fd_list_get(list, index, /* error= */ NULL);
        if (fd >= 0 && fstat(fd, &st) == 0 && (S_ISFIFO(st.st_mode) || S_ISSOCK(st.st_mode))) {
                int taken = chv_fd_steal(&fd);

                return g_unix_fd_list_new_from_array(&taken, 1);
        }
        g_set_error(error, CHV_ERROR, CHV_ERROR_INVALID_CONFIG,
                    "fd: is neither a pipe nor a socket");
        return NULL;
}

static gboolean on_start_capture(
                ChvDevice *skeleton,
                GDBusMethodInvocation *invocation,
                GUnixFDList *list,
                GVariant *handle,
                GVariant *options,
                ChvdDevice *device) {
        static const char *const known[] = { "snaplen", "u", "count", "t", NULL };
        g_autoptr(GUnixFDList) sink = NULL;
        g_autoptr(GError) error = NULL;

        if (!chvd_options_check(options, known, &error) || !has_guest(device, &error))
                return refuse(invocation, error);
        sink = take_sink(list, handle, &error);
        if (!sink)
                return refuse(invocation, error);
        return pass_on(device, invocation, "StartCapture",
                       g_variant_new("(sh@a{sv})", chv_device_get_id(skeleton), 0, options), sink);
}

static gboolean
on_stop_capture(ChvDevice *skeleton,
                GDBusMethodInvocation *invocation,
                GVariant *options,
                ChvdDevice *device) {
        static const char *const known[] = { NULL };
        g_autoptr(GError) error = NULL;

        if (!chvd_options_check(options, known, &error) || !has_guest(device, &error))
                return refuse(invocation, error);
        return pass_on(device, invocation, "StopCapture",
                       g_variant_new("(s)", chv_device_get_id(skeleton)), /* fds= */ NULL);
}

/* A disk that is getting another size; it takes as long as the host's file systems take. */
typedef struct {
        ChvdVm *vm;
        ChvDevice *skeleton;
        GDBusMethodInvocation *invocation;
} ResizeCall;

static void on_resized(gpointer data, GVariant *reply, GUnixFDList *fds, const GError *error) {
        g_autofree ResizeCall *call = data;
        g_autoptr(ChvdVm) vm = call->vm;
        g_autoptr(ChvDevice) skeleton = call->skeleton;
        guint64 size;

        if (error)
                return g_dbus_method_invocation_return_gerror(call->invocation, error);
        g_variant_get(reply, "(t)", &size);
        chv_device_set_size(skeleton, size);
        chv_device_complete_resize(skeleton, call->invocation, size);
}

static gboolean
on_resize(ChvDevice *skeleton,
          GDBusMethodInvocation *invocation,
          guint64 size,
          GVariant *options,
          ChvdDevice *device) {
        static const char *const known[] = { "shrink", "b", NULL };
        g_autoptr(GError) error = NULL;
        ResizeCall *call;

        if (!chvd_options_check(options, known, &error) || !has_guest(device, &error))
                return refuse(invocation, error);
        call = g_new0(ResizeCall, 1);
        call->vm = chvd_vm_ref(device->vm);
        call->skeleton = g_object_ref(skeleton);
        call->invocation = invocation;
        chvd_worker_call(
                        device->vm->worker, "ResizeDisk",
                        g_variant_new("(st@a{sv})", chv_device_get_id(skeleton), size, options),
                        "(t)", /* fds= */ NULL, G_MAXINT, on_resized, call);
        return true;
}

const char *chvd_device_id(const ChvdDevice *device) {
        return chv_device_get_id(device->skeleton);
}

void chvd_device_set_size(ChvdDevice *device, uint64_t size) {
        chv_device_set_size(device->skeleton, size);
}

static gboolean
on_remove(ChvDevice *skeleton,
          GDBusMethodInvocation *invocation,
          GVariant *options,
          gpointer data) {
        return not_supported(invocation, "removing");
}

static gboolean
on_get_config(ChvDevice *skeleton,
              GDBusMethodInvocation *invocation,
              GVariant *options,
              ChvdDevice *device) {
        static const char *const known[] = { NULL };
        g_autoptr(GError) error = NULL;

        if (chvd_options_check(options, known, &error))
                chv_device_complete_get_config(skeleton, invocation, device->config);
        else
                g_dbus_method_invocation_return_gerror(invocation, error);
        return true;
}

static void on_counters(gpointer data, GVariant *reply, GUnixFDList *fds, const GError *error) {
        g_autofree CountersCall *call = data;
        g_autoptr(ChvDevice) skeleton = call->skeleton;
        g_autoptr(GVariant) all = NULL, own = NULL;

        if (error)
                return g_dbus_method_invocation_return_gerror(call->invocation, error);
        all = g_variant_get_child_value(reply, 0);
        own = g_variant_lookup_value(all, chv_device_get_id(skeleton), G_VARIANT_TYPE("a{st}"));
        chv_device_complete_get_counters(
                        skeleton, call->invocation, own ?: g_variant_new("a{st}", NULL));
}

static gboolean
on_get_counters(ChvDevice *skeleton,
                GDBusMethodInvocation *invocation,
                GVariant *options,
                ChvdDevice *device) {
        static const char *const known[] = { NULL };
        g_autoptr(GError) error = NULL;
        CountersCall *call;

        if (!chvd_options_check(options, known, &error)) {
                g_dbus_method_invocation_return_gerror(invocation, error);
                return true;
        }
        if (!chv_vm_verb_allowed(CHV_VM_VERB_COUNTERS, device->vm->state)) {
                g_dbus_method_invocation_return_error(
                                invocation, CHV_ERROR, CHV_ERROR_INVALID_STATE, "VM '%s' is %s",
                                chvd_vm_name(device->vm),
                                chv_vm_state_to_string(device->vm->state));
                return true;
        }
        call = g_new0(CountersCall, 1);
        call->skeleton = g_object_ref(skeleton);
        call->invocation = invocation;
        chvd_worker_call(
                        device->vm->worker, "GetCounters",
                        /* parameters= */ NULL, "(a{sa{st}})",
                        /* fds= */ NULL,
                        /* timeout_ms= */ -1, on_counters, call);
        return true;
}

ChvdDevice *
chvd_device_new(ChvdContext *context,
                ChvdVm *vm,
                const char *id,
                const char *kind,
                const char *pci_address,
                GVariant *config) {
        g_autofree char *folder = g_strconcat(chvd_vm_path(vm), "/device", NULL);
        ChvdDevice *device = g_new0(ChvdDevice, 1);

        device->context = context;
        device->vm = vm;
        device->path = chvd_path(folder, id);
        device->skeleton = chvd_gate_new(
                        CHV_TYPE_DEVICE_SKELETON, context->authority, subject, device);
        chv_device_set_id(device->skeleton, id);
        chv_device_set_kind(device->skeleton, kind);
        chv_device_set_vm(device->skeleton, chvd_vm_path(vm));
        chv_device_set_pci_address(device->skeleton, pci_address);
        device->config = g_variant_ref_sink(config);
        g_object_connect(
                        device->skeleton, "signal::handle-update", on_update, device,
                        "signal::handle-resize", on_resize, device, "signal::handle-start-capture",
                        on_start_capture, device, "signal::handle-stop-capture", on_stop_capture,
                        device, "signal::handle-remove", on_remove, device,
                        "signal::handle-get-counters", on_get_counters, device,
                        "signal::handle-get-config", on_get_config, device, NULL);
        device->object = chv_object_skeleton_new(device->path);
        chv_object_skeleton_set_device(device->object, device->skeleton);
        chvd_objects_export(device->context, device->object);
        return device;
}

void chvd_device_free(ChvdDevice *device) {
        if (!device)
                return;
        chvd_objects_unexport(device->context, device->path);
        (void) g_signal_handlers_disconnect_by_data(device->skeleton, device);
        g_variant_unref(device->config);
        g_object_unref(device->skeleton);
        g_object_unref(device->object);
        g_free(device->path);
        g_free(device);
}
