/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <glib.h>

/* What this version can do: the configuration's sections. NULL-terminated, newly allocated. */
char **chvd_host_features(void);

/* Floating a{sv}: "architecture" s, "kernel" s, "cpus" u, "memory" t (bytes), "kvm" b (usable). */
GVariant *chvd_host_capabilities(const char *kvm_path);
