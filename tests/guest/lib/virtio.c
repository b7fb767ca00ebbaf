/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/* A virtio driver for tests (virtio 1.2, 2.7, 4.1): split rings, polling, no care for rules. */

#include "tests/guest/lib/guest.h"
#include "tests/guest/lib/machine.h"

/* Common configuration, 4.1.4.3. */
enum {
        DEVICE_FEATURE_SELECT = 0,
        DEVICE_FEATURE = 4,
        DRIVER_FEATURE_SELECT = 8,
        DRIVER_FEATURE = 12,
        STATUS = 20,
        QUEUE_SELECT = 22,
        QUEUE_SIZE = 24,
        QUEUE_ENABLE = 28,
        QUEUE_NOTIFY_OFF = 30,
        QUEUE_DESC = 32,
        QUEUE_DRIVER = 40,
        QUEUE_DEVICE = 48,
};

#define CAP_VENDOR 9
#define VERSION_1 (1ull << 32)
#define WAIT_TICKS (10u * 3579545u)

bool vdev_find(struct vdev *v, uint16_t type) {
        uint64_t config;

        memset(v, 0, sizeof(*v));
        v->slot = pci_find(0x1af4, (uint16_t) (0x1040 + type));
        if (v->slot == PCI_SLOT_NONE)
                return false;
        pci_enable(v->slot);
        config = pci_config_addr(v->slot);
        for (uint8_t at = 0; (at = pci_find_capability(v->slot, CAP_VENDOR, at));) {
                uint8_t kind = read8(config + at + 3), bar = read8(config + at + 4);
                uint64_t addr;

                if (kind > 4)
                        continue;
                addr = pci_bar(v->slot, bar) + read32(config + at + 8);
                map_device(addr, read32(config + at + 12));
                if (kind == 1)
                        v->common = addr;
                else if (kind == 2) {
                        v->notify = addr;
                        v->notify_multiplier = read32(config + at + 16);
                } else if (kind == 3)
                        v->isr = addr;
                else
                        v->config = addr;
        }
        return v->common && v->notify && v->isr && v->config;
}

uint8_t vdev_status(const struct vdev *v) {
        return read8(v->common + STATUS);
}

void vdev_reset(struct vdev *v) {
        write8(v->common + STATUS, 0);
        while (vdev_status(v) != 0)
                relax();
}

bool vdev_negotiate(struct vdev *v, uint64_t features) {
        uint64_t offered;

        vdev_reset(v);
        write8(v->common + STATUS, VS_ACKNOWLEDGE);
        write8(v->common + STATUS, VS_ACKNOWLEDGE | VS_DRIVER);
        write32(v->common + DEVICE_FEATURE_SELECT, 0);
        offered = read32(v->common + DEVICE_FEATURE);
        write32(v->common + DEVICE_FEATURE_SELECT, 1);
        offered |= (uint64_t) read32(v->common + DEVICE_FEATURE) << 32;
        features = (features & offered) | VERSION_1;
        write32(v->common + DRIVER_FEATURE_SELECT, 0);
        write32(v->common + DRIVER_FEATURE, (uint32_t) features);
        write32(v->common + DRIVER_FEATURE_SELECT, 1);
        write32(v->common + DRIVER_FEATURE, (uint32_t) (features >> 32));
        write8(v->common + STATUS, VS_ACKNOWLEDGE | VS_DRIVER | VS_FEATURES_OK);
        return vdev_status(v) & VS_FEATURES_OK;
}

void vdev_queue_at(struct vdev *v, struct vq *q, uint64_t desc, uint64_t avail, uint64_t used) {
        write16(v->common + QUEUE_SELECT, q->index);
        write16(v->common + QUEUE_SIZE, q->size);
        write64(v->common + QUEUE_DESC, desc);
        write64(v->common + QUEUE_DRIVER, avail);
        write64(v->common + QUEUE_DEVICE, used);
        q->doorbell = v->notify + read16(v->common + QUEUE_NOTIFY_OFF) * v->notify_multiplier;
        write16(v->common + QUEUE_ENABLE, 1);
}

void vdev_queue(struct vdev *v, struct vq *q, uint16_t index, uint16_t size) {
        q->size = size;
        q->index = index;
        q->last_used = 0;
        q->desc = alloc(16ul * size, 4096);
        q->avail = alloc(6 + 2ul * size, 4096);
        q->used = alloc(6 + 8ul * size, 4096);
        vdev_queue_at(v, q, (uintptr_t) q->desc, (uintptr_t) q->avail, (uintptr_t) q->used);
}

void vdev_go(struct vdev *v) {
        write8(v->common + STATUS, VS_ACKNOWLEDGE | VS_DRIVER | VS_FEATURES_OK | VS_DRIVER_OK);
}

void vq_set(struct vq *q,
            uint16_t i,
            const void *addr,
            uint32_t len,
            uint16_t flags,
            uint16_t next) {
        q->desc[i].addr = (uintptr_t) addr;
        q->desc[i].len = len;
        q->desc[i].flags = flags;
        q->desc[i].next = next;
}

void vq_offer(struct vq *q, uint16_t head) {
        q->avail[2 + (q->avail[1] & (q->size - 1))] = head;
        barrier();
        q->avail[1]++;
}

void vq_kick(struct vq *q) {
        fence();
        write16(q->doorbell, q->index);
}

bool vq_wait(struct vdev *v, struct vq *q, uint32_t *ret_len) {
        uint32_t start = pm_timer();

        while (q->used[1] == q->last_used) {
                if (vdev_status(v) & VS_NEEDS_RESET)
                        return false;
                if (pm_timer() - start > WAIT_TICKS)
                        return false;
        }
        barrier();
        if (ret_len)
                *ret_len = ((volatile uint32_t *) (q->used + 2))
                                [2 * (q->last_used & (q->size - 1)) + 1];
        q->last_used++;
        return true;
}
