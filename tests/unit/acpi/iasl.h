/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <glib.h>
#include <stdbool.h>

/*
 * Puts a table through ACPICA's compiler: disassembles it, compiles the result again, and asserts
 * that no step has an error or a warning and that the byte code comes back the same. Returns the disassembly
 * (free with g_free), or NULL when the compiler is not there.
 */
char *iasl_round_trip(const void *table, size_t len);

/* The same for a table that is data, not AML: disassembles only. */
char *iasl_disassemble(const void *table, size_t len);
