/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves that each rule across options refuses an example of its own with the option's name, that what is complete
 * is valid and stays the same when written and read back, and that the resources of a configuration are listed whole,
 * in order and with the agreed names.
 */

#include "dbus/config.h"
#include "dbus/error.h"

static ChvConfig *build(const char *const *options) {
        g_autoptr(GError) error = NULL;
        ChvConfig *config = chv_config_new();

        for (; *options; options += 2) {
                chv_config_add_option(config, options[0], options[1], &error);
                g_assert_no_error(error);
        }
        return config;
}

/* Space-free option strings after "--kernel /k", as "section value section value". */
static void refuse(const char *line, const char *message) {
        g_auto(GStrv) words = g_strsplit(line, " ", -1);
        g_autoptr(ChvConfig) config = build((const char *const *) words);

        for (int completed = 0; completed < 2; completed++) {
                g_autoptr(GError) error = NULL;

                if (chv_config_validate(config, &error))
                        g_error("'%s' is valid", line);
                g_assert_error(error, CHV_ERROR, CHV_ERROR_INVALID_CONFIG);
                g_assert_cmpstr(error->message, ==, message);
                chv_config_complete(config);
        }
}

#define K "kernel /k "

static void test_rules(void) {
        refuse("cpus boot=1", "payload.kernel: neither a kernel nor a firmware is given");
        refuse(K "firmware /f", "payload.firmware: excludes payload.kernel");
        refuse("kernel k", "payload.kernel: 'k' is not an absolute path");
        refuse(K "initramfs i", "payload.initramfs: 'i' is not an absolute path");
        refuse(K "cpus boot=4,max=2", "cpus.max_vcpus: 2 is less than cpus.boot_vcpus, which is 4");
        refuse(K "cpus boot=4,topology=1:2:1:1",
               "cpus.topology: makes 2 vCPUs, but cpus.max_vcpus is 4");
#ifdef __x86_64__
        refuse(K "cpus boot=4,topology=4:1:1:1",
               "cpus.topology: 4 threads per core; at most 2 are possible");
#endif
        refuse(K "cpus boot=2,affinity=[2@[0]]", "cpus.affinity: there is no vCPU 2");
        refuse(K "cpus boot=2,affinity=[1@[0],1@[1]]", "cpus.affinity: vCPU 1 is named twice");
        refuse(K "memory hugepage_size=2M", "memory.hugepage_size: needs memory.hugepages");
        refuse(K "memory shared=on,mergeable=on", "memory.mergeable: not with memory.shared");
        refuse(K "memory size=1048577",
               "memory.size: 1048577 is not a multiple of the page size, 4096");
        refuse(K "memory size=3M,hugepages=on,hugepage_size=2M",
               "memory.size: 3145728 is not a multiple of the page size, 2097152");
        refuse(K "memory size=4G cpus max_phys_bits=32",
               "memory.size: 4294967296 does not fit in 32 address bits (cpus.max_phys_bits)");
        refuse(K "disk readonly=on", "disks[0].path: is missing");
        refuse(K "disk path=d", "disks[0].path: 'd' is not an absolute path");
        refuse(K "disk path=/d,num_queues=2",
               "disks[0].num_queues: 2 queues, but only 1 vCPUs at boot");
        refuse(K "disk path=/d,queue_affinity=[1@[0]]",
               "disks[0].queue_affinity: there is no queue 1");
        refuse(K "disk path=/d,queue_affinity=[0@[0],0@[1]]",
               "disks[0].queue_affinity: queue 0 is named twice");
        refuse(K "disk path=/d,bw_size=1M", "disks[0].bw_size: needs bw_refill_time");
        refuse(K "disk path=/d,bw_refill_time=1", "disks[0].bw_refill_time: needs bw_size");
        refuse(K "net ops_one_time_burst=1", "net[0].ops_one_time_burst: needs ops_size");
        refuse(K "disk path=/d,rate_limit_group=g",
               "disks[0].rate_limit_group: there is no group 'g'");
        refuse(K "rate-limit-group id=g,ops_size=1,ops_refill_time=1 disk "
                 "path=/d,rate_limit_group=g,ops_size=1,ops_refill_time=1",
               "disks[0].rate_limit_group: excludes limits of the disk's own");
        refuse(K "rate-limit-group bw_size=1,bw_refill_time=1",
               "rate_limit_groups[0].id: is missing");
        refuse(K "rate-limit-group id=g",
               "rate_limit_groups[0]: neither bw_size nor ops_size is given");
        refuse(K "rate-limit-group id=g,bw_size=1",
               "rate_limit_groups[0].bw_size: needs bw_refill_time");
        refuse(K "rate-limit-group id=g,ops_size=1,ops_refill_time=1 rate-limit-group "
                 "id=g,ops_size=1,ops_refill_time=1",
               "rate_limit_groups[1].id: 'g' is the name of a group already");
        refuse(K "net backend=passt,tap=t0", "net[0].tap: not with backend=passt");
        refuse(K "net backend=passt,bridge=b0", "net[0].bridge: not with backend=passt");
        refuse(K "net backend=passt,ip=10.0.0.1,mask=255.0.0.0",
               "net[0].ip: not with backend=passt");
        refuse(K "net backend=passt,host_mac=02:00:00:00:00:01",
               "net[0].host_mac: not with backend=passt");
        refuse(K "cpus boot=2 net backend=passt,num_queues=4",
               "net[0].num_queues: passt has one pair");
        refuse(K "net forward=[tcp:80]", "net[0].forward: needs backend=passt");
        refuse(K "net backend=passt,vhost=on", "net[0].vhost: not with backend=passt");
        refuse(K "net vhost=on,packed=on",
               "net[0].vhost: the kernel has no packed rings; needs packed=off");
        refuse(K "net vhost=on,rss=on",
               "net[0].vhost: the kernel does not hash frames; needs rss=off");
        refuse(K "net backend=passt,rss=on", "net[0].rss: not with backend=passt");
        refuse(K "net vhost=on,mac_filter=on",
               "net[0].vhost: the kernel does not check addresses; needs mac_filter=off");
#define FORWARD(text)                                                                              \
        refuse(K "net backend=passt,forward=[" text "]",                                           \
               "net[0].forward: '" text "' is not PROTOCOL:[ADDRESS/]PORT[:PORT]")
        FORWARD("icmp:80");
        FORWARD("tcp:0:80");
        FORWARD("tcp:65536");
        FORWARD("tcp:80:80:80");
        FORWARD("tcp:80:");
        FORWARD("tcp:-t80");
        FORWARD("tcp:80-90");
        FORWARD("udp:x/53");
        FORWARD("tcp:1.2.3.4/");
        refuse(K "memory shared=on disk vhost_user=on", "disks[0].vhost_socket: is missing");
        refuse(K "memory shared=on disk vhost_user=on,socket=s",
               "disks[0].vhost_socket: 's' is not an absolute path");
        refuse(K "disk vhost_user=on,socket=/s", "disks[0].vhost_user: needs memory.shared=on");
        refuse(K "memory shared=on disk vhost_user=on,socket=/s,path=/d",
               "disks[0].path: not with vhost_user");
        refuse(K "memory shared=on disk vhost_user=on,socket=/s,direct=on",
               "disks[0].direct: not with vhost_user");
        refuse(K "memory shared=on disk vhost_user=on,socket=/s,packed=on",
               "disks[0].packed: not with vhost_user");
        refuse(K "memory shared=on disk vhost_user=on,socket=/s,in_order=on",
               "disks[0].in_order: not with vhost_user");
        refuse(K "memory shared=on disk vhost_user=on,socket=/s,poll=1",
               "disks[0].poll: not with vhost_user");
        refuse(K "memory shared=on disk vhost_user=on,socket=/s,registered_buffers=on",
               "disks[0].registered_buffers: not with vhost_user");
        refuse(K "memory shared=on disk vhost_user=on,socket=/s,iopoll=on",
               "disks[0].iopoll: not with vhost_user");
        refuse(K "disk path=/d,iopoll=on", "disks[0].iopoll: needs direct=on");
        refuse(K "disk path=/d,direct=on,iopoll=on,_disable_io_uring=on",
               "disks[0].iopoll: not without io_uring");
        refuse(K "disk path=/d,registered_buffers=on,_disable_io_uring=on",
               "disks[0].registered_buffers: not without io_uring");
        refuse(K "memory mergeable=on disk path=/d,registered_buffers=on",
               "disks[0].registered_buffers: not with memory.mergeable, as pinned pages cannot be "
               "merged");
        refuse(K "memory shared=on disk vhost_user=on,socket=/s,lock_granularity=full",
               "disks[0].lock_granularity: not with vhost_user");
        refuse(K "disk path=/d,socket=/s", "disks[0].vhost_socket: needs vhost_user=on");
        refuse(K "net fd=3",
               "net[0].fds: descriptors are handed over when a machine is created, and are no part "
               "of its configuration");
        refuse(K "memory shared=on net vhost_user=on", "net[0].vhost_socket: is missing");
        refuse(K "net vhost_user=on,socket=/s", "net[0].vhost_user: needs memory.shared=on");
        refuse(K "net socket=/s", "net[0].vhost_socket: needs vhost_user=on");
        refuse(K "net vhost_mode=server", "net[0].vhost_mode: needs vhost_user=on");
#define VHOST_NET(option)                                                                          \
        refuse(K "memory shared=on net vhost_user=on,socket=/s," option "=" VALUE,                 \
               "net[0]." option ": not with vhost_user")
#define VALUE "on"
        VHOST_NET("mac_filter");
        VHOST_NET("vhost");
        VHOST_NET("packed");
        VHOST_NET("rss");
#undef VALUE
#define VALUE "tap"
        VHOST_NET("tap");
        VHOST_NET("backend");
        VHOST_NET("bridge");
#undef VALUE
#define VALUE "1000"
        VHOST_NET("bw_size");
        VHOST_NET("ops_size");
#undef VALUE
        refuse(K "memory shared=on net vhost_user=on,socket=/s,host_mac=02:00:00:00:00:01",
               "net[0].host_mac: not with vhost_user");
        refuse(K "memory shared=on net vhost_user=on,socket=/s,forward=[tcp:80]",
               "net[0].forward: not with vhost_user");
        refuse(K "memory shared=on net vhost_user=on,socket=/s,ip=10.0.0.1,mask=255.0.0.0",
               "net[0].ip: not with vhost_user");
        refuse(K "cpus boot=2 net num_queues=3",
               "net[0].num_queues: 3 is odd; queues come in pairs");
        refuse(K "net num_queues=4", "net[0].num_queues: 2 pairs, but only 1 vCPUs at boot");
        refuse(K "net ip=10.0.0.1", "net[0].ip: needs a mask");
        refuse(K "net mask=255.0.0.0", "net[0].mask: needs an ip");
        refuse(K "net ip=10.0.0,mask=255.0.0.0", "net[0].ip: '10.0.0' is not an IP address");
        refuse(K "net ip=10.0.0.1,mask=255.0.255.0",
               "net[0].mask: '255.0.255.0' is not a mask for '10.0.0.1'");
        refuse(K "net ip=fd00::1,mask=255.0.0.0",
               "net[0].mask: '255.0.0.0' is not a mask for 'fd00::1'");
        refuse(K "net offload_csum=off", "net[0].offload_tso: needs offload_csum");
        refuse(K "net offload_csum=off,offload_tso=off", "net[0].offload_ufo: needs offload_csum");
        refuse(K "net mac=01:00:00:00:00:00", "net[0].mac: 01:00:00:00:00:00 is a group address");
        refuse(K "net host_mac=00:00:00:00:00:00", "net[0].host_mac: must not be all zeros");
        refuse(K "net tap=a/b", "net[0].tap: 'a/b' can't be an interface's name");
        refuse(K "net tap=a%db", "net[0].tap: 'a%db' can't be an interface's name");
        refuse(K "net tap=..", "net[0].tap: '..' can't be an interface's name");
        refuse(K "net bridge=..", "net[0].bridge: '..' can't be an interface's name");
        refuse(K "net bridge=br%d", "net[0].bridge: 'br%d' can't be an interface's name");
        refuse(K "net bridge=br0,ip=10.0.0.1,mask=255.0.0.0",
               "net[0].ip: an interface on a bridge has no address of its own; give it to the "
               "bridge");
        refuse(K "rng src=random", "rng.src: 'random' is not an absolute path");
        refuse(K "serial file=log", "serial.file: 'log' is not an absolute path");
        refuse(K "serial socket=/s console socket=/s",
               "console.socket: is the serial port's socket already");
        refuse(K "disk path=/d,id=__x",
               "disks[0].id: '__x': names that begin with '__' are reserved");
        refuse(K "disk path=/d,id=__rng",
               "disks[0].id: '__rng': names that begin with '__' are reserved");
        refuse(K "disk path=/d,id=a/b",
               "disks[0].id: 'a/b' may hold only letters, digits, '.', '_' and '-'");
        refuse(K "disk path=/d,id=x net id=x", "net[0].id: 'x' is the name of disks[0] already");
        refuse(K "disk path=/d,pci_segment=1",
               "disks[0].pci_segment: there is no segment 1 (platform.num_pci_segments is 1)");
        refuse(K "rng pci_device_id=0", "rng.pci_device_id: slot 0 is the host bridge's");
        refuse(K "disk path=/d,pci_device_id=4 console pty,pci_device_id=4",
               "console.pci_device_id: slot 4 is taken by disks[0]");
        refuse(K "platform uuid=x", "platform.system_uuid: 'x' is not a UUID");
}

/* Modes whose path only a dictionary can leave out. */
static void test_console_paths(void) {
        static const char *const modes[] = { "file", "socket" };

        for (size_t i = 0; i < G_N_ELEMENTS(modes); i++) {
                g_autofree char *json = g_strdup_printf(
                                "{\"payload\":{\"kernel\":\"/k\"},\"serial\":{\"mode\":\"%s\"}}",
                                modes[i]);
                g_autofree char *message = g_strdup_printf("serial.%s: is missing", modes[i]);
                g_autoptr(ChvConfig) config = chv_config_from_json(json, -1, NULL);
                g_autoptr(GError) error = NULL;

                g_assert_nonnull(config);
                g_assert_false(chv_config_validate(config, &error));
                g_assert_cmpstr(error->message, ==, message);
        }
}

static ChvConfig *full(void) {
        static const char *const options[] = {
                "kernel",    "/k",
                "initramfs", "/i",
                "cpus",      "boot=4,topology=2:2:1:1,affinity=[0@[0],3@[1]]",
                "memory",    "size=4G,hugepages=on,hugepage_size=2M",
                "disk",      "path=/a",
                "disk",      "path=/b,id=_disk1,readonly=on,direct=on,num_queues=4,pci_device_id=3",
                "net",       "tap=t0,num_queues=4,ip=10.0.0.1,mask=255.255.255.0",
                "net",       "ip=fd00::1,mask=ffff:ffff::,pci_segment=1,pci_device_id=0",
                "serial",    "file=/s",
                "console",   "socket=/c,pci_device_id=3,pci_segment=1",
                "platform",  "num_pci_segments=2",
                NULL,
        };

        return build(options);
}

static void test_complete(void) {
        g_autoptr(ChvConfig) config = full();
        g_autoptr(ChvConfig) back = NULL;
        g_autoptr(GVariant) once = NULL, twice = NULL;
        g_autoptr(GError) error = NULL;

        chv_config_validate(config, &error);
        g_assert_no_error(error);
        chv_config_complete(config);
        chv_config_validate(config, &error);
        g_assert_no_error(error);
        g_assert_cmpuint(config->cpus.max_vcpus, ==, 4);
        g_assert_cmpstr(config->disks[0].pci.id, ==, "_disk0");
        g_assert_cmpstr(config->disks[1].pci.id, ==, "_disk1");
        g_assert_cmpstr(config->net[0].pci.id, ==, "_net1");
        g_assert_cmpstr(config->net[1].pci.id, ==, "_net2");
        g_assert_cmpuint(strlen(config->net[0].mac), ==, 17);
        g_assert_cmpstr(config->net[0].mac, !=, config->net[1].mac);
        g_assert_cmpuint(g_ascii_xdigit_value(config->net[0].mac[1]) & 3, ==, 2);
        g_assert_true(g_uuid_string_is_valid(config->platform.uuid));

        once = g_variant_ref_sink(chv_config_to_variant(config));
        back = chv_config_from_variant(once, &error);
        g_assert_no_error(error);
        chv_config_complete(back);
        twice = g_variant_ref_sink(chv_config_to_variant(back));
        g_assert_true(g_variant_equal(once, twice));
}

static void test_resources(void) {
        static const struct {
                ChvResourceKind kind;
                const char *option, *fd_name, *path;
        } expected[] = {
                { CHV_RESOURCE_KERNEL, "payload.kernel", "payload/kernel", "/k" },
                { CHV_RESOURCE_INITRAMFS, "payload.initramfs", "payload/initramfs", "/i" },
                { CHV_RESOURCE_DISK, "disks[0].path", "disks/_disk0", "/a" },
                { CHV_RESOURCE_DISK, "disks[1].path", "disks/_disk1", "/b" },
                { CHV_RESOURCE_TAP, "net[0].tap", "net/_net1/0", "t0" },
                { CHV_RESOURCE_TAP, "net[0].tap", "net/_net1/1", "t0" },
                { CHV_RESOURCE_TAP, "net[1].tap", "net/_net2/0", "vmtap%d" },
                { CHV_RESOURCE_RNG, "rng.src", "rng", "/dev/urandom" },
                { CHV_RESOURCE_OUTPUT, "serial.file", "serial", "/s" },
                { CHV_RESOURCE_SOCKET, "console.socket", "console", "/c" },
        };
        g_autoptr(ChvConfig) config = full();
        g_autoptr(GArray) list = NULL;

        chv_config_complete(config);
        list = chv_config_resources(config);
        g_assert_cmpuint(list->len, ==, G_N_ELEMENTS(expected));
        for (guint i = 0; i < list->len; i++) {
                const ChvResource *resource = &g_array_index(list, ChvResource, i);

                g_assert_cmpint(resource->kind, ==, expected[i].kind);
                g_assert_cmpstr(resource->option, ==, expected[i].option);
                g_assert_cmpstr(resource->fd_name, ==, expected[i].fd_name);
                g_assert_cmpstr(resource->path, ==, expected[i].path);
                g_assert_nonnull(resource->config);
        }
        g_assert_true(g_array_index(list, ChvResource, 3).readonly);
        g_assert_true(g_array_index(list, ChvResource, 3).direct);
        g_assert_false(g_array_index(list, ChvResource, 2).readonly);
        g_assert_cmpuint(g_array_index(list, ChvResource, 5).index, ==, 1);
}

static void test_firmware_alone(void) {
        static const char *const options[] = { "firmware", "/f", "initramfs", "/i", NULL };
        g_autoptr(ChvConfig) config = build(options);
        g_autoptr(GArray) list = chv_config_resources(config);

        g_assert_true(chv_config_validate(config, NULL));
        g_assert_cmpint(g_array_index(list, ChvResource, 0).kind, ==, CHV_RESOURCE_FIRMWARE);
        g_assert_cmpint(g_array_index(list, ChvResource, 1).kind, ==, CHV_RESOURCE_RNG);
}

static void test_relative_paths(void) {
        static const char *const options[] = {
                "kernel", "boot/../vmlinuz", "initramfs", "/i",  "disk", "path=d.img",
                "serial", "file=./log",      "console",   "pty", NULL,
        };
        g_autoptr(ChvConfig) config = build(options);

        chv_config_resolve_paths(config, "/home/me");
        chv_config_set_name(config, "vm");
        g_assert_cmpstr(config->name, ==, "vm");
        g_assert_cmpstr(config->payload.kernel, ==, "/home/me/vmlinuz");
        g_assert_cmpstr(config->payload.initramfs, ==, "/i");
        g_assert_cmpstr(config->disks[0].path, ==, "/home/me/d.img");
        g_assert_cmpstr(config->serial.path, ==, "/home/me/log");
        g_assert_null(config->console.path);
        g_assert_true(chv_config_validate(config, NULL));
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/dbus/rules/each", test_rules);
        g_test_add_func("/dbus/rules/console-paths", test_console_paths);
        g_test_add_func("/dbus/complete", test_complete);
        g_test_add_func("/dbus/resources/order", test_resources);
        g_test_add_func("/dbus/resources/firmware", test_firmware_alone);
        g_test_add_func("/dbus/paths", test_relative_paths);
        return g_test_run();
}
