/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <glib.h>
#include <stdbool.h>

/* Takes away from this process, which has one thread, every right but to use the descriptors it has. The parent's end is its end. */
bool sandbox_enter(GError **error);
