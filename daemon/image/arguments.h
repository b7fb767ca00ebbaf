/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <glib.h>
#include <stdbool.h>

typedef enum {
        OPTION_FORMAT,
        OPTION_TARGET_FORMAT,
        OPTION_SECOND_FORMAT,
        OPTION_BACKING,
        OPTION_BACKING_FORMAT,
        OPTION_OPTIONS,
        OPTION_JSON,
        OPTION_FORCE_SHARE,
        OPTION_BACKING_CHAIN,
        OPTION_REPAIR,
        OPTION_FORCE,
        OPTION_NO_CREATE,
        OPTION_COMPRESS,
        OPTION_PROGRESS,
        OPTION_QUIET,
        OPTION_SHRINK,
        OPTION_LIST,
        OPTION_CREATE,
        OPTION_APPLY,
        OPTION_DELETE,
        OPTION_STRICT,
        OPTION_HELP,
        OPTION_MAX,
} OptionId;

typedef struct {
        OptionId id;
        const char *name;
        char letter;           /* 0: none */
        const char *parameter; /* NULL: a switch */
        const char *verbs;     /* separated by spaces */
        const char *doc;
} Option;

/* What a verb does to a file that the command line names. */
typedef enum {
        USE_READ,
        USE_WRITE,
        USE_CREATE,
} FileUse;

#define FILES_MAX 2u

typedef struct Arguments Arguments;
typedef struct Files Files;

typedef struct {
        const char *name;
        const char *arguments; /* for help: "FILE SIZE" */
        const char *summary;
        unsigned min, max; /* arguments */
        unsigned n_files;  /* how many of them, from the first, name files */
        int status_failed; /* what a run that fails ends with */
        /* What is done to the n-th file. */
        FileUse (*use)(const Arguments *arguments, unsigned n);
        /* Runs without privileges; returns the exit status, and has said what went wrong. NULL files: the verb has none. */
        int (*run)(const Arguments *arguments, Files *files);
} Verb;

struct Arguments {
        const Verb *verb;
        char *values[OPTION_MAX]; /* NULL: not given; a switch has "" */
        GPtrArray *words;         /* of the verb */
};

/* The tables, for help and completion. */
const Verb *verbs(size_t *ret_n);
const Verb *verb_find(const char *name);
const Option *options(size_t *ret_n);
bool option_is_of(const Option *option, const Verb *verb);

/* words: without the program's name, NULL-terminated. */
bool arguments_parse(char **words, Arguments *ret, GError **error);
void arguments_clear(Arguments *arguments);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Arguments, arguments_clear)

static inline const char *word(const Arguments *arguments, unsigned i) {
        return i < arguments->words->len ? g_ptr_array_index(arguments->words, i) : NULL;
}

static inline bool has(const Arguments *arguments, OptionId id) {
        return arguments->values[id] != NULL;
}

/* Newly allocated. verb NULL: about all of them. */
char *help_text(const Verb *verb);

/* Answers a shell, see chvctl/complete.c. words: those before the one to complete, and that one. */
int complete(char **words);
