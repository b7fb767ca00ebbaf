/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <gio/gio.h>

/* The service's error domain. Each code is a D-Bus error name org.cloudhypervisor.Error.<Name>, registered
 * when the domain is first used, so that a GError crosses the bus unchanged. */
#define CHV_ERROR (chv_error_quark())
GQuark chv_error_quark(void);

typedef enum {
        CHV_ERROR_FAILED, /* Failed: something the caller could not foresee went wrong */
        CHV_ERROR_INVALID_CONFIG, /* InvalidConfig: an option is unknown, out of range or in conflict; the message names it */
        CHV_ERROR_EXISTS,         /* Exists: a VM of that name exists already */
        CHV_ERROR_NO_SUCH_VM,     /* NoSuchVM */
        CHV_ERROR_NO_SUCH_DEVICE, /* NoSuchDevice */
        CHV_ERROR_INVALID_STATE, /* InvalidState: not in the VM's present state; the message says which it is */
        CHV_ERROR_NOT_SUPPORTED, /* NotSupported: not by this version, host or hypervisor */
        CHV_ERROR_ACCESS_DENIED, /* AccessDenied */
        CHV_ERROR_RESOURCE, /* Resource: a file, tap, or other host resource could not be had; the message names it */
        CHV_ERROR_IMAGE,       /* Image: kernel, initramfs or disk image is wrong */
        CHV_ERROR_BUSY,        /* Busy: another operation or client is at it */
        CHV_ERROR_LIMIT,       /* Limit: a quota is used up */
        CHV_ERROR_WORKER_DIED, /* WorkerDied: the VM's process ended */
        CHV_ERROR_TIMED_OUT,   /* TimedOut */
        CHV_ERROR_CANCELLED,   /* Cancelled */
        CHV_ERROR_NEEDS_INTERACTION, /* org.freedesktop.DBus.Error.InteractiveAuthorizationRequired: again, and let somebody be asked */
        CHV_ERROR_MAX,
} ChvError;

/* A text from elsewhere, quoted and made fit for a message: valid, printable, short. */
char *chv_quote_text(const char *text);
