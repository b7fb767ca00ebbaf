/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

/*
 * AML (ACPI 6.4, chapter 20), written forwards into one growing buffer. Packages with a length
 * (Scope, Device, Method, If, Package, Buffer…) are opened and closed in pairs; the encoder keeps
 * the stack of open ones and fixes the PkgLength at the close. Control-side code, one thread.
 *
 * Names are ACPI paths as ASL writes them: "\\_SB.PC00", "^FOO_", "_CRS"; segments shorter than four characters
 * are padded with '_'.
 */

typedef struct aml aml;

aml *aml_new(void);
aml *aml_free(aml *a);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(aml, aml_free)

/* The finished byte code; asserts that nothing is open. */
GBytes *aml_end(aml *a);
/* Appends already finished byte code. */
void aml_append(aml *a, const void *data, size_t len);

/* Opens; each is closed by aml_close(). */
void aml_scope(aml *a, const char *name);
void aml_device(aml *a, const char *name);
void aml_method(aml *a, const char *name, unsigned n_args, bool serialized);
void aml_if(aml *a); /* followed by one predicate term */
void aml_else(aml *a);
void aml_while(aml *a); /* followed by one predicate term */
void aml_package(aml *a, uint8_t n_elements);
void aml_close(aml *a);

/* Declarations. aml_name is followed by one data term. */
void aml_name(aml *a, const char *name);
void aml_op_region(
                aml *a,
                const char *name,
                uint8_t space /* 0 memory, 1 I/O */,
                uint64_t offset,
                uint64_t len);
struct aml_field {
        const char *name; /* NULL: reserved bits */
        uint32_t bits;
};
/* access: 1 byte, 2 word, 3 dword, 4 qword; lock rule none or lock; update rule write-as-zeros when wzeros. */
void aml_field(aml *a,
               const char *region,
               uint8_t access,
               bool lock,
               bool wzeros,
               const struct aml_field *fields,
               size_t n);
void aml_mutex(aml *a, const char *name, uint8_t sync_level);

/* Data terms. */
void aml_int(aml *a, uint64_t v); /* shortest encoding */
void aml_string(aml *a, const char *s);
void aml_eisaid(aml *a, const char *id); /* "PNP0A08" */
void aml_path(aml *a, const char *name); /* reference to a named object, or a method call's name */
void aml_buffer(aml *a, const void *data, size_t len);
void aml_uuid(aml *a, const char *uuid); /* ToUUID */
void aml_arg(aml *a, unsigned n);
void aml_local(aml *a, unsigned n);

/* Statements and operators; operands are the terms that follow, in ASL's order. */
void aml_store(aml *a);  /* source, target */
void aml_return(aml *a); /* value */
void aml_notify(aml *a); /* object, value */
void aml_equal(aml *a);  /* two operands */
void aml_less(aml *a);
void aml_and(aml *a); /* two operands, target (aml_null for none) */
void aml_or(aml *a);
void aml_add(aml *a);
void aml_subtract(aml *a);
void aml_shift_left(aml *a);
void aml_increment(aml *a);
void aml_null(aml *a); /* NullName / zero target */
void aml_acquire(aml *a, const char *mutex, uint16_t timeout);
void aml_release(aml *a, const char *mutex);

/* Resource templates (ACPI 6.4, 6.4): opened like a package, closed by aml_crs_end() (adds the end tag). */
void aml_crs(aml *a);
void aml_crs_end(aml *a);
void aml_crs_io(aml *a, uint16_t base, uint16_t len);
void aml_crs_memory32_fixed(aml *a, uint32_t base, uint32_t len, bool writable);
void aml_crs_bus_range(aml *a, uint16_t first, uint16_t last);
void aml_crs_dword_io(
                aml *a, uint16_t first, uint16_t last); /* word address space, I/O, producer */
void aml_crs_dword_memory(aml *a, uint32_t first, uint32_t last);
void aml_crs_qword_memory(aml *a, uint64_t first, uint64_t last);
void aml_crs_interrupt(aml *a, uint32_t gsi, bool level, bool active_low, bool shared);
