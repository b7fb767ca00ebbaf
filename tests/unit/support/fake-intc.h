/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <glib.h>
#include <pthread.h>
#include <stdatomic.h>

#include "hypervisor/interrupt.h"

/*
 * An interrupt controller over plain eventfds, for tests. It behaves as KVM's does: a message goes out once for each
 * time its connected source was found signalled, and a source that was signalled while disconnected goes out when it is connected. Any thread.
 */
typedef struct fake_intc {
        struct intc intc; /* hand &f->intc to the device */

        pthread_mutex_t lock;
        GPtrArray *sources; /* struct fake_source */
        GArray *delivered;  /* struct msi_msg, oldest first */
        GHashTable *pins;   /* pin → struct msi_msg; absent: masked */
        unsigned n_set;     /* calls so far */
        unsigned n_pin_set;
        unsigned n_alloc_left; /* sources that msi_alloc still hands out; UINT_MAX at first */
        int send_result;       /* what msi_send returns; a negative one delivers nothing */
} fake_intc;

struct fake_intc *fake_intc_new(void);
/* Asserts that every source was given back. */
struct fake_intc *fake_intc_free(struct fake_intc *f);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(fake_intc, fake_intc_free)

/* Takes the oldest message that was delivered and not yet taken. */
bool fake_intc_take(struct fake_intc *f, struct msi_msg *ret);

/* Waits up to timeout_ms for one. */
bool fake_intc_wait(struct fake_intc *f, unsigned timeout_ms, struct msi_msg *ret);

/* How many were delivered and not yet taken; none of them is taken. */
unsigned fake_intc_count(struct fake_intc *f);

/* What the pin sends; false when it is masked. */
bool fake_intc_pin(struct fake_intc *f, unsigned pin, struct msi_msg *ret);

/* A line that counts. Any thread. */
struct fake_line {
        struct irq_line line; /* hand &l->line to the device */
        _Atomic bool level;
        _Atomic unsigned n_raised; /* changes from low to high */
};

void fake_line_init(struct fake_line *l);
