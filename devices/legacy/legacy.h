/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "devices/bus.h"
#include "devices/chardev.h"
#include "devices/device.h"
#include "hypervisor/arch.h"
#include "hypervisor/interrupt.h"

/*
 * The few devices that are not PCI (reference 3.3). Each constructor attaches the device to its bus, and on failure leaves nothing
 * behind. Lines, buses and character devices must outlive the device.
 */

/* 16550A at port 0x3f8. */
struct device *
serial_new(bus *pio, uint16_t port, struct irq_line *line, struct chardev *chr, GError **error);

/* CMOS/RTC at 0x70: time in UTC, memory sizes; index 0x8f = 0 asks for a reset. */
struct device *
cmos_new(bus *pio,
         uint64_t ram_below_4g,
         uint64_t ram_above_4g,
         void (*reset)(void *opaque),
         void *opaque,
         GError **error);

/* i8042 stub at 0x61-0x64: 0xfe to 0x64 asks for a reset. */
struct device *i8042_new(bus *pio, void (*reset)(void *opaque), void *opaque, GError **error);

/* Debug port 0x80: reports each code with the time since the device was created, in nanoseconds. */
struct device *
debug_port_new(bus *pio,
               void (*code)(void *opaque, uint8_t code, uint64_t ns),
               void *opaque,
               GError **error);

/* Debug console: a byte sink at iobase (0xe9). */
struct device *debug_console_new(bus *pio, uint16_t iobase, struct chardev *chr, GError **error);

/* IOAPIC with ARCH_N_IOAPIC_PINS pins over the split irqchip. */
struct device *ioapic_new(bus *mmio, uint64_t base, struct intc *intc, GError **error);
struct irq_line *ioapic_line(struct device *ioapic, unsigned pin);
void ioapic_eoi(struct device *ioapic, unsigned vector); /* vCPU threads */
