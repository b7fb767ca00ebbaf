/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <signal.h>

#include "daemon/image/arguments.h"

/*
 * The part of the program that opens files, with the caller's rights, and reads none of them.
 */
typedef struct Opener Opener;

/* arguments are borrowed. */
Opener *opener_new(const Arguments *arguments);
void opener_free(Opener *opener);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Opener, opener_free)

/* Opens and locks what the command line names. */
bool opener_open_named(Opener *opener, GError **error);
int opener_fd(const Opener *opener, unsigned n);

/* Opens what images name and answers on the socket, until its other end is closed or a signal comes that is not in blocked_while_waiting. All
 * that may end it are blocked when this is called, so none comes unseen. */
void opener_serve(Opener *opener, int socket, const sigset_t *blocked_while_waiting);

/* Removes what was made here and did not become an image. */
void opener_remove_made(const Opener *opener);
