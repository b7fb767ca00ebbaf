/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Requests to /dev/vhost-net. The kernel copies what it is told and checks each address that it is given or finds in a ring against the
 * table of memory, so a hostile driver can do no more than to its own memory; what it cannot make sense of it tells by the
 * ring's fault descriptor.
 *
 *   open → owner, once → (features, memory → start both rings … stop both rings)* → close
 *
 * A ring that is stopped has none of our descriptors any more: the kernel would go on to wake for each doorbell otherwise.
 * It sends and receives in the order of the ring, and has used whatever it has taken when a ring is stopped.
 */

#include "devices/vhost/net.h"

#include <errno.h>
#include <linux/vhost.h>
#include <stddef.h>
#include <sys/ioctl.h>

#include "hypervisor/error.h"
#include "hypervisor/fd.h"

#define F(bit) (1ull << (bit))
/* What concerns who serves the rings: the header's size, and how the rings are read (virtio 1.2, 5.1.3 and 6). */
#define OF_RINGS (F(15) | F(28) | F(29) | F(32))
/* What a device does that is not the rings': offloads are the tap's, the control queue is not the kernel's. */
#define OF_OTHERS (F(24) - 1)

static struct vhost_net *of(struct vhost *v) {
        return (struct vhost_net *) v;
}

static int request(const struct vhost_net *n, unsigned long what, void *argument) {
        return ioctl(n->fd, what, argument) < 0 ? -errno : 0;
}

static int set_fd(const struct vhost_net *n, unsigned long what, unsigned index, int fd) {
        struct vhost_vring_file file = { index, fd < 0 ? VHOST_FILE_UNBIND : fd };

        return request(n, what, &file);
}

static int set_number(const struct vhost_net *n, unsigned long what, unsigned index, unsigned num) {
        struct vhost_vring_state state = { index, num };

        return request(n, what, &state);
}

/* It may have been another device's of this process before. */
static int own(struct vhost_net *n) {
        int r = request(n, VHOST_SET_OWNER, NULL);

        if (r == -EBUSY && request(n, VHOST_RESET_OWNER, NULL) == 0)
                r = request(n, VHOST_SET_OWNER, NULL);
        n->owned = r == 0;
        return r;
}

static int net_set_features(struct vhost *v, uint64_t features) {
        struct vhost_net *n = of(v);
        uint64_t wanted = features & OF_RINGS;
        int r = n->owned ? 0 : own(n);

        if (r == 0 && !vhost_net_can(n, features))
                r = -EOPNOTSUPP;
        return r < 0 ? r : request(n, VHOST_SET_FEATURES, &wanted);
}

static int net_set_memory(struct vhost *v, const gmem *mem) {
        size_t n_regions = gmem_n_regions(mem);
        g_autofree struct vhost_memory *table =
                        g_malloc0(offsetof(struct vhost_memory, regions) +
                                  n_regions * sizeof(struct vhost_memory_region));

        table->nregions = (uint32_t) n_regions;
        for (size_t i = 0; i < n_regions; i++) {
                const struct gmem_region *r = gmem_region(mem, i);

                table->regions[i] = (struct vhost_memory_region){
                        .guest_phys_addr = r->base.v,
                        .memory_size = r->size,
                        .userspace_addr = (uintptr_t) r->host,
                };
        }
        return request(of(v), VHOST_SET_MEM_TABLE, table);
}

static void unbind(const struct vhost_net *n, unsigned index) {
        (void) set_fd(n, VHOST_SET_VRING_KICK, index, -1);
        (void) set_fd(n, VHOST_SET_VRING_CALL, index, -1);
        (void) set_fd(n, VHOST_SET_VRING_ERR, index, -1);
}

static int start_ring(const struct vhost_net *n, const struct vhost_ring *ring) {
        const struct virtq *q = ring->q;
        struct vhost_vring_addr addr = {
                .index = ring->index,
                .desc_user_addr = (uintptr_t) q->desc_host,
                .used_user_addr = (uintptr_t) q->used_host,
                .avail_user_addr = (uintptr_t) q->avail_host,
        };
        int r = set_number(n, VHOST_SET_VRING_NUM, ring->index, q->size);

        if (r == 0)
                r = set_number(n, VHOST_SET_VRING_BASE, ring->index, q->last_avail);
        if (r == 0)
                r = request(n, VHOST_SET_VRING_ADDR, &addr);
        if (r == 0)
                r = set_fd(n, VHOST_SET_VRING_ERR, ring->index, ring->fault_fd);
        if (r == 0)
                r = set_fd(n, VHOST_SET_VRING_CALL, ring->index, ring->call_fd);
        if (r == 0)
                r = set_fd(n, VHOST_SET_VRING_KICK, ring->index, ring->kick_fd);
        if (r == 0)
                r = set_fd(n, VHOST_NET_SET_BACKEND, ring->index, n->tap_fd);
        return r;
}

static int net_start(struct vhost *v, const struct vhost_ring *ring) {
        int r = start_ring(of(v), ring);

        if (r < 0)
                unbind(of(v), ring->index);
        return r;
}

static int net_stop(struct vhost *v, unsigned index, uint16_t *ret_next) {
        struct vhost_vring_state state = { .index = index };
        int r = set_fd(of(v), VHOST_NET_SET_BACKEND, index, -1);

        unbind(of(v), index);
        if (r == 0)
                r = request(of(v), VHOST_GET_VRING_BASE, &state);
        if (r == 0)
                *ret_next = (uint16_t) state.num;
        return r;
}

static const struct vhost_ops net_ops = {
        .set_features = net_set_features,
        .set_memory = net_set_memory,
        .start = net_start,
        .stop = net_stop,
};

uint64_t vhost_net_lacks(const struct vhost_net *n) {
        /* INDIRECT_DESC, EVENT_IDX, RING_PACKED, IN_ORDER; what OF_RINGS does not have is not asked of the kernel. */
        return (F(28) | F(29) | F(34) | F(35)) & ~(n->features & OF_RINGS);
}

bool vhost_net_can(const struct vhost_net *n, uint64_t features) {
        return (features & ~(OF_RINGS | OF_OTHERS)) == 0 &&
               (features & OF_RINGS & ~n->features) == 0;
}

bool vhost_net_open(struct vhost_net *n, int fd, int tap_fd, GError **error) {
        int r;

        *n = (struct vhost_net){ .vhost = { &net_ops }, .fd = fd, .tap_fd = tap_fd };
        r = request(n, VHOST_GET_FEATURES, &n->features);
        if (r == 0)
                return true;
        vhost_net_close(n);
        return hv_error_errno(error, -r, "asking for the features of the kernel's back end");
}

void vhost_net_close(struct vhost_net *n) {
        /* Others may have the descriptor, too: the kernel's thread ends with the owner, not with ours. */
        if (n->owned)
                (void) request(n, VHOST_RESET_OWNER, NULL);
        n->owned = false;
        chv_closep(&n->fd);
        n->fd = -1;
}
