/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "devices/block/image/file.h"

/*
 * The one file of a fuzz target of an image format, in the target's own memory: no system call is made for it, so that a run costs what the format's
 * code costs. It is sparse and as long as one likes; MEMORY_DISK_MAX bytes of it can hold data.
 */

#define MEMORY_DISK_MAX (16u << 20)
#define MEMORY_DISK_PIECES (128u << 10)

/* Forgets what the file had: it is empty then. */
void memory_disk_clear(void);

/* Writes from outside. */
void memory_disk_put(uint64_t at, const void *data, size_t len);

/* Writes pieces, each with its place (two bytes, little endian, times 8, modulo MEMORY_DISK_PIECES), its length (one byte), and so many bytes; the last one may be cut. What
 * they leave out is zeros, so that few bytes make an image. */
void memory_disk_put_pieces(const uint8_t *data, size_t size);

/* The file as an image has it, as often as wanted; the caller's. */
struct image_file *memory_disk_open(bool readonly);
