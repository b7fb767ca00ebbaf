/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/* Proves of an image's options: bad values and unknown names are refused by name, and nothing given is left unheard. */

#include "devices/block/image/options.h"
#include "hypervisor/error.h"

#include <string.h>

static void refused(bool ok, GError **error, const char *why) {
        g_assert_false(ok);
        g_assert_error(*error, HV_ERROR, HV_ERROR_INVALID);
        g_assert_nonnull(strstr((*error)->message, why));
        g_clear_error(error);
}

static void test_refused(void) {
        static const char *const choices[] = { "a", "b", NULL };
        g_autoptr(image_options) o = image_options_new();
        g_autoptr(GError) error = NULL;
        uint64_t size = 7;
        unsigned choice = 7;
        bool on = true;

        refused(image_options_parse(o, "x", &error), &error, "'x' has no value");
        refused(image_options_parse(o, "", &error), &error, "has no value");
        refused(image_options_parse(o, "=1", &error), &error, "without a name");
        g_assert_true(image_options_parse(o, "a=1", &error));
        refused(image_options_parse(o, "a=2", &error), &error, "'a' is given twice");
        for (const char *const *bad =
                             (const char *const[]){ "", "-1", "1X", "1KK", "K", " 1",
                                                    "99999999999999999999", "99999999T", NULL };
             *bad; bad++) {
                g_assert_true(image_options_set(o, "size", *bad, &error));
                refused(image_options_take_size(o, "size", 0, UINT64_MAX, &size, &error), &error,
                        "option size: ");
        }
        g_assert_true(image_options_set(o, "size", "4K", &error));
        refused(image_options_take_size(o, "size", 1, 4095, &size, &error), &error, "4095");
        g_assert_true(image_options_set(o, "on", "yes", &error));
        refused(image_options_take_bool(o, "on", &on, &error), &error, "'yes' is not on or off");
        g_assert_true(image_options_set(o, "c", "d", &error));
        refused(image_options_take_choice(o, "c", choices, &choice, &error), &error, "one of a, b");
        g_assert_cmpuint(size, ==, 7);
        g_assert_cmpuint(choice, ==, 7);
        g_assert_true(on);
        refused(image_options_end(o, "raw", &error), &error, "raw images have no option 'a'");
}

static void test_taken(void) {
        static const char *const choices[] = { "a", "b", NULL };
        g_autoptr(image_options) o = image_options_new();
        g_autoptr(GError) error = NULL;
        g_autofree char *s = g_strdup("before"), *other = NULL;
        uint64_t size = 7;
        unsigned choice = 7;
        bool on = true;

        g_assert_true(image_options_parse(o, "s=x,,y=z,size=64k,on=off,c=b", &error));
        g_assert_true(image_options_take_string(o, "s", &s, &error));
        g_assert_cmpstr(s, ==, "x,y=z");
        g_assert_true(image_options_take_string(o, "other", &other, &error));
        g_assert_null(other);
        g_assert_true(image_options_take_size(o, "size", 0, UINT64_MAX, &size, &error));
        g_assert_cmpuint(size, ==, 65536);
        g_assert_true(image_options_take_bool(o, "on", &on, &error));
        g_assert_false(on);
        g_assert_true(image_options_take_choice(o, "c", choices, &choice, &error));
        g_assert_cmpuint(choice, ==, 1);
        g_assert_true(image_options_end(o, "raw", &error));
        g_assert_no_error(error);
}

int main(int argc, char *argv[]) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/image-options/refused", test_refused);
        g_test_add_func("/image-options/taken", test_taken);
        return g_test_run();
}
