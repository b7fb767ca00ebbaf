/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Becomes the program that works on disk images, with both lists of arguments, each NULL-terminated. Returns only in failure: a positive
 * errno. */
int image_exec(const char *const *first, char **rest);
