/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <glib.h>
#include <pthread.h>

#include "devices/chardev.h"

/* A back end that keeps what the guest wrote. Any thread. */
typedef struct fake_chardev {
        struct chardev chr; /* hand &c->chr to the device */

        pthread_mutex_t lock;
        GString *output;
        unsigned n_writes;
        unsigned n_input_ready;
} fake_chardev;

struct fake_chardev *fake_chardev_new(void);
struct fake_chardev *fake_chardev_free(struct fake_chardev *c);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(fake_chardev, fake_chardev_free)

/* What was written since the last call; owned by the caller, zero-terminated. len may be NULL. */
char *fake_chardev_take(struct fake_chardev *c, size_t *len);

/* Waits up to timeout_ms until n bytes are there to take. */
bool fake_chardev_wait(struct fake_chardev *c, size_t n, unsigned timeout_ms);

unsigned fake_chardev_n_input_ready(struct fake_chardev *c);

/* Offers input; returns how much the device took. */
size_t fake_chardev_input(struct fake_chardev *c, const void *data, size_t len);
