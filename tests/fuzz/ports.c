/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The devices at ports (serial, CMOS, i8042, debug port and console, ACPI shutdown, PM timer), the IOAPIC and the power
 * button's register, driven by a list of accesses, of input, of ends of interrupts. At the end every device must give its
 * state, take it back equal, and be as new after a reset.
 */

#include "fuzz.h"

#include <string.h>

#include "all.h"

struct op {
        uint8_t what, where, data[4];
};

static const uint16_t ports[] = { 0x3f8, 0x3f9, 0x3fa, 0x3fb, 0x3fc, 0x3fd, 0x3fe,
                                  0x3ff, 0x61,  0x64,  0x70,  0x71,  0x80,  0xe9,
                                  0x600, 0x608, 0x60a, 0x63,  0x601 };

static void run(all *a, const struct op *op) {
        unsigned len = 1u << (op->what >> 4 & 3);
        uint64_t v = 0;

        memcpy(&v, op->data, sizeof(op->data));
        switch (op->what & 7) {
        case 0:
                bus_read(a->pio, ports[op->where % G_N_ELEMENTS(ports)], &v, len);
                break;
        case 1:
                bus_write(a->pio, ports[op->where % G_N_ELEMENTS(ports)], &v, len);
                break;
        case 2:
                bus_read(a->mmio, ALL_IOAPIC + op->where % 0x24, &v, len);
                break;
        case 3:
                bus_write(a->mmio, ALL_IOAPIC + op->where % 0x24, &v, len);
                break;
        case 4: /* an IOAPIC register, and its window */
                v = op->where;
                bus_write(a->mmio, ALL_IOAPIC, &v, 1);
                memcpy(&v, op->data, sizeof(op->data));
                bus_write(a->mmio, ALL_IOAPIC + 0x10, &v, 4);
                break;
        case 5:
                ioapic_eoi(a->ioapic, op->where);
                irq_line_set(ioapic_line(a->ioapic, op->data[0] % 24), op->data[1] & 1);
                break;
        case 6:
                (void) fake_chardev_input(a->serial_chr, "0123456789abcdefghij", op->where % 20);
                break;
        default:
                ged_press_power_button(a->ged);
                bus_read(a->mmio, ALL_GED, &v, len);
                break;
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        g_auto(all) a = { 0 };

        all_init(&a);
        for (size_t at = 0; at + sizeof(struct op) <= size; at += sizeof(struct op)) {
                struct op op;

                memcpy(&op, data + at, sizeof(op));
                run(&a, &op);
        }

        for (unsigned i = 0; i < ALL_N; i++) {
                struct device *dev = a.devices[i];
                g_autoptr(GVariant) state = NULL, again = NULL;

                g_assert_true(dev->ops->pause(dev, NULL));
                state = g_variant_ref_sink(dev->ops->save(dev));
                dev->ops->reset(dev);
                g_assert_true(dev->ops->restore(dev, state, NULL));
                again = g_variant_ref_sink(dev->ops->save(dev));
                /* The others' lines reach the IOAPIC meanwhile. */
                g_assert_true(dev == a.ioapic || g_variant_equal(state, again));
                dev->ops->resume(dev);
        }
        return 0;
}
