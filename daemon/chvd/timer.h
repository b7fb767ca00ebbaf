/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <glib.h>

/* A time-out in whole seconds that never ends early: g_timeout_add_seconds() may, by most of a second, since it lets many time-outs end together. What is beyond GLib's
 * range (49 days) ends there. The source runs in the default main context; ownership and meaning as of g_timeout_add(). */
static inline guint chvd_timer_new(unsigned seconds, GSourceFunc function, gpointer data) {
        return g_timeout_add(MIN(seconds, G_MAXUINT / 1000) * 1000, function, data);
}
