/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "hypervisor/acpi/aml.h"

/* Shared by the encoder's own files only. */

enum aml_open_kind {
        AML_OPEN_PACKAGE,  /* op code, then PkgLength at start */
        AML_OPEN_RESOURCE, /* BufferOp, then PkgLength and the buffer's size at start */
};

struct aml {
        GByteArray *code;
        GArray *open; /* struct aml_open, innermost last */
};

/* Little-endian value of n bytes. */
void aml_put(struct aml *a, uint64_t v, unsigned n);
void aml_put_name(struct aml *a, const char *name);

/* A PkgLength for n bytes that follow it; self: the length counts its own bytes. */
void aml_put_pkg_length(struct aml *a, uint32_t n, bool self);

/* Starts a package whose PkgLength belongs at the end of what is written so far. */
void aml_open(struct aml *a, enum aml_open_kind kind);

/* The innermost open package must be of that kind. Returns where its content starts and forgets it. */
uint32_t aml_pop(struct aml *a, enum aml_open_kind kind);

/* Puts the PkgLength of everything from start to the end of the code in front of it. */
void aml_insert_pkg_length(struct aml *a, uint32_t start);
void aml_insert(struct aml *a, uint32_t at, const void *data, size_t len);

/* The encoding aml_int() uses, 1 to 9 bytes into buf; returns how many. */
unsigned aml_encode_int(uint64_t v, uint8_t buf[static 9]);
