/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves that saved state which is of the wrong type, damaged or of another version is refused, and how it is said; and
 * that a device's common part has a beginning and an end.
 */

#include "devices/device.h"
#include "hypervisor/error.h"

static unsigned n_freed;

static void fake_free(struct device *dev) {
        n_freed++;
        device_release(dev);
        g_free(dev);
}

static void test_life(void) {
        static const struct device_ops ops = { .kind = "fake", .free = fake_free };
        struct device *dev = g_new0(struct device, 1);
        char id[] = "_fake0";

        g_assert_null(device_free(NULL));
        device_init(dev, &ops, id);
        id[0] = 'x';
        g_assert_cmpstr(dev->id, ==, "_fake0");
        g_assert_null(device_free(dev));
        g_assert_cmpuint(n_freed, ==, 1);
}

static void test_state(void) {
        static const struct {
                const char *text, *says;
        } cases[] = {
                { "(uint32 1, 'x')", NULL },    { "(uint32 2, 'x')", "version 2" },
                { "(uint32 0,)", "version 0" }, { "(uint32 1, 7)", "damaged" },
                { "(uint32 1,)", "damaged" },   { "(uint32 1, 'x', 'y')", "damaged" },
                { "(1, 'x')", "no version" },   { "()", "damaged" },
                { "'x'", "damaged" },           { "[uint32 1, 2]", "damaged" },
                { "@a{sv} {}", "damaged" },     { "@mu 1", "damaged" },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
                g_autoptr(GError) error = NULL;
                g_autoptr(GVariant) v = g_variant_ref_sink(
                                g_variant_parse(NULL, cases[i].text, NULL, NULL, &error));
                bool fits;

                g_assert_no_error(error);
                fits = state_fits("_fake0", v, "(us)", 1, &error);
                g_assert_cmpint(fits, ==, cases[i].says == NULL);
                if (fits)
                        continue;
                g_assert_error(error, HV_ERROR, HV_ERROR_STATE);
                g_assert_true(g_str_has_prefix(error->message, "_fake0: "));
                g_assert_nonnull(strstr(error->message, cases[i].says));
        }
}

/* Bytes that claim to be "(us)" and are not in normal form. */
static void test_damaged_bytes(void) {
        static const uint8_t bytes[] = { 1, 0, 0, 0, 'x', 'y' };
        g_autoptr(GError) error = NULL;
        g_autoptr(GVariant) v = g_variant_ref_sink(g_variant_new_from_data(
                        G_VARIANT_TYPE("(us)"), bytes, sizeof(bytes), FALSE, NULL, NULL));

        g_assert_false(state_fits("_fake0", v, "(us)", 1, &error));
        g_assert_error(error, HV_ERROR, HV_ERROR_STATE);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/device/life", test_life);
        g_test_add_func("/device/state", test_state);
        g_test_add_func("/device/damaged-bytes", test_damaged_bytes);
        return g_test_run();
}
