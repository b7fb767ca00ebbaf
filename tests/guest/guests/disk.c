/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * An honest driver of the disk: reads, writes, flushes, asks for the serial number, moves the BAR in between, resets and starts
 * again. Then the entropy source. The host compares the image.
 */

#include "tests/guest/lib/guest.h"
#include "tests/guest/lib/machine.h"

enum {
        BLK_IN = 0,
        BLK_OUT = 1,
        BLK_FLUSH = 4,
        BLK_GET_ID = 8
};
enum {
        BLK_OK = 0,
        BLK_IOERR = 1,
        BLK_UNSUPP = 2
};

struct request {
        uint32_t type, reserved;
        uint64_t sector;
};

static uint8_t
submit(struct vdev *v, struct vq *q, uint32_t type, uint64_t sector, void *data, uint32_t len) {
        static struct request request;
        static volatile uint8_t status;

        request = (struct request){ type, 0, sector };
        status = 0xff;
        vq_set(q, 0, &request, sizeof(request), VQ_NEXT, 1);
        vq_set(q, 1, data, len, (uint16_t) (VQ_NEXT | (type == BLK_OUT ? 0 : VQ_WRITE)), 2);
        vq_set(q, 2, (void *) &status, 1, VQ_WRITE, 0);
        vq_offer(q, 0);
        vq_kick(q);
        CHECK(vq_wait(v, q, NULL));
        return status;
}

static uint8_t flush(struct vdev *v, struct vq *q) {
        static struct request request = { BLK_FLUSH, 0, 0 };
        static volatile uint8_t status;

        status = 0xff;
        vq_set(q, 0, &request, sizeof(request), VQ_NEXT, 1);
        vq_set(q, 1, (void *) &status, 1, VQ_WRITE, 0);
        vq_offer(q, 0);
        vq_kick(q);
        CHECK(vq_wait(v, q, NULL));
        return status;
}

static void start(struct vdev *v, struct vq *q) {
        CHECK(vdev_negotiate(v, 1 << 9)); /* FLUSH */
        vdev_queue(v, q, 0, 16);
        vdev_go(v);
        CHECK_EQ(vdev_status(v) & (VS_DRIVER_OK | VS_NEEDS_RESET), VS_DRIVER_OK);
}

static void entropy(void) {
        static uint8_t bytes[64];
        struct vdev v;
        struct vq q;
        uint32_t len;
        bool some = false;

        CHECK(vdev_find(&v, 4));
        CHECK(vdev_negotiate(&v, 0));
        vdev_queue(&v, &q, 0, 8);
        vdev_go(&v);
        vq_set(&q, 0, bytes, sizeof(bytes), VQ_WRITE, 0);
        vq_offer(&q, 0);
        vq_kick(&q);
        CHECK(vq_wait(&v, &q, &len));
        CHECK_EQ(len, sizeof(bytes));
        for (unsigned i = 0; i < sizeof(bytes); i++)
                some |= bytes[i] != 0;
        CHECK(some);
}

void guest_main(void) {
        static uint8_t sector[4096] __attribute__((aligned(512)));
        struct vdev v;
        struct vq q;
        uint64_t bar, capacity;

        CHECK(vdev_find(&v, 2));
        capacity = read64(v.config);
        start(&v, &q);
        CHECK_EQ(submit(&v, &q, BLK_IN, 0, sector, 512), BLK_OK);
        CHECK_EQ(memcmp(sector, "first sector", 12), 0);
        CHECK_EQ(submit(&v, &q, BLK_GET_ID, 0, sector, 20), BLK_OK);
        CHECK_EQ(memcmp(sector, "serial-of-the-disk", 18), 0);
        CHECK_EQ(submit(&v, &q, BLK_IN, capacity, sector, 512), BLK_IOERR);
        CHECK_EQ(submit(&v, &q, BLK_IN, UINT64_MAX, sector, 512), BLK_IOERR);
        CHECK_EQ(submit(&v, &q, 77, 0, sector, 512), BLK_UNSUPP);
        if (boot_has_word("readonly"))
                CHECK_EQ(submit(&v, &q, BLK_OUT, 0, sector, 512), BLK_IOERR);
        else {
                memset(sector, 0x5a, sizeof(sector));
                CHECK_EQ(submit(&v, &q, BLK_OUT, 8, sector, 4096), BLK_OK);
                CHECK_EQ(flush(&v, &q), BLK_OK);
        }

        bar = pci_bar(v.slot, 0);
        pci_set_bar(v.slot, 0, bar + 0x1000000);
        CHECK_EQ(read32(bar), 0xffffffff); /* nobody's now */
        CHECK(vdev_find(&v, 2));
        CHECK_EQ(pci_bar(v.slot, 0), bar + 0x1000000);
        q.doorbell += 0x1000000;
        CHECK_EQ(submit(&v, &q, BLK_IN, 0, sector, 512), BLK_OK);

        start(&v, &q);
        memset(sector, 0, sizeof(sector));
        CHECK_EQ(submit(&v, &q, BLK_IN, 0, sector, 512), BLK_OK);
        CHECK_EQ(memcmp(sector, "first sector", 12), 0);
        entropy();
        print("done\n");
        power_off();
}
