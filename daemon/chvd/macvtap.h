/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <sys/types.h>

/* Whether a character device is a queue of a macvtap, as far as this network namespace's sysfs tells. */
bool chvd_macvtap_is(dev_t device);

/* Path of the device that an interface's queues are opened from; NULL: it is no such interface. */
char *chvd_macvtap_path(const char *interface);

/* Whether fd is a queue of that interface, which is one of this network namespace. */
bool chvd_macvtap_belongs(int fd, const char *interface);
