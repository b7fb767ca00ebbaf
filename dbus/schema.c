/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The table of options: the only place where an option of a VM's configuration is declared. Readers, writers,
 * defaults, ranges and messages of every codec come from these rows, and so do chvctl's help, the shell completion
 * and the tables of the manual. To add an option, add a field to its struct and a row here.
 *
 * Keys, defaults and ranges: reference 1.1-1.11. The order of rows is the order in which options are written, and
 * the order in which they are stored when read: a console's mode comes before its path.
 */

#include "dbus/schema.h"

#include <stddef.h>
#include <string.h>

#include "dbus/config.h"

#define KIB(n) ((uint64_t) (n) << 10)
#define MIB(n) ((uint64_t) (n) << 20)
#define TIB(n) ((uint64_t) (n) << 40)

#define LENGTH_PATH .min = 1, .max = 4095

static const ChvOption cpus[] = {
        { .key = "boot_vcpus",
          .cli = "boot",
          .type = CHV_OPT_U32,
          .fallback = "1",
          .min = 1,
          .max = 8192,
          .doc = "vCPUs present when the guest starts",
          .offset = offsetof(ChvCpusConfig, boot_vcpus) },
        { .key = "max_vcpus",
          .cli = "max",
          .type = CHV_OPT_U32,
          .min = 1,
          .max = 8192,
          .doc = "upper bound for adding vCPUs later; as many as at boot when not given",
          .offset = offsetof(ChvCpusConfig, max_vcpus) },
        { .key = "topology",
          .type = CHV_OPT_TOPOLOGY,
          .doc = "threads per core, cores per die, dies per package, packages",
          .offset = offsetof(ChvCpusConfig, topology) },
        { .key = "kvm_hyperv",
          .type = CHV_OPT_BOOL,
          .fallback = "off",
          .doc = "Hyper-V enlightenments, for Windows guests",
          .offset = offsetof(ChvCpusConfig, kvm_hyperv) },
        { .key = "max_phys_bits",
          .type = CHV_OPT_U8,
          .fallback = "46",
          .min = 32,
          .max = 52,
          .unit = "bits",
          .doc = "cap on the width of guest physical addresses",
          .offset = offsetof(ChvCpusConfig, max_phys_bits) },
        { .key = "affinity",
          .type = CHV_OPT_CPU_AFFINITY,
          .doc = "host CPUs that each vCPU thread may run on",
          .offset = offsetof(ChvCpusConfig, affinity) },
        { .key = "features",
          .type = CHV_OPT_FEATURES,
          .choices = "amx",
          .doc = "CPU features that must be asked for",
          .offset = offsetof(ChvCpusConfig, amx) },
        { .key = "nested",
          .type = CHV_OPT_BOOL,
          .fallback = "on",
          .doc = "let the guest run virtual machines of its own",
          .offset = offsetof(ChvCpusConfig, nested) },
};

static const ChvOption memory[] = {
        { .key = "size",
          .type = CHV_OPT_SIZE,
          .fallback = "512M",
          .min = MIB(1),
          .max = TIB(4096),
          .unit = "bytes",
          .doc = "memory of the guest when it starts",
          .offset = offsetof(ChvMemoryConfig, size) },
        { .key = "mergeable",
          .type = CHV_OPT_BOOL,
          .fallback = "off",
          .doc = "let the host merge equal pages (KSM)",
          .offset = offsetof(ChvMemoryConfig, mergeable) },
        { .key = "shared",
          .type = CHV_OPT_BOOL,
          .fallback = "off",
          .doc = "back the memory by a file that other processes can map",
          .offset = offsetof(ChvMemoryConfig, shared) },
        { .key = "hugepages",
          .type = CHV_OPT_BOOL,
          .fallback = "off",
          .doc = "take the memory from the host's pool of huge pages",
          .offset = offsetof(ChvMemoryConfig, hugepages) },
        { .key = "hugepage_size",
          .type = CHV_OPT_SIZE,
          .min = KIB(64),
          .max = MIB(16384),
          .power_of_2 = true,
          .unit = "bytes",
          .doc = "size of the huge pages; the host's default when not given",
          .offset = offsetof(ChvMemoryConfig, hugepage_size) },
        { .key = "prefault",
          .type = CHV_OPT_BOOL,
          .fallback = "off",
          .doc = "touch all memory before the guest starts",
          .offset = offsetof(ChvMemoryConfig, prefault) },
        { .key = "reserve",
          .type = CHV_OPT_BOOL,
          .fallback = "off",
          .doc = "account for all memory at once, so that too much fails at the start",
          .offset = offsetof(ChvMemoryConfig, reserve) },
        { .key = "thp",
          .type = CHV_OPT_BOOL,
          .fallback = "on",
          .doc = "ask the host for transparent huge pages",
          .offset = offsetof(ChvMemoryConfig, thp) },
};

static const ChvOption payload[] = {
        { .key = "firmware",
          .type = CHV_OPT_PATH,
          LENGTH_PATH,
          .doc = "firmware to boot instead of a kernel",
          .resolver = CHV_OPT_BY_BROKER,
          .offset = offsetof(ChvPayloadConfig, firmware) },
        { .key = "kernel",
          .type = CHV_OPT_PATH,
          LENGTH_PATH,
          .doc = "kernel to boot: bzImage, or ELF with a PVH note",
          .resolver = CHV_OPT_BY_BROKER,
          .offset = offsetof(ChvPayloadConfig, kernel) },
        { .key = "cmdline",
          .type = CHV_OPT_STRING,
          .min = 0,
          .max = KIB(64) - 1,
          .doc = "command line of the kernel",
          .offset = offsetof(ChvPayloadConfig, cmdline) },
        { .key = "initramfs",
          .type = CHV_OPT_PATH,
          LENGTH_PATH,
          .doc = "initial file system of the kernel",
          .resolver = CHV_OPT_BY_BROKER,
          .offset = offsetof(ChvPayloadConfig, initramfs) },
};

/* The rows of a device's place on PCI; automatic is the id's default text. */
#define PCI_COMMON(type_, member_, automatic)                                                      \
        { .key = "id",                                                                             \
          .type = CHV_OPT_STRING,                                                                  \
          .fallback = automatic,                                                                   \
          .min = 1,                                                                                \
          .max = 64,                                                                               \
          .doc = "name of the device; automatic when not given",                                   \
          .offset = offsetof(type_, member_.id) },                                                 \
                        { .key = "pci_segment",                                                    \
                          .type = CHV_OPT_U16,                                                     \
                          .fallback = "0",                                                         \
                          .min = 0,                                                                \
                          .max = 95,                                                               \
                          .doc = "PCI segment the device sits on",                                 \
                          .offset = offsetof(type_, member_.pci_segment) },                        \
                        { .key = "pci_device_id",                                                  \
                          .type = CHV_OPT_S16,                                                     \
                          .fallback = "-1",                                                        \
                          .min = 0,                                                                \
                          .max = 31,                                                               \
                          .doc = "slot on that segment; the first free one when not given",        \
                          .offset = offsetof(type_, member_.pci_device_id) },                      \
        {                                                                                          \
                .key = "packed", .type = CHV_OPT_BOOL, .fallback = "off",                          \
                .doc = "offer packed rings beside split ones",                                     \
                .offset = offsetof(type_, member_.packed)                                          \
        }

/* A day: longer is a mistake. */
#define REFILL_MAX 86400000

/* The rows of one token bucket; what is the other is in JSON also read from the reference's nested object (config-limiter.c). */
#define RATE_LIMIT(prefix_, member_, type_, size_type_, unit_, doc_, live_)                        \
        { .key = prefix_ "_size",                                                                  \
          .type = size_type_,                                                                      \
          .min = 0,                                                                                \
          .max = TIB(1024),                                                                        \
          .live = live_,                                                                           \
          .unit = unit_,                                                                           \
          .doc = doc_ " that may be done within " prefix_ "_refill_time",                          \
          .offset = offsetof(type_, member_.size) },                                               \
                        { .key = prefix_ "_one_time_burst",                                        \
                          .type = size_type_,                                                      \
                          .min = 0,                                                                \
                          .max = TIB(1024),                                                        \
                          .live = live_,                                                           \
                          .unit = unit_,                                                           \
                          .doc = doc_ " that may be done at once, before all limits",              \
                          .offset = offsetof(type_, member_.one_time_burst) },                     \
        {                                                                                          \
                .key = prefix_ "_refill_time", .type = CHV_OPT_U64, .min = 0, .max = REFILL_MAX,   \
                .live = live_, .unit = "ms",                                                       \
                .doc = "time in which " prefix_ "_size is available again",                        \
                .offset = offsetof(type_, member_.refill_time)                                     \
        }

#define RATE_LIMITER(type_, live_)                                                                 \
        RATE_LIMIT("bw", limiter.bw, type_, CHV_OPT_SIZE, "bytes", "bytes", live_),                \
                        RATE_LIMIT("ops", limiter.ops, type_, CHV_OPT_U64, NULL, "operations",     \
                                   live_)

static const ChvOption rate_limit_groups[] = {
        { .key = "id",
          .type = CHV_OPT_STRING,
          .min = 1,
          .max = 64,
          .doc = "name of the group, for rate_limit_group of disks",
          .offset = offsetof(ChvRateLimitGroup, id) },
        RATE_LIMITER(ChvRateLimitGroup, true),
};

static const ChvOption disks[] = {
        { .key = "path",
          .type = CHV_OPT_PATH,
          LENGTH_PATH,
          .doc = "image file or block device",
          .resolver = CHV_OPT_BY_BROKER,
          .offset = offsetof(ChvDiskConfig, path) },
        { .key = "readonly",
          .type = CHV_OPT_BOOL,
          .fallback = "off",
          .doc = "the guest can't write",
          .offset = offsetof(ChvDiskConfig, readonly) },
        { .key = "direct",
          .type = CHV_OPT_BOOL,
          .fallback = "off",
          .doc = "go past the host's page cache (O_DIRECT)",
          .offset = offsetof(ChvDiskConfig, direct) },
        { .key = "num_queues",
          .type = CHV_OPT_U16,
          .fallback = "1",
          .min = 1,
          .max = 8192,
          .doc = "queues; at most one a vCPU",
          .offset = offsetof(ChvDiskConfig, num_queues) },
        { .key = "queue_size",
          .type = CHV_OPT_U16,
          .fallback = "128",
          .min = 4,
          .max = 32768,
          .power_of_2 = true,
          .doc = "requests that fit in a queue",
          .offset = offsetof(ChvDiskConfig, queue_size) },
        { .key = "disable_io_uring",
          .cli = "_disable_io_uring",
          .type = CHV_OPT_BOOL,
          .fallback = "off",
          .doc = "use plain system calls instead of io_uring; for tests",
          .offset = offsetof(ChvDiskConfig, disable_io_uring) },
        { .key = "disable_aio",
          .cli = "_disable_aio",
          .type = CHV_OPT_BOOL,
          .fallback = "off",
          .doc = "do without Linux AIO, which chvd does: io_uring or plain system calls",
          .offset = offsetof(ChvDiskConfig, disable_aio) },
        { .key = "serial",
          .type = CHV_OPT_STRING,
          .min = 1,
          .max = 20,
          .doc = "serial number that the guest sees; made from the file's identity when not given",
          .offset = offsetof(ChvDiskConfig, serial) },
        { .key = "queue_affinity",
          .type = CHV_OPT_QUEUE_AFFINITY,
          .doc = "host CPUs that the thread of each queue may run on",
          .offset = offsetof(ChvDiskConfig, queue_affinity) },
        { .key = "rate_limit_group",
          .type = CHV_OPT_STRING,
          .min = 1,
          .max = 64,
          .doc = "group whose limits the disk shares with others",
          .offset = offsetof(ChvDiskConfig, rate_limit_group) },
        RATE_LIMITER(ChvDiskConfig, true),
        { .key = "image_type",
          .type = CHV_OPT_STRING,
          .choices = "auto raw qcow2 vhd vhdx vmdk",
          .doc = "format of the image; auto: what its first and last bytes say",
          .offset = offsetof(ChvDiskConfig, image_type) },
        { .key = "backing_files",
          .type = CHV_OPT_BOOL,
          .fallback = "off",
          .doc = "open files that the image names: what it is based on, and parts of it",
          .offset = offsetof(ChvDiskConfig, backing_files) },
        { .key = "sparse",
          .type = CHV_OPT_BOOL,
          .fallback = "on",
          .doc = "off: a raw file gets all its space at the start, and the guest gives none back",
          .offset = offsetof(ChvDiskConfig, sparse) },
        { .key = "in_order",
          .type = CHV_OPT_BOOL,
          .fallback = "off",
          .doc = "offer to return requests in their order, where quick ones wait for slow ones",
          .offset = offsetof(ChvDiskConfig, in_order) },
        { .key = "poll",
          .type = CHV_OPT_U32,
          .fallback = "0",
          .min = 0,
          .max = 10000,
          .unit = "us",
          .doc = "longest time that a queue's thread looks for work before it sleeps; 0: it sleeps",
          .offset = offsetof(ChvDiskConfig, poll) },
        { .key = "iopoll",
          .type = CHV_OPT_BOOL,
          .fallback = "off",
          .doc = "poll the host's device for completions; needs direct=on and queues for polling",
          .offset = offsetof(ChvDiskConfig, iopoll) },
        { .key = "registered_buffers",
          .type = CHV_OPT_BOOL,
          .fallback = "off",
          .doc = "pin all of the guest's memory and register it with io_uring",
          .offset = offsetof(ChvDiskConfig, registered_buffers) },
        { .key = "lock_granularity",
          .type = CHV_OPT_STRING,
          .choices = "byte-range full",
          .doc = "bytes of the file that are locked: those there are at the start, or all there "
                 "will ever be",
          .resolver = CHV_OPT_BY_BROKER,
          .offset = offsetof(ChvDiskConfig, lock_granularity) },
        { .key = "vhost_user",
          .type = CHV_OPT_BOOL,
          .fallback = "off",
          .doc = "the disk is another program's, which serves it (vhost-user)",
          .offset = offsetof(ChvDiskConfig, vhost_user) },
        { .key = "vhost_socket",
          .cli = "socket",
          .type = CHV_OPT_PATH,
          LENGTH_PATH,
          .doc = "UNIX socket on which that program listens",
          .resolver = CHV_OPT_BY_BROKER,
          .offset = offsetof(ChvDiskConfig, vhost_socket) },
        PCI_COMMON(ChvDiskConfig, pci, NULL),
};

static const ChvOption net[] = {
        { .key = "tap",
          .type = CHV_OPT_STRING,
          .fallback = "vmtap%d",
          .min = 1,
          .max = 15,
          .doc = "host interface; created when missing, %d is a free number",
          .resolver = CHV_OPT_BY_BROKER,
          .offset = offsetof(ChvNetConfig, tap) },
        { .key = "backend",
          .type = CHV_OPT_STRING,
          .choices = "tap passt",
          .doc = "what the frames go to: a host interface, or passt, which needs none; the latter "
                 "in session mode",
          .resolver = CHV_OPT_BY_BROKER,
          .offset = offsetof(ChvNetConfig, backend) },
        { .key = "forward",
          .type = CHV_OPT_STRV,
          .min = 5,
          .max = 80,
          .doc = "ports of the host that passt forwards to the guest: tcp:8080:80, udp:ADDRESS/53",
          .resolver = CHV_OPT_BY_BROKER,
          .offset = offsetof(ChvNetConfig, forward) },
        { .key = "bridge",
          .type = CHV_OPT_STRING,
          .min = 1,
          .max = 15,
          .doc = "bridge of the host that the host interface is attached to",
          .resolver = CHV_OPT_BY_BROKER,
          .offset = offsetof(ChvNetConfig, bridge) },
        { .key = "ip",
          .type = CHV_OPT_STRING,
          .min = 1,
          .max = 45,
          .doc = "address of the host interface",
          .resolver = CHV_OPT_BY_BROKER,
          .offset = offsetof(ChvNetConfig, ip) },
        { .key = "mask",
          .type = CHV_OPT_STRING,
          .min = 1,
          .max = 45,
          .doc = "network mask of the host interface",
          .resolver = CHV_OPT_BY_BROKER,
          .offset = offsetof(ChvNetConfig, mask) },
        { .key = "mac",
          .type = CHV_OPT_MAC,
          .doc = "MAC address that the guest sees; random when not given",
          .offset = offsetof(ChvNetConfig, mac) },
        { .key = "mac_filter",
          .type = CHV_OPT_STRING,
          .choices = "on off",
          .doc = "drop what the guest sends from another MAC address; on if mac is given",
          .offset = offsetof(ChvNetConfig, mac_filter) },
        { .key = "host_mac",
          .type = CHV_OPT_MAC,
          .doc = "MAC address of the host interface",
          .resolver = CHV_OPT_BY_BROKER,
          .offset = offsetof(ChvNetConfig, host_mac) },
        { .key = "mtu",
          .type = CHV_OPT_U16,
          .min = 1280,
          .max = 65535,
          .unit = "bytes",
          .doc = "MTU, set on the host interface and offered to the guest",
          .offset = offsetof(ChvNetConfig, mtu) },
        { .key = "num_queues",
          .type = CHV_OPT_U16,
          .fallback = "2",
          .min = 2,
          .max = 16384,
          .doc = "receive and transmit queues together; at most one pair a vCPU",
          .offset = offsetof(ChvNetConfig, num_queues) },
        { .key = "queue_size",
          .type = CHV_OPT_U16,
          .fallback = "256",
          .min = 2,
          .max = 32768,
          .power_of_2 = true,
          .doc = "buffers that fit in a queue",
          .offset = offsetof(ChvNetConfig, queue_size) },
        { .key = "offload_tso",
          .type = CHV_OPT_BOOL,
          .fallback = "on",
          .doc = "offer TCP segmentation offload",
          .offset = offsetof(ChvNetConfig, offload_tso) },
        { .key = "offload_ufo",
          .type = CHV_OPT_BOOL,
          .fallback = "on",
          .doc = "offer UDP fragmentation offload",
          .offset = offsetof(ChvNetConfig, offload_ufo) },
        { .key = "offload_csum",
          .type = CHV_OPT_BOOL,
          .fallback = "on",
          .doc = "offer checksum offload",
          .offset = offsetof(ChvNetConfig, offload_csum) },
        { .key = "vhost",
          .type = CHV_OPT_STRING,
          .choices = "auto on off",
          .doc = "the host's kernel moves the frames of a tap (vhost-net): if it can, or else no "
                 "VM; "
                 "not with mac_filter",
          .resolver = CHV_OPT_BY_BROKER,
          .offset = offsetof(ChvNetConfig, vhost) },
        { .key = "rss",
          .type = CHV_OPT_BOOL,
          .fallback = "off",
          .doc = "the guest says which of its queues a flow goes to, and learns the frames' "
                 "hashes; "
                 "not with vhost=on",
          .offset = offsetof(ChvNetConfig, rss) },
        { .key = "fds",
          .cli = "fd",
          .type = CHV_OPT_STRV,
          .min = 1,
          .max = 10,
          .doc = "descriptors of a tap or macvtap that chvctl was started with, one a pair of "
                 "queues: "
                 "3 or [3,4]",
          .offset = offsetof(ChvNetConfig, fds) },
        { .key = "vhost_user",
          .type = CHV_OPT_BOOL,
          .fallback = "off",
          .doc = "another program moves the frames (vhost-user)",
          .offset = offsetof(ChvNetConfig, vhost_user) },
        { .key = "vhost_socket",
          .cli = "socket",
          .type = CHV_OPT_PATH,
          LENGTH_PATH,
          .doc = "UNIX socket between it and the VM",
          .resolver = CHV_OPT_BY_BROKER,
          .offset = offsetof(ChvNetConfig, vhost_socket) },
        { .key = "vhost_mode",
          .type = CHV_OPT_STRING,
          .choices = "client server",
          .doc = "client: that program listens on the socket; server: it connects to it, and the "
                 "VM "
                 "waits",
          .resolver = CHV_OPT_BY_BROKER,
          .offset = offsetof(ChvNetConfig, vhost_mode) },
        RATE_LIMITER(ChvNetConfig, true),
        PCI_COMMON(ChvNetConfig, pci, NULL),
};

static const ChvOption rng[] = {
        { .key = "src",
          .type = CHV_OPT_PATH,
          .fallback = "/dev/urandom",
          LENGTH_PATH,
          .doc = "where random bytes come from",
          .resolver = CHV_OPT_BY_BROKER,
          .offset = offsetof(ChvRngConfig, src) },
        PCI_COMMON(ChvRngConfig, pci, "__rng"),
};

/* Both paths live in one field; which of them it is, the mode tells. */
#define CONSOLE_MODE(automatic, modes)                                                             \
        { .key = "mode",                                                                           \
          .type = CHV_OPT_CONSOLE_MODE,                                                            \
          .fallback = automatic,                                                                   \
          .choices = modes,                                                                        \
          .doc = "where its output goes and its input comes from",                                 \
          .offset = offsetof(ChvConsoleConfig, mode) },                                            \
        {                                                                                          \
                .key = "file", .type = CHV_OPT_CONSOLE_FILE, LENGTH_PATH,                          \
                .doc = "file that output is appended to", .resolver = CHV_OPT_BY_BROKER,           \
                .offset = offsetof(ChvConsoleConfig, path)                                         \
        }

#define CONSOLE_SOCKET                                                                             \
        {                                                                                          \
                .key = "socket", .type = CHV_OPT_CONSOLE_SOCKET, .min = 1, .max = 107,             \
                .doc = "UNIX socket to listen on", .resolver = CHV_OPT_BY_BROKER,                  \
                .offset = offsetof(ChvConsoleConfig, path)                                         \
        }

static const ChvOption serial[] = {
        CONSOLE_MODE("null", "off null pty tty file socket"),
        CONSOLE_SOCKET,
};

static const ChvOption console[] = {
        CONSOLE_MODE("null", "off null pty tty file socket"),
        CONSOLE_SOCKET,
        PCI_COMMON(ChvConsoleConfig, pci, "__console"),
};

static const ChvOption debug_console[] = {
        CONSOLE_MODE("off", "off null pty tty file"),
        { .key = "iobase",
          .type = CHV_OPT_HEX,
          .fallback = "0xe9",
          .doc = "I/O port of the debug console",
          .offset = offsetof(ChvConsoleConfig, iobase) },
};

#define SMBIOS(key_, alias_, field_, doc_)                                                         \
        {                                                                                          \
                .key = key_, .alias = alias_, .type = CHV_OPT_STRING, .min = 1, .max = 255,        \
                .doc = doc_, .offset = offsetof(ChvPlatformConfig, field_)                         \
        }

static const ChvOption platform[] = {
        { .key = "num_pci_segments",
          .type = CHV_OPT_U16,
          .fallback = "1",
          .min = 1,
          .max = 96,
          .doc = "PCI segments",
          .offset = offsetof(ChvPlatformConfig, num_pci_segments) },
        SMBIOS("system_serial_number", "serial_number", serial_number, "SMBIOS serial number"),
        SMBIOS("system_uuid", "uuid", uuid, "SMBIOS UUID, and the VM's; random when not given"),
        SMBIOS("system_manufacturer", NULL, manufacturer, "SMBIOS manufacturer"),
        SMBIOS("system_product_name", NULL, product_name, "SMBIOS product name"),
        SMBIOS("system_version", NULL, version, "SMBIOS version of the product"),
        SMBIOS("system_family", NULL, family, "SMBIOS family of the product"),
        SMBIOS("system_sku_number", NULL, sku_number, "SMBIOS stock-keeping number"),
        SMBIOS("chassis_asset_tag", NULL, chassis_asset_tag, "SMBIOS asset tag of the chassis"),
        { .key = "oem_strings",
          .type = CHV_OPT_STRV,
          .min = 1,
          .max = 255,
          .doc = "SMBIOS OEM strings",
          .offset = offsetof(ChvPlatformConfig, oem_strings) },
};

#define SECTION(options_, type_)                                                                   \
        .options = options_, .n_options = G_N_ELEMENTS(options_), .size = sizeof(type_)

static const ChvSection sections[] = {
        { .key = "cpus",
          .cli = "cpus",
          .doc = "virtual processors",
          SECTION(cpus, ChvCpusConfig),
          .later = "core_scheduling profile",
          .offset = offsetof(ChvConfig, cpus) },
        { .key = "memory",
          .cli = "memory",
          .doc = "memory of the guest",
          SECTION(memory, ChvMemoryConfig),
          .later = "hotplug_method hotplug_size hotplugged_size zones",
          .offset = offsetof(ChvConfig, memory) },
        { .key = "payload",
          .bare = true,
          .doc = "what to boot",
          SECTION(payload, ChvPayloadConfig),
          .later = "igvm host_data fw_cfg_config",
          .offset = offsetof(ChvConfig, payload) },
        { .key = "rate_limit_groups",
          .cli = "rate-limit-group",
          .list = true,
          .doc = "limits that several disks share",
          SECTION(rate_limit_groups, ChvRateLimitGroup),
          .offset = offsetof(ChvConfig, rate_limit_groups) },
        { .key = "disks",
          .cli = "disk",
          .list = true,
          .doc = "a virtio disk",
          SECTION(disks, ChvDiskConfig),
          .later = "iommu",
          .offset = offsetof(ChvConfig, disks) },
        { .key = "net",
          .cli = "net",
          .list = true,
          .doc = "a virtio network interface",
          SECTION(net, ChvNetConfig),
          .later = "iommu",
          .offset = offsetof(ChvConfig, net) },
        { .key = "rng",
          .cli = "rng",
          .doc = "source of the guest's random numbers",
          SECTION(rng, ChvRngConfig),
          .later = "iommu",
          .offset = offsetof(ChvConfig, rng) },
        { .key = "serial",
          .cli = "serial",
          .doc = "serial port (ttyS0)",
          SECTION(serial, ChvConsoleConfig),
          .later = "iommu",
          .offset = offsetof(ChvConfig, serial) },
        { .key = "console",
          .cli = "console",
          .doc = "virtio console (hvc0)",
          SECTION(console, ChvConsoleConfig),
          .later = "iommu",
          .offset = offsetof(ChvConfig, console) },
        { .key = "debug_console",
          .cli = "debug-console",
          .doc = "byte sink on an I/O port, for firmware and early boot",
          SECTION(debug_console, ChvConsoleConfig),
          .later = "iommu",
          .offset = offsetof(ChvConfig, debug_console) },
        { .key = "platform",
          .cli = "platform",
          .doc = "PCI segments and what the machine says it is",
          SECTION(platform, ChvPlatformConfig),
          .later = "iommu_segments iommu_address_width_bits iommu_address_width tdx sev_snp "
                   "iommufd "
                   "iommufd_fd vfio_p2p_dma",
          .offset = offsetof(ChvConfig, platform) },
};

const ChvSection *chv_schema(size_t *ret_n) {
        *ret_n = G_N_ELEMENTS(sections);
        return sections;
}

const ChvSection *chv_schema_section(const char *key_or_cli) {
        for (size_t i = 0; i < G_N_ELEMENTS(sections); i++)
                if (strcmp(sections[i].key, key_or_cli) == 0 ||
                    g_strcmp0(sections[i].cli, key_or_cli) == 0)
                        return &sections[i];
        return NULL;
}

const char *chv_schema_later(void) {
        return "rtc balloon fs generic_vhost_user pmem devices user_devices vdpa "
               "vsock tpm pvpanic "
               "watchdog iommu numa pci_segments landlock_enable landlock_rules gdb ivshmem "
               "pvmemcontrol";
}

const char *chv_option_placeholder(const ChvOption *option) {
        static const char *const names[] = {
                [CHV_OPT_BOOL] = "on|off",
                [CHV_OPT_U8] = "number",
                [CHV_OPT_U16] = "number",
                [CHV_OPT_S16] = "number",
                [CHV_OPT_U32] = "number",
                [CHV_OPT_U64] = "number",
                [CHV_OPT_SIZE] = "size",
                [CHV_OPT_STRING] = "text",
                [CHV_OPT_PATH] = "path",
                [CHV_OPT_STRV] = "[text,…]",
                [CHV_OPT_MAC] = "aa:bb:cc:dd:ee:ff",
                [CHV_OPT_HEX] = "0xhex",
                [CHV_OPT_CONSOLE_MODE] = "mode",
                [CHV_OPT_CONSOLE_FILE] = "path",
                [CHV_OPT_CONSOLE_SOCKET] = "path",
                [CHV_OPT_TOPOLOGY] = "threads:cores:dies:packages",
                [CHV_OPT_FEATURES] = "[feature,…]",
                [CHV_OPT_CPU_AFFINITY] = "[vcpu@[cpu,…],…]",
                [CHV_OPT_QUEUE_AFFINITY] = "[queue@[cpu,…],…]",
        };
        G_STATIC_ASSERT(G_N_ELEMENTS(names) == CHV_OPT_TYPE_MAX);

        if (option->choices && !strchr(option->choices, ' '))
                return option->choices;
        return names[option->type];
}

void chv_option_range(const ChvOption *option, uint64_t *ret_min, uint64_t *ret_max) {
        *ret_min = option->min;
        *ret_max = option->max;
        if (option->min != 0 || option->max != 0)
                return;
        switch (option->type) {
        case CHV_OPT_U8:
                *ret_max = UINT8_MAX;
                break;
        case CHV_OPT_U16:
        case CHV_OPT_HEX:
                *ret_max = UINT16_MAX;
                break;
        case CHV_OPT_S16:
                *ret_max = INT16_MAX;
                break;
        case CHV_OPT_U32:
                *ret_max = UINT32_MAX;
                break;
        case CHV_OPT_STRING:
        case CHV_OPT_PATH:
        case CHV_OPT_STRV:
        case CHV_OPT_CONSOLE_FILE:
        case CHV_OPT_CONSOLE_SOCKET:
                *ret_min = 1;
                *ret_max = 4095;
                break;
        default:
                *ret_max = UINT64_MAX;
                break;
        }
}
