/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "devices/iothread.h"
#include "devices/virtio/pci-transport.h"
#include "driver.h"
#include "fake-intc.h"

/*
 * A machine with virtio devices and no CPU, and a guest that drives them as a real one does: it
 * finds the function in configuration space, walks the capabilities, and then uses nothing but bus
 * accesses, rings in guest memory and the interrupts that arrive. For the tests of every virtio device.
 */

#define GUEST_RAM (16u << 20)
#define GUEST_ECAM 0xe8000000u
#define GUEST_MSI_ADDR 0xfee00000u
#define GUEST_TIMEOUT_MS 10000
#define GUEST_QUEUES 16

struct guest {
        gmem *mem; /* GUEST_RAM at 0 */
        bus *mmio;
        struct fake_intc *intc;
        pci_segment *segment;
        iothread *thread;
        uint64_t free_addr; /* of guest memory */
        uint32_t free_msi;  /* data of the next message */
        uint32_t msi_counts[256];

        /* What the event callback saw; atomics. */
        _Atomic unsigned n_activated, n_reset, n_broken;
};

struct guest *guest_new(void);
struct guest *guest_free(struct guest *g);
typedef struct guest guest;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(guest, guest_free)

/* Guest memory that nobody else has. */
gaddr guest_alloc(struct guest *g, uint64_t bytes, uint64_t align);
void *guest_at(struct guest *g, gaddr addr, uint64_t len);

uint64_t guest_read(struct guest *g, uint64_t addr, unsigned len);
void guest_write(struct guest *g, uint64_t addr, uint64_t value, unsigned len);

/* One device as its driver sees it. */
struct guest_dev {
        struct guest *g;
        struct device *dev;
        uint64_t ecam, bar;
        uint64_t common, notify, isr, config; /* addresses */
        uint32_t notify_multiplier;
        uint8_t window; /* PCI_CFG capability */
        uint16_t n_queues;
        uint32_t msi_base; /* message of vector 0 */
        struct drv_ring rings[GUEST_QUEUES];
};

/* Puts vd on the segment (asserting success), and finds it the way a driver does. */
struct guest_dev *guest_add(struct guest *g, struct virtio_dev *vd, bool bar32);
struct guest_dev *guest_dev_free(struct guest_dev *d);
typedef struct guest_dev guest_dev;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(guest_dev, guest_dev_free)

/* Registers of the common configuration, by offset. */
uint64_t guest_get(struct guest_dev *d, unsigned offset, unsigned len);
void guest_set(struct guest_dev *d, unsigned offset, uint64_t value, unsigned len);

enum {
        REG_DEVICE_FEATURE_SELECT = 0x00,
        REG_DEVICE_FEATURE = 0x04,
        REG_DRIVER_FEATURE_SELECT = 0x08,
        REG_DRIVER_FEATURE = 0x0c,
        REG_CONFIG_VECTOR = 0x10,
        REG_NUM_QUEUES = 0x12,
        REG_STATUS = 0x14,
        REG_GENERATION = 0x15,
        REG_QUEUE_SELECT = 0x16,
        REG_QUEUE_SIZE = 0x18,
        REG_QUEUE_VECTOR = 0x1a,
        REG_QUEUE_ENABLE = 0x1c,
        REG_QUEUE_NOTIFY_OFF = 0x1e,
        REG_QUEUE_DESC = 0x20,
        REG_QUEUE_DRIVER = 0x28,
        REG_QUEUE_DEVICE = 0x30,
};

#define STATUS_ACKNOWLEDGE 1u
#define STATUS_DRIVER 2u
#define STATUS_DRIVER_OK 4u
#define STATUS_FEATURES_OK 8u
#define STATUS_NEEDS_RESET 64u
#define STATUS_FAILED 128u

#define F_INDIRECT (1ull << 28)
#define F_EVENT_IDX (1ull << 29)
#define F_VERSION_1 (1ull << 32)
#define F_RING_PACKED (1ull << 34)
#define F_IN_ORDER (1ull << 35)

uint64_t guest_features(struct guest_dev *d); /* offered */
void guest_reset(struct guest_dev *d);        /* and waits until the status says so */
/* Reset, ACKNOWLEDGE, DRIVER, features, FEATURES_OK; whether it stuck. */
bool guest_negotiate(struct guest_dev *d, uint64_t features);
/* MSI-X on: one vector for configuration changes (0), one a queue (i + 1). */
void guest_msix(struct guest_dev *d);
/* Lays ring i out and enables it; size 0: the device's. Rings live until the next reset. */
void guest_queue(
                struct guest_dev *d,
                unsigned i,
                uint16_t size,
                uint16_t table_max,
                uint64_t features);
void guest_driver_ok(struct guest_dev *d);
/* All of the above with these features besides VERSION_1 (subset of what is offered) and every queue. With CHV_TEST_PACKED in the
 * environment rings are packed. */
void guest_start(struct guest_dev *d, uint64_t features);

void guest_notify(struct guest_dev *d, unsigned i);
/* Publishes what was added to ring i and notifies if the device wants it. */
void guest_kick(struct guest_dev *d, unsigned i);

/* Messages of vector v so far; waits until there are more than seen, or fails the test. */
unsigned guest_interrupts(struct guest_dev *d, unsigned v);
void guest_wait_interrupt(struct guest_dev *d, unsigned v, unsigned seen);
/* Waits for the next used chain of ring i: by interrupt. */
void guest_wait_used(struct guest_dev *d, unsigned i, void **ret_cookie, uint32_t *ret_len);
/* Waits until the status has these bits. */
void guest_wait_status(struct guest_dev *d, uint8_t bits);
