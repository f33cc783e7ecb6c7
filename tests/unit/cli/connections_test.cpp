// L4-10: the kernel's connection table, line by line, and what it counts as.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/core/connections.hpp"
#include "tests/unit/cli/addresses.hpp"

namespace lbcluster::cli {
namespace {

using ::testing::ElementsAre;

constexpr const char* header = "Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Origin Expires\n";

std::string line(const std::string& state, const std::string& client, const std::string& server, unsigned expires = 60,
                 const std::string& origin = "LOCAL ", const std::string& vip = "0A4D00C8 0050",
                 const std::string& protocol = "TCP") {
    std::string padded = state;
    padded.resize(11, ' ');
    std::string time = std::to_string(expires);
    time.insert(0, 7 - time.size(), ' ');
    return protocol + " " + client + " " + vip + " " + server + " " + padded + " " + origin + " " + time + "\n";
}

std::vector<KnownService> services() {
    KnownService web{"web", ip("10.77.0.200"), true, false, {{80, 80}, {8000, 8010}}, 0, {}};
    web.servers = {{"rs1", ip("10.77.0.21"), 0}, {"rs2", ip("10.77.0.22"), 0}};
    KnownService nat{"nat", ip("10.77.0.201"), true, true, {{1, 65535}}, 0x4c123456, {}};
    nat.servers = {{"a", ip("10.80.0.21"), 8080}, {"b", ip("10.80.0.21"), 8081}};
    KnownService six{"six", ip("fd77::200"), true, false, {{80, 80}}, 0, {{"rs1", ip("fd77::21"), 0}}};
    return {web, nat, six};
}

TEST(Connections, ReadsALine) {
    const auto v4 = parse_connection("TCP 0A4D0064 C350 0A4D00C8 0050 0A4D0015 1F90 ESTABLISHED LOCAL      899");
    ASSERT_TRUE(v4.has_value());
    EXPECT_EQ(v4->protocol, protocol_tcp);
    EXPECT_EQ(v4->state, ConnectionState::established);
    EXPECT_EQ(v4->client.to_string(), "10.77.0.100:50000");
    EXPECT_EQ(v4->virtual_end.to_string(), "10.77.0.200:80");
    EXPECT_EQ(v4->server.to_string(), "10.77.0.21:8080");
    EXPECT_EQ(v4->expires_s, 899U);
    EXPECT_FALSE(v4->from_peer);
    const auto v6 = parse_connection(
        "UDP fd77:0000:0000:0000:0000:0000:0000:0064 C350 fd77:0000:0000:0000:0000:0000:0000:0200 0035 "
        "fd77:0000:0000:0000:0000:0000:0000:0021 0035 UDP         SYNC       299");
    ASSERT_TRUE(v6.has_value());
    EXPECT_EQ(v6->protocol, protocol_udp);
    EXPECT_EQ(v6->state, ConnectionState::udp);
    EXPECT_EQ(v6->virtual_end.to_string(), "[fd77::200]:53");
    EXPECT_TRUE(v6->from_peer);
}

TEST(Connections, RefusesWhatIsNoLine) {
    for (const char* text :
         {"", " ", "TCP", "Pro FromIP   FPrt", "TCP 0A4D0064 C350 0A4D00C8 0050 0A4D0015 0050 ESTABLISHED",
          "TCP 0A4D006G C350 0A4D00C8 0050 0A4D0015 0050 ESTABLISHED LOCAL 899",
          "TCP 0A4D0064 C3500 0A4D00C8 0050 0A4D0015 0050 ESTABLISHED LOCAL 899",
          "TCP 0A4D0064 C350 0A4D00C8 0050 0A4D0015 0050 ESTABLISHED LOCAL 99999999999",
          "TCP 0A4D0064 C350 0A4D00C8 0050 0A4D0015 0050 ESTABLISHED HERE 899",
          "TCP 10.77.0.100 C350 0A4D00C8 0050 0A4D0015 0050 ESTABLISHED LOCAL 899", "\xff\xfe\x00 \x01"}) {
        EXPECT_FALSE(parse_connection(text).has_value()) << text;
    }
}

TEST(Connections, CountsByServiceServerAndState) {
    std::string text = header;
    text += line("ESTABLISHED", "0A4D0064 C350", "0A4D0015 0050");
    text += line("ESTABLISHED", "0A4D0064 C351", "0A4D0015 0050", 800, "SYNC  ");
    text += line("SYN_RECV", "0A4D0064 C352", "0A4D0016 0050");
    text += line("SYN_RECV", "0A4D0064 C353", "0A4D0016 0050");
    text += line("TIME_WAIT", "0A4D0064 C354", "0A4D0016 1F45", 100, "LOCAL ", "0A4D00C8 1F45");  // 8005
    text += line("ESTABLISHED", "0A4D0064 C355", "0A4D0063 0050");  // a server that is gone
    text += line("NONE", "0A4D0064 0000", "0A4D0015 0050", 250);    // persistence
    text += line("ESTABLISHED", "0A4D0064 C356", "0A4D0015 0051", 800, "LOCAL ", "0A4D00C8 0051");  // not its port
    text += line("UDP", "0A4D0064 C357", "0A4D0015 0050", 800, "LOCAL ", "0A4D00C8 0050", "UDP");   // not its protocol
    text += "what is this\n";
    Tally tally(services(), 100);
    tally.add(text);
    tally.finish();
    const ServiceCounts& web = tally.services()[0];
    EXPECT_EQ(web.servers[0].counts.of(ConnectionState::established), 2U);
    EXPECT_EQ(web.servers[0].counts.from_peer, 1U);
    EXPECT_EQ(web.servers[0].counts.of(ConnectionState::persistence), 1U);
    EXPECT_EQ(web.servers[0].counts.connections(), 2U);
    EXPECT_EQ(web.servers[1].counts.of(ConnectionState::syn_recv), 2U);
    EXPECT_EQ(web.servers[1].counts.got_through(), 1U);
    EXPECT_THAT(web.servers[1].waiting, ElementsAre(ip("10.77.0.100")));  // each client once
    EXPECT_EQ(web.others.connections(), 1U);
    EXPECT_EQ(web.all().connections(), 6U);
    EXPECT_EQ(tally.unmatched().connections(), 2U);
    EXPECT_EQ(tally.unreadable(), 1U);
}

TEST(Connections, FindsServersByPortAndPersistenceByMark) {
    std::string text;
    text += line("ESTABLISHED", "0A4D0064 C350", "0A500015 1F90", 60, "LOCAL ", "0A4D00C9 01BB");
    text += line("ESTABLISHED", "0A4D0064 C351", "0A500015 1F91", 60, "LOCAL ", "0A4D00C9 01BB");
    text += line("UDP", "0A4D0064 C352", "0A500015 1F91", 60, "LOCAL ", "0A4D00C9 01BB", "UDP");
    text += line("NONE", "0A4D0064 0000", "0A500015 0000", 60, "LOCAL ", "4C123456 0000", "IP ");
    text += line("ASSURED", "0A4D0064 0000", "0A500015 0000", 60, "LOCAL ", "4C999999 0000", "IP ");  // nobody's mark
    Tally tally(services(), 0);
    tally.add(text);
    tally.finish();
    const ServiceCounts& nat = tally.services()[1];
    EXPECT_EQ(nat.servers[0].counts.connections(), 1U);
    EXPECT_EQ(nat.servers[1].counts.connections(), 2U);
    EXPECT_EQ(nat.servers[0].counts.of(ConnectionState::persistence), 1U);
    EXPECT_EQ(tally.unmatched().of(ConnectionState::persistence), 1U);
    EXPECT_TRUE(tally.listed().empty());
}

TEST(Connections, LinesMayBeCutAnywhere) {
    std::string text = header;
    for (int i = 0; i < 50; ++i) text += line("ESTABLISHED", "0A4D0064 C350", "0A4D0015 0050");
    text.pop_back();  // the last line need not end
    for (const std::size_t size : {std::size_t{1}, std::size_t{7}, std::size_t{100}, text.size()}) {
        Tally tally(services(), 5);
        for (std::size_t at = 0; at < text.size(); at += size) tally.add(std::string_view(text).substr(at, size));
        tally.finish();
        EXPECT_EQ(tally.services()[0].servers[0].counts.connections(), 50U) << size;
        EXPECT_EQ(tally.unreadable(), 0U) << size;
    }
}

TEST(Connections, ALineWithoutEndIsNotKept) {
    Tally tally(services(), 5);
    const std::string piece(4096, 'A');
    for (int i = 0; i < 1000; ++i) tally.add(piece);
    tally.add("\n" + line("ESTABLISHED", "0A4D0064 C350", "0A4D0015 0050"));
    tally.finish();
    EXPECT_EQ(tally.unreadable(), 1U);
    EXPECT_EQ(tally.services()[0].servers[0].counts.connections(), 1U);
}

TEST(Connections, ListsTheMostTelling) {
    std::string text;
    text += line("TIME_WAIT", "0A4D0064 0001", "0A4D0015 0050", 110);
    text += line("ESTABLISHED", "0A4D0064 0002", "0A4D0015 0050", 700);
    text += line("ESTABLISHED", "0A4D0064 0003", "0A4D0015 0050", 890);
    text += line("SYN_RECV", "0A4D0064 0004", "0A4D0015 0050", 20);
    text += line("SYN_RECV", "0A4D0064 0005", "0A4D0015 0050", 50);
    text += line("ESTABLISHED", "0A4D0064 0006", "0A4D0015 0050", 800);
    Tally tally(services(), 4);
    tally.add(text);
    tally.finish();
    std::vector<unsigned> ports;
    for (const Listed& one : tally.listed()) ports.push_back(one.connection.client.port);
    EXPECT_THAT(ports, ElementsAre(5, 4, 3, 6));
    Tally other(services(), 4, 1);  // lines of the second service only
    other.add(text);
    other.finish();
    EXPECT_TRUE(other.listed().empty());
    EXPECT_EQ(other.services()[0].servers[0].counts.connections(), 6U);
}

}  // namespace
}  // namespace lbcluster::cli
