/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The public face of a hypervisor and of a machine on it: each call goes to the backend that was
 * opened. Nothing here knows which one that is.
 */

#include "hypervisor/vm.h"

#include "hypervisor/backend.h"

struct hv *hv_free(struct hv *h) {
        if (h)
                h->ops->free(h);
        return NULL;
}

void hv_get_info(const struct hv *h, struct hv_info *ret) {
        h->ops->get_info(h, ret);
}

struct hv_vm *
hv_vm_new(struct hv *h, const struct hv_vm_config *config, struct gmem *mem, GError **error) {
        return h->ops->vm_new(h, config, mem, error);
}

struct hv_vm *hv_vm_free(struct hv_vm *vm) {
        if (vm)
                vm->ops->free(vm);
        return NULL;
}

struct intc *hv_vm_intc(struct hv_vm *vm) {
        return &vm->intc;
}

int hv_vm_doorbell(struct hv_vm *vm, const struct hv_doorbell *bell, bool assign) {
        return vm->ops->doorbell(vm, bell, assign);
}

int hv_vm_map(struct hv_vm *vm, gaddr base, uint64_t size, void *host, bool readonly) {
        return vm->ops->map(vm, base, size, host, readonly);
}

int hv_vm_unmap(struct hv_vm *vm, gaddr base, uint64_t size) {
        return vm->ops->unmap(vm, base, size);
}

bool hv_vm_log_dirty(struct hv_vm *vm, bool on, GError **error) {
        return vm->ops->log_dirty(vm, on, error);
}

bool hv_vm_take_dirty(struct hv_vm *vm, size_t region, uint64_t *bitmap, GError **error) {
        return vm->ops->take_dirty(vm, region, bitmap, error);
}

GVariant *hv_vm_save(struct hv_vm *vm, GError **error) {
        return vm->ops->save(vm, error);
}

bool hv_vm_restore(struct hv_vm *vm, GVariant *state, GError **error) {
        return vm->ops->restore(vm, state, error);
}
