/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Proves that every codec refuses what is wrong or hostile with InvalidConfig, a message that names the option as its
 * author wrote it, and in time and memory bounded by the input: unknown and doubled keys, wrong types, broken quoting,
 * nesting, endless ranges, oversized lists.
 */

#include <string.h>

#include "dbus/config.h"
#include "dbus/error.h"

static void refuse_option(const char *section, const char *value, const char *message) {
        g_autoptr(ChvConfig) config = chv_config_new();
        g_autoptr(GError) error = NULL;

        if (chv_config_add_option(config, section, value, &error))
                g_error("--%s %s was taken", section, value);
        g_assert_error(error, CHV_ERROR, CHV_ERROR_INVALID_CONFIG);
        g_assert_cmpstr(error->message, ==, message);
        g_assert_false(chv_config_add_option(config, section, value, NULL));
        g_assert_cmpuint(config->n_disks, ==, 0);
        g_assert_cmpuint(config->n_net, ==, 0);
}

static void test_options(void) {
        static const char *const cases[][3] = {
                { "cpu", "boot=1", "unknown section 'cpu'" },
                { "payload", "x", "unknown section 'payload'" },
                { "", "x", "unknown section ''" },
                { "cpus", "2", "--cpus '2' is not key=value" },
                { "cpus", "boot", "--cpus 'boot' needs a value" },
                { "cpus", "boot=", "--cpus boot: '' is not a whole number" },
                { "cpus", "boot=1,", "--cpus '' is not key=value" },
                { "cpus", "=1", "--cpus unknown option ''" },
                { "cpus", "boot=1,boot=2", "--cpus 'boot' is given twice" },
                { "cpus", "bot=1", "--cpus unknown option 'bot'" },
                { "cpus", "boot_vcpus=1", "--cpus unknown option 'boot_vcpus'" },
                { "cpus", "core_scheduling=off", "--cpus 'core_scheduling' is not supported yet" },
                { "cpus", "boot=0", "--cpus boot: 0 is out of range (1 to 8192)" },
                { "cpus", "boot=-1", "--cpus boot: '-1' is not a whole number" },
                { "cpus", "boot=+1", "--cpus boot: '+1' is not a whole number" },
                { "cpus", "boot= 1", "--cpus boot: ' 1' is not a whole number" },
                { "cpus", "boot=0x1", "--cpus boot: '0x1' is not a whole number" },
                { "cpus", "boot=18446744073709551617",
                  "--cpus boot: 18446744073709551615 is out of range (1 to 8192)" },
                { "cpus", "nested=1", "--cpus nested: '1' is not on or off" },
                { "cpus", "nested=", "--cpus nested: '' is not on or off" },
                { "cpus", "topology=1:2:3",
                  "--cpus topology: '1:2:3' is not threads:cores:dies:packages" },
                { "cpus", "topology=1:2:3:4:5",
                  "--cpus topology: '1:2:3:4:5' is not threads:cores:dies:packages" },
                { "cpus", "topology=0:1:1:1",
                  "--cpus topology: threads_per_core: 0 is out of range (1 to 8192)" },
                { "cpus", "features=[amx,sse9]", "--cpus features: 'sse9' is not one of: amx" },
                { "cpus", "affinity=0", "--cpus affinity: '0' is not number@[host CPUs]" },
                { "cpus", "affinity=[0@[1]", "--cpus brackets don't match" },
                { "cpus", "affinity=]0@1[", "--cpus brackets don't match" },
                { "cpus", "affinity=[0@[]]", "--cpus affinity: element 0: host_cpus: is empty" },
                { "cpus", "affinity=[0@[3-1]]",
                  "--cpus affinity: '3-1' is not a number or a range a-b" },
                { "cpus", "affinity=[0@[0-18446744073709551615]]",
                  "--cpus affinity: names more than 1024 CPUs" },
                { "cpus", "affinity=[0@[0-1023,0]]", "--cpus affinity: names more than 1024 CPUs" },
                { "cpus", "affinity=[0@[65536]]",
                  "--cpus affinity: element 0: host_cpus: 65536 is out of range (0 to 65535)" },
                { "memory",
                  "size=", "--memory size: '' is not a size: digits, then K, M, G, T or nothing" },
                { "memory", "size=G",
                  "--memory size: 'G' is not a size: digits, then K, M, G, T or nothing" },
                { "memory", "size=1g",
                  "--memory size: '1g' is not a size: digits, then K, M, G, T or nothing" },
                { "memory", "size=1.5G",
                  "--memory size: '1.5G' is not a size: digits, then K, M, G, T or nothing" },
                { "memory", "size=18014398509481984K",
                  "--memory size: 18446744073709551615 is out of range (1048576 to "
                  "4503599627370496)" },
                { "memory", "hotplug_size=1G", "--memory 'hotplug_size' is not supported yet" },
                { "memory", "hotplug_method=acpi",
                  "--memory 'hotplug_method' is not supported yet" },
                { "memory", "hugepage_size=3M",
                  "--memory hugepage_size: 3145728 is not a power of 2" },
                { "disk", "/d.img", "--disk '/d.img' is not key=value" },
                { "disk", "path=\"/d.img", "--disk a quote is not closed" },
                { "disk", "path=", "--disk path: must not be empty" },
                { "disk", "path=a\nb", "--disk path: holds a control character" },
                { "disk", "path=\xff\xfe", "--disk path: is not valid UTF-8" },
                { "disk", "path=/d,queue_size=100", "--disk queue_size: 100 is not a power of 2" },
                { "disk", "path=/d,queue_size=2",
                  "--disk queue_size: 2 is out of range (4 to 32768)" },
                { "disk", "path=/d,serial=123456789012345678901",
                  "--disk serial: is 21 bytes long; at most 20 are allowed" },
                { "disk", "path=/d,image_type=iso",
                  "--disk image_type: 'iso' is not one of: auto raw qcow2 vhd vhdx vmdk" },
                { "disk", "path=/d,lock_granularity=whole",
                  "--disk lock_granularity: 'whole' is not one of: byte-range full" },
                { "disk", "path=/d,iommu=on", "--disk 'iommu' is not supported yet" },
                { "disk", "path=/d,ops_size=x", "--disk ops_size: 'x' is not a whole number" },
                { "net", "bw_size=2Q",
                  "--net bw_size: '2Q' is not a size: digits, then K, M, G, T or nothing" },
                { "disk", "rate_limiter_config=1", "--disk unknown option 'rate_limiter_config'" },
                { "disk", "path=/d,disable_io_uring=on",
                  "--disk unknown option 'disable_io_uring'" },
                { "disk", "path=/d,pci_device_id=32",
                  "--disk pci_device_id: 32 is out of range (0 to 31)" },
                { "disk", "path=/d,pci_device_id=-1",
                  "--disk pci_device_id: -1 is out of range (0 to 31)" },
                { "net", "mac=00:11:22:33:44", "--net mac: '00:11:22:33:44' is not a MAC address" },
                { "net", "mac=00:11:22:33:44:5g",
                  "--net mac: '00:11:22:33:44:5g' is not a MAC address" },
                { "net", "mac=00:11:22:33:44:55:66",
                  "--net mac: '00:11:22:33:44:55:66' is not a MAC address" },
                { "net", "mtu=1279", "--net mtu: 1279 is out of range (1280 to 65535)" },
                { "net", "tap=0123456789abcdef",
                  "--net tap: is 16 bytes long; at most 15 are allowed" },
                { "serial", "loud",
                  "--serial mode: 'loud' is not one of: off null pty tty file socket" },
                { "serial", "file", "--serial 'file' needs a path: file=PATH" },
                { "serial", "file=", "--serial file: must not be empty" },
                { "serial", "off,file=/x", "--serial 'file' and another mode are both given" },
                { "serial", "file=/x,socket=/y",
                  "--serial 'socket' and another mode are both given" },
                { "debug-console", "socket=/x", "--debug-console unknown option 'socket'" },
                { "debug-console", "iobase=xyz",
                  "--debug-console iobase: 'xyz' is not a hexadecimal number" },
                { "debug-console", "iobase=0x10000",
                  "--debug-console iobase: 65536 is out of range (0 to 65535)" },
                { "platform", "oem_strings=[a,\"\"]",
                  "--platform oem_strings: element 1: must not be empty" },
                { "kernel", "", "--kernel: must not be empty" },
                { "kernel", "\xff", "--kernel: is not valid UTF-8" },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++)
                refuse_option(cases[i][0], cases[i][1], cases[i][2]);
}

static void refuse_json(const char *json, const char *message) {
        g_autoptr(GError) error = NULL;
        g_autoptr(ChvConfig) config = chv_config_from_json(json, -1, &error);

        if (config)
                g_error("%s was taken", json);
        g_assert_error(error, CHV_ERROR, CHV_ERROR_INVALID_CONFIG);
        if (!g_str_has_prefix(error->message, message))
                g_error("%s: said '%s'", json, error->message);
}

static void test_json(void) {
        static const char *const cases[][2] = {
                { "", "the configuration must be a JSON object" },
                { "[]", "the configuration must be a JSON object" },
                { "{", "not JSON: " },
                { "{'cpus':{}}", "not JSON: unexpected character at byte 1" },
                { "{} // x", "not JSON: unexpected character at byte 3" },
                { "{\"x\":1}", "unknown option 'x'" },
                { "{\"x\":null}", "unknown option 'x'" },
                { "{\"cpus\":1}", "cpus: must be an object" },
                { "{\"cpus\":[]}", "cpus: must be an object" },
                { "{\"disks\":{}}", "disks: must be a list" },
                { "{\"disks\":[1]}", "disks[0]: must be an object" },
                { "{\"disks\":[{\"path\":\"/a\"},{\"queue_size\":100}]}",
                  "disks[1].queue_size: 100 is not a power of 2" },
                { "{\"cpus\":{\"boot_vcpus\":1.5}}", "cpus.boot_vcpus: must be a whole number" },
                { "{\"cpus\":{\"boot_vcpus\":\"1\"}}", "cpus.boot_vcpus: must be a whole number" },
                { "{\"cpus\":{\"boot_vcpus\":-1}}",
                  "cpus.boot_vcpus: -1 is out of range (1 to 8192)" },
                { "{\"cpus\":{\"boot\":1}}", "cpus: unknown option 'boot'" },
                { "{\"cpus\":{\"nested\":\"on\"}}", "cpus.nested: must be true or false" },
                { "{\"cpus\":{\"nested\":0}}", "cpus.nested: must be true or false" },
                { "{\"cpus\":{\"topology\":{\"packages\":1}}}",
                  "cpus.topology: threads_per_core: is missing" },
                { "{\"cpus\":{\"topology\":{\"cores\":1}}}", "cpus.topology: unknown key 'cores'" },
                { "{\"cpus\":{\"affinity\":[{\"vcpu\":0}]}}",
                  "cpus.affinity: element 0: host_cpus: is missing" },
                { "{\"cpus\":{\"affinity\":[{\"vcpu\":0,\"host_cpus\":[0,70000]}]}}",
                  "cpus.affinity: element 0: host_cpus: 70000 is out of range" },
                { "{\"payload\":{\"kernel\":7}}", "payload.kernel: must be text" },
                { "{\"payload\":{\"kernel\":\"a\\u0001\"}}",
                  "payload.kernel: holds a control character" },
                { "{\"serial\":{\"mode\":\"Pty\",\"file\":\"/x\"}}",
                  "serial.file: is given but mode is pty" },
                { "{\"serial\":{\"file\":\"/x\"}}", "serial.file: is given but mode is null" },
                { "{\"memory\":{\"hotplug_size\":1073741824}}",
                  "memory: 'hotplug_size' is not supported yet" },
                { "{\"balloon\":{\"size\":1}}", "'balloon' is not supported yet" },
                { "{\"platform\":{\"uuid\":\"a\",\"system_uuid\":\"b\"}}",
                  "platform: 'system_uuid' is given twice" },
                { "{\"rng\":{\"rate_limiter_config\":{}}}",
                  "rng: unknown option 'rate_limiter_config'" },
                { "{\"net\":[{\"rate_limiter_config\":1}]}",
                  "net[0]: rate_limiter_config: must be an object" },
                { "{\"net\":[{\"rate_limiter_config\":{\"bw\":{}}}]}",
                  "net[0]: rate_limiter_config: unknown key 'bw'" },
                { "{\"net\":[{\"rate_limiter_config\":{\"ops\":[]}}]}",
                  "net[0]: rate_limiter_config: ops: must be an object" },
                { "{\"net\":[{\"rate_limiter_config\":{\"ops\":{\"burst\":1}}}]}",
                  "net[0]: rate_limiter_config: ops: unknown key 'burst'" },
                { "{\"net\":[{\"ops_size\":1,\"rate_limiter_config\":{\"ops\":{\"size\":1}}}]}",
                  "net[0]: rate_limiter_config: ops: 'ops_size' is given twice" },
                { "{\"net\":[{\"rate_limiter_config\":{\"ops\":{\"size\":1}},\"ops_size\":1}]}",
                  "net[0]: 'ops_size' is given twice" },
                { "{\"disks\":[{\"rate_limiter_config\":{\"bandwidth\":{\"size\":-1}}}]}",
                  "disks[0].bw_size: -1 is out of range (0 to 1125899906842624)" },
                { "{\"platform\":{\"oem_strings\":[1]}}",
                  "platform.oem_strings: element 0: must be text" },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++)
                refuse_json(cases[i][0], cases[i][1]);
}

/* The reference writes out what it does not use: that must not be in the way. */
static void test_reference_json_at_rest(void) {
        g_autoptr(GError) error = NULL;
        g_autoptr(ChvConfig) config = chv_config_from_json(
                        "{\"cpus\":{\"boot_vcpus\":1,\"max_vcpus\":1,\"topology\":null,"
                        "\"features\":{\"amx\":false},\"affinity\":null},"
                        "\"disks\":[{\"path\":\"/d\",\"iommu\":false,\"vhost_user\":false,"
                        "\"vhost_socket\":null,\"rate_limiter_config\":null,\"image_type\":\"Raw\","
                        "\"lock_granularity\":\"ByteRange\"}],"
                        "\"net\":null,\"fs\":null,\"balloon\":null,\"pvpanic\":false,\"watchdog\":"
                        "false,"
                        "\"serial\":{\"file\":null,\"mode\":\"Tty\",\"iommu\":false,\"socket\":"
                        "null},"
                        "\"debug_console\":{\"file\":null,\"mode\":\"Off\",\"iobase\":233}}",
                        -1, &error);

        g_assert_no_error(error);
        g_assert_cmpuint(config->n_disks, ==, 1);
        g_assert_cmpstr(config->disks[0].image_type, ==, "raw");
        g_assert_cmpstr(config->disks[0].lock_granularity, ==, "byte-range");
        g_assert_cmpint(config->serial.mode, ==, CHV_CONSOLE_TTY);
        g_assert_cmpuint(config->debug_console.iobase, ==, 0xe9);
}

static char *repeat(const char *start, const char *unit, size_t n, const char *end) {
        GString *s = g_string_new(start);

        while (n--)
                g_string_append(s, unit);
        g_string_append(s, end);
        return g_string_free(s, FALSE);
}

static void test_bounds(void) {
        g_autofree char *deep = repeat("{\"cpus\":", "[", 1 << 20, "");
        g_autofree char *hidden = repeat("{\"\\\"\":", "[", 1 << 20, "");
        g_autofree char *large = repeat("{", " ", 5 << 20, "}");
        g_autofree char *disks = repeat("{\"disks\":[{}", ",{}", 5000, "]}");
        g_autofree char *oem = repeat("{\"platform\":{\"oem_strings\":[\"a\"", ",\"a\"", 64, "]}}");
        g_autofree char *pins = repeat("[0@0", ",0@0", 9000, "]");
        g_autofree char *option = g_strconcat("affinity=", pins, NULL);
        g_autofree char *brackets = repeat("affinity=", "[", 1 << 20, "");
        g_autofree char *cmdline = g_strnfill(65536, 'a');

        refuse_json(deep, "JSON is nested too deeply");
        refuse_json(hidden, "JSON is nested too deeply");
        refuse_json(large, "JSON is larger than 4 MiB");
        refuse_json(disks, "disks: more than 1024 are not allowed");
        refuse_json(oem, "platform.oem_strings: has 65 elements; at most 64 are allowed");
        refuse_option("cpus", option,
                      "--cpus affinity: has 9001 elements; at most 8192 are allowed");
        refuse_option("cpus", brackets, "--cpus too many brackets");
        refuse_option("cmdline", cmdline,
                      "--cmdline: is 65536 bytes long; at most 65535 are allowed");
}

/* The reference's nested objects are our flat keys. */
static void test_nested_limits(void) {
        g_autoptr(GError) error = NULL;
        g_autofree char *json = NULL;
        g_autoptr(ChvConfig) config = chv_config_from_json(
                        "{\"rate_limit_groups\":[{\"id\":\"g\",\"rate_limiter_config\":"
                        "{\"bandwidth\":{\"size\":1000,\"one_time_burst\":null,\"refill_time\":100}"
                        ","
                        "\"ops\":null}}],"
                        "\"net\":[{\"rate_limiter_config\":{\"ops\":"
                        "{\"size\":7,\"one_time_burst\":8,\"refill_time\":9}}}]}",
                        -1, &error);

        g_assert_no_error(error);
        g_assert_cmpuint(config->rate_limit_groups[0].limiter.bw.size, ==, 1000);
        g_assert_cmpuint(config->rate_limit_groups[0].limiter.bw.one_time_burst, ==, 0);
        g_assert_cmpuint(config->rate_limit_groups[0].limiter.bw.refill_time, ==, 100);
        g_assert_cmpuint(config->rate_limit_groups[0].limiter.ops.size, ==, 0);
        g_assert_cmpuint(config->net[0].limiter.bw.size, ==, 0);
        g_assert_cmpuint(config->net[0].limiter.ops.size, ==, 7);
        g_assert_cmpuint(config->net[0].limiter.ops.one_time_burst, ==, 8);
        g_assert_cmpuint(config->net[0].limiter.ops.refill_time, ==, 9);
        json = chv_config_to_json(config);
        g_assert_nonnull(strstr(json, "\"ops_refill_time\" : 9"));
}

static void refuse_variant(const char *text, const char *message) {
        g_autoptr(GError) error = NULL;
        g_autoptr(GVariant) dict = g_variant_ref_sink(g_variant_new_parsed(text));
        g_autoptr(ChvConfig) config = chv_config_from_variant(dict, &error);

        g_assert_null(config);
        g_assert_error(error, CHV_ERROR, CHV_ERROR_INVALID_CONFIG);
        g_assert_cmpstr(error->message, ==, message);
}

static void test_variant(void) {
        refuse_variant("[1,2]", "the configuration must be an object");
        refuse_variant("{'name': <'x'>}", "unknown option 'name'");
        refuse_variant("{'cpus': <1>}", "cpus: must be an object");
        refuse_variant("{'cpus': <@a{sv} {}>, 'cpus': <@a{sv} {}>}", "cpus: is given twice");
        refuse_variant("{'cpus': <{'boot_vcpus': <1>, 'boot_vcpus': <2>}>}",
                       "cpus: 'boot_vcpus' is given twice");
        refuse_variant("{'cpus': <{'boot_vcpus': <uint64 18446744073709551615>}>}",
                       "cpus.boot_vcpus: 18446744073709551615 is out of range (1 to 8192)");
        refuse_variant("{'cpus': <{'boot_vcpus': <int64 -9223372036854775808>}>}",
                       "cpus.boot_vcpus: -9223372036854775808 is out of range (1 to 8192)");
        refuse_variant("{'cpus': <{'topology': <{'packages': <1>, 'packages': <1>}>}>}",
                       "cpus.topology: key 'packages' is given twice");
        refuse_variant("{'disks': <{'path': '/d'}>}", "disks: must be a list");
        refuse_variant("{'disks': <[<'/d'>]>}", "disks[0]: must be an object");
        refuse_variant("{'payload': <{'kernel': <b'/boot/vmlinuz'>}>}",
                       "payload.kernel: must be text");
}

/* Any integer type, variants inside variants, typed dictionaries: all that busctl and bindings produce. */
static void test_variant_leniency(void) {
        g_autoptr(GError) error = NULL;
        g_autoptr(GVariant) dict = g_variant_ref_sink(
                        g_variant_new_parsed("{'cpus': <{'boot_vcpus': byte 2}>, 'memory': "
                                             "<<{'size': <<int64 1073741824>>}>>,"
                                             " 'disks': <[{'path': '/d'}]>,"
                                             " 'platform': <{'oem_strings': <[<'a'>, <'b'>]>}>}"));
        g_autoptr(ChvConfig) config = chv_config_from_variant(dict, &error);

        g_assert_no_error(error);
        g_assert_cmpuint(config->cpus.boot_vcpus, ==, 2);
        g_assert_cmpuint(config->memory.size, ==, 1 << 30);
        g_assert_cmpstr(config->disks[0].path, ==, "/d");
        g_assert_cmpstr(config->platform.oem_strings[1], ==, "b");
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/dbus/bad/options", test_options);
        g_test_add_func("/dbus/bad/json", test_json);
        g_test_add_func("/dbus/bad/variant", test_variant);
        g_test_add_func("/dbus/bad/bounds", test_bounds);
        g_test_add_func("/dbus/good/reference-json", test_reference_json_at_rest);
        g_test_add_func("/dbus/good/nested-limits", test_nested_limits);
        g_test_add_func("/dbus/good/lenient-types", test_variant_leniency);
        return g_test_run();
}
