/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The error domain of the two lower floors. They know no D-Bus; whoever sits above maps a code to
 * its own name and shows the message unchanged.
 */

#include "hypervisor/error.h"

G_DEFINE_QUARK(hv - error - quark, hv_error)

bool hv_error_errno(GError **error, int errnum, const char *format, ...) {
        g_autofree char *what = NULL;
        va_list args;

        va_start(args, format);
        what = g_strdup_vprintf(format, args);
        va_end(args);
        g_set_error(error, HV_ERROR, HV_ERROR_FAILED, "%s: %s", what, g_strerror(errnum));
        return false;
}
