/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "devices/block/image/qcow2.h"

/* A check under way. */
struct qcow2_checking {
        struct qcow2 *q;
        struct image_check *c;
        bool fix_all, fix_leaks;
        bool rebuild;     /* the counts need new blocks and a new table */
        uint32_t *counts; /* how often each cluster is referred to */
        uint64_t n;       /* clusters that the file has */
};

void qcow2_found(struct qcow2_checking *k, bool corruption, bool repaired, const char *format, ...)
                G_GNUC_PRINTF(4, 5);

/* Sets k->rebuild if what is in use has no block to be counted in. */
void qcow2_check_blocks(struct qcow2_checking *k);
/* Compares the file's counts with what was found, and corrects them. 0 or negative errno. */
int qcow2_check_counts(struct qcow2_checking *k);
