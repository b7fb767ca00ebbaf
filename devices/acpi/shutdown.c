/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Sleep control, sleep status and reset register of hardware-reduced ACPI in one port (ACPI 6.4, 4.8.3.7; reference
 * 3.3). The guest asks; what becomes of it is the machine's decision, so nothing is remembered here.
 */

#include <assert.h>
#include <string.h>

#include "devices/acpi/acpi.h"
#include "hypervisor/arch.h"

#define VERSION 1
#define STATE_TYPE "(u)"
#define N_PORTS 8

enum {
        RESET = 0x01,
        /* Sleep type 5, as the machine's _S5_ has it, and sleep enable. */
        SLEEP_S5 = 5 << 2 | 1 << 5,
};

struct shutdown {
        struct device dev;
        bus *pio;
        bus_region *region;
        void (*event)(void *opaque, enum acpi_power_event event);
        void *opaque;
};

/* Sleep status: never woken up. */
static void shutdown_read(void *opaque, uint64_t offset, void *data, unsigned len) {
        memset(data, 0, len);
}

static void shutdown_write(void *opaque, uint64_t offset, const void *data, unsigned len) {
        struct shutdown *s = opaque;
        uint8_t v = *(const uint8_t *) data;

        if (offset != 0)
                return;
        if (v == RESET)
                s->event(s->opaque, ACPI_POWER_RESET);
        else if (v == SLEEP_S5)
                s->event(s->opaque, ACPI_POWER_OFF);
}

static void shutdown_reset(struct device *dev) {
}

static bool shutdown_pause(struct device *dev, GError **error) {
        return true;
}

static void shutdown_resume(struct device *dev) {
}

static GVariant *shutdown_save(struct device *dev) {
        return g_variant_new(STATE_TYPE, VERSION);
}

static bool shutdown_restore(struct device *dev, GVariant *state, GError **error) {
        return device_state_fits(dev, state, STATE_TYPE, VERSION, error);
}

static void shutdown_free(struct device *dev) {
        struct shutdown *s = (struct shutdown *) dev;

        bus_remove(s->pio, s->region);
        device_release(dev);
        g_free(s);
}

struct device *acpi_shutdown_new(
                bus *pio,
                void (*event)(void *opaque, enum acpi_power_event event),
                void *opaque,
                GError **error) {
        static const struct device_ops ops = {
                .kind = "acpi-shutdown",
                .reset = shutdown_reset,
                .pause = shutdown_pause,
                .resume = shutdown_resume,
                .save = shutdown_save,
                .restore = shutdown_restore,
                .free = shutdown_free,
        };
        static const struct io_ops io = { .read = shutdown_read, .write = shutdown_write };
        struct shutdown *s;

        assert(pio && event);

        s = g_new0(struct shutdown, 1);
        device_init(&s->dev, &ops, "__acpi_shutdown");
        s->pio = pio;
        s->event = event;
        s->opaque = opaque;
        s->region = bus_add(pio, "acpi-shutdown", ARCH_PORT_ACPI_SHUTDOWN, N_PORTS, &io, s, error);
        if (!s->region) {
                shutdown_free(&s->dev);
                return NULL;
        }
        return &s->dev;
}
