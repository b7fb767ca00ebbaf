/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * MSI-X (PCI Local Bus 3.0, 6.8.2). Each vector is a source of the interrupt controller: an eventfd that delivers
 * the vector's message while it is connected and only counts while it is not. A vector is connected when MSI-X is
 * enabled and neither the function nor the vector is masked.
 *
 * So msix_signal() does the same in every case, one write: to a connected vector it is an interrupt, to a masked one
 * the count is the pending bit. The count is moved into the pending flag when somebody wants to know (PBA read,
 * unmask, save); unmasking writes the eventfd again. Only signals while MSI-X as a whole is disabled are dropped.
 *
 * The lock guards the table and connections. Signalling does not take it; it needs the enabled flag and the
 * eventfds, which stay from attach to detach, and devices are silent at either.
 */

#include <assert.h>
#include <poll.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>

#include "devices/guard.h"
#include "devices/pci/private.h"
#include "hypervisor/error.h"

#define ENTRY_SIZE 16u
#define ENTRY_MASKED 1u /* in the control word */
#define CONTROL_ENABLE 0x8000u
#define CONTROL_FUNCTION_MASK 0x4000u
#define MAX_VECTORS 2048u

enum {
        WORD_ADDR_LOW,
        WORD_ADDR_HIGH,
        WORD_DATA,
        WORD_CONTROL,
        N_WORDS,
};

struct entry {
        uint32_t words[N_WORDS];
        bool connected;
        bool pending; /* besides what the eventfd counts */
};

struct msix {
        struct pci_device *pci;
        unsigned capability; /* offset in config */
        unsigned n;
        uint32_t table, pba; /* offsets in the BAR */

        struct intc *intc;          /* NULL: not attached */
        struct msi_source *sources; /* n */
        uint32_t devid;
        atomic_bool enabled;

        pthread_mutex_t lock; /* for what follows */
        bool function_masked;
        bool used;             /* was enabled since what is pending was last forgotten */
        struct entry *entries; /* n */
};

static uint32_t table_size(const struct msix *x) {
        return x->n * ENTRY_SIZE;
}

static uint32_t pba_size(const struct msix *x) {
        return (x->n + 63) / 64 * 8;
}

void pci_add_msix(
                struct pci_device *pci,
                uint16_t n_vectors,
                unsigned bar,
                uint32_t table,
                uint32_t pba) {
        uint8_t body[10] = { 0 };
        struct msix *x;

        assert(!pci->segment && !pci->msix);
        assert(n_vectors >= 1 && n_vectors <= MAX_VECTORS);
        assert(bar < PCI_N_BARS && pci->bars[bar].size > 0 && table % 8 == 0 && pba % 8 == 0);

        x = g_new0(struct msix, 1);
        x->pci = pci;
        x->n = n_vectors;
        x->table = table;
        x->pba = pba;
        assert((uint64_t) table + table_size(x) <= pci->bars[bar].size);
        assert((uint64_t) pba + pba_size(x) <= pci->bars[bar].size);
        x->entries = g_new0(struct entry, n_vectors);
        for (unsigned i = 0; i < x->n; i++)
                x->entries[i].words[WORD_CONTROL] = ENTRY_MASKED;
        (void) pthread_mutex_init(&x->lock, NULL);

        /* Message control, then table and PBA offsets with the BAR's number in the low bits. */
        pci_put16(body, 0, (uint16_t) (n_vectors - 1));
        for (unsigned i = 0; i < 4; i++) {
                body[2 + i] = (uint8_t) ((table | bar) >> i * 8);
                body[6 + i] = (uint8_t) ((pba | bar) >> i * 8);
        }
        x->capability = pci_add_capability(pci, PCI_CAP_ID_OF_MSIX, body, sizeof(body));
        pci_put16(pci->wmask, x->capability + 2, CONTROL_ENABLE | CONTROL_FUNCTION_MASK);
        pci->msix = x;
}

struct msix *msix_free(struct msix *x) {
        if (!x)
                return NULL;

        assert(!x->intc);
        (void) pthread_mutex_destroy(&x->lock);
        g_free(x->entries);
        g_free(x);
        return NULL;
}

bool msix_attach(struct msix *x, struct intc *intc, uint32_t devid, GError **error) {
        int r;

        x->sources = g_new0(struct msi_source, x->n);
        r = intc->ops->msi_alloc(intc, x->sources, x->n);
        if (r < 0) {
                g_clear_pointer(&x->sources, g_free);
                return hv_error_errno(error, -r, "reserving %u interrupt vectors", x->n);
        }
        x->intc = intc;
        x->devid = devid;
        return true;
}

void msix_detach(struct msix *x) {
        if (!x->intc)
                return;

        msix_reset(x);
        x->intc->ops->msi_free(x->intc, x->sources, x->n);
        x->intc = NULL;
        g_clear_pointer(&x->sources, g_free);
}

void msix_signal(struct msix *x, uint16_t vector) {
        if (vector >= x->n || !atomic_load_explicit(&x->enabled, memory_order_acquire))
                return;
        (void) eventfd_write(x->sources[vector].eventfd, 1);
}

int msix_eventfd(const struct msix *x, uint16_t vector) {
        return vector < x->n && msix_enabled(x) ? x->sources[vector].eventfd : -1;
}

bool msix_enabled(const struct msix *x) {
        return atomic_load_explicit(&x->enabled, memory_order_acquire);
}

unsigned msix_n_vectors(const struct msix *x) {
        return x->n;
}

/* Moves what the eventfd of a disconnected vector has counted into its pending flag. Nobody else reads it then, so
 * the read does not block, whatever the descriptor's mode. */
static void collect(struct msix *x, unsigned vector) {
        struct pollfd p = { .fd = x->sources[vector].eventfd, .events = POLLIN };
        eventfd_t n;

        assert(!x->entries[vector].connected);
        if (poll(&p, 1, 0 /* timeout */) == 1 && eventfd_read(p.fd, &n) >= 0)
                x->entries[vector].pending = true;
}

/* Connects or disconnects a vector as the masks have it; changed: its message is new. */
static void update(struct msix *x, unsigned vector, bool changed) {
        struct entry *e = &x->entries[vector];
        struct msi_source *source = &x->sources[vector];
        bool want = msix_enabled(x) && !x->function_masked &&
                    !(e->words[WORD_CONTROL] & ENTRY_MASKED);
        struct msi_msg msg = {
                .addr = (uint64_t) e->words[WORD_ADDR_HIGH] << 32 | e->words[WORD_ADDR_LOW],
                .data = e->words[WORD_DATA],
                .devid = x->devid,
        };

        if (!want) {
                if (e->connected)
                        (void) x->intc->ops->msi_set(x->intc, source, NULL /* msg */);
                e->connected = false;
                return;
        }
        if (e->connected) {
                /* A message that the controller refuses goes nowhere, rather than where the last one went. */
                if (changed && x->intc->ops->msi_set(x->intc, source, &msg) < 0) {
                        (void) x->intc->ops->msi_set(x->intc, source, NULL /* msg */);
                        e->connected = false;
                }
                return;
        }

        collect(x, vector);
        if (x->intc->ops->msi_set(x->intc, source, &msg) < 0)
                return;
        e->connected = true;
        if (e->pending)
                (void) eventfd_write(source->eventfd, 1);
        e->pending = false;
}

static void update_all(struct msix *x) {
        for (unsigned i = 0; i < x->n; i++)
                update(x, i, false /* changed */);
}

/* Forgets signals from before; all vectors are disconnected. */
static void forget_pending(struct msix *x) {
        if (!x->used)
                return;
        x->used = false;
        for (unsigned i = 0; i < x->n; i++) {
                collect(x, i);
                x->entries[i].pending = false;
        }
}

static void take_control(struct msix *x) {
        uint16_t control = pci_get16(x->pci, x->capability + 2);
        bool enable = control & CONTROL_ENABLE;

        /* A signal that met the end of the last enabled time is none of this one's. */
        if (enable && !msix_enabled(x))
                forget_pending(x);
        x->function_masked = control & CONTROL_FUNCTION_MASK;
        x->used |= enable;
        atomic_store_explicit(&x->enabled, enable, memory_order_release);
        update_all(x);
}

void msix_control_changed(struct msix *x) {
        GUARD(&x->lock);

        if (x->intc)
                take_control(x);
}

bool msix_control_overlaps(const struct msix *x, unsigned offset, unsigned len) {
        return offset < x->capability + 4 && x->capability + 2 < offset + len;
}

void msix_reset(struct msix *x) {
        GUARD(&x->lock);

        pci_put16(x->pci->config, x->capability + 2, (uint16_t) (x->n - 1));
        take_control(x);
        for (unsigned i = 0; i < x->n; i++)
                x->entries[i].words[WORD_CONTROL] = ENTRY_MASKED;
        for (unsigned i = 0; i < x->n; i++)
                for (unsigned w = 0; w < WORD_CONTROL; w++)
                        x->entries[i].words[w] = 0;
        forget_pending(x);
}

bool msix_contains(const struct msix *x, uint64_t bar_offset) {
        return (bar_offset >= x->table && bar_offset - x->table < table_size(x)) ||
               (bar_offset >= x->pba && bar_offset - x->pba < pba_size(x));
}

/* Eight pending bits, of the vectors from first on. */
static uint8_t pending_bits(struct msix *x, unsigned first) {
        uint8_t bits = 0;

        for (unsigned i = 0; i < 8 && first + i < x->n; i++) {
                struct entry *e = &x->entries[first + i];

                if (!e->connected)
                        collect(x, first + i);
                if (e->pending && msix_enabled(x))
                        bits |= (uint8_t) (1u << i);
        }
        return bits;
}

static uint8_t read_byte(struct msix *x, uint64_t offset) {
        if (offset >= x->table && offset - x->table < table_size(x)) {
                uint32_t at = (uint32_t) (offset - x->table);

                return (uint8_t) (x->entries[at / ENTRY_SIZE].words[at % ENTRY_SIZE / 4] >> at % 4 * 8);
        }
        if (offset >= x->pba && offset - x->pba < pba_size(x))
                return pending_bits(x, (unsigned) (offset - x->pba) * 8);
        return 0;
}

void msix_read(struct msix *x, uint64_t bar_offset, void *data, unsigned len) {
        uint8_t *bytes = data;

        GUARD(&x->lock);
        for (unsigned i = 0; i < len; i++)
                bytes[i] = x->intc ? read_byte(x, bar_offset + i) : 0;
}

void msix_write(struct msix *x, uint64_t bar_offset, const void *data, unsigned len) {
        const uint8_t *bytes = data;

        GUARD(&x->lock);
        if (!x->intc)
                return;

        for (unsigned i = 0; i < len; i++) {
                uint64_t offset = bar_offset + i;
                uint32_t at, shift, *word;

                if (offset < x->table || offset - x->table >= table_size(x))
                        continue; /* the PBA is read-only */

                at = (uint32_t) (offset - x->table);
                shift = at % 4 * 8;
                word = &x->entries[at / ENTRY_SIZE].words[at % ENTRY_SIZE / 4];
                *word = (*word & ~(0xffu << shift)) | (uint32_t) bytes[i] << shift;
                if (at % ENTRY_SIZE / 4 == WORD_CONTROL)
                        *word &= ENTRY_MASKED;

                /* Once a word: at its last byte, or the access's. */
                if (i + 1 == len || at % 4 == 3)
                        update(x, at / ENTRY_SIZE,
                               at % ENTRY_SIZE / 4 != WORD_CONTROL /* changed */);
        }
}

void msix_save(struct msix *x, GVariantBuilder *table, uint8_t *pending) {
        GUARD(&x->lock);

        for (unsigned i = 0; i < x->n; i++) {
                const uint32_t *w = x->entries[i].words;

                g_variant_builder_add(table, "(uuuu)", w[0], w[1], w[2], w[3]);
                if (i % 8 == 0)
                        pending[i / 8] = pending_bits(x, i);
        }
}

void msix_restore(struct msix *x, GVariant *table, const uint8_t *pending) {
        GUARD(&x->lock);

        assert(g_variant_n_children(table) == x->n);

        /* Off and on again: what the vectors were before is disconnected and forgotten. */
        atomic_store_explicit(&x->enabled, false, memory_order_release);
        update_all(x);
        forget_pending(x);
        for (unsigned i = 0; i < x->n; i++) {
                struct entry *e = &x->entries[i];

                g_variant_get_child(
                                table, i, "(uuuu)", &e->words[0], &e->words[1], &e->words[2],
                                &e->words[3]);
                e->words[WORD_CONTROL] &= ENTRY_MASKED;
        }

        x->function_masked = true;
        atomic_store_explicit(
                        &x->enabled, pci_get16(x->pci, x->capability + 2) & CONTROL_ENABLE,
                        memory_order_release);
        for (unsigned i = 0; i < x->n; i++)
                x->entries[i].pending = pending[i / 8] >> i % 8 & 1;
        take_control(x);
}
