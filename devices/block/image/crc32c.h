/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* CRC-32C (Castagnoli), as file formats and iSCSI have it: begun with ones, inverted at the end. */
uint32_t crc32c(const void *data, size_t len);

/* The same, as processors without an instruction for it do it. */
uint32_t crc32c_by_tables(const void *data, size_t len);
