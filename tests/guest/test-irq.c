/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves interrupts on both sides of the wire: an eventfd reaches the guest as the message set for
 * it, in both modes of the APIC; a disconnected source only counts and delivers when it is connected
 * again; level-triggered pins report their EOI; and nonsense for a message, which a guest is free to
 * write, harms nobody but its own source.
 */

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "hypervisor/fd.h"
#include "tests/guest/host/machine.h"

#define STEP_PORT 0x5a0
#define PIN 9

struct irq_test {
        struct machine *m;
        struct intc *c;
        struct msi_source round, source;
        int bell, stop;
        pthread_t thread;
        unsigned raised, n_eoi, lowered;
        bool early; /* the EOI comes with the delivery, not with the guest's word */
};

static struct msi_msg message(uint8_t vector) {
        return (struct msi_msg){ .addr = 0xfee00000, .data = vector };
}

static void signal_source(const struct msi_source *s) {
        uint64_t one = 1;

        g_assert_cmpint(write(s->eventfd, &one, sizeof(one)), ==, sizeof(one));
}

static void set(struct irq_test *t, uint8_t vector) {
        struct msi_msg msg = message(vector);

        g_assert_cmpint(t->c->ops->msi_set(t->c, &t->source, &msg), ==, 0);
}

static void step(struct irq_test *t, uint32_t n) {
        struct msi_msg msg = message(0x41), level = message(0x50);
        uint64_t count;

        level.data |= 0xc000; /* level, asserted */
        switch (n) {
        case 1:
                g_assert_cmpint(t->c->ops->msi_send(t->c, &msg), ==, 0);
                break;
        case 2:
                set(t, 0x42);
                g_assert_cmpint(t->c->ops->msi_set(t->c, &t->source, NULL), ==, 0);
                signal_source(&t->source);
                signal_source(&t->source);
                g_assert_cmpint(read(t->source.eventfd, &count, sizeof(count)), ==, sizeof(count));
                g_assert_cmpuint(count, ==, 2);
                signal_source(&t->source);
                break;
        case 3:
                set(t, 0x42);
                break;
        case 4:
                set(t, 0x43);
                signal_source(&t->source);
                break;
        case 5:
                g_assert_cmpint(t->c->ops->pin_set(t->c, PIN, &level), ==, 0);
                g_assert_cmpint(t->c->ops->msi_send(t->c, &level), ==, 0);
                t->raised++;
                break;
        case 6:
                g_assert_cmpuint(t->n_eoi, ==, 3);
                g_assert_cmpint(t->c->ops->pin_set(t->c, PIN, NULL), ==, 0);
                break;
        case 0x100:
                t->lowered++;
                break;
        case 0x101:
                t->early = true;
                break;
        default:
                g_assert_not_reached();
        }
}

static void on_pio_write(void *opaque, uint16_t port, const void *data, unsigned len) {
        uint32_t n = 0;

        g_assert_cmpuint(port, ==, STEP_PORT);
        memcpy(&n, data, MIN(len, sizeof(n)));
        step(opaque, n);
}

static void on_eoi(void *opaque, unsigned vector) {
        struct irq_test *t = opaque;

        g_assert_cmpuint(vector, ==, 0x50);
        t->n_eoi++;
        g_assert_cmpuint(t->n_eoi, ==, t->early ? t->raised : t->lowered);
}

/* Answers each ring of the bell with a signal, as an I/O thread does. */
static void *answer_bell(void *arg) {
        struct irq_test *t = arg;
        struct pollfd fds[2] = { { .fd = t->bell, .events = POLLIN },
                                 { .fd = t->stop, .events = POLLIN } };

        for (;;) {
                uint64_t n;

                if (poll(fds, 2, -1) < 0)
                        continue;
                if (fds[1].revents)
                        return NULL;
                if (read(t->bell, &n, sizeof(n)) == sizeof(n))
                        signal_source(&t->round);
        }
}

static void run_irqs(bool x2apic) {
        struct irq_test t = { .bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
                              .stop = eventfd(0, EFD_CLOEXEC) };
        const struct vcpu_handlers hooks = { .pio_write = on_pio_write, .eoi = on_eoi };
        g_autoptr(machine) m = machine_new(&(struct machine_config){
                        .guest = "guest-irq",
                        .hooks = &hooks,
                        .opaque = &t,
                        .args = { 200, x2apic },
        });
        struct hv_doorbell bell = { .addr = 0xd0001000, .len = 4, .fd = t.bell };
        struct msi_msg msg = message(0x40);
        uint64_t one = 1;

        t.m = m;
        t.c = hv_vm_intc(m->vm);
        g_assert_cmpint(t.c->ops->msi_alloc(t.c, &t.round, 1), ==, 0);
        g_assert_cmpint(t.c->ops->msi_alloc(t.c, &t.source, 1), ==, 0);
        g_assert_cmpint(t.c->ops->msi_set(t.c, &t.round, &msg), ==, 0);
        g_assert_cmpint(hv_vm_doorbell(m->vm, &bell, true), ==, 0);
        g_assert_cmpint(pthread_create(&t.thread, NULL, answer_bell, &t), ==, 0);

        machine_run(m);
        g_assert_cmpuint(t.lowered, ==, 3);
        g_assert_cmpint(write(t.stop, &one, sizeof(one)), ==, sizeof(one));
        g_assert_cmpint(pthread_join(t.thread, NULL), ==, 0);
        t.c->ops->msi_free(t.c, &t.round, 1);
        t.c->ops->msi_free(t.c, &t.source, 1);
        (void) close(t.bell);
        (void) close(t.stop);
}

static void test_xapic(void) {
        run_irqs(/* x2apic= */ false);
}

static void test_x2apic(void) {
        run_irqs(/* x2apic= */ true);
}

static void test_hostile(void) {
        g_autoptr(machine) m = machine_new(&(struct machine_config){ .guest = "guest-irq" });
        struct intc *c = hv_vm_intc(m->vm);
        static const uint64_t bad[] = { 0, 0xfed00000, 0xff000000, 0x1000 };
        static const uint64_t odd[] = { 0xfee00000 | 0xffffffffull << 32, 0xfeefffff, 0xfee00fe0 };
        struct msi_source s[2];
        struct msi_msg msg;

        g_assert_cmpint(c->ops->msi_alloc(c, s, 2), ==, 0);
        for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
                msg = (struct msi_msg){ .addr = bad[i], .data = 0x40 };
                g_assert_cmpint(c->ops->msi_set(c, &s[0], &msg), ==, -EINVAL);
                g_assert_cmpint(c->ops->msi_send(c, &msg), ==, -EINVAL);
                g_assert_cmpint(c->ops->pin_set(c, 3, &msg), ==, 0);
        }
        for (size_t i = 0; i < G_N_ELEMENTS(odd); i++) {
                msg = (struct msi_msg){ .addr = odd[i], .data = UINT32_MAX };
                g_assert_cmpint(c->ops->msi_set(c, &s[0], &msg), ==, 0);
                g_assert_cmpint(c->ops->msi_send(c, &msg), ==, 0);
                g_assert_cmpint(c->ops->pin_set(c, 3, &msg), ==, 0);
                /* the neighbour's table is not refused for it */
                msg = message((uint8_t) (0x40 + i));
                g_assert_cmpint(c->ops->msi_set(c, &s[1], &msg), ==, 0);
        }
        g_assert_cmpint(c->ops->pin_set(c, 24, NULL), ==, -EINVAL);
        g_assert_cmpint(c->ops->pin_set(c, UINT32_MAX, NULL), ==, -EINVAL);
        c->ops->msi_free(c, s, 2);
}

static void test_limits(void) {
        g_autoptr(machine) m = machine_new(&(struct machine_config){ .guest = "guest-irq" });
        struct intc *c = hv_vm_intc(m->vm);
        struct msi_msg msg = message(0x40);
        g_autofree struct msi_source *s = g_new0(struct msi_source, 8192);
        struct msi_source again;
        size_t n = 0;

        /* nothing stays reserved of what does not fit as a whole: descriptors or GSIs run out */
        g_assert_cmpint(c->ops->msi_alloc(c, s, 8192), <, 0);
        for (; n < 200; n++) {
                g_assert_cmpint(c->ops->msi_alloc(c, &s[n], 1), ==, 0);
                g_assert_cmpint(c->ops->msi_set(c, &s[n], &msg), ==, 0);
                g_assert_cmpint(c->ops->msi_set(c, &s[n], &msg), ==, 0);
        }
        g_assert_cmpuint(s[0].gsi, ==, 24);
        c->ops->msi_free(c, s + 100, 1);
        g_assert_cmpint(c->ops->msi_alloc(c, &again, 1), ==, 0);
        g_assert_cmpuint(again.gsi, ==, 124);
        /* a freed source's message is gone with it */
        g_assert_cmpint(c->ops->msi_set(c, &again, NULL), ==, 0);
        c->ops->msi_free(c, s, n);
        c->ops->msi_free(c, &again, 1);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        machine_require_kvm();
        g_test_add_func("/irq/hostile", test_hostile);
        g_test_add_func("/irq/limits", test_limits);
        g_test_add_func("/irq/xapic", test_xapic);
        g_test_add_func("/irq/x2apic", test_x2apic);
        return g_test_run();
}
