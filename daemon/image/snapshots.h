/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <glib.h>

/* Arrays of struct image_snapshot, as people and as programs read them. */
GVariant *describe_snapshots(const GPtrArray *snapshots);
void print_snapshots(const GPtrArray *snapshots);
