/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A character back end for tests: output piles up, offers of room are counted, input is what the
 * test says.
 */

#include "fake-chardev.h"

#include "devices/guard.h"

static void fake_write(struct chardev *chr, const uint8_t *data, size_t len) {
        struct fake_chardev *c = (struct fake_chardev *) chr;

        GUARD(&c->lock);
        g_string_append_len(c->output, (const char *) data, (gssize) len);
        c->n_writes++;
}

static void fake_input_ready(struct chardev *chr) {
        struct fake_chardev *c = (struct fake_chardev *) chr;

        GUARD(&c->lock);
        c->n_input_ready++;
}

struct fake_chardev *fake_chardev_new(void) {
        static const struct chardev_ops ops = {
                .write = fake_write,
                .input_ready = fake_input_ready,
        };
        struct fake_chardev *c = g_new0(struct fake_chardev, 1);

        c->chr.ops = &ops;
        (void) pthread_mutex_init(&c->lock, NULL);
        c->output = g_string_new(NULL);
        return c;
}

struct fake_chardev *fake_chardev_free(struct fake_chardev *c) {
        if (!c)
                return NULL;

        g_string_free(c->output, TRUE);
        (void) pthread_mutex_destroy(&c->lock);
        g_free(c);
        return NULL;
}

char *fake_chardev_take(struct fake_chardev *c, size_t *len) {
        char *taken;

        GUARD(&c->lock);
        if (len)
                *len = c->output->len;
        taken = g_string_free(c->output, FALSE);
        c->output = g_string_new(NULL);
        return taken;
}

bool fake_chardev_wait(struct fake_chardev *c, size_t n, unsigned timeout_ms) {
        gint64 end = g_get_monotonic_time() + timeout_ms * (gint64) 1000;

        for (;;) {
                {
                        GUARD(&c->lock);
                        if (c->output->len >= n)
                                return true;
                }
                if (g_get_monotonic_time() >= end)
                        return false;
                g_usleep(200);
        }
}

unsigned fake_chardev_n_input_ready(struct fake_chardev *c) {
        GUARD(&c->lock);

        return c->n_input_ready;
}

size_t fake_chardev_input(struct fake_chardev *c, const void *data, size_t len) {
        return c->chr.frontend->input(c->chr.frontend_opaque, data, len);
}
