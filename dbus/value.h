/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <gio/gio.h>

#include "dbus/error.h"
#include "dbus/schema.h"

/* One value of the schema in its three shapes: a field of a struct, a GVariant, a word of an option string. For dbus/ only. */

/* What a configuration's strings and arrays live in; freed as a whole. */
typedef struct ChvArena ChvArena;
ChvArena *chv_arena_new(void);
void chv_arena_free(ChvArena *arena);
char *chv_arena_strdup(ChvArena *arena, const char *s);
void *chv_arena_alloc(ChvArena *arena, size_t size); /* zeroed; NULL for 0 */
/* Grows a block that the arena gave out (NULL: a new one); what is new is zeroed. */
void *chv_arena_grow(ChvArena *arena, void *block, size_t old_size, size_t new_size);

/* An array of a struct: every list in the configuration is a pointer with its count behind it. */
typedef struct {
        void *items;
        size_t n;
} ChvList;

/* Sets CHV_ERROR_INVALID_CONFIG; returns false. */
bool chv_invalid(GError **error, const char *format, ...) G_GNUC_PRINTF(2, 3);
/* True when word is one of words, which are separated by spaces. */
bool chv_word_in(const char *words, const char *word);

/* Peels variants off a value: never floating; the caller's. */
GVariant *chv_variant_unbox(GVariant *value);
/* A dictionary of these keys only, each at most once: a value or NULL for each into found[], which the caller unrefs, also on
 * errors. */
bool chv_variant_read_keys(
                GVariant *value,
                const char *const *keys,
                size_t n_keys,
                GVariant **found,
                GError **error);
/* Checks a value against its row and puts it into the element. Messages don't name the option: the caller prefixes it. */
bool chv_value_set(
                const ChvOption *option,
                void *element,
                GVariant *value,
                ChvArena *arena,
                GError **error);
/* The inverse: floating, in the canonical type; NULL when not given or at the default. */
GVariant *chv_value_get(const ChvOption *option, const void *element);
/* The default into the element; nothing when the row has none. */
void chv_value_set_fallback(const ChvOption *option, void *element, ChvArena *arena);

/* Option strings (reference 0.2). parse: the text behind "key=" to a floating GVariant, syntax only; ranges are chv_value_set()'s.
 * format: the inverse, quoted where it has to be. */
GVariant *chv_text_parse(const ChvOption *option, const char *text, GError **error);
char *chv_text_format(const ChvOption *option, GVariant *value);
/* Splits at separators outside quotes and brackets; the pieces keep their quotes. NULL when quotes or brackets don't match. */
char **chv_text_split(const char *text, char separator, GError **error);

/* Fields of a list's elements that every codec shares. */
void *chv_section_element(const ChvSection *section, const void *config, size_t index);
size_t chv_section_count(const ChvSection *section, const void *config);
