/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <glib.h>
#include <stdbool.h>

/* The one error domain of hypervisor/ and devices/. The worker maps its codes to bus errors. */
#define HV_ERROR (hv_error_quark())
GQuark hv_error_quark(void);

enum hv_error {
        HV_ERROR_FAILED,      /* a system call failed; the message has its errno */
        HV_ERROR_UNSUPPORTED, /* the host or hypervisor cannot do this */
        HV_ERROR_INVALID,     /* a configuration value is out of range or in conflict */
        HV_ERROR_IMAGE,       /* a kernel, initramfs or disk image is wrong, cut or hostile */
        HV_ERROR_STATE,       /* saved state does not fit or is damaged */
        HV_ERROR_MAX,
};

/* Sets "<what>: <strerror(errnum)>". Always returns false, to be returned. */
bool hv_error_errno(GError **error, int errnum, const char *format, ...) G_GNUC_PRINTF(3, 4);
