/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "chvctl/bus.h"

/* The objects of the VMs that the arguments name: a set of paths, NULL when they name none, which is all. False: one of them is not there; the
 * user has been told, *ret_paths stays NULL. */
bool find_vms(Options *options, Bus *bus, GHashTable **ret_paths, ExitStatus *ret_status);
