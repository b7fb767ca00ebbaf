/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "chvctl/chvctl.h"
#include "dbus/schema.h"

/* Help texts, newly allocated. */
char *help_overview(void);
char *help_command(const Command *command);
char *help_section(const ChvSection *section);
