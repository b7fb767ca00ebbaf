/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "chvctl/chvctl.h"

/* One option of chvctl itself; options of the configuration are in the schema. */
typedef struct {
        const char *name;
        char letter;           /* 0: none */
        const char *parameter; /* for help; NULL: takes none */
        bool optional;         /* the parameter may be left out (--json) */
        bool common;           /* every command knows it */
        const char *doc;
} OptionInfo;

const OptionInfo *option_infos(size_t *ret_n);

/* Fills options and finds the command. Options may stand anywhere; behind "--" everything is an argument. False: *error says what is
 * wrong, in CHV_ERROR_INVALID_CONFIG. */
bool arguments_parse(char **argv, Options *options, const Command **ret_command, GError **error);
void options_clear(Options *options);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Options, options_clear)

static inline const char *argument(const Options *options, size_t i) {
        return i < options->arguments->len ? g_ptr_array_index(options->arguments, i) : NULL;
}
