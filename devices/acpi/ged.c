/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Generic event device (ACPI 6.4, 5.6.9): one byte of causes, cleared by reading it, and an edge interrupt whose method
 * reads the byte and notifies the devices concerned. The line is up while a cause waits, so an edge that the guest has
 * masked is not lost; each new cause is an edge of its own.
 */

#include <assert.h>
#include <string.h>

#include "devices/acpi/acpi.h"
#include "devices/guard.h"
#include "hypervisor/error.h"

#define VERSION 1
#define STATE_TYPE "(uy)"

/* Causes (reference 3.5). 1, 2 and 4 belong to CPU, memory and PCI hotplug. */
enum {
        CAUSE_POWER_BUTTON = 8,
        CAUSES = 0x0f,
};

#define NOTIFY_PRESSED 0x80

struct ged {
        struct device dev;
        bus *mmio;
        bus_region *region;
        uint64_t base;
        unsigned gsi;
        struct irq_line *line;

        pthread_mutex_t lock; /* for causes, and the line with them */
        uint8_t causes;
};

static void ged_read(void *opaque, uint64_t offset, void *data, unsigned len) {
        struct ged *g = opaque;

        GUARD(&g->lock);
        *(uint8_t *) data = g->causes;
        g->causes = 0;
        irq_line_set(g->line, false);
}

void ged_press_power_button(struct device *ged) {
        struct ged *g = (struct ged *) ged;

        GUARD(&g->lock);
        if (g->causes)
                irq_line_set(g->line, false);
        g->causes |= CAUSE_POWER_BUTTON;
        irq_line_set(g->line, true);
}

static void ged_reset(struct device *dev) {
        struct ged *g = (struct ged *) dev;

        GUARD(&g->lock);
        g->causes = 0;
        irq_line_set(g->line, false);
}

static bool ged_pause(struct device *dev, GError **error) {
        return true;
}

static void ged_resume(struct device *dev) {
}

static GVariant *ged_save(struct device *dev) {
        struct ged *g = (struct ged *) dev;

        GUARD(&g->lock);
        return g_variant_new(STATE_TYPE, VERSION, g->causes);
}

static bool ged_restore(struct device *dev, GVariant *state, GError **error) {
        struct ged *g = (struct ged *) dev;
        uint8_t causes;

        if (!device_state_fits(dev, state, STATE_TYPE, VERSION, error))
                return false;

        g_variant_get(state, STATE_TYPE, NULL /* version */, &causes);
        if (causes & ~CAUSES) {
                g_set_error(error, HV_ERROR, HV_ERROR_STATE, "%s: state is damaged", dev->id);
                return false;
        }

        GUARD(&g->lock);
        g->causes = causes;
        irq_line_set(g->line, causes != 0);
        return true;
}

/* The container with the register and the method that sorts causes out. */
static void describe_events(const struct ged *g, aml *a) {
        static const struct aml_field fields[] = { { "GDAT", 8 } };

        aml_device(a, "GEC_");
        aml_name(a, "_HID");
        aml_eisaid(a, "PNP0A06");
        aml_name(a, "_UID");
        aml_string(a, "Generic Event Controller");
        aml_name(a, "_CRS");
        aml_crs(a);
        aml_crs_qword_memory(a, g->base, g->base);
        aml_crs_end(a);
        aml_op_region(a, "GDST", 0 /* memory */, g->base, 1);
        aml_field(a, "GDST", 1 /* byte access */, false /* lock */, true /* wzeros */, fields,
                  G_N_ELEMENTS(fields));

        aml_method(a, "ESCN", 0 /* n_args */, true /* serialized */);
        aml_store(a);
        aml_path(a, "GDAT");
        aml_local(a, 0);
        aml_if(a);
        aml_and(a);
        aml_local(a, 0);
        aml_int(a, CAUSE_POWER_BUTTON);
        aml_null(a);
        aml_notify(a);
        aml_path(a, "\\_SB.PWRB");
        aml_int(a, NOTIFY_PRESSED);
        aml_close(a);
        aml_close(a);
        aml_close(a);
}

static void ged_describe(struct device *dev, aml *a) {
        const struct ged *g = (const struct ged *) dev;

        aml_device(a, "PWRB");
        aml_name(a, "_HID");
        aml_eisaid(a, "PNP0C0C");
        aml_name(a, "_UID");
        aml_int(a, 0);
        aml_close(a);

        describe_events(g, a);

        aml_device(a, "GED_");
        aml_name(a, "_HID");
        aml_string(a, "ACPI0013");
        aml_name(a, "_UID");
        aml_int(a, 0);
        aml_name(a, "_CRS");
        aml_crs(a);
        aml_crs_interrupt(a, g->gsi, false /* level */, false /* active_low */, false /* shared */);
        aml_crs_end(a);
        aml_method(a, "_EVT", 1 /* n_args */, true /* serialized */);
        aml_path(a, "\\_SB.GEC_.ESCN");
        aml_close(a);
        aml_close(a);
}

static void ged_free(struct device *dev) {
        struct ged *g = (struct ged *) dev;

        bus_remove(g->mmio, g->region);
        (void) pthread_mutex_destroy(&g->lock);
        device_release(dev);
        g_free(g);
}

struct device *
ged_new(bus *mmio, uint64_t base, unsigned gsi, struct irq_line *line, GError **error) {
        static const struct device_ops ops = {
                .kind = "ged",
                .reset = ged_reset,
                .pause = ged_pause,
                .resume = ged_resume,
                .save = ged_save,
                .restore = ged_restore,
                .describe = ged_describe,
                .free = ged_free,
        };
        static const struct io_ops io = { .read = ged_read };
        struct ged *g;

        assert(mmio && line);

        g = g_new0(struct ged, 1);
        device_init(&g->dev, &ops, "__ged");
        g->mmio = mmio;
        g->base = base;
        g->gsi = gsi;
        g->line = line;
        (void) pthread_mutex_init(&g->lock, NULL);
        g->region = bus_add(mmio, "ged", base, 1, &io, g, error);
        if (!g->region) {
                ged_free(&g->dev);
                return NULL;
        }
        return &g->dev;
}
