/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

/* "chvctl image: message" on standard error. */
void report(const char *format, ...) G_GNUC_PRINTF(1, 2);

/* Prints the error, which may not be NULL; returns status. */
int report_error(const GError *error, int status);

/* "1.5 GiB". Newly allocated. */
char *format_size(uint64_t bytes);

/* Bytes with an optional K, M, G, T (powers of 1024), rounded up to 512. what: for the error. */
bool parse_size(const char *text, const char *what, uint64_t *ret, GError **error);

/* A dictionary, array or plain value as JSON on standard output, with a newline. Takes a floating reference. */
void print_json(GVariant *value);

/* A plain value as people read it. Newly allocated. */
char *format_value(GVariant *value);

/* Text of an image, made harmless for terminals. Newly allocated. */
char *printable(const char *text);

/* Progress of work on total bytes: a line that changes on a terminal, a line for each tenth otherwise. */
typedef struct {
        bool shown, terminal;
        uint64_t total;
        int last; /* what was shown: tenths of percent, or tenths */
} Progress;

void progress_begin(Progress *progress, bool wanted, bool quiet, uint64_t total);
void progress_show(Progress *progress, uint64_t done);
void progress_end(Progress *progress);
