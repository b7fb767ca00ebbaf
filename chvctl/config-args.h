/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "chvctl/chvctl.h"
#include "dbus/config.h"

/* The configuration that the command line describes: the file first, then the options on top of it. Relative paths are made absolute
 * (not for another host, whose directories are not ours). */
ChvConfig *config_from_arguments(const Options *options, const char *file, GError **error);
