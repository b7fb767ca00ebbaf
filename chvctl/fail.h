/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "chvctl/chvctl.h"

/* Tells the user what went wrong ("chvctl: subject: message"; subject may be NULL) and what to do about it, and gives the exit status. */
ExitStatus fail(const Options *options, const char *subject, const GError *error);

/* The exit status alone. */
ExitStatus status_of(const GError *error);
