/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * How large the disks of a running machine are. The worker, which reads the images, says so when it has built a machine (vm-run.c);
 * it is asked when it has built another one and when it was found again; what a resize made of a disk is told by its answer, and by an event
 * for a chvd that has not asked for it.
 */

#include "daemon/chvd/device.h"
#include "daemon/chvd/vm-private.h"

typedef struct {
        ChvdVm *vm;
        ChvdWorker *worker; /* compared only */
} SizesCall;

static void set_size(ChvdVm *vm, const char *id, uint64_t size) {
        for (guint i = 0; i < vm->devices->len; i++) {
                ChvdDevice *device = g_ptr_array_index(vm->devices, i);

                if (g_str_equal(id, chvd_device_id(device)))
                        return chvd_device_set_size(device, size);
        }
}

void chvd_vm_resized(ChvdVm *vm, GVariant *properties) {
        const char *id;
        guint64 size;

        if (g_variant_lookup(properties, "id", "&s", &id) &&
            g_variant_lookup(properties, "size", "t", &size))
                set_size(vm, id, size);
}

void chvd_vm_set_sizes(ChvdVm *vm, GVariant *sizes) {
        GVariantIter iter;
        const char *id;
        guint64 size;

        g_variant_iter_init(&iter, sizes);
        while (g_variant_iter_next(&iter, "{&st}", &id, &size))
                set_size(vm, id, size);
}

static void on_sizes(gpointer data, GVariant *reply, GUnixFDList *fds, const GError *error) {
        g_autofree SizesCall *call = data;
        g_autoptr(ChvdVm) vm = call->vm;

        /* One that does not know the method is older; the sizes stay unknown. */
        if (!error && vm->worker == call->worker) {
                g_autoptr(GVariant) sizes = g_variant_get_child_value(reply, 0);

                chvd_vm_set_sizes(vm, sizes);
        }
}

void chvd_vm_ask_sizes(ChvdVm *vm) {
        SizesCall *call;

        if (!vm->worker || !chvd_worker_is_ready(vm->worker))
                return;
        call = g_new0(SizesCall, 1);
        call->vm = chvd_vm_ref(vm);
        call->worker = vm->worker;
        chvd_worker_call(
                        vm->worker, "GetDiskSizes", /* parameters= */ NULL, "(a{st})",
                        /* fds= */ NULL, G_MAXINT, on_sizes, call);
}
