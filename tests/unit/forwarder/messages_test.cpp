// The messages of IPVS' netlink family: built as the kernel's header has them, and read back (L4-1, L4-3 to L4-5,
// HA-8).
#include "forwarder/ipvs/messages.hpp"

#include <gtest/gtest.h>
#include <linux/genetlink.h>
#include <linux/ip_vs.h>

#include <cstring>

#include "tests/unit/forwarder/specs.hpp"

namespace lbcluster::forward::ipvs {
namespace {

using namespace forward::test;

const Envelope envelope{0x1b, 7, true};

nlmsghdr* header(Bytes& bytes) { return reinterpret_cast<nlmsghdr*>(bytes.data()); }
genlmsghdr* command(Bytes& bytes) { return reinterpret_cast<genlmsghdr*>(bytes.data() + NLMSG_HDRLEN); }

Bytes built(const Step& step) {
    Bytes bytes;
    append_step(bytes, envelope, step);
    return bytes;
}

std::string hex(const Bytes& bytes) {
    std::string out;
    for (const char c : bytes) {
        const char* digits = "0123456789abcdef";
        const auto byte = static_cast<unsigned char>(c);
        out += digits[byte >> 4U];
        out += digits[byte & 0xfU];
    }
    return out;
}

TEST(Messages, AServiceIsReadAsItWasBuilt) {
    for (const char* text : {"tcp 10.0.0.1 80", "udp fd00::1 53", "mark4 1275068417", "mark6 7"}) {
        Step step;
        step.service = *ServiceKey::parse(text);
        step.settings = {"wrr", flag_persistent | flag_one_packet, 600, step.service.v6 ? 64U : 24U};
        Bytes bytes = built(step);
        EXPECT_EQ(header(bytes)->nlmsg_len, bytes.size());
        EXPECT_EQ(header(bytes)->nlmsg_type, 0x1b);
        EXPECT_EQ(header(bytes)->nlmsg_seq, 7U);
        EXPECT_EQ(header(bytes)->nlmsg_flags, NLM_F_REQUEST | NLM_F_ACK);
        EXPECT_EQ(command(bytes)->cmd, IPVS_CMD_NEW_SERVICE);
        const auto entry = parse_service(header(bytes));
        ASSERT_TRUE(entry) << text;
        EXPECT_EQ(entry->key, step.service);
        EXPECT_EQ(entry->settings, step.settings) << text;
    }
}

TEST(Messages, ADestinationIsReadAsItWasBuilt) {
    for (const char* address : {"10.0.0.1", "fd00::1"}) {
        for (const Forward forward : {Forward::masquerade, Forward::tunnel, Forward::direct}) {
            Step step;
            step.kind = Step::Kind::set_destination;
            step.service = *ServiceKey::parse("tcp 10.0.0.9 80");
            step.destination = {{ip(address), 8080}, forward, 50, 20, 10};
            Bytes bytes = built(step);
            EXPECT_EQ(command(bytes)->cmd, IPVS_CMD_SET_DEST);
            const auto entry = parse_destination(header(bytes));
            ASSERT_TRUE(entry);
            EXPECT_EQ(entry->destination, step.destination);
            EXPECT_TRUE(parse_service(header(bytes)));  // and whose it is
        }
    }
}

TEST(Messages, EachKindOfStepHasItsCommand) {
    using Kind = Step::Kind;
    const std::vector<std::pair<Kind, int>> commands{
        {Kind::add_service, IPVS_CMD_NEW_SERVICE},     {Kind::set_service, IPVS_CMD_SET_SERVICE},
        {Kind::add_destination, IPVS_CMD_NEW_DEST},    {Kind::set_destination, IPVS_CMD_SET_DEST},
        {Kind::delete_destination, IPVS_CMD_DEL_DEST}, {Kind::delete_service, IPVS_CMD_DEL_SERVICE}};
    for (const auto& [kind, number] : commands) {
        Step step;
        step.kind = kind;
        step.service = *ServiceKey::parse("tcp 10.0.0.9 80");
        Bytes bytes = built(step);
        EXPECT_EQ(command(bytes)->cmd, number);
    }
}

// The bytes themselves, once: little-endian as on the machines that Debian's amd64 and arm64 run on.
TEST(Messages, BytesAsTheKernelWantsThem) {
    Step step;
    step.kind = Step::Kind::delete_destination;
    step.service = *ServiceKey::parse("tcp 10.0.0.9 80");
    step.destination.key = {ip("10.0.0.1"), 8080};
    EXPECT_EQ(hex(built(step)),
              "6c000000"  // length
              "1b000500"  // family, request and acknowledge
              "0700000000000000"
              "07010000"                                  // IPVS_CMD_DEL_DEST, version 1
              "30000180"                                  // IPVS_CMD_ATTR_SERVICE, nested
              "0600010002000000"                          // address family: AF_INET
              "0600020006000000"                          // protocol: TCP
              "140003000a000009000000000000000000000000"  // address
              "0600040000500000"                          // port 80 in network order
              "28000280"                                  // IPVS_CMD_ATTR_DEST
              "06000b0002000000"                          // address family
              "140001000a000001000000000000000000000000"  // address
              "060002001f900000");                        // port 8080
}

TEST(Messages, SyncDaemonsAndTimeouts) {
    Bytes bytes;
    append_daemon(bytes, envelope, {SyncRole::master, "eth1", 42}, true);
    EXPECT_EQ(command(bytes)->cmd, IPVS_CMD_NEW_DAEMON);
    EXPECT_EQ(parse_daemon(header(bytes)), (Sync{SyncRole::master, "eth1", 42}));
    bytes.clear();
    append_daemon(bytes, envelope, {SyncRole::backup, "eth1", 42}, false);
    EXPECT_EQ(command(bytes)->cmd, IPVS_CMD_DEL_DAEMON);
    EXPECT_EQ(parse_daemon(header(bytes))->role, SyncRole::backup);
    bytes.clear();
    append_set_timeouts(bytes, envelope, {1800s, 60s, 30s});
    EXPECT_EQ(parse_timeouts(header(bytes)), (Timeouts{1800s, 60s, 30s}));
    bytes.clear();
    append_set_timeouts(bytes, envelope, {0s, 0s, 30s});  // the others are left as they are
    EXPECT_FALSE(parse_timeouts(header(bytes)));
}

TEST(Messages, DumpsAsk) {
    Bytes bytes;
    append_dump_services(bytes, {0x1b, 1, false});
    EXPECT_EQ(header(bytes)->nlmsg_flags, NLM_F_REQUEST | NLM_F_DUMP);
    bytes.clear();
    append_dump_destinations(bytes, {0x1b, 1, false}, *ServiceKey::parse("mark4 7"));
    EXPECT_EQ(command(bytes)->cmd, IPVS_CMD_GET_DEST);
    EXPECT_EQ(parse_service(header(bytes))->key.mark, 7U);
}

TEST(Messages, WhatIsCutOffIsNone) {
    Step step;
    step.kind = Step::Kind::set_destination;
    step.service = *ServiceKey::parse("tcp 10.0.0.9 80");
    step.settings.scheduler = "wlc";
    step.destination = {{ip("10.0.0.1"), 8080}, Forward::direct, 50, 20, 10};
    const Bytes whole = built(step);
    for (std::size_t length = NLMSG_HDRLEN; length < whole.size(); ++length) {
        Bytes part(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(length));
        const auto claimed = static_cast<std::uint32_t>(length);
        std::memcpy(part.data(), &claimed, sizeof(claimed));
        (void)parse_service(header(part));
        (void)parse_destination(header(part));
        (void)parse_daemon(header(part));
        (void)parse_timeouts(header(part));
        (void)parse_version(header(part));
    }
    Bytes empty(NLMSG_HDRLEN + GENL_HDRLEN);
    header(empty)->nlmsg_len = static_cast<std::uint32_t>(empty.size());
    EXPECT_FALSE(parse_service(header(empty)));
    EXPECT_FALSE(parse_destination(header(empty)));
    EXPECT_FALSE(parse_version(header(empty)));
}

}  // namespace
}  // namespace lbcluster::forward::ipvs
