/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "devices/block/image/image.h"

/* A file of a VMDK that has grains where something was written, behind a directory and tables. Only read. */
struct vmdk_sparse;

/* Whether these are the first bytes of one. */
bool vmdk_sparse_probe(const uint8_t *head, size_t n);

/* The file is borrowed. */
struct vmdk_sparse *vmdk_sparse_open(struct image_file *file, GError **error);
struct vmdk_sparse *vmdk_sparse_free(struct vmdk_sparse *s);

uint64_t vmdk_sparse_size(const struct vmdk_sparse *s);  /* bytes */
uint32_t vmdk_sparse_grain(const struct vmdk_sparse *s); /* bytes, power of 2 */
bool vmdk_sparse_is_packed(const struct vmdk_sparse *s);

/* The text in the file that says what it is, up to a NUL; NULL without an error if it has none. *ret_n: its space. */
char *vmdk_sparse_descriptor(const struct vmdk_sparse *s, size_t *ret_n, GError **error);

/* As in struct image_format. */
int vmdk_sparse_map(struct vmdk_sparse *s, uint64_t offset, uint64_t len, struct image_extent *ret);
int vmdk_sparse_read_packed(struct vmdk_sparse *s, uint64_t offset, void *buf, size_t len);

/* Looks at every entry; adds to the counts of check. */
bool vmdk_sparse_check(struct vmdk_sparse *s, struct image_check *check, GError **error);

typedef struct vmdk_sparse vmdk_sparse;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(vmdk_sparse, vmdk_sparse_free)
