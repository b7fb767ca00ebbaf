/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves what the IOAPIC sends and when: edges once, levels until their EOI, nothing through a mask, what waited
 * behind it after; what it tells the hypervisor of its pins; the messages themselves with 15-bit
 * destinations; the registers that Linux reads; and that hostile programming leaves it sane.
 */

#include "devices/legacy/legacy.h"
#include "fake-intc.h"

#define BASE 0xfec00000u
#define MASKED (1u << 16)
#define LEVEL (1u << 15)
#define REMOTE_IRR (1u << 14)

typedef struct apic {
        bus *mmio;
        fake_intc *intc;
        struct device *dev;
} apic;

static void apic_init(struct apic *a) {
        a->mmio = bus_new("mmio", NULL, NULL);
        a->intc = fake_intc_new();
        a->dev = ioapic_new(a->mmio, BASE, &a->intc->intc, NULL);
        g_assert_nonnull(a->dev);
}

static void apic_clear(struct apic *a) {
        a->dev = device_free(a->dev);
        a->intc = fake_intc_free(a->intc);
        a->mmio = bus_free(a->mmio);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(apic, apic_clear)

static uint32_t get(struct apic *a, uint32_t reg) {
        uint32_t v = 0;

        bus_write(a->mmio, BASE, &reg, 4);
        bus_read(a->mmio, BASE + 0x10, &v, 4);
        return v;
}

static void set(struct apic *a, uint32_t reg, uint32_t v) {
        bus_write(a->mmio, BASE, &reg, 4);
        bus_write(a->mmio, BASE + 0x10, &v, 4);
}

static void program(struct apic *a, unsigned pin, uint32_t high, uint32_t low) {
        set(a, 0x11 + pin * 2, high);
        set(a, 0x10 + pin * 2, low);
}

static void line(struct apic *a, unsigned pin, bool level) {
        irq_line_set(ioapic_line(a->dev, pin), level);
}

#define ASSERT_SENT(a, v)                                                                          \
        do {                                                                                       \
                struct msi_msg m_ = { 0 };                                                         \
                                                                                                   \
                g_assert_true(fake_intc_take((a).intc, &m_));                                      \
                g_assert_cmphex(m_.data & 0xff, ==, v);                                            \
                g_assert_cmpuint(fake_intc_count((a).intc), ==, 0);                                \
        } while (false)

#define ASSERT_SILENT(a) g_assert_cmpuint(fake_intc_count((a).intc), ==, 0)

static void test_registers(void) {
        g_auto(apic) a = { 0 };
        uint8_t byte = 0x01;
        uint32_t v = 0;

        apic_init(&a);
        g_assert_cmphex(get(&a, 1), ==, 0x170011);
        g_assert_cmphex(get(&a, 0), ==, 0);
        set(&a, 0, 0xffffffff);
        g_assert_cmphex(get(&a, 0), ==, 0x0f000000);
        g_assert_cmphex(get(&a, 2), ==, 0x0f000000);
        set(&a, 1, 0);
        g_assert_cmphex(get(&a, 1), ==, 0x170011);
        for (unsigned pin = 0; pin < 24; pin++) {
                g_assert_cmphex(get(&a, 0x10 + pin * 2), ==, MASKED);
                g_assert_cmphex(get(&a, 0x11 + pin * 2), ==, 0);
        }
        g_assert_cmphex(get(&a, 0x40), ==, 0);
        g_assert_cmphex(get(&a, 0xff), ==, 0);
        set(&a, 0x40, 0xffffffff);
        set(&a, 0xff, 0xffffffff);

        /* Read-only bits. */
        program(&a, 3, 0xffffffff, 0xffffffff);
        g_assert_cmphex(get(&a, 0x16), ==, 0x1afff);
        g_assert_cmphex(get(&a, 0x17), ==, 0xfffe0000);

        /* Selecting with a byte is enough; the window takes whole words only. */
        bus_write(a.mmio, BASE, &byte, 1);
        bus_read(a.mmio, BASE + 0x10, &v, 4);
        g_assert_cmphex(v, ==, 0x170011);
        v = 0;
        bus_read(a.mmio, BASE, &v, 4);
        g_assert_cmphex(v, ==, 1);
        byte = 0x10;
        bus_write(a.mmio, BASE, &byte, 1);
        byte = 0;
        bus_write(a.mmio, BASE + 0x10, &byte, 1);
        g_assert_cmphex(get(&a, 0x10), ==, MASKED);
}

static void test_edge(void) {
        g_auto(apic) a = { 0 };

        apic_init(&a);
        program(&a, 4, 0, 0x31);
        line(&a, 4, true);
        ASSERT_SENT(a, 0x31);
        line(&a, 4, true);
        ASSERT_SILENT(a);
        line(&a, 4, false);
        ASSERT_SILENT(a);
        irq_line_pulse(ioapic_line(a.dev, 4));
        ASSERT_SENT(a, 0x31);
        ioapic_eoi(a.dev, 0x31);
        ASSERT_SILENT(a);
        g_assert_cmphex(get(&a, 0x18), ==, 0x31);

        /* Behind the mask: a pulse is gone, a line that stays up is not; and only once. */
        program(&a, 4, 0, 0x31 | MASKED);
        irq_line_pulse(ioapic_line(a.dev, 4));
        program(&a, 4, 0, 0x31);
        ASSERT_SILENT(a);
        program(&a, 4, 0, 0x31 | MASKED);
        line(&a, 4, true);
        program(&a, 4, 0, 0x32);
        ASSERT_SENT(a, 0x32);
        program(&a, 4, 0, 0x32 | MASKED);
        program(&a, 4, 0, 0x32);
        ASSERT_SILENT(a);
}

static void test_level(void) {
        g_auto(apic) a = { 0 };

        apic_init(&a);
        line(&a, 10, true);
        ASSERT_SILENT(a);
        program(&a, 10, 0, 0x41 | LEVEL);
        ASSERT_SENT(a, 0x41);
        g_assert_cmphex(get(&a, 0x10 + 20), ==, 0x41 | LEVEL | REMOTE_IRR);

        /* In service: neither the line nor rewriting the entry sends again. */
        line(&a, 10, false);
        line(&a, 10, true);
        program(&a, 10, 0, 0x41 | LEVEL);
        ASSERT_SILENT(a);
        ioapic_eoi(a.dev, 0x40);
        ASSERT_SILENT(a);

        /* Still high at the EOI: again. */
        ioapic_eoi(a.dev, 0x41);
        ASSERT_SENT(a, 0x41);
        line(&a, 10, false);
        ioapic_eoi(a.dev, 0x41);
        ASSERT_SILENT(a);
        g_assert_cmphex(get(&a, 0x10 + 20), ==, 0x41 | LEVEL);
        line(&a, 10, true);
        ASSERT_SENT(a, 0x41);

        /* What Linux does to end an interrupt of an IOAPIC without EOI register. */
        program(&a, 10, 0, 0x41 | MASKED);
        g_assert_cmphex(get(&a, 0x10 + 20), ==, 0x41 | MASKED);
        program(&a, 10, 0, 0x41 | LEVEL);
        ASSERT_SENT(a, 0x41);
}

/* Two pins of one vector end together; each is sent again for itself. */
static void test_shared_vector(void) {
        g_auto(apic) a = { 0 };

        apic_init(&a);
        program(&a, 1, 0, 0x51 | LEVEL);
        program(&a, 2, 0, 0x51 | LEVEL);
        line(&a, 1, true);
        line(&a, 2, true);
        g_assert_cmpuint(fake_intc_count(a.intc), ==, 2);
        line(&a, 1, false);
        ioapic_eoi(a.dev, 0x51);
        g_assert_cmpuint(fake_intc_count(a.intc), ==, 3);
        g_assert_cmphex(get(&a, 0x12), ==, 0x51 | LEVEL);
        g_assert_cmphex(get(&a, 0x14), ==, 0x51 | LEVEL | REMOTE_IRR);
}

static void test_messages(void) {
        static const struct {
                uint32_t high, low;
                uint64_t addr;
                uint32_t data;
        } cases[] = {
                { 0x00000000, 0x30, 0xfee00000, 0x30 },
                { 0x01000000, 0x30, 0xfee01000, 0x30 },
                { 0xff000000, 0x30, 0xfeeff000, 0x30 },
                { 0x00020000, 0x30, 0xfee00020, 0x30 },   /* destination 256 */
                { 0xfffe0000, 0x30, 0xfeefffe0, 0x30 },   /* 0x7fff */
                { 0x00010000, 0x30, 0xfee00000, 0x30 },   /* remappable format: not ours */
                { 0x03000000, 0x830, 0xfee03004, 0x30 },  /* logical */
                { 0x00000000, 0x130, 0xfee00000, 0x130 }, /* lowest priority */
                { 0x00000000, 0x430, 0xfee00000, 0x430 }, /* NMI */
                { 0x00000000, 0x2030, 0xfee00000, 0x30 }, /* active low: the line's matter */
                { 0x00000000, 0x30 | LEVEL, 0xfee00000, 0xc030 },
        };
        g_auto(apic) a = { 0 };

        apic_init(&a);
        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
                struct msi_msg m = { 0 }, pin = { 0 };

                program(&a, 7, cases[i].high, cases[i].low);
                irq_line_pulse(ioapic_line(a.dev, 7));
                g_assert_true(fake_intc_take(a.intc, &m));
                g_assert_cmphex(m.addr, ==, cases[i].addr);
                g_assert_cmphex(m.data, ==, cases[i].data);
                g_assert_true(fake_intc_pin(a.intc, 7, &pin));
                g_assert_cmphex(pin.addr, ==, cases[i].addr);
                g_assert_cmphex(pin.data, ==, cases[i].data);
        }
}

static void test_routes(void) {
        g_auto(apic) a = { 0 };
        struct msi_msg m;

        apic_init(&a);
        g_assert_cmpuint(a.intc->n_pin_set, ==, 0);
        program(&a, 5, 0, 0x61 | LEVEL | MASKED);
        g_assert_false(fake_intc_pin(a.intc, 5, NULL));
        g_assert_cmpuint(a.intc->n_pin_set, ==, 0);

        program(&a, 5, 0, 0x61 | LEVEL);
        g_assert_true(fake_intc_pin(a.intc, 5, &m));
        g_assert_cmpuint(a.intc->n_pin_set, ==, 1);
        program(&a, 5, 0, 0x61 | LEVEL);
        g_assert_cmpuint(a.intc->n_pin_set, ==, 1);

        /* Masked in service, as handlers on threads do: the EOI is still reported, and then no more. */
        line(&a, 5, true);
        ASSERT_SENT(a, 0x61);
        program(&a, 5, 0, 0x61 | LEVEL | MASKED);
        g_assert_true(fake_intc_pin(a.intc, 5, &m));
        ioapic_eoi(a.dev, 0x61);
        ASSERT_SILENT(a);
        g_assert_false(fake_intc_pin(a.intc, 5, NULL));
        program(&a, 5, 0, 0x61 | LEVEL);
        ASSERT_SENT(a, 0x61);
        g_assert_true(fake_intc_pin(a.intc, 5, &m));

        a.dev->ops->reset(a.dev);
        g_assert_false(fake_intc_pin(a.intc, 5, NULL));
        g_assert_cmphex(get(&a, 0x1a), ==, MASKED);
}

/* A message that nobody takes does not leave the pin in service for ever. */
static void test_refused(void) {
        g_auto(apic) a = { 0 };

        apic_init(&a);
        a.intc->send_result = -1;
        program(&a, 5, 0, 0x71 | LEVEL);
        line(&a, 5, true);
        ASSERT_SILENT(a);
        g_assert_cmphex(get(&a, 0x1a), ==, 0x71 | LEVEL);
        a.intc->send_result = 0;
        program(&a, 5, 0, 0x71 | LEVEL);
        ASSERT_SENT(a, 0x71);
}

static void test_restore(void) {
        g_auto(apic) a = { 0 }, b = { 0 };
        g_autoptr(GVariant) state = NULL;
        struct msi_msg m;

        apic_init(&a);
        program(&a, 5, 0x01000000, 0x71 | LEVEL);
        line(&a, 5, true);
        ASSERT_SENT(a, 0x71);
        program(&a, 6, 0, 0x72 | MASKED);
        line(&a, 6, true);
        state = g_variant_ref_sink(a.dev->ops->save(a.dev));

        /* The local APICs are restored with what was sent; nothing is sent twice. */
        apic_init(&b);
        g_assert_true(b.dev->ops->restore(b.dev, state, NULL));
        line(&b, 5, true);
        ASSERT_SILENT(b);
        g_assert_true(fake_intc_pin(b.intc, 5, &m));
        g_assert_cmphex(m.addr, ==, 0xfee01000);
        ioapic_eoi(b.dev, 0x71);
        ASSERT_SENT(b, 0x71);
        program(&b, 6, 0, 0x72);
        ASSERT_SENT(b, 0x72);
}

static void test_random(void) {
        g_auto(apic) a = { 0 };
        g_autoptr(GRand) rand = g_rand_new_with_seed(82093);
        struct msi_msg m;

        apic_init(&a);
        for (unsigned i = 0; i < 100000; i++) {
                uint64_t v = (uint64_t) g_rand_int(rand) << 32 | g_rand_int(rand);
                unsigned len = 1u << g_rand_int_range(rand, 0, 4);

                switch (g_rand_int_range(rand, 0, 5)) {
                case 0:
                        line(&a, (unsigned) (v % 24), v >> 32 & 1);
                        break;
                case 1:
                        ioapic_eoi(a.dev, (unsigned) (v & 0xff));
                        break;
                case 2:
                        set(&a, (uint32_t) (v % 0x48), (uint32_t) (v >> 32));
                        break;
                case 3:
                        bus_write(a.mmio, BASE + v % 0x28, &v, len);
                        break;
                default:
                        bus_read(a.mmio, BASE + v % 0x28, &v, len);
                        break;
                }
                while (i % 100 == 0 && fake_intc_take(a.intc, &m))
                        g_assert_cmphex(m.addr & ~0xfffffull, ==, 0xfee00000);
        }
        a.dev->ops->reset(a.dev);
        g_assert_cmpuint(g_hash_table_size(a.intc->pins), ==, 0);
        g_assert_cmphex(get(&a, 1), ==, 0x170011);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/ioapic/random", test_random);
        g_test_add_func("/ioapic/refused", test_refused);
        g_test_add_func("/ioapic/registers", test_registers);
        g_test_add_func("/ioapic/edge", test_edge);
        g_test_add_func("/ioapic/level", test_level);
        g_test_add_func("/ioapic/shared-vector", test_shared_vector);
        g_test_add_func("/ioapic/messages", test_messages);
        g_test_add_func("/ioapic/routes", test_routes);
        g_test_add_func("/ioapic/restore", test_restore);
        return g_test_run();
}
