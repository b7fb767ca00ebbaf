/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A hostile driver. case=N picks one way to break the rules of the disk's queue; each must end in
 * NEEDS_RESET or a failed request, and after a reset the device must serve an honest request. "fuzz" writes random values all
 * over configuration space and the devices' registers instead.
 */

#include "tests/guest/lib/guest.h"
#include "tests/guest/lib/machine.h"

#define FEATURE_INDIRECT (1u << 28)
#define SIZE 16

static struct {
        uint32_t type, reserved;
        uint64_t sector;
} request;
static uint8_t data[4096] __attribute__((aligned(4096)));
static volatile uint8_t status;

static void honest(struct vq *q) {
        request.type = 0;
        request.sector = 0;
        status = 0xff;
        vq_set(q, 0, &request, sizeof(request), VQ_NEXT, 1);
        vq_set(q, 1, data, 512, VQ_NEXT | VQ_WRITE, 2);
        vq_set(q, 2, (void *) &status, 1, VQ_WRITE, 0);
}

static void indirect(struct vq *q, uint32_t len, uint16_t inner_flags) {
        static struct vq_desc table[4] __attribute__((aligned(16)));

        table[0] = (struct vq_desc){ (uintptr_t) table, 16, inner_flags, 0 };
        vq_set(q, 0, table, len, VQ_INDIRECT, 0);
        vq_offer(q, 0);
}

/* Prepares case n; false when there is no such case. may_fail: a failed request is as good as a broken queue. */
static bool prepare(struct vq *q, uint64_t n, bool *may_fail) {
        honest(q);
        *may_fail = false;
        switch (n) {
        case 1: /* a chain that bites its tail */
                q->desc[1].next = 0;
                vq_offer(q, 0);
                return true;
        case 2: /* a descriptor that is its own next */
                q->desc[0].next = 0;
                vq_offer(q, 0);
                return true;
        case 3: /* next beyond the table */
                q->desc[0].next = SIZE;
                vq_offer(q, 0);
                return true;
        case 4: /* head beyond the table */
                vq_offer(q, 0xffff);
                return true;
        case 5: /* more available than the ring holds */
                vq_offer(q, 0);
                q->avail[1] += SIZE + 7;
                return true;
        case 6: /* available index goes backwards */
                q->avail[1] = 0xfffe;
                return true;
        case 7: /* buffer where there is no memory */
                q->desc[1].addr = 0xffffffff00000000;
                vq_offer(q, 0);
                return true;
        case 8: /* buffer that wraps round the address space */
                q->desc[1].addr = 0xfffffffffffff000;
                q->desc[1].len = 0x2000;
                vq_offer(q, 0);
                return true;
        case 9: /* buffer that runs out of memory into the hole */
                q->desc[1].len = 0xfffffff0;
                vq_offer(q, 0);
                return true;
        case 10: /* buffer on device registers */
                q->desc[1].addr = 0xfec00000;
                vq_offer(q, 0);
                return true;
        case 11: /* readable after writable */
                q->desc[1].flags = VQ_NEXT | VQ_WRITE;
                q->desc[2].flags = 0;
                vq_offer(q, 0);
                return true;
        case 12: /* nested indirect */
                indirect(q, 16, VQ_INDIRECT);
                return true;
        case 13: /* indirect with half a descriptor */
                indirect(q, 24, 0);
                return true;
        case 14: /* empty indirect */
                indirect(q, 0, 0);
                return true;
        case 15: /* indirect table that leads out of itself */
                indirect(q, 16, VQ_NEXT);
                return true;
        case 16: /* no room for the status */
                q->desc[1].flags = VQ_WRITE;
                q->desc[1].len = 0;
                vq_offer(q, 0);
                *may_fail = true;
                return true;
        case 17: /* half a header */
                q->desc[0].len = 8;
                vq_offer(q, 0);
                *may_fail = true;
                return true;
        case 18: /* data that is no multiple of a sector */
                q->desc[1].len = 511;
                vq_offer(q, 0);
                *may_fail = true;
                return true;
        case 19: /* only a status */
                vq_offer(q, 2);
                *may_fail = true;
                return true;
        default:
                return false;
        }
}

static void check_honest(struct vdev *v) {
        struct vq q;

        CHECK(vdev_negotiate(v, FEATURE_INDIRECT));
        vdev_queue(v, &q, 0, SIZE);
        vdev_go(v);
        honest(&q);
        vq_offer(&q, 0);
        vq_kick(&q);
        CHECK(vq_wait(v, &q, NULL));
        CHECK_EQ(status, 0);
        CHECK_EQ(memcmp(data, "first sector", 12), 0);
}

/* Rings in places where they cannot be. */
static void bad_rings(struct vdev *v) {
        static const uint64_t places[] = {
                0xffffffffffffff00, /* wraps */
                0xfec00000,         /* registers */
                0x7fffffff0000,     /* nowhere */
                0x100008 + 1,       /* odd */
        };

        for (unsigned i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
                for (unsigned which = 0; which < 3; which++) {
                        uint64_t at[3];
                        struct vq q = { .size = SIZE };

                        CHECK(vdev_negotiate(v, 0));
                        for (unsigned k = 0; k < 3; k++)
                                at[k] = k == which ? places[i] : (uintptr_t) alloc(4096, 4096);
                        vdev_queue_at(v, &q, at[0], at[1], at[2]);
                        vdev_go(v);
                        write16(q.doorbell, 0);
                        /* Refused at enable (the queue stays off) or at start (needs reset); either way it lives on. */
                        vdev_reset(v);
                }
        }
        check_honest(v);
}

static void broken(struct vdev *v, uint64_t n) {
        struct vq q;
        bool may_fail;

        CHECK(vdev_negotiate(v, FEATURE_INDIRECT));
        vdev_queue(v, &q, 0, SIZE);
        vdev_go(v);
        if (!prepare(&q, n, &may_fail)) {
                print("no such case\n");
                power_off();
        }
        vq_kick(&q);
        if (vq_wait(v, &q, NULL)) {
                CHECK(may_fail);
                CHECK(status != 0);
                print("failed\n");
        } else {
                CHECK(vdev_status(v) & VS_NEEDS_RESET);
                print("needs reset\n");
        }
        check_honest(v);
}

static uint64_t next_random(void) {
        static uint64_t state = 88172645463325252ull;

        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        return state;
}

static void write_any(uint64_t addr, uint64_t value) {
        switch (next_random() & 3) {
        case 0:
                write8(addr, (uint8_t) value);
                return;
        case 1:
                write16(addr & ~1ull, (uint16_t) value);
                return;
        case 2:
                write32(addr & ~3ull, (uint32_t) value);
                return;
        default:
                write64(addr & ~7ull, value);
        }
}

static void fuzz(uint64_t rounds) {
        uint64_t bars[32];

        for (uint8_t slot = 0; slot < 32; slot++) {
                bars[slot] = read32(pci_config_addr(slot)) == 0xffffffff ? 0 : pci_bar(slot, 0);
                if (bars[slot])
                        map_device(bars[slot], 0x80000);
        }
        for (uint64_t i = 0; i < rounds; i++) {
                uint8_t slot = (uint8_t) (next_random() & 7);
                uint64_t value = next_random();

                /* Ring addresses are cut to what is no memory, or the guest would overwrite itself. */
                if (next_random() & 1)
                        value &= 0xff;
                if (next_random() & 1)
                        write_any(pci_config_addr(slot) + (next_random() & 0xfff), value);
                else if (bars[slot])
                        write_any(bars[slot] + (next_random() & 0x7ffff), value);
                if (i % 16 == 0 && bars[slot])
                        write_any(bars[slot] + (next_random() & 0x3f),
                                  next_random() | 0xffff000000000000);
        }
        print("fuzzed\n");
        power_off();
}

void guest_main(void) {
        struct vdev v;

        if (boot_has_word("fuzz"))
                fuzz(boot_number("rounds"));
        CHECK(vdev_find(&v, 2));
        if (boot_has_word("bad-rings"))
                bad_rings(&v);
        else
                broken(&v, boot_number("case"));
        print("survived\n");
        power_off();
}
