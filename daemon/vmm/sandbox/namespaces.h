/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>

/*
 * Namespaces (flags: CLONE_NEW* without CLONE_NEWUSER) for a process of one thread, with a user namespace around them where the process
 * has no rights to make them otherwise. False with errno set: the host refuses, and nothing has changed.
 */
bool namespaces_make(int flags);
