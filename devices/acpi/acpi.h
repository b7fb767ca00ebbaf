/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "devices/bus.h"
#include "devices/device.h"
#include "hypervisor/interrupt.h"

/* ACPI devices (reference 3.3, 3.5). Handlers are called on vCPU threads. */

enum acpi_power_event {
        ACPI_POWER_OFF, /* S5 */
        ACPI_POWER_RESET,
};

/* Sleep control/status and reset register at ARCH_PORT_ACPI_SHUTDOWN. */
struct device *acpi_shutdown_new(
                bus *pio,
                void (*event)(void *opaque, enum acpi_power_event event),
                void *opaque,
                GError **error);

/* PM timer at ARCH_PORT_PM_TIMER: 3.579545 MHz, 32 bits, stops while the machine is paused. */
struct device *pm_timer_new(bus *pio, GError **error);

/* Generic event device with the power button: one byte of causes at base (MMIO), an edge interrupt on gsi. */
struct device *
ged_new(bus *mmio, uint64_t base, unsigned gsi, struct irq_line *line, GError **error);
void ged_press_power_button(struct device *ged);
