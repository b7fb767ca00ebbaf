/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The text of a VMDK that says what the disk is made of. */

#define VMDK_DESCRIPTOR_MAX (256u * 1024u) /* bytes */
#define VMDK_EXTENTS_MAX 512u

enum vmdk_extent_kind {
        VMDK_FLAT,
        VMDK_SPARSE,
        VMDK_ZERO,
};

struct vmdk_extent_line {
        enum vmdk_extent_kind kind;
        bool readonly;
        uint64_t sectors;
        uint64_t at; /* FLAT: the first sector in the file */
        char *name;  /* NULL for ZERO */
};

struct vmdk_descriptor {
        char *create_type;
        uint32_t cid;
        GArray *extents; /* struct vmdk_extent_line */
};

/* Whether these are the first bytes of one. */
bool vmdk_descriptor_probe(const uint8_t *head, size_t n);

/* text: n bytes, up to the first NUL. embedded: of a file that is its own extent. Images with a parent are refused, and what this code does not
 * know. */
struct vmdk_descriptor *
vmdk_descriptor_parse(const char *text, size_t n, bool embedded, GError **error);
struct vmdk_descriptor *vmdk_descriptor_free(struct vmdk_descriptor *d);

typedef struct vmdk_descriptor vmdk_descriptor;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(vmdk_descriptor, vmdk_descriptor_free)
