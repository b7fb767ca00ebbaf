/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "devices/acpi/acpi.h"
#include "devices/legacy/legacy.h"
#include "fake-chardev.h"
#include "fake-intc.h"

#define ALL_IOAPIC 0xfec00000u
#define ALL_GED 0x3ffff00000ull
#define ALL_N 9

/* Every device that is not PCI, as a machine has them. */
typedef struct all {
        bus *pio, *mmio;
        fake_intc *intc;
        fake_chardev *serial_chr, *console_chr;
        struct device *ioapic, *serial, *ged;
        struct device *devices[ALL_N]; /* those three and the rest */
        _Atomic unsigned n_calls;      /* of reset, power and code handlers */
} all;

static inline void all_call(void *opaque) {
        ((all *) opaque)->n_calls++;
}

static inline void all_power(void *opaque, enum acpi_power_event event) {
        ((all *) opaque)->n_calls++;
}

static inline void all_code(void *opaque, uint8_t code, uint64_t ns) {
        ((all *) opaque)->n_calls++;
}

static inline void all_init(all *a) {
        unsigned n = 0;

        a->pio = bus_new("pio", NULL, NULL);
        a->mmio = bus_new("mmio", NULL, NULL);
        a->intc = fake_intc_new();
        a->serial_chr = fake_chardev_new();
        a->console_chr = fake_chardev_new();

        a->devices[n++] = a->ioapic = ioapic_new(a->mmio, ALL_IOAPIC, &a->intc->intc, NULL);
        a->devices[n++] = a->serial =
                        serial_new(a->pio, 0x3f8, ioapic_line(a->ioapic, ARCH_IRQ_SERIAL),
                                   &a->serial_chr->chr, NULL);
        a->devices[n++] = a->ged = ged_new(
                        a->mmio, ALL_GED, ARCH_IRQ_GED, ioapic_line(a->ioapic, ARCH_IRQ_GED), NULL);
        a->devices[n++] = cmos_new(a->pio, 1u << 30, 0, all_call, a, NULL);
        a->devices[n++] = i8042_new(a->pio, all_call, a, NULL);
        a->devices[n++] = debug_port_new(a->pio, all_code, a, NULL);
        a->devices[n++] = debug_console_new(a->pio, 0xe9, &a->console_chr->chr, NULL);
        a->devices[n++] = acpi_shutdown_new(a->pio, all_power, a, NULL);
        a->devices[n++] = pm_timer_new(a->pio, NULL);
        g_assert_cmpuint(n, ==, ALL_N);
        for (unsigned i = 0; i < n; i++)
                g_assert_nonnull(a->devices[i]);
}

static inline void all_clear(all *a) {
        for (unsigned i = ALL_N; i-- > 0;)
                a->devices[i] = device_free(a->devices[i]);
        a->serial_chr = fake_chardev_free(a->serial_chr);
        a->console_chr = fake_chardev_free(a->console_chr);
        a->intc = fake_intc_free(a->intc);
        a->mmio = bus_free(a->mmio);
        a->pio = bus_free(a->pio);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(all, all_clear)
