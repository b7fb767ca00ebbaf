/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * A stream of characters between a device (serial, virtio-console, debug console) and the outside.
 * The device is the front end, the worker's console hub the back end; neither knows more of the
 * other than this.
 */

struct chardev;

/* Back end. */
struct chardev_ops {
        /* Output of the guest. Any thread; never blocks, never fails: what a back end has no room for is its to drop. */
        void (*write)(struct chardev *c, const uint8_t *data, size_t len);
        /* The front end can take input again after it took less than offered. Any thread. */
        void (*input_ready)(struct chardev *c);
};

/* Front end. Called by the main thread only. */
struct chardev_frontend_ops {
        /* Input for the guest; returns how many bytes were taken. */
        size_t (*input)(void *opaque, const uint8_t *data, size_t len);
        /* The terminal's size changed; may be NULL. */
        void (*resized)(void *opaque, uint16_t columns, uint16_t rows);
};

struct chardev {
        const struct chardev_ops *ops;
        const struct chardev_frontend_ops *frontend; /* set by the device's constructor */
        void *frontend_opaque;
};
