/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Memory slots: which host memory answers which guest addresses, and KVM's log of the pages the
 * guest wrote. Slots are found by their base address, because regions and BARs come and go. The lock
 * is there because a guest that moves a BAR gets here from a vCPU's thread.
 */

#include "hypervisor/kvm/kvm.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "hypervisor/error.h"

static int set_slot(struct hvk_vm *v, const struct hvk_slot *slot, uint32_t flags, uint64_t size) {
        struct kvm_userspace_memory_region r = {
                .slot = (uint32_t) (slot - v->slots),
                .flags = flags,
                .guest_phys_addr = slot->base,
                .memory_size = size,
                .userspace_addr = (uintptr_t) slot->host,
        };

        return hvk_ioctl(v->fd, KVM_SET_USER_MEMORY_REGION, &r);
}

static struct hvk_slot *free_slot(struct hvk_vm *v) {
        uint32_t old = v->n_slots, n = MIN(MAX(old * 2, 8), v->hvk->max_slots);

        for (uint32_t i = 0; i < old; i++)
                if (!v->slots[i].used)
                        return &v->slots[i];
        if (n <= old)
                return NULL;
        v->slots = g_renew(struct hvk_slot, v->slots, n);
        memset(v->slots + old, 0, (n - old) * sizeof(*v->slots));
        v->n_slots = n;
        return &v->slots[old];
}

static struct hvk_slot *find_slot(struct hvk_vm *v, uint64_t base) {
        for (uint32_t i = 0; i < v->n_slots; i++)
                if (v->slots[i].used && v->slots[i].base == base)
                        return &v->slots[i];
        return NULL;
}

/* Only RAM is logged: what a device maps is the device's to save. */
static bool is_ram(const struct hvk_vm *v, uint64_t base) {
        for (size_t i = 0; i < gmem_n_regions(v->vm.mem); i++)
                if (gmem_region(v->vm.mem, i)->base.v == base)
                        return true;
        return false;
}

static size_t log_words(uint64_t size) {
        return (size_t) ((size / 4096 + 63) / 64);
}

static int log_slot(struct hvk_vm *v, struct hvk_slot *slot, bool on) {
        uint32_t flags = slot->flags & ~(uint32_t) KVM_MEM_LOG_DIRTY_PAGES;
        int r;

        if (on)
                flags |= KVM_MEM_LOG_DIRTY_PAGES;
        if (flags == slot->flags)
                return 0;
        r = set_slot(v, slot, flags, slot->size);
        if (r < 0)
                return r;
        slot->flags = flags;
        if (on)
                slot->log = g_new0(uint64_t, log_words(slot->size));
        else
                g_clear_pointer(&slot->log, g_free);
        return 0;
}

static int map_locked(struct hvk_vm *v, gaddr base, uint64_t size, void *host, uint32_t flags) {
        struct hvk_slot *slot;
        int r;

        slot = free_slot(v);
        if (!slot)
                return -ENOSPC;
        *slot = (struct hvk_slot){ .base = base.v, .size = size, .host = host, .flags = flags };
        r = set_slot(v, slot, flags, size);
        if (r < 0)
                return r;
        slot->used = true;
        return v->logging && is_ram(v, base.v) ? log_slot(v, slot, /* on= */ true) : 0;
}

int hvk_map(struct hv_vm *vm, gaddr base, uint64_t size, void *host, bool readonly) {
        struct hvk_vm *v = hvk_vm_of(vm);
        int r;

        if (size == 0 || !host)
                return -EINVAL;
        (void) pthread_mutex_lock(&v->slot_lock);
        r = map_locked(v, base, size, host, readonly ? KVM_MEM_READONLY : 0);
        (void) pthread_mutex_unlock(&v->slot_lock);
        return r;
}

static int unmap_locked(struct hvk_vm *v, gaddr base, uint64_t size) {
        struct hvk_slot *slot;
        int r;

        slot = find_slot(v, base.v);
        if (!slot || slot->size != size)
                return -ENOENT;
        r = set_slot(v, slot, /* flags= */ 0, /* size= */ 0);
        if (r < 0)
                return r;
        g_free(slot->log);
        *slot = (struct hvk_slot){ .used = false };
        return 0;
}

int hvk_unmap(struct hv_vm *vm, gaddr base, uint64_t size) {
        struct hvk_vm *v = hvk_vm_of(vm);
        int r;

        (void) pthread_mutex_lock(&v->slot_lock);
        r = unmap_locked(v, base, size);
        (void) pthread_mutex_unlock(&v->slot_lock);
        return r;
}

bool hvk_log_dirty(struct hv_vm *vm, bool on, GError **error) {
        struct hvk_vm *v = hvk_vm_of(vm);
        int r = 0;

        (void) pthread_mutex_lock(&v->slot_lock);
        for (uint32_t i = 0; r == 0 && i < v->n_slots; i++)
                if (v->slots[i].used && is_ram(v, v->slots[i].base))
                        r = log_slot(v, &v->slots[i], on);
        if (r == 0)
                v->logging = on;
        (void) pthread_mutex_unlock(&v->slot_lock);
        if (r < 0)
                return hv_error_errno(error, -r, "kvm: switching the log of dirty pages");
        return true;
}

static int take_locked(struct hvk_vm *v, uint64_t base, uint64_t *bitmap) {
        struct hvk_slot *slot;
        struct kvm_dirty_log log;
        int r;

        slot = find_slot(v, base);
        if (!slot || !slot->log)
                return -ENOENT;
        log = (struct kvm_dirty_log){
                .slot = (uint32_t) (slot - v->slots),
                .dirty_bitmap = slot->log,
        };
        r = hvk_ioctl(v->fd, KVM_GET_DIRTY_LOG, &log);
        if (r < 0)
                return r;
        for (size_t i = 0; i < log_words(slot->size); i++)
                bitmap[i] |= slot->log[i];
        return 0;
}

bool hvk_take_dirty(struct hv_vm *vm, size_t region, uint64_t *bitmap, GError **error) {
        struct hvk_vm *v = hvk_vm_of(vm);
        int r;

        (void) pthread_mutex_lock(&v->slot_lock);
        r = take_locked(v, gmem_region(vm->mem, region)->base.v, bitmap);
        (void) pthread_mutex_unlock(&v->slot_lock);
        if (r < 0)
                return hv_error_errno(error, -r, "kvm: reading the log of dirty pages");
        return true;
}

void hvk_slots_free(struct hvk_vm *v) {
        for (uint32_t i = 0; i < v->n_slots; i++)
                g_free(v->slots[i].log);
        g_free(v->slots);
}
