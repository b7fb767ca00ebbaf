/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The ACPI PM timer (ACPI 6.4, 4.8.2.1): 32 bits at 3.579545 MHz. It counts the time that the machine
 * has run: it stands while paused, and a restored one goes on where the saved one was. vCPU threads read it without
 * a lock; it changes only while they are parked.
 */

#include <assert.h>
#include <string.h>
#include <time.h>

#include "devices/acpi/acpi.h"
#include "hypervisor/arch.h"
#include "hypervisor/error.h"

#define VERSION 1
#define STATE_TYPE "(ut)"
#define N_PORTS 4
#define HZ 3579545u
#define NS_PER_S 1000000000u

struct pm_timer {
        struct device dev;
        bus *pio;
        bus_region *region;
        uint64_t start_ns; /* host time at which the machine's would have been 0; when running */
        uint64_t run_ns;   /* the machine's time; when paused */
        bool paused;
};

static uint64_t host_ns(void) {
        struct timespec t;

        (void) clock_gettime(CLOCK_MONOTONIC, &t);
        return (uint64_t) t.tv_sec * NS_PER_S + (uint64_t) t.tv_nsec;
}

static uint64_t machine_ns(const struct pm_timer *t) {
        return t->paused ? t->run_ns : host_ns() - t->start_ns;
}

static void timer_read(void *opaque, uint64_t offset, void *data, unsigned len) {
        const struct pm_timer *t = opaque;
        uint64_t ns = machine_ns(t);
        /* Split, or the product is too long after an hour and a half. */
        uint32_t ticks = (uint32_t) (ns / NS_PER_S * HZ + ns % NS_PER_S * HZ / NS_PER_S);

        memcpy(data, (const uint8_t *) &ticks + offset, len);
}

/* At power-on time begins anew, paused or not. */
static void timer_reset(struct device *dev) {
        struct pm_timer *t = (struct pm_timer *) dev;

        t->run_ns = 0;
        t->start_ns = host_ns();
}

static bool timer_pause(struct device *dev, GError **error) {
        struct pm_timer *t = (struct pm_timer *) dev;

        t->run_ns = machine_ns(t);
        t->paused = true;
        return true;
}

static void timer_resume(struct device *dev) {
        struct pm_timer *t = (struct pm_timer *) dev;

        if (!t->paused)
                return;
        t->start_ns = host_ns() - t->run_ns;
        t->paused = false;
}

static GVariant *timer_save(struct device *dev) {
        return g_variant_new(STATE_TYPE, VERSION, machine_ns((struct pm_timer *) dev));
}

static bool timer_restore(struct device *dev, GVariant *state, GError **error) {
        struct pm_timer *t = (struct pm_timer *) dev;
        uint64_t ns;

        if (!device_state_fits(dev, state, STATE_TYPE, VERSION, error))
                return false;

        g_variant_get(state, STATE_TYPE, NULL /* version */, &ns);
        if (ns > INT64_MAX) {
                g_set_error(error, HV_ERROR, HV_ERROR_STATE, "%s: state is damaged", dev->id);
                return false;
        }
        t->run_ns = ns;
        t->start_ns = host_ns() - ns;
        return true;
}

static void timer_free(struct device *dev) {
        struct pm_timer *t = (struct pm_timer *) dev;

        bus_remove(t->pio, t->region);
        device_release(dev);
        g_free(t);
}

struct device *pm_timer_new(bus *pio, GError **error) {
        static const struct device_ops ops = {
                .kind = "pm-timer",
                .reset = timer_reset,
                .pause = timer_pause,
                .resume = timer_resume,
                .save = timer_save,
                .restore = timer_restore,
                .free = timer_free,
        };
        static const struct io_ops io = { .read = timer_read };
        struct pm_timer *t;

        assert(pio);

        t = g_new0(struct pm_timer, 1);
        device_init(&t->dev, &ops, "__pm_timer");
        t->pio = pio;
        t->start_ns = host_ns();
        t->region = bus_add(pio, "pm-timer", ARCH_PORT_PM_TIMER, N_PORTS, &io, t, error);
        if (!t->region) {
                timer_free(&t->dev);
                return NULL;
        }
        return &t->dev;
}
