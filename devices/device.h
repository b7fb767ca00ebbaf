/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "hypervisor/acpi/aml.h"

/*
 * The life every device shares: create (its own constructor) → attach to buses and threads →
 * (reset | save | restore | pause | resume) → free (detaches first).
 *
 * All of these run on the main thread while every vCPU is parked. A device's I/O threads are quiet between
 * pause and resume: after pause() nothing of it touches guest memory or a ring.
 */

struct device;

typedef void device_counter_fn(void *opaque, const char *name, uint64_t value);

struct device_ops {
        const char *kind; /* "serial", "virtio-blk", … */

        void (*reset)(struct device *dev); /* to its state at power-on */
        bool (*pause)(struct device *dev, GError **error);
        void (*resume)(struct device *dev);

        /* State as a variant whose first member is a version (u); floating. Only while paused. */
        GVariant *(*save)(struct device *dev);
        bool (*restore)(struct device *dev, GVariant *state, GError **error);

        /* Appends its AML to the \_SB scope that is open in a. NULL: does not appear there. */
        void (*describe)(struct device *dev, aml *a);

        /* Calls fn for each counter; any time, values are monotonic. NULL: none. */
        void (*counters)(struct device *dev, device_counter_fn *fn, void *opaque);

        void (*free)(struct device *dev);
};

/* Embedded first in every device. */
struct device {
        const struct device_ops *ops;
        char *id; /* unique in the machine: "_disk0", "__serial", or the user's; owned */
};

/* Sets the common part up; id is copied. */
void device_init(struct device *dev, const struct device_ops *ops, const char *id);

/* Frees the common part; called last by ops->free. */
void device_release(struct device *dev);

/* NULL is fine. Returns NULL. */
struct device *device_free(struct device *dev);

/* Whether state has this type and version (a u, its first member); the error names the device. What restore() calls first. */
bool device_state_fits(
                const struct device *dev,
                GVariant *state,
                const char *type,
                uint32_t version,
                GError **error);

/* The same for parts that are not devices of their own; what is for the message. */
bool state_fits(const char *what,
                GVariant *state,
                const char *type,
                uint32_t version,
                GError **error);
