/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>

/* Why a path leads nowhere. */
typedef struct {
        int errnum;       /* 0: what says it all */
        const char *what; /* static */
} ChvdFault;

/* Opens what an absolute path names as a mere place (O_PATH), with the rights of the process. Symbolic links are followed, but those of others in
 * folders that everybody can write are refused, and so is all of /proc. Any thread; may block as long as the file system does. -1: *ret_fault
 * says why. */
int chvd_walk(const char *path, ChvdFault *ret_fault);

/* The same for the folder of the path's last element, which is not looked at: *ret_name, newly allocated. */
int chvd_walk_folder(const char *path, char **ret_name, ChvdFault *ret_fault);

/* The folder is one like /tmp: everybody can write it, but not what is another's in it. */
bool chvd_walk_is_shared(int folder);
