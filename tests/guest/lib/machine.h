/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* What a guest of the whole machine (chv-vmm) finds besides its CPU: boot information, power, PCI and
 * virtio. Guests under the bare vCPU tests have none of it. */

/* machine.c */
const char *boot_command_line(void); /* of the PVH start information */
bool boot_has_word(const char *word);
uint64_t boot_number(const char *key); /* of key=N, 0 when absent */
_Noreturn void power_off(void);
_Noreturn void power_reset(void);
uint32_t pm_timer(void); /* 3.579545 MHz */
void serial_putc(char c);
int serial_getc(void); /* -1: nothing there */

/* pci.c: segment 0 through ECAM. */
#define PCI_SLOT_NONE 0xffu

uint64_t pci_config_addr(uint8_t slot);
uint8_t pci_find(uint16_t vendor, uint16_t device); /* slot */
uint8_t pci_find_capability(uint8_t slot, uint8_t id, uint8_t after);
uint64_t pci_bar(uint8_t slot, unsigned index);
void pci_set_bar(uint8_t slot, unsigned index, uint64_t addr);
void pci_enable(uint8_t slot);

/* virtio.c: a driver that does as it is told, also what no driver should. */
struct vdev {
        uint8_t slot;
        uint64_t common, notify, isr, config;
        uint32_t notify_multiplier;
};

struct vq_desc {
        uint64_t addr;
        uint32_t len;
        uint16_t flags, next;
};

struct vq {
        uint16_t size, index;
        volatile struct vq_desc *desc;
        volatile uint16_t *avail; /* flags, idx, ring… */
        volatile uint16_t *used;  /* flags, idx, ring of (u32, u32) */
        uint16_t last_used;
        uint64_t doorbell;
};

enum {
        VQ_NEXT = 1,
        VQ_WRITE = 2,
        VQ_INDIRECT = 4
};
enum {
        VS_ACKNOWLEDGE = 1,
        VS_DRIVER = 2,
        VS_DRIVER_OK = 4,
        VS_FEATURES_OK = 8,
        VS_NEEDS_RESET = 64,
        VS_FAILED = 128
};

bool vdev_find(struct vdev *v, uint16_t type);
void vdev_reset(struct vdev *v);
uint8_t vdev_status(const struct vdev *v);
/* Negotiates VERSION_1 and those of features that are offered. */
bool vdev_negotiate(struct vdev *v, uint64_t features);
void vdev_queue(struct vdev *v, struct vq *q, uint16_t index, uint16_t size);
void vdev_queue_at(struct vdev *v, struct vq *q, uint64_t desc, uint64_t avail, uint64_t used);
void vdev_go(struct vdev *v);

void vq_set(struct vq *q,
            uint16_t i,
            const void *addr,
            uint32_t len,
            uint16_t flags,
            uint16_t next);
void vq_offer(struct vq *q, uint16_t head);
void vq_kick(struct vq *q);
/* Waits for the next used entry; false when the device needs a reset instead, or nothing comes. */
bool vq_wait(struct vdev *v, struct vq *q, uint32_t *ret_len);
