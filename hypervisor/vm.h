/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "hypervisor/interrupt.h"
#include "hypervisor/memory.h"

/*
 * A hypervisor and one virtual machine on it, behind a backend interface: KVM is the first backend
 * (hypervisor/kvm/). Nothing of KVM or of an architecture leaks through this header.
 */

typedef struct hv hv;       /* an opened hypervisor */
typedef struct hv_vm hv_vm; /* a machine: memory slots, interrupt controller, doorbells */

/* What the hypervisor and host can do, for configuration checks and Manager properties. */
struct hv_info {
        const char *backend; /* "kvm" */
        uint32_t max_vcpus;
        uint8_t phys_bits;      /* host's guest-physical address width */
        bool hw_virtualisation; /* stock kernels can be expected to run */
        uint64_t tsc_khz;       /* of the host's clock source for guests; 0 unknown */
};

/* Opens KVM from a descriptor of /dev/kvm (duplicated, the caller keeps his) and checks the capabilities it must
 * have (reference 3.3); an error names the missing one. */
struct hv *hv_kvm_open(int kvm_fd, GError **error);
struct hv *hv_free(struct hv *hv);
void hv_get_info(const struct hv *hv, struct hv_info *ret);

struct hv_vm_config {
        uint8_t max_phys_bits; /* 0: host's */
        bool nested;
        bool hyperv; /* enlightenments */
        bool amx;
        uint32_t max_vcpus;
};

/* Creates the machine and maps every region of mem (which must outlive it). */
struct hv_vm *
hv_vm_new(struct hv *hv, const struct hv_vm_config *config, struct gmem *mem, GError **error);
struct hv_vm *hv_vm_free(struct hv_vm *vm);

/* The machine's interrupt controller as devices see it; owned by vm. Thread-safe. */
struct intc *hv_vm_intc(struct hv_vm *vm);

/* Doorbells: a guest write of len bytes (0 = any) at addr wakes fd instead of leaving the run loop. When with_data is
 * set only that value matches. 0 or negative errno. Thread-safe. */
enum hv_space {
        HV_SPACE_MMIO,
        HV_SPACE_PIO,
};

struct hv_doorbell {
        enum hv_space space;
        uint64_t addr;
        unsigned len;
        bool with_data;
        uint64_t data;
        int fd;
};

int hv_vm_doorbell(struct hv_vm *vm, const struct hv_doorbell *bell, bool assign);

/* Memory slots after creation (device BARs, hotplug): host memory at guest address base. */
int hv_vm_map(struct hv_vm *vm, gaddr base, uint64_t size, void *host, bool readonly);
int hv_vm_unmap(struct hv_vm *vm, gaddr base, uint64_t size);

/* Dirty logging of guest writes; the bitmap is per region of gmem, one uint64_t for 64 pages. take moves the log's bits
 * into it (ORed). */
bool hv_vm_log_dirty(struct hv_vm *vm, bool on, GError **error);
bool hv_vm_take_dirty(struct hv_vm *vm, size_t region, uint64_t *bitmap, GError **error);

/* The stopped machine's clock; interrupt routes are set again by who set them first. hv_vm_save: floating ref. The clocks
 * of a restored machine and its vCPUs catch up on the time since the save. */
GVariant *hv_vm_save(struct hv_vm *vm, GError **error);
bool hv_vm_restore(struct hv_vm *vm, GVariant *state, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(hv, hv_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(hv_vm, hv_vm_free)
