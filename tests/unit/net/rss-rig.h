/* SPDX-FileCopyrightText: The chvd developers */
/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "net-rig.h"

/* Of a network device with rss: the driver's tables, frames, and which queue each belongs to. */

#define PAIRS 3u
#define CONTROL (2 * PAIRS)
#define RSS_FEATURES (BIT(CTRL_VQ) | BIT(MQ) | BIT(RSS))
#define LONG_HEADER (NET_HEADER_LEN + sizeof(struct vnet_header_hash))
#define LEN 600u /* of a frame, without a header */
#define BUFFER_LEN 2048u

/* What the driver has said last. */
extern struct vnet_rss rrig_table;

/* A running device with so many pairs. */
void rrig_start(struct net_rig *n, unsigned n_pairs, bool event_idx, uint64_t features);

/* UDP over IPv4 in a frame of LEN bytes, behind a header as the port has it. */
void rrig_make_frame(uint8_t *frame);

/* The data of a command with a random table and key, for PAIRS pairs / which is given, and rrig_table is then, too. */
GByteArray *rrig_command(uint32_t types, uint16_t n, uint16_t unclassified, uint16_t pairs);
void rrig_configure(struct net_rig *n, uint32_t types, uint16_t entries, uint16_t unclassified);

/* Receive buffer i of a pair, of 64; the first ones go to the driver's queue. */
uint64_t rrig_buffer(unsigned pair, unsigned i);
void rrig_add_buffers(struct net_rig *n, unsigned pair, unsigned count);

/* What is reported of a frame, and where it belongs. */
enum vnet_hash_report rrig_expected(const uint8_t *frame, uint32_t *ret_hash);
unsigned rrig_queue_of(const uint8_t *frame);

/* What came is the frame, behind a header of that length. */
void rrig_check(const uint8_t *got, uint32_t len, unsigned header, const uint8_t *frame);

/* So many frames, each to where it belongs, from any of the port's descriptors; buffers are there. */
void rrig_steer(struct net_rig *n, unsigned header, unsigned frames);
