/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

/* "key=value" options for a new image (-o of chvctl image create). A format takes those it knows; what is left is refused. */

struct image_option_spec {
        const char *name;
        const char *values; /* "512..2M", "on|off": for help texts */
        const char *help;
};

struct image_options;

struct image_options *image_options_new(void);
struct image_options *image_options_free(struct image_options *o);

/* "a=1,b=2"; ",," is a comma in a value. Adds; a key given twice is an error. */
bool image_options_parse(struct image_options *o, const char *text, GError **error);
bool image_options_set(struct image_options *o, const char *key, const char *value, GError **error);

/* Each takes the option out. False with an error if its value is wrong; without the option *ret stays as it is. */
bool image_options_take_string(
                struct image_options *o, const char *key, char **ret, GError **error);
bool image_options_take_bool(struct image_options *o, const char *key, bool *ret, GError **error);
/* Bytes: a number with an optional K, M, G, T (powers of 1024), within [min, max]. */
bool image_options_take_size(
                struct image_options *o,
                const char *key,
                uint64_t min,
                uint64_t max,
                uint64_t *ret,
                GError **error);
/* One of a NULL-terminated list: its index. */
bool image_options_take_choice(
                struct image_options *o,
                const char *key,
                const char *const *choices,
                unsigned *ret,
                GError **error);

/* False, and an error that names one, if an option was not taken. */
bool image_options_end(const struct image_options *o, const char *format, GError **error);

typedef struct image_options image_options;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(image_options, image_options_free)
