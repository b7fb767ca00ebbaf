/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <linux/kvm.h>
#include <pthread.h>

#include "hypervisor/arch.h"
#include "hypervisor/arch/x86_64/cpuid.h"
#include "hypervisor/backend.h"

/*
 * The KVM backend's own structs and the calls between its files. KVM's types stay below this line.
 * Names start with hvk_, because kvm_ belongs to the kernel's header.
 */

struct hvk {
        struct hv hv; /* first */
        int fd;
        uint32_t max_vcpus, max_vcpu_id, max_slots, max_routes;
        uint8_t phys_bits;
        uint32_t tsc_khz;        /* known once a vCPU was made */
        struct x86_cpuid *cpuid; /* supported, as KVM gave it */
        struct kvm_msr_list *state_msrs, *feature_msrs;
};

struct hvk_slot {
        bool used;
        uint64_t base, size;
        void *host;
        uint32_t flags;
        uint64_t *log; /* where KVM writes the dirty bitmap, while logging */
};

/* GSIs 0 to 23 are the IOAPIC's pins, the others message sources. */
struct hvk_irq {
        pthread_mutex_t lock; /* over everything here; never taken to signal an interrupt */
        struct kvm_irq_routing *table; /* scratch, sized for every GSI */
        struct hvk_route *routes;
        uint32_t n; /* allocated length of routes */
        uint32_t max;
};

struct hvk_vm {
        struct hv_vm vm; /* first */
        struct hvk *hvk;
        int fd;
        uint8_t phys_bits;
        pthread_mutex_t slot_lock;
        struct hvk_slot *slots;
        uint32_t n_slots;
        bool logging;
        struct hvk_irq irq;
        struct x86_cpuid *cpuid; /* of this machine, before what differs between vCPUs */
        bool cpuid_complete;
        size_t xsave_size;
        size_t nested_size; /* of saved nested state; 0: none */
};

struct hvk_vcpu {
        struct hv_vcpu vcpu; /* first */
        struct hvk_vm *vm;
        int fd;
        uint32_t index;
        bool x2apic; /* on from power-on */
        struct kvm_run *run;
        size_t run_size;
        GVariant *power_on; /* what KVM created, kept at the first boot */
};

static inline struct hvk_vm *hvk_vm_of(struct hv_vm *vm) {
        return (struct hvk_vm *) vm;
}

static inline struct hvk_vcpu *hvk_vcpu_of(struct hv_vcpu *vcpu) {
        return (struct hvk_vcpu *) vcpu;
}

/* ioctl(2) restarted after signals. The result, or negative errno. */
int hvk_ioctl(int fd, unsigned long request, void *arg);
int hvk_ioctl_value(int fd, unsigned long request, unsigned long value);

/* A capability's value, 0 when KVM has it not. fd: of KVM or of a machine. */
int hvk_check(int fd, unsigned cap);
int hvk_enable(int fd, unsigned cap, uint64_t arg0);

/* cpuid.c */
struct x86_cpuid *hvk_supported_cpuid(int kvm_fd, GError **error);
bool hvk_set_cpuid(int vcpu_fd, const struct x86_cpuid *cpuid, GError **error);
bool hvk_allow_amx(GError **error);

/* vm.c */
struct hv_vm *
hvk_vm_new(struct hv *base, const struct hv_vm_config *config, struct gmem *mem, GError **error);

/* slot.c */
int hvk_map(struct hv_vm *vm, gaddr base, uint64_t size, void *host, bool readonly);
int hvk_unmap(struct hv_vm *vm, gaddr base, uint64_t size);
bool hvk_log_dirty(struct hv_vm *vm, bool on, GError **error);
bool hvk_take_dirty(struct hv_vm *vm, size_t region, uint64_t *bitmap, GError **error);
void hvk_slots_free(struct hvk_vm *vm);

/* irq.c */
extern const struct intc_ops hvk_intc_ops;
bool hvk_irq_init(struct hvk_vm *vm, GError **error);
void hvk_irq_free(struct hvk_vm *vm);

/* clock.c */
uint64_t hvk_realtime_ns(void);
GVariant *hvk_vm_save(struct hv_vm *vm, GError **error);
bool hvk_vm_restore(struct hv_vm *vm, GVariant *state, GError **error);

/* vcpu.c */
struct hv_vcpu *hvk_vcpu_new(struct hv_vm *vm, const struct hv_vcpu_config *config, GError **error);

/* boot.c */
bool hvk_vcpu_boot(struct hv_vcpu *vcpu, const struct boot_entry *entry, GError **error);

/* run.c */
enum hv_run
hvk_vcpu_run(struct hv_vcpu *vcpu,
             const struct vcpu_handlers *handlers,
             void *opaque,
             char *detail);

/* msr.c: (index, value) pairs, a(ut); the TSC apart from them, with the time of day in ns when it was read. */
GVariant *hvk_msrs_save(struct hvk_vcpu *v, GError **error);
bool hvk_msrs_restore(struct hvk_vcpu *v, GVariant *msrs, GError **error);
bool hvk_tsc_save(struct hvk_vcpu *v, uint64_t *ret_tsc, uint64_t *ret_realtime, GError **error);
bool hvk_tsc_restore(
                struct hvk_vcpu *v, uint64_t tsc, uint64_t realtime, uint32_t khz, GError **error);
bool hvk_msrs_boot(struct hvk_vcpu *v, GError **error);

/* state.c */
GVariant *hvk_vcpu_save(struct hv_vcpu *vcpu, GError **error);
bool hvk_vcpu_restore(struct hv_vcpu *vcpu, GVariant *state, GError **error);
