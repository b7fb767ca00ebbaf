/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "daemon/chvd/store.h"

/* Help for tests of the store: records are told apart by one number. */

char *rig_dir(void); /* a new folder */
void rig_remove_tree(const char *path);
bool rig_try_save(ChvdStore *store, const char *name, unsigned number, bool create, GError **error);
/* Must succeed. */
void rig_save(ChvdStore *store, const char *name, unsigned number, bool create);
void rig_remove(ChvdStore *store, const char *name);
/* What is found: "a=1 b=broken c=2! ", with a '!' for those that have run. */
char *rig_load(ChvdStore *store);
