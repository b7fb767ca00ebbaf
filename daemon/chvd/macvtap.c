/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Interfaces on top of another one whose frames go through a character device, /dev/tap and the interface's number. They are told
 * from taps by sysfs: the device's class, and the folder that an interface has for its device. An ipvtap has those too, but hears only what
 * goes to an IP address of its own, which none but the guest knows.
 */

#include "daemon/chvd/macvtap.h"

#include <fcntl.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "daemon/chvd/resource.h"
#include "dbus/fd.h"

bool chvd_macvtap_is(dev_t device) {
        g_autofree char *path = g_strdup_printf(
                        "/sys/dev/char/%u:%u/subsystem", major(device), minor(device));
        g_autofree char *class = g_file_read_link(path, /* error= */ NULL);
        const char *name = class ? strrchr(class, '/') : NULL;

        return name && strcmp(name, "/macvtap") == 0;
}

/* 0: it has none. */
static dev_t device_of(const char *interface) {
        unsigned index = if_nametoindex(interface), numbers[2];
        g_autofree char *path = g_strdup_printf("/sys/class/net/%s/tap%u/dev", interface, index);
        char text[32] = "";
        dev_t device;
        chv_autofd fd = index > 0 ? open(path, O_RDONLY | O_CLOEXEC) : -1;

        if (fd < 0 || read(fd, text, sizeof(text) - 1) <= 0 ||
            sscanf(text, "%u:%u", &numbers[0], &numbers[1]) != 2)
                return 0;
        device = makedev(numbers[0], numbers[1]);
        return chvd_macvtap_is(device) ? device : 0;
}

char *chvd_macvtap_path(const char *interface) {
        return device_of(interface) == 0 ? NULL
                                         : g_strdup_printf("/dev/tap%u", if_nametoindex(interface));
}

bool chvd_macvtap_belongs(int fd, const char *interface) {
        dev_t device = device_of(interface);
        struct statx st;

        return device != 0 && chvd_resource_stat(fd, &st) && S_ISCHR(st.stx_mode) &&
               makedev(st.stx_rdev_major, st.stx_rdev_minor) == device;
}
