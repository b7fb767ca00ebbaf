/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Interrupts on KVM. Every message source has a GSI, an eventfd and, while it is connected, a route
 * in KVM's table and an irqfd: a device signals by writing to the eventfd and KVM delivers, with no
 * lock and no thread of ours between. GSIs below 24 are the IOAPIC's pins, whose routes KVM reads
 * only to know which vectors' EOIs it must report.
 *
 * KVM replaces its table as a whole, so changing a route is the dear part: a source that is masked
 * and unmasked with the same message (what drivers do all day) only takes the irqfd off and on.
 *
 * A message comes from the guest. Its address is taken apart and put together anew, so that no
 * nonsense in it can make KVM refuse the table that all devices share.
 */

#include "hypervisor/kvm/kvm.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "hypervisor/error.h"

/* Address of a message: 0xfee, destination in bits 19:12, its bits 14:8 in bits 11:5 (extended
 * destination ids, Linux' Documentation/virt/kvm/x86/cpuid.rst), redirection hint and mode in 3:2. */
#define MSI_BASE 0xfee00000u
#define MSI_BASE_MASK 0xfff00000u
#define MSI_EXT_DEST_SHIFT 5
#define MSI_EXT_DEST_MASK 0x7fu
#define MSI_KEEP_MASK 0xfffff01cu
#define MSI_DATA_MASK 0xffffu

struct hvk_route {
        bool reserved; /* the GSI belongs to a pin or to a source */
        bool routed;   /* in KVM's table */
        bool armed;    /* the source's irqfd is assigned */
        uint32_t addr_lo, addr_hi, data;
};

static struct hvk_vm *vm_of(struct intc *c) {
        return hvk_vm_of((struct hv_vm *) ((char *) c - G_STRUCT_OFFSET(struct hv_vm, intc)));
}

static bool parse_message(const struct msi_msg *msg, struct hvk_route *ret) {
        uint32_t lo = (uint32_t) msg->addr;

        if ((lo & MSI_BASE_MASK) != MSI_BASE)
                return false;
        ret->addr_lo = lo & MSI_KEEP_MASK;
        /* KVM wants bits 31:8 of the destination in the upper half, and nothing below bit 8 */
        ret->addr_hi = (lo >> MSI_EXT_DEST_SHIFT & MSI_EXT_DEST_MASK) << 8;
        ret->data = msg->data & MSI_DATA_MASK;
        return true;
}

/* Called with the lock held. */
static int commit(struct hvk_vm *v) {
        struct hvk_irq *irq = &v->irq;
        uint32_t n = 0;

        for (uint32_t gsi = 0; gsi < irq->n; gsi++) {
                const struct hvk_route *r = &irq->routes[gsi];

                if (!r->routed)
                        continue;
                irq->table->entries[n++] = (struct kvm_irq_routing_entry){
                        .gsi = gsi,
                        .type = KVM_IRQ_ROUTING_MSI,
                        .u.msi = { .address_lo = r->addr_lo,
                                   .address_hi = r->addr_hi,
                                   .data = r->data },
                };
        }
        irq->table->nr = n;
        irq->table->flags = 0;
        return hvk_ioctl(v->fd, KVM_SET_GSI_ROUTING, irq->table);
}

/* Called with the lock held. Changes the GSI's route; msg NULL takes it out. On failure it is as before. */
static int route(struct hvk_vm *v, uint32_t gsi, const struct hvk_route *to) {
        struct hvk_route *r = &v->irq.routes[gsi], old = *r;
        int e;

        if (!to && !r->routed)
                return 0;
        if (to && r->routed && r->addr_lo == to->addr_lo && r->addr_hi == to->addr_hi &&
            r->data == to->data)
                return 0;

        r->routed = to != NULL;
        if (to) {
                r->addr_lo = to->addr_lo;
                r->addr_hi = to->addr_hi;
                r->data = to->data;
        }
        e = commit(v);
        if (e < 0)
                *r = old;
        return e;
}

static int irqfd(struct hvk_vm *v, const struct msi_source *s, bool assign) {
        struct kvm_irqfd i = {
                .fd = (uint32_t) s->eventfd,
                .gsi = s->gsi,
                .flags = assign ? 0 : KVM_IRQFD_FLAG_DEASSIGN,
        };

        return hvk_ioctl(v->fd, KVM_IRQFD, &i);
}

/* Called with the lock held. */
static int reserve_gsi(struct hvk_irq *irq, uint32_t *ret) {
        for (uint32_t gsi = ARCH_N_IOAPIC_PINS; gsi < irq->n; gsi++)
                if (!irq->routes[gsi].reserved) {
                        irq->routes[gsi] = (struct hvk_route){ .reserved = true };
                        *ret = gsi;
                        return 0;
                }
        if (irq->n >= irq->max)
                return -ENOSPC;

        irq->routes = g_renew(struct hvk_route, irq->routes, irq->n + 1);
        irq->routes[irq->n] = (struct hvk_route){ .reserved = true };
        *ret = irq->n++;
        irq->table = g_realloc(
                        irq->table, sizeof(*irq->table) + irq->n * sizeof(irq->table->entries[0]));
        return 0;
}

static void msi_free(struct intc *c, struct msi_source *sources, size_t n) {
        struct hvk_vm *v = vm_of(c);
        bool changed = false;

        (void) pthread_mutex_lock(&v->irq.lock);
        for (size_t i = 0; i < n; i++) {
                struct hvk_route *r = &v->irq.routes[sources[i].gsi];

                if (sources[i].eventfd < 0)
                        continue;
                if (r->armed)
                        (void) irqfd(v, &sources[i], /* assign= */ false);
                changed = changed || r->routed;
                *r = (struct hvk_route){ .reserved = false };
                (void) close(sources[i].eventfd);
                sources[i].eventfd = -1;
        }
        /* a shorter table cannot be refused but for want of memory, and then the old one is harmless */
        if (changed)
                (void) commit(v);
        (void) pthread_mutex_unlock(&v->irq.lock);
}

static int msi_alloc_one(struct hvk_vm *v, struct msi_source *ret) {
        int fd, r;

        fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (fd < 0)
                return -errno;
        (void) pthread_mutex_lock(&v->irq.lock);
        r = reserve_gsi(&v->irq, &ret->gsi);
        (void) pthread_mutex_unlock(&v->irq.lock);
        if (r < 0) {
                (void) close(fd);
                return r;
        }
        ret->eventfd = fd;
        return 0;
}

static int msi_alloc(struct intc *c, struct msi_source *sources, size_t n) {
        for (size_t i = 0; i < n; i++) {
                int r = msi_alloc_one(vm_of(c), &sources[i]);

                if (r < 0) {
                        msi_free(c, sources, i);
                        return r;
                }
        }
        return 0;
}

static int disarm(struct hvk_vm *v, struct msi_source *s) {
        struct hvk_route *r = &v->irq.routes[s->gsi];
        int e;

        if (!r->armed)
                return 0;
        e = irqfd(v, s, /* assign= */ false);
        if (e == 0)
                r->armed = false;
        return e;
}

static int connect_source(struct hvk_vm *v, struct msi_source *s, const struct msi_msg *msg) {
        struct hvk_route to = { .reserved = true };
        int e;

        if (!parse_message(msg, &to)) {
                (void) disarm(v, s);
                return -EINVAL;
        }
        /* Route first: arming delivers at once what was counted while the source was disconnected. */
        e = route(v, s->gsi, &to);
        if (e < 0 || v->irq.routes[s->gsi].armed)
                return e;
        e = irqfd(v, s, /* assign= */ true);
        if (e == 0)
                v->irq.routes[s->gsi].armed = true;
        return e;
}

static int msi_set(struct intc *c, struct msi_source *s, const struct msi_msg *msg) {
        struct hvk_vm *v = vm_of(c);
        int e;

        (void) pthread_mutex_lock(&v->irq.lock);
        e = msg ? connect_source(v, s, msg) : disarm(v, s);
        (void) pthread_mutex_unlock(&v->irq.lock);
        return e;
}

static int msi_send(struct intc *c, const struct msi_msg *msg) {
        struct hvk_route r;
        struct kvm_msi m = { 0 };
        int e;

        if (!parse_message(msg, &r))
                return -EINVAL;
        m.address_lo = r.addr_lo;
        m.address_hi = r.addr_hi;
        m.data = r.data;
        e = hvk_ioctl(vm_of(c)->fd, KVM_SIGNAL_MSI, &m);
        /* KVM says -1 when no vCPU has the destination: the message is lost, as on hardware */
        return e == -EPERM ? 0 : MIN(e, 0);
}

static int pin_set(struct intc *c, unsigned pin, const struct msi_msg *msg) {
        struct hvk_vm *v = vm_of(c);
        struct hvk_route to = { .reserved = true };
        bool valid;
        int e;

        if (pin >= ARCH_N_IOAPIC_PINS)
                return -EINVAL;
        valid = msg && parse_message(msg, &to);
        (void) pthread_mutex_lock(&v->irq.lock);
        e = route(v, pin, valid ? &to : NULL);
        (void) pthread_mutex_unlock(&v->irq.lock);
        return e;
}

const struct intc_ops hvk_intc_ops = {
        .msi_alloc = msi_alloc,
        .msi_free = msi_free,
        .msi_set = msi_set,
        .msi_send = msi_send,
        .pin_set = pin_set,
};

bool hvk_irq_init(struct hvk_vm *v, GError **error) {
        struct hvk_irq *irq = &v->irq;
        int r;

        irq->max = v->hvk->max_routes;
        irq->n = ARCH_N_IOAPIC_PINS;
        irq->routes = g_new0(struct hvk_route, irq->n);
        irq->table = g_malloc0(sizeof(*irq->table) + irq->n * sizeof(irq->table->entries[0]));
        for (uint32_t gsi = 0; gsi < irq->n; gsi++)
                irq->routes[gsi].reserved = true;
        v->vm.intc.ops = &hvk_intc_ops;

        r = commit(v);
        if (r < 0)
                return hv_error_errno(error, -r, "kvm: setting the interrupt routes");
        return true;
}

void hvk_irq_free(struct hvk_vm *v) {
        g_free(v->irq.routes);
        g_free(v->irq.table);
        (void) pthread_mutex_destroy(&v->irq.lock);
}
