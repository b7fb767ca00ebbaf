/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves what chvd does to interfaces of the host, in a network of the test's own: taps come and go with their VM, join
 * the bridge that is asked for, leave what is not theirs alone, and belong to one VM at a time. Needs root.
 */

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/service/client.h"

static bool has_network;
static int control = -1;

static Service *start(void) {
        if (!has_network) {
                g_test_skip("taps need root and /dev/net/tun");
                return NULL;
        }
        return service_start(NULL);
}

static struct ifreq request(const char *name) {
        struct ifreq ifr = { 0 };

        (void) g_strlcpy(ifr.ifr_name, name, sizeof(ifr.ifr_name));
        return ifr;
}

static void make_bridge(const char *name) {
        g_assert_cmpint(ioctl(control, SIOCBRADDBR, name), ==, 0);
}

static void remove_bridge(const char *name) {
        struct ifreq ifr = request(name);

        ifr.ifr_flags = 0;
        (void) ioctl(control, SIOCSIFFLAGS, &ifr);
        g_assert_cmpint(ioctl(control, SIOCBRDELBR, name), ==, 0);
}

/* An administrator's, which stays. */
static void make_tap(const char *name, bool persistent) {
        int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
        struct ifreq ifr = request(name);

        ifr.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
        g_assert_cmpint(ioctl(fd, TUNSETIFF, &ifr), ==, 0);
        g_assert_cmpint(ioctl(fd, TUNSETPERSIST, persistent), ==, 0);
        (void) close(fd);
}

static bool is_on(const char *bridge, const char *port) {
        struct ifreq ifr = request(bridge);

        /* Adding it again says whether it is there; removing it, whether it was on this one. */
        ifr.ifr_ifindex = (int) if_nametoindex(port);
        g_assert_cmpint(ifr.ifr_ifindex, >, 0);
        if (ioctl(control, SIOCBRDELIF, &ifr) < 0)
                return false;
        g_assert_cmpint(ioctl(control, SIOCBRADDIF, &ifr), ==, 0);
        return true;
}

static guint8 first_of_mac(const char *name) {
        struct ifreq ifr = request(name);

        g_assert_cmpint(ioctl(control, SIOCGIFHWADDR, &ifr), ==, 0);
        return (guint8) ifr.ifr_hwaddr.sa_data[0];
}

static void start_fails(Service *service, const char *name, const char *more, const char *says) {
        g_autofree char *vm = vm_create(service, name, NULL, more);
        g_autoptr(GVariant) reply = NULL, gone = NULL;
        g_autoptr(GError) error = NULL;

        reply = vm_try(service, vm, "Start", NULL, &error);
        g_assert_null(reply);
        assert_names(error, CHV_ERROR_RESOURCE, "net[0].tap");
        assert_names(error, CHV_ERROR_RESOURCE, says);
        gone = vm_call(service, vm, "Delete", NULL);
}

static void test_bridge(void) {
        g_autoptr(Service) service = start();
        g_autofree char *vm = NULL;
        g_autoptr(GVariant) off = NULL, on = NULL;

        if (!service)
                return;
        make_bridge("chvbr0");
        vm = vm_run(service, "a", NULL,
                    "'cpus': <{'boot_vcpus': <uint32 2>}>, 'net': <[{'tap': <'chvt0'>, 'bridge': "
                    "<'chvbr0'>, 'num_queues': <uint32 4>}, {'bridge': <'chvbr0'>, 'host_mac': "
                    "<'02:00:00:00:00:01'>}]>");
        g_assert_true(is_on("chvbr0", "chvt0"));
        g_assert_true(is_on("chvbr0", "vmtap0"));
        /* The bridge's address is its own. */
        g_assert_cmpuint(first_of_mac("chvt0"), ==, 0xfe);
        g_assert_cmpuint(first_of_mac("vmtap0"), ==, 0x02);
        off = vm_call(service, vm, "PowerOff", NULL);
        g_assert_cmpuint(if_nametoindex("chvt0"), ==, 0);
        g_assert_cmpuint(if_nametoindex("vmtap0"), ==, 0);
        on = vm_call(service, vm, "Start", NULL);
        g_assert_true(is_on("chvbr0", "chvt0"));
        g_clear_pointer(&off, g_variant_unref);
        off = vm_call(service, vm, "PowerOff", NULL);
        remove_bridge("chvbr0");
}

static void test_no_bridge(void) {
        g_autoptr(Service) service = start();

        if (!service)
                return;
        make_tap("chvown0", true);
        start_fails(service, "a", "'net': <[{'tap': <'chvt0'>, 'bridge': <'chvnone0'>}]>",
                    "bridge 'chvnone0' does not exist");
        start_fails(service, "b", "'net': <[{'tap': <'chvt0'>, 'bridge': <'chvown0'>}]>",
                    "bridge 'chvown0' is not a bridge");
        start_fails(service, "c", "'net': <[{'tap': <'chvt0'>, 'bridge': <'lo'>}]>",
                    "bridge 'lo' is not a bridge");
        /* A start that fails leaves nothing behind. */
        g_assert_cmpuint(if_nametoindex("chvt0"), ==, 0);
        make_tap("chvown0", false);
}

/* A tap that outlives its VMs stays on its bridge, and is not taken from another. */
static void test_own_tap(void) {
        g_autoptr(Service) service = start();
        g_autofree char *vm = NULL;
        g_autoptr(GVariant) off = NULL, on = NULL;

        if (!service)
                return;
        make_bridge("chvbr0");
        make_bridge("chvbr1");
        make_tap("chvown0", true);
        vm = vm_run(service, "a", NULL, "'net': <[{'tap': <'chvown0'>, 'bridge': <'chvbr0'>}]>");
        off = vm_call(service, vm, "PowerOff", NULL);
        g_assert_true(is_on("chvbr0", "chvown0"));
        on = vm_call(service, vm, "Start", NULL);
        g_clear_pointer(&off, g_variant_unref);
        off = vm_call(service, vm, "PowerOff", NULL);
        start_fails(service, "b", "'net': <[{'tap': <'chvown0'>, 'bridge': <'chvbr1'>}]>",
                    "it is on another one");
        g_assert_true(is_on("chvbr0", "chvown0"));
        make_tap("chvown0", false);
        remove_bridge("chvbr0");
        remove_bridge("chvbr1");
}

/* The kernel would let a second VM attach to an interface with several queues. */
static void test_one_vm_each(void) {
        static const char queues[] = "'cpus': <{'boot_vcpus': <uint32 2>}>, 'net': <[{'tap': "
                                     "<'chvt0'>, 'num_queues': <uint32 4>}]>";
        static const char twice[] = "'net': <[{'tap': <'chvt1'>}, {'tap': <'chvt1'>}]>";
        g_autoptr(Service) service = start();
        g_autofree char *vm = NULL, *both = NULL, *again = NULL;
        g_autoptr(GVariant) off = NULL, none = NULL;
        g_autoptr(GError) error = NULL;

        if (!service)
                return;
        vm = vm_run(service, "a", NULL, queues);
        start_fails(service, "b", queues, "in use by VM 'a'");
        start_fails(service, "c", "'net': <[{'tap': <'chvt0'>}]>", "in use by VM 'a'");
        both = vm_create(service, "both", NULL, twice);
        none = vm_try(service, both, "Start", NULL, &error);
        assert_names(error, CHV_ERROR_RESOURCE, "net[1].tap");
        assert_names(error, CHV_ERROR_RESOURCE, "another interface of this VM");
        off = vm_call(service, vm, "PowerOff", NULL);
        again = vm_run(service, "d", NULL, queues);
        start_fails(service, "e", "'net': <[{'tap': <'lo'>}]>", "is not a tap");
}

/* A descriptor's interface is where its creator has put it. */
static void test_given(void) {
        g_autoptr(Service) service = start();
        g_autoptr(GUnixFDList) list = g_unix_fd_list_new();
        g_autoptr(GError) error = NULL;
        struct ifreq ifr = request("chvgiven0");
        int fd;

        if (!service)
                return;
        fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
        ifr.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
        g_assert_cmpint(ioctl(fd, TUNSETIFF, &ifr), ==, 0);
        (void) g_unix_fd_list_append(list, fd, NULL);
        (void) close(fd);
        g_assert_null(vm_create_full(
                        service, "a",
                        service_config(service, NULL,
                                       "'net': <[{'id': <'n'>, 'bridge': <'chvbr0'>}]>"),
                        g_variant_new_parsed("{'net/n/0': handle 0}"), list, NULL, &error));
        assert_names(error, CHV_ERROR_RESOURCE, "bridge is for an interface that is named");
}

/* chvctl hands over what it was started with, one descriptor a pair. */
static void test_chvctl(void) {
        g_autoptr(Service) service = start();
        g_autofree char *one = NULL, *both = NULL, *off = NULL;
        struct ifreq ifr = request("chvgiven0");
        int fds[3] = { -1, -1, -1 };

        if (!service)
                return;
        for (unsigned i = 0; i < 2; i++) {
                fds[i] = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
                ifr.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | IFF_MULTI_QUEUE;
                g_assert_cmpint(ioctl(fds[i], TUNSETIFF, &ifr), ==, 0);
        }
        client_fds = fds;
        one = g_strdup_printf("fd=%d", fds[0]);
        both = g_strdup_printf("fd=[%d,%d]", fds[0], fds[1]);
#define CREATE(name, expected, net)                                                                \
        g_assert_cmpint(client_run(service, NULL, NULL, "create", name, "--kernel",                \
                                   service->kernel, "--cpus", "boot=2", "--net", net, NULL),       \
                        ==, expected)
        CREATE("a", 0, both);
        CREATE("b", 0, one);
        CREATE("c", 2, "fd=2");
        CREATE("d", 2, "fd=999");
        CREATE("e", 2, "fd=x");
        CREATE("f", 2, "fd=3,tap=chvt0");
        CREATE("g", 2, "fd=3,num_queues=4");
        CREATE("h", 2, "fd=3,backend=passt");
        g_assert_cmpint(client_run(service, NULL, NULL, "check", "--kernel", service->kernel,
                                   "--net", one, NULL),
                        ==, 2);
        client_fds = NULL;
        (void) close(fds[0]);
        (void) close(fds[1]);
        g_assert_cmpuint(if_nametoindex("chvgiven0"), >, 0);
        g_variant_unref(vm_call(service, "/org/cloudhypervisor/vm/a", "Start", NULL));
        off = vm_ask(service, "/org/cloudhypervisor/vm/a", "GetConfig");
        g_assert_nonnull(strstr(off, "'num_queues': <uint16 4>"));
        g_assert_null(strstr(off, "fds"));
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        /* Before there is another thread: what is started from here lives in that network. */
        has_network = getuid() == 0 && access("/dev/net/tun", R_OK | W_OK) == 0 &&
                      unshare(CLONE_NEWNET) == 0;
        control = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        g_test_add_func("/net/bridge", test_bridge);
        g_test_add_func("/net/no-bridge", test_no_bridge);
        g_test_add_func("/net/own-tap", test_own_tap);
        g_test_add_func("/net/one-vm-each", test_one_vm_each);
        g_test_add_func("/net/given", test_given);
        g_test_add_func("/net/chvctl", test_chvctl);
        return g_test_run();
}
