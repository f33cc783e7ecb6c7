// HA-1 (heartbeat links): UDP on loopback, serial on a pair of pseudo terminals. No sleeps: the io_context runs until
// a condition holds or a deadline passes.
#include <gtest/gtest.h>
#include <pty.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "heartbeat/wire/serial_link.hpp"
#include "heartbeat/wire/udp_link.hpp"
#include "tests/unit/net/namespaces.hpp"

namespace lbcluster::heartbeat {
namespace {

namespace asio = boost::asio;
using std::chrono::steady_clock;

std::span<const std::uint8_t> bytes(const std::string& text) {
    return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}

template <class Condition>
bool run_until(asio::io_context& io, Condition condition) {
    const auto deadline = steady_clock::now() + std::chrono::seconds(10);
    while (!condition()) {
        if (steady_clock::now() > deadline) return false;
        io.restart();
        io.run_one_for(std::chrono::milliseconds(100));
    }
    return true;
}

// What the daemon does: when anything may have arrived, drain.
struct Receiver {
    Link* link = nullptr;
    std::vector<std::string> got;
    OnReadable on_readable() {
        return [this] { drain(); };
    }
    void drain() {
        link->drain([this](std::span<const std::uint8_t> d) { got.emplace_back(d.begin(), d.end()); });
    }
};

UdpLinkOptions udp(const char* local, std::uint16_t port, const char* peer, std::uint16_t peer_port) {
    return {"link", *IpAddress::parse(local), *IpAddress::parse(peer), port, peer_port, ""};
}

// Ports of this process, so that tests may run side by side.
std::uint16_t port(int number) { return static_cast<std::uint16_t>(20000 + (::getpid() % 2000) * 20 + number); }

class HA1UdpLink : public ::testing::TestWithParam<const char*> {
  protected:
    HA1UdpLink()
        : a_(io_, udp(GetParam(), port(0), GetParam(), port(1)), at_a_.on_readable()),
          b_(io_, udp(GetParam(), port(1), GetParam(), port(0)), at_b_.on_readable()) {
        at_a_.link = &a_;
        at_b_.link = &b_;
    }
    asio::io_context io_{1};
    Receiver at_a_;
    Receiver at_b_;
    UdpLink a_;
    UdpLink b_;
};

TEST_P(HA1UdpLink, CarriesDatagramsBothWays) {
    a_.start();
    b_.start();
    ASSERT_TRUE(a_.is_open()) << a_.error();
    ASSERT_TRUE(b_.is_open()) << b_.error();
    a_.send(bytes("to b"));
    ASSERT_TRUE(run_until(io_, [&] { return !at_b_.got.empty(); }));
    b_.send(bytes(std::string(datagram_bytes_max, 'x')));
    ASSERT_TRUE(run_until(io_, [&] { return !at_a_.got.empty(); }));
    EXPECT_EQ(at_b_.got, std::vector<std::string>{"to b"});
    EXPECT_EQ(at_a_.got, std::vector<std::string>{std::string(datagram_bytes_max, 'x')});
    EXPECT_EQ(a_.counters().sent, 1U);
    EXPECT_EQ(a_.counters().received, 1U);
    EXPECT_EQ(a_.error(), "");
}

TEST_P(HA1UdpLink, DrainTakesAllInOneCallAndIsBounded) {
    a_.start();
    b_.start();
    for (int i = 0; i < 100; ++i) a_.send(bytes(std::to_string(i)));
    at_b_.drain();  // loopback delivers within send
    EXPECT_EQ(at_b_.got.size(), 100U);
    EXPECT_EQ(at_b_.got.back(), "99");
}

TEST_P(HA1UdpLink, CountsStrangersAndOversize) {
    a_.start();
    b_.start();
    Receiver nobody;
    UdpLink stranger(io_, udp(GetParam(), port(2), GetParam(), port(1)), nobody.on_readable());
    nobody.link = &stranger;
    stranger.start();
    stranger.send(bytes("I am a"));
    ASSERT_TRUE(run_until(io_, [&] { return b_.counters().strangers == 1; }));
    EXPECT_TRUE(at_b_.got.empty());
    a_.send(bytes(std::string(3000, 'x')));
    ASSERT_TRUE(run_until(io_, [&] { return !at_b_.got.empty(); }));
    EXPECT_EQ(at_b_.got[0].size(), datagram_bytes_max + 1);  // the codec says too-long
}

TEST_P(HA1UdpLink, NobodyListeningIsCountedAndHarmless) {
    a_.start();
    for (int i = 0; i < 5; ++i) a_.send(bytes("anybody?"));
    ASSERT_TRUE(run_until(io_, [&] { return a_.counters().network_errors > 0; }));
    EXPECT_TRUE(a_.is_open());
    EXPECT_EQ(a_.counters().sent, 5U);
    b_.start();
    a_.send(bytes("now"));
    ASSERT_TRUE(run_until(io_, [&] { return !at_b_.got.empty(); }));
    EXPECT_EQ(at_b_.got[0], "now");
    // Nothing left that keeps the socket readable: the loop is quiet.
    at_a_.drain();
    io_.restart();
    io_.poll();
    io_.restart();
    EXPECT_EQ(io_.poll(), 0U);
}

TEST_P(HA1UdpLink, PortInUseIsToldAndTriedAgain) {
    Receiver first;
    auto holder = std::make_unique<UdpLink>(io_, udp(GetParam(), port(0), GetParam(), port(3)), first.on_readable());
    first.link = holder.get();
    holder->start();
    a_.start();
    EXPECT_FALSE(a_.is_open());
    EXPECT_NE(a_.error().find("in use"), std::string::npos) << a_.error();
    a_.send(bytes("lost"));
    EXPECT_EQ(a_.counters().send_errors, 1U);
    holder.reset();
    ASSERT_TRUE(run_until(io_, [&] { return a_.is_open(); }));
    EXPECT_EQ(a_.error(), "");
}

INSTANTIATE_TEST_SUITE_P(Families, HA1UdpLink, ::testing::Values("127.0.0.1", "::1"),
                         [](const auto& family) { return family.index == 0 ? "IPv4" : "IPv6"; });

TEST(HA1UdpLinkOpening, AnAddressThatIsNotThereYet) {
    asio::io_context io(1);
    for (const auto& [local, peer] : {std::pair{"192.0.2.1", "192.0.2.2"}, std::pair{"2001:db8::1", "2001:db8::2"}}) {
        UdpLink link(io, udp(local, port(4), peer, port(4)), [] {});
        link.start();
        EXPECT_TRUE(link.is_open()) << link.error();
    }
}

TEST(HA1UdpLinkOpening, AnInterfaceThatIsNotThere) {
    asio::io_context io(1);
    auto options = udp("127.0.0.1", port(5), "127.0.0.1", port(6));
    options.interface = "nosuch0";
    auto link = std::make_unique<UdpLink>(io, options, [] {});
    link->start();
    EXPECT_FALSE(link->is_open());
    EXPECT_NE(link->error().find("nosuch0"), std::string::npos) << link->error();
    EXPECT_TRUE(run_until(io, [&] { return link->counters().open_failures > 1; }));
    link.reset();  // with a retry pending: its handler must not come
    io.restart();
    io.run_for(std::chrono::milliseconds(1));
    options.interface = "lo";
    UdpLink bound(io, options, [] {});
    bound.start();
    EXPECT_TRUE(bound.is_open()) << bound.error();
}

// Deleted and made again under the same name: it has another number then, which the socket does not know.
TEST(HA1UdpLinkOpening, AnInterfaceThatIsMadeAgain) {
    test::Namespaces namespaces;
    namespaces.set_up();
    for (const auto& [local, peer] : {std::pair{"10.0.0.1", "10.0.0.2"}, std::pair{"fd00::1", "fd00::2"}}) {
        asio::io_context io(1);
        auto options = udp(local, 6694, peer, 6694);
        options.interface = "here";
        UdpLink link(io, options, [] {});
        link.start();
        link.send(bytes("before"));
        ASSERT_EQ(link.counters().sent, 1U) << link.error();
        test::sh("ip link del here");
        link.send(bytes("lost"));
        EXPECT_EQ(link.counters().sent, 1U);
        namespaces.plug();
        EXPECT_TRUE(run_until(io,
                              [&] {
                                  link.send(bytes("again"));
                                  return link.counters().sent > 1;
                              }))
            << local << ": " << link.error();
    }
}

TEST(HA1Slip, FramesAndResynchronises) {
    const std::string tricky("\xc0\xdb\xdc\xdd plain \xc0", 12);
    std::array<std::uint8_t, slip_bytes_max> out{};
    SlipDecoder decoder;
    std::vector<std::string> got;
    const auto feed = [&](std::span<const std::uint8_t> data) {
        for (const std::uint8_t b : data) {
            if (const auto frame = decoder.feed(b)) got.emplace_back(frame->begin(), frame->end());
        }
    };
    const std::size_t size = slip_encode(bytes(tricky), out);
    const auto frame = std::span<const std::uint8_t>(out).first(size);
    feed(frame);
    feed(frame);
    EXPECT_EQ(got, (std::vector<std::string>{tricky, tricky}));
    got.clear();
    feed(frame.first(size / 2));  // half a frame: the next END ends it, for the MAC to refuse
    feed(frame);
    ASSERT_FALSE(got.empty());
    EXPECT_EQ(got.back(), tricky);
    got.clear();
    feed(bytes(std::string(5000, 'g')));  // more than any frame
    feed(frame);
    EXPECT_EQ(got, std::vector<std::string>{tricky});
    EXPECT_EQ(decoder.damaged(), 1U);
    feed(bytes("\xdbx garbage \xc0"));  // ESC before what needs none
    EXPECT_EQ(decoder.damaged(), 2U);
    // The longest datagram, all of it escaped.
    got.clear();
    const std::string longest(datagram_bytes_max, '\xc0');
    EXPECT_EQ(slip_encode(bytes(longest), out), slip_bytes_max);
    feed(out);
    EXPECT_EQ(got, std::vector<std::string>{longest});
}

class HA1SerialLink : public ::testing::Test {
  protected:
    void SetUp() override {
        std::string name = (std::filesystem::temp_directory_path() / "lbcluster-tty-XXXXXX").string();
        ASSERT_NE(::mkdtemp(name.data()), nullptr);
        folder_ = name;
        link_ = std::make_unique<SerialLink>(io_, SerialLinkOptions{"serial", name + "/tty", 115200},
                                             at_link_.on_readable());
        at_link_.link = link_.get();
    }
    void TearDown() override {
        link_.reset();
        unplug();
        std::filesystem::remove_all(folder_);
    }
    void plug_in() {
        int slave = -1;
        std::array<char, 64> path{};
        ASSERT_EQ(::openpty(&far_end_, &slave, path.data(), nullptr, nullptr), 0);
        ::close(slave);
        std::filesystem::create_symlink(path.data(), folder_ + "/tty");
    }
    void unplug() {
        if (far_end_ >= 0) ::close(far_end_);
        far_end_ = -1;
        std::filesystem::remove(folder_ + "/tty");
    }
    void type(std::span<const std::uint8_t> data) const {
        ASSERT_EQ(::write(far_end_, data.data(), data.size()), static_cast<ssize_t>(data.size()));
    }
    static std::vector<std::uint8_t> framed(const std::string& text) {
        std::array<std::uint8_t, slip_bytes_max> out{};
        const std::size_t size = slip_encode(bytes(text), out);
        return {out.begin(), out.begin() + static_cast<std::ptrdiff_t>(size)};
    }

    asio::io_context io_{1};
    Receiver at_link_;
    std::string folder_;
    std::unique_ptr<SerialLink> link_;
    int far_end_ = -1;
};

TEST_F(HA1SerialLink, CarriesFramesThroughGarbage) {
    plug_in();
    link_->start();
    ASSERT_TRUE(link_->is_open()) << link_->error();
    const std::string every_byte = [] {
        std::string all;
        for (int i = 0; i < 256; ++i) all.push_back(static_cast<char>(i));
        return all;
    }();
    type(bytes("line noise\x11\x13"));
    type(framed(every_byte));
    type(std::span<const std::uint8_t>(framed("half a frame")).first(6));
    type(framed("whole"));
    ASSERT_TRUE(run_until(io_, [&] { return !at_link_.got.empty() && at_link_.got.back() == "whole"; }));
    EXPECT_NE(std::find(at_link_.got.begin(), at_link_.got.end(), every_byte), at_link_.got.end());

    link_->send(bytes(every_byte));
    std::vector<std::uint8_t> out(framed(every_byte).size());
    std::size_t have = 0;
    while (have < out.size()) {
        const ssize_t n = ::read(far_end_, out.data() + have, out.size() - have);
        ASSERT_GT(n, 0);
        have += static_cast<std::size_t>(n);
    }
    EXPECT_EQ(out, framed(every_byte));
    EXPECT_EQ(link_->counters().sent, 1U);
}

TEST_F(HA1SerialLink, ANewerHeartbeatReplacesTheOneThatWaits) {
    plug_in();
    link_->start();
    ASSERT_TRUE(link_->is_open()) << link_->error();
    // Nobody reads at the far end: the line fills up, then only the newest waits.
    int sent = 0;
    for (; sent < 1000 && link_->counters().send_busy < 50; ++sent) {
        link_->send(bytes(std::to_string(sent) + std::string(500, 'x')));
        io_.restart();
        io_.poll();
    }
    ASSERT_EQ(link_->counters().send_busy, 50U);
    SlipDecoder decoder;
    std::vector<std::string> got;
    std::array<std::uint8_t, 4096> in{};
    const std::string newest = std::to_string(sent - 1) + std::string(500, 'x');
    ASSERT_TRUE(run_until(io_, [&] {
        // At most once a turn, so that the link gets its turns too; POLLIN is not needed: there is always something.
        const ssize_t n = ::read(far_end_, in.data(), in.size());
        for (ssize_t i = 0; i < n; ++i) {
            if (const auto f = decoder.feed(in.at(static_cast<std::size_t>(i)))) got.emplace_back(f->begin(), f->end());
        }
        return !got.empty() && got.back() == newest;
    }));
    EXPECT_EQ(got.size(), static_cast<std::size_t>(sent) - 50);
    EXPECT_EQ(decoder.damaged(), 0U);
}

TEST_F(HA1SerialLink, MissingThenPluggedThenUnpluggedThenBack) {
    link_->start();
    EXPECT_FALSE(link_->is_open());
    EXPECT_NE(link_->error().find("No such file"), std::string::npos) << link_->error();
    link_->send(bytes("lost"));
    plug_in();
    ASSERT_TRUE(run_until(io_, [&] { return link_->is_open(); }));
    EXPECT_EQ(link_->error(), "");
    unplug();
    ASSERT_TRUE(run_until(io_, [&] { return !link_->is_open(); }));
    EXPECT_NE(link_->error(), "");
    plug_in();
    ASSERT_TRUE(run_until(io_, [&] { return link_->is_open(); }));
    type(framed("back"));
    ASSERT_TRUE(run_until(io_, [&] { return !at_link_.got.empty(); }));
    EXPECT_EQ(at_link_.got.back(), "back");
}

TEST(HA1SerialLinkOpening, WhatIsNotALine) {
    asio::io_context io(1);
    SerialLink file(io, {"serial", "/dev/null", 115200}, [] {});
    file.start();
    EXPECT_FALSE(file.is_open());
    EXPECT_TRUE(is_serial_baud(115200));
    EXPECT_FALSE(is_serial_baud(115201));
}

}  // namespace
}  // namespace lbcluster::heartbeat
