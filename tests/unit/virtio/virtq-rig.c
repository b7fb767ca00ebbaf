/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/* A queue and its driver (virtq-rig.h). The second region follows the first, so that buffers can lie across. */

#include "virtq-rig.h"

static void add_ram(gmem *mem, uint64_t base) {
        g_autoptr(GError) error = NULL;
        struct gmem_backing backing = { 0 };

        gmem_add(mem, GADDR(base), VQ_RAM, &backing, &error);
        g_assert_no_error(error);
}

gmem *vq_memory_new(void) {
        gmem *mem = gmem_new();

        add_ram(mem, 0);
        add_ram(mem, VQ_RAM);
        add_ram(mem, VQ_HOLE);
        return mem;
}

void vq_rig_queue(struct vq_rig *r, gaddr base, uint16_t size, uint16_t table_max, bool event_idx) {
        (r->packed ? drv_ring_init_packed
                   : drv_ring_init)(&r->d, r->mem, base, size, table_max, event_idx);
        r->q = (struct virtq){ .mem = r->mem, .max_size = size, .kick_fd = -1 };
        virtq_reset(&r->q);
        virtq_start_over(&r->q, r->packed);
        r->q.desc = r->d.desc;
        r->q.avail = r->d.avail;
        r->q.used = r->d.used;
        r->q.indirect = table_max > 0;
        r->q.event_idx = event_idx;
        g_assert_cmpint(virtq_enable(&r->q), ==, 0);
        r->chain = (struct virtq_chain){ .iov = r->iov, .iov_max = VQ_IOVS };
}

static void up(struct vq_rig *r, bool packed) {
        *r = (struct vq_rig){ .mem = vq_memory_new(), .packed = packed };
        vq_rig_queue(r, GADDR(0), VQ_SIZE, VQ_SIZE, /* event_idx = */ false);
}

void vq_rig_up(struct vq_rig *r) {
        up(r, /* packed = */ false);
}

void vq_rig_up_packed(struct vq_rig *r) {
        up(r, /* packed = */ true);
}

void vq_rig_down(struct vq_rig *r) {
        drv_ring_clear(&r->d);
        r->mem = gmem_free(r->mem);
}

void vq_rig_expect_enable(struct virtq q, int r) {
        g_assert_cmpint(virtq_enable(&q), ==, r);
        g_assert_true(q.ready == (r == 0));
}

void vq_rig_expect_asleep(struct vq_rig *r) {
        uint16_t used_idx = r->q.used_idx;

        r->q.ready = false;
        g_assert_cmpint(virtq_pop(&r->q, &r->chain), ==, VIRTQ_E_EMPTY);
        g_assert_false(virtq_enable_notify(&r->q));
        g_assert_false(virtq_want_interrupt(&r->q));
        g_assert_cmpuint(virtq_pending(&r->q), ==, 0);
        virtq_disable_notify(&r->q);
        virtq_push(&r->q, r->packed ? 1u << 16 : 0, 0);
        g_assert_cmpuint(r->q.used_idx, ==, used_idx);
}
