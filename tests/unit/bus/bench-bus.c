/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Measures what an access of a guest costs on a bus with few and many regions: the region that answered last, any region, nobody's
 * address, and a doorbell. Prints nanoseconds an access; compare runs of one machine only.
 */

#include "devices/bus.h"
#include "hypervisor/fd.h"

#include <stdio.h>
#include <sys/eventfd.h>

#define ACCESSES 4000000u
#define STRIDE 0x10000u
#define SIZE 0x1000u
#define BASE 0xc0000000u

static void answer(void *opaque, uint64_t offset, void *data, unsigned len) {
        *(uint32_t *) data = (uint32_t) offset;
}

static void take(void *opaque, uint64_t offset, const void *data, unsigned len) {
        *(uint64_t *) opaque += offset;
}

static const struct io_ops ops = { answer, take };

enum what {
        SAME,
        ANY,
        NOBODY,
        DOORBELL,
        WHAT_MAX
};

static const char *const names[WHAT_MAX] = {
        [SAME] = "the same region",
        [ANY] = "any region",
        [NOBODY] = "nobody's address",
        [DOORBELL] = "a doorbell",
};

static void bench(bus *b, enum what what, unsigned n) {
        unsigned count = what == DOORBELL ? ACCESSES / 20 : ACCESSES;
        gint64 start = g_get_monotonic_time();
        uint32_t data = 0;

        for (unsigned i = 0; i < count; i++) {
                uint64_t region = what == ANY ? i * 7919u % n : n / 2;
                uint64_t addr = BASE + region * STRIDE + (what == NOBODY ? SIZE : 16);

                if (what == DOORBELL)
                        bus_write(b, addr, &data, sizeof(data));
                else
                        bus_read(b, addr, &data, sizeof(data));
        }
        (void) printf("# %4u regions, %-17s %7.1f ns an access\n", n, names[what],
                      (double) (g_get_monotonic_time() - start) * 1000 / count);
}

int main(int argc, char **argv) {
        static const unsigned counts[] = { 1, 16, 256 };

        for (size_t i = 0; i < G_N_ELEMENTS(counts); i++) {
                g_autoptr(bus) b = bus_new("bench", NULL, NULL);
                autofd fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
                bus_region *middle = NULL;
                uint64_t written = 0;

                for (unsigned r = 0; r < counts[i]; r++) {
                        g_autoptr(GError) error = NULL;
                        g_autofree char *name = g_strdup_printf("r%u", r);
                        bus_region *region =
                                        bus_add(b, name, BASE + (uint64_t) r * STRIDE, SIZE, &ops,
                                                &written, &error);

                        g_assert_no_error(error);
                        if (r == counts[i] / 2)
                                middle = region;
                }
                g_assert_cmpint(bus_add_doorbell(b, middle, 16, 4, fd), ==, 0);
                for (int what = 0; what < WHAT_MAX; what++)
                        bench(b, what, counts[i]);
        }
        return 0;
}
