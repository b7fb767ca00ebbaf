/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* "chvctl __complete WORD...": what the last of the words, which may be empty, can become; the first is the one behind
 * "chvctl". What is printed is described in complete.c. */
int complete(char **words);
