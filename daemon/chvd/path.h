/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* An object path: prefix, '/' and id with every byte that is not a letter or digit (and a leading digit) written as _xx, as systemd
 * does. Newly allocated. */
char *chvd_path(const char *prefix, const char *id);
