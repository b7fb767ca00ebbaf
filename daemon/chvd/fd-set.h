/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <gio/gio.h>
#include <gio/gunixfdlist.h>
#include <stdbool.h>
#include <stddef.h>

/* Open descriptors, each named by the option it serves ("disks/_disk0"). Owns them. One thread at a time. */
typedef struct ChvdFdSet ChvdFdSet;

ChvdFdSet *chvd_fd_set_new(void);
void chvd_fd_set_free(ChvdFdSet *set);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(ChvdFdSet, chvd_fd_set_free)

/* With duplicates; one that can't be had is left out. */
ChvdFdSet *chvd_fd_set_copy(const ChvdFdSet *set);

/* Takes fd over. The name must be new. */
void chvd_fd_set_take(ChvdFdSet *set, const char *name, int fd);

size_t chvd_fd_set_size(const ChvdFdSet *set);
const char *chvd_fd_set_name(const ChvdFdSet *set, size_t i);
/* -1: none of that name. The set keeps the descriptor. */
int chvd_fd_set_get(const ChvdFdSet *set, const char *name);

/* From what a client sent: an a{sh} of handles into list (may be NULL). Descriptors are duplicated close-on-exec; a handle out of range
 * and a name given twice are CHV_ERROR_INVALID_CONFIG. */
ChvdFdSet *chvd_fd_set_from_variant(GVariant *handles, GUnixFDList *list, GError **error);

/* The inverse: floating a{sh}, and a new list of duplicates. */
GVariant *chvd_fd_set_to_variant(const ChvdFdSet *set, GUnixFDList **ret_list, GError **error);
