/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * KVM as a hypervisor: a descriptor of /dev/kvm that somebody else opened, checked once for all we
 * cannot do without. What else a host may lack (AMX, Hyper-V, nested guests) fails later, and only
 * for the machine that asks for it.
 */

#include "hypervisor/kvm/kvm.h"

#include <cpuid.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>

#include "hypervisor/error.h"
#include "hypervisor/fd.h"

#define API_VERSION 12

int hvk_ioctl(int fd, unsigned long request, void *arg) {
        int r;

        do
                r = ioctl(fd, request, arg);
        while (r < 0 && errno == EINTR);
        return r < 0 ? -errno : r;
}

int hvk_ioctl_value(int fd, unsigned long request, unsigned long value) {
        return hvk_ioctl(fd, request, (void *) value);
}

int hvk_check(int fd, unsigned cap) {
        return MAX(hvk_ioctl_value(fd, KVM_CHECK_EXTENSION, cap), 0);
}

int hvk_enable(int fd, unsigned cap, uint64_t arg0) {
        struct kvm_enable_cap enable = { .cap = cap, .args = { arg0 } };

        return hvk_ioctl(fd, KVM_ENABLE_CAP, &enable);
}

static bool check_capabilities(int fd, GError **error) {
        static const struct {
                unsigned cap;
                const char *name;
        } needed[] = {
                { KVM_CAP_ADJUST_CLOCK, "KVM_CAP_ADJUST_CLOCK" },
                { KVM_CAP_ENABLE_CAP_VM, "KVM_CAP_ENABLE_CAP_VM" },
                { KVM_CAP_EXT_CPUID, "KVM_CAP_EXT_CPUID" },
                { KVM_CAP_GET_TSC_KHZ, "KVM_CAP_GET_TSC_KHZ" },
                { KVM_CAP_IMMEDIATE_EXIT, "KVM_CAP_IMMEDIATE_EXIT" },
                { KVM_CAP_IOEVENTFD, "KVM_CAP_IOEVENTFD" },
                { KVM_CAP_IOEVENTFD_ANY_LENGTH, "KVM_CAP_IOEVENTFD_ANY_LENGTH" },
                { KVM_CAP_IRQCHIP, "KVM_CAP_IRQCHIP" },
                { KVM_CAP_IRQFD, "KVM_CAP_IRQFD" },
                { KVM_CAP_IRQ_ROUTING, "KVM_CAP_IRQ_ROUTING" },
                { KVM_CAP_MP_STATE, "KVM_CAP_MP_STATE" },
                { KVM_CAP_SET_IDENTITY_MAP_ADDR, "KVM_CAP_SET_IDENTITY_MAP_ADDR" },
                { KVM_CAP_SET_TSS_ADDR, "KVM_CAP_SET_TSS_ADDR" },
                { KVM_CAP_SIGNAL_MSI, "KVM_CAP_SIGNAL_MSI" },
                { KVM_CAP_SPLIT_IRQCHIP, "KVM_CAP_SPLIT_IRQCHIP" },
                { KVM_CAP_TSC_DEADLINE_TIMER, "KVM_CAP_TSC_DEADLINE_TIMER" },
                { KVM_CAP_USER_MEMORY, "KVM_CAP_USER_MEMORY" },
                { KVM_CAP_USER_NMI, "KVM_CAP_USER_NMI" },
                { KVM_CAP_VCPU_EVENTS, "KVM_CAP_VCPU_EVENTS" },
                { KVM_CAP_X2APIC_API, "KVM_CAP_X2APIC_API" },
                { KVM_CAP_XCRS, "KVM_CAP_XCRS" },
                { KVM_CAP_XSAVE, "KVM_CAP_XSAVE" },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(needed); i++) {
                if (hvk_check(fd, needed[i].cap) > 0)
                        continue;
                g_set_error(error, HV_ERROR, HV_ERROR_UNSUPPORTED, "kvm: the host's KVM lacks %s",
                            needed[i].name);
                return false;
        }
        return true;
}

static uint8_t host_phys_bits(struct x86_cpuid *cpuid) {
        struct x86_cpuid_leaf *l = x86_cpuid_find(cpuid, 0x80000008, 0);
        uint8_t bits = l ? l->eax & 0xff : 0, guest_bits = l ? l->eax >> 16 & 0xff : 0;

        /* KVM puts what a guest can really map into the second field, since Linux 6.10 */
        if (guest_bits != 0 && guest_bits < bits)
                bits = guest_bits;
        return bits != 0 ? bits : 36;
}

/* A list of MSR numbers, whose length KVM tells at the first, failing, try. */
static struct kvm_msr_list *msr_list(int fd, unsigned long request) {
        struct kvm_msr_list head = { .nmsrs = 0 }, *list;

        if (hvk_ioctl(fd, request, &head) != -E2BIG)
                head.nmsrs = 0;
        list = g_malloc0(sizeof(*list) + head.nmsrs * sizeof(list->indices[0]));
        list->nmsrs = head.nmsrs;
        if (hvk_ioctl(fd, request, list) < 0)
                list->nmsrs = 0;
        return list;
}

static void hvk_free(struct hv *base) {
        struct hvk *h = (struct hvk *) base;

        if (h->fd >= 0)
                (void) close(h->fd);
        g_free(h->cpuid);
        g_free(h->state_msrs);
        g_free(h->feature_msrs);
        g_free(h);
}

static bool has_hw_virtualisation(void) {
        unsigned a, b, c, d;

        if (__get_cpuid(1, &a, &b, &c, &d) && (c & 1u << 5)) /* VMX */
                return true;
        return __get_cpuid(0x80000001, &a, &b, &c, &d) && (c & 1u << 2); /* SVM */
}

static void hvk_get_info(const struct hv *base, struct hv_info *ret) {
        const struct hvk *h = (const struct hvk *) base;

        *ret = (struct hv_info){
                .backend = "kvm",
                .max_vcpus = h->max_vcpus,
                .phys_bits = h->phys_bits,
                .hw_virtualisation = has_hw_virtualisation(),
                .tsc_khz = h->tsc_khz,
        };
}

static const struct hv_ops hvk_ops = {
        .free = hvk_free,
        .get_info = hvk_get_info,
        .vm_new = hvk_vm_new,
};

struct hv *hv_kvm_open(int kvm_fd, GError **error) {
        g_autoptr(hv) base = NULL;
        struct hvk *h;
        int version;

        version = hvk_ioctl(kvm_fd, KVM_GET_API_VERSION, NULL);
        if (version < 0) {
                hv_error_errno(error, -version, "kvm: not a descriptor of /dev/kvm");
                return NULL;
        }
        if (version != API_VERSION) {
                g_set_error(error, HV_ERROR, HV_ERROR_UNSUPPORTED,
                            "kvm: the host's KVM has API version %d instead of %d", version,
                            API_VERSION);
                return NULL;
        }
        if (!check_capabilities(kvm_fd, error))
                return NULL;

        h = g_new0(struct hvk, 1);
        base = &h->hv;
        h->hv.ops = &hvk_ops;
        h->fd = fcntl(kvm_fd, F_DUPFD_CLOEXEC, 0);
        if (h->fd < 0) {
                hv_error_errno(error, errno, "kvm: duplicating the descriptor");
                return NULL;
        }
        h->max_vcpus = (uint32_t) MAX(hvk_check(h->fd, KVM_CAP_MAX_VCPUS), 1);
        h->max_vcpu_id = (uint32_t) hvk_check(h->fd, KVM_CAP_MAX_VCPU_ID);
        h->max_vcpu_id = MAX(h->max_vcpu_id, h->max_vcpus);
        h->max_slots = (uint32_t) MAX(hvk_check(h->fd, KVM_CAP_NR_MEMSLOTS), 32);
        h->max_routes = (uint32_t) hvk_check(h->fd, KVM_CAP_IRQ_ROUTING);
        h->state_msrs = msr_list(h->fd, KVM_GET_MSR_INDEX_LIST);
        h->feature_msrs = msr_list(h->fd, KVM_GET_MSR_FEATURE_INDEX_LIST);
        h->cpuid = hvk_supported_cpuid(h->fd, error);
        if (!h->cpuid)
                return NULL;
        h->phys_bits = host_phys_bits(h->cpuid);
        return g_steal_pointer(&base);
}
