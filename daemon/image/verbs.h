/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "daemon/image/arguments.h"

/* verb-*.c: what the rows of the table of verbs point to. */
FileUse verb_create_use(const Arguments *arguments, unsigned n);
FileUse verb_check_use(const Arguments *arguments, unsigned n);
FileUse verb_convert_use(const Arguments *arguments, unsigned n);
FileUse verb_resize_use(const Arguments *arguments, unsigned n);
FileUse verb_snapshot_use(const Arguments *arguments, unsigned n);
int verb_create(const Arguments *arguments, Files *files);
int verb_info(const Arguments *arguments, Files *files);
int verb_check(const Arguments *arguments, Files *files);
int verb_convert(const Arguments *arguments, Files *files);
int verb_resize(const Arguments *arguments, Files *files);
int verb_snapshot(const Arguments *arguments, Files *files);
int verb_map(const Arguments *arguments, Files *files);
int verb_compare(const Arguments *arguments, Files *files);
int verb_formats(const Arguments *arguments, Files *files);
