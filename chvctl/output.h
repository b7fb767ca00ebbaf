/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "chvctl/chvctl.h"

/* A value as JSON on standard output, in the form that the user chose. */
void output_json(const Options *options, GVariant *value);

/* Rows of text in columns as wide as they need to be. */
typedef struct Table Table;
Table *table_new(const char *const *heads); /* NULL-terminated */
void table_free(Table *table);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Table, table_free)
void table_align_right(Table *table, unsigned column);
/* Takes over one string for each column; NULL becomes "-". */
#define table_add(table, ...) table_add_row(table, (char *[]){ __VA_ARGS__ })
void table_add_row(Table *table, char *const *cells);
/* Without heads if the user wants none. */
char *table_format(const Table *table, bool heads);
void table_print(const Table *table, const Options *options);

/* Texts for people. Newly allocated. */
char *format_size(guint64 bytes); /* "512M", "1.5G" */
char *format_age(guint64 since_us, guint64 now_us);
char *format_user(guint32 uid);
char *format_time(guint64 time_us); /* local: "2026-01-31 12:00:00" */
/* A text from elsewhere with control characters shown as '?', so that it can't drive the terminal. */
char *format_safe(const char *text);
