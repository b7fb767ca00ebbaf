/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * An interrupt controller without a machine. Nobody listens to its eventfds, so what they were signalled with is
 * collected when a test asks, and before a source's message changes: the messages are those that a
 * listening controller would have sent.
 */

#include "fake-intc.h"

#include <errno.h>
#include <limits.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "devices/guard.h"

struct fake_source {
        int eventfd;
        uint32_t gsi;
        bool connected;
        struct msi_msg msg;
};

static struct fake_intc *to_fake(struct intc *c) {
        return (struct fake_intc *) c;
}

static struct fake_source *find_source(struct fake_intc *f, const struct msi_source *source) {
        for (guint i = 0; i < f->sources->len; i++) {
                struct fake_source *s = g_ptr_array_index(f->sources, i);

                if (s->gsi == source->gsi && s->eventfd == source->eventfd)
                        return s;
        }
        g_assert_not_reached();
}

static void collect(struct fake_intc *f, struct fake_source *s) {
        eventfd_t n;

        if (s->connected && eventfd_read(s->eventfd, &n) >= 0)
                g_array_append_val(f->delivered, s->msg);
}

static void collect_all(struct fake_intc *f) {
        for (guint i = 0; i < f->sources->len; i++)
                collect(f, g_ptr_array_index(f->sources, i));
}

static void source_free(void *data) {
        struct fake_source *s = data;

        (void) close(s->eventfd);
        g_free(s);
}

static int fake_msi_alloc(struct intc *c, struct msi_source *sources, size_t n) {
        struct fake_intc *f = to_fake(c);
        static _Atomic uint32_t next_gsi = 24;

        GUARD(&f->lock);
        if (n > f->n_alloc_left)
                return -ENOSPC;
        if (f->n_alloc_left != UINT_MAX)
                f->n_alloc_left -= (unsigned) n;

        for (size_t i = 0; i < n; i++) {
                struct fake_source *s = g_new0(struct fake_source, 1);

                s->eventfd = eventfd(0 /* count */, EFD_CLOEXEC | EFD_NONBLOCK);
                g_assert_cmpint(s->eventfd, >=, 0);
                s->gsi = next_gsi++;
                g_ptr_array_add(f->sources, s);
                sources[i] = (struct msi_source){ .eventfd = s->eventfd, .gsi = s->gsi };
        }
        return 0;
}

static void fake_msi_free(struct intc *c, struct msi_source *sources, size_t n) {
        struct fake_intc *f = to_fake(c);

        GUARD(&f->lock);
        for (size_t i = 0; i < n; i++) {
                struct fake_source *s = find_source(f, &sources[i]);

                collect(f, s);
                g_ptr_array_remove(f->sources, s);
        }
}

static int fake_msi_set(struct intc *c, struct msi_source *source, const struct msi_msg *msg) {
        struct fake_intc *f = to_fake(c);
        struct fake_source *s;

        GUARD(&f->lock);
        f->n_set++;
        s = find_source(f, source);
        collect(f, s);
        s->connected = msg != NULL;
        if (msg)
                s->msg = *msg;
        return 0;
}

static int fake_msi_send(struct intc *c, const struct msi_msg *msg) {
        struct fake_intc *f = to_fake(c);

        GUARD(&f->lock);
        if (f->send_result >= 0)
                g_array_append_val(f->delivered, *msg);
        return f->send_result;
}

static int fake_pin_set(struct intc *c, unsigned pin, const struct msi_msg *msg) {
        struct fake_intc *f = to_fake(c);

        GUARD(&f->lock);
        f->n_pin_set++;
        if (msg)
                g_hash_table_insert(f->pins, GUINT_TO_POINTER(pin), g_memdup2(msg, sizeof(*msg)));
        else
                g_hash_table_remove(f->pins, GUINT_TO_POINTER(pin));
        return 0;
}

struct fake_intc *fake_intc_new(void) {
        static const struct intc_ops ops = {
                .msi_alloc = fake_msi_alloc,
                .msi_free = fake_msi_free,
                .msi_set = fake_msi_set,
                .msi_send = fake_msi_send,
                .pin_set = fake_pin_set,
        };
        struct fake_intc *f = g_new0(struct fake_intc, 1);

        f->intc.ops = &ops;
        (void) pthread_mutex_init(&f->lock, NULL);
        f->sources = g_ptr_array_new_with_free_func(source_free);
        f->delivered = g_array_new(FALSE, FALSE, sizeof(struct msi_msg));
        f->pins = g_hash_table_new_full(NULL, NULL, NULL, g_free);
        f->n_alloc_left = UINT_MAX;
        return f;
}

struct fake_intc *fake_intc_free(struct fake_intc *f) {
        if (!f)
                return NULL;

        g_assert_cmpuint(f->sources->len, ==, 0);
        g_ptr_array_unref(f->sources);
        g_array_unref(f->delivered);
        g_hash_table_unref(f->pins);
        (void) pthread_mutex_destroy(&f->lock);
        g_free(f);
        return NULL;
}

bool fake_intc_take(struct fake_intc *f, struct msi_msg *ret) {
        GUARD(&f->lock);

        collect_all(f);
        if (f->delivered->len == 0)
                return false;

        *ret = g_array_index(f->delivered, struct msi_msg, 0);
        g_array_remove_index(f->delivered, 0);
        return true;
}

bool fake_intc_wait(struct fake_intc *f, unsigned timeout_ms, struct msi_msg *ret) {
        gint64 end = g_get_monotonic_time() + timeout_ms * (gint64) 1000;

        while (!fake_intc_take(f, ret)) {
                if (g_get_monotonic_time() >= end)
                        return false;
                g_usleep(200);
        }
        return true;
}

unsigned fake_intc_count(struct fake_intc *f) {
        GUARD(&f->lock);

        collect_all(f);
        return f->delivered->len;
}

bool fake_intc_pin(struct fake_intc *f, unsigned pin, struct msi_msg *ret) {
        const struct msi_msg *msg;

        GUARD(&f->lock);
        msg = g_hash_table_lookup(f->pins, GUINT_TO_POINTER(pin));
        if (msg && ret)
                *ret = *msg;
        return msg != NULL;
}

static void fake_line_set(struct irq_line *line, bool level) {
        struct fake_line *l = (struct fake_line *) line;

        if (!atomic_exchange(&l->level, level) && level)
                l->n_raised++;
}

void fake_line_init(struct fake_line *l) {
        *l = (struct fake_line){ .line.set = fake_line_set };
}
