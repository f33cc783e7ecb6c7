// Floating IPs in a real kernel, in namespaces of the test. HA-1, HA-3, HA-5. Needs root.
#include <gtest/gtest.h>
#include <net/if.h>

#include <algorithm>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <cstdio>
#include <optional>

#include "heartbeat/net/address_worker.hpp"
#include "lbcluster/base/clock.hpp"
#include "lbcluster/net/frame_socket.hpp"
#include "lbcluster/net/netlink.hpp"
#include "tests/unit/net/namespaces.hpp"

namespace lbcluster::heartbeat {
namespace {

using test::sh;

KernelAddress on(const std::string& interface, const std::string& prefix) {
    return {IpPrefix::parse(prefix).value(), interface};
}
KernelAddress here(const std::string& prefix) { return on("here", prefix); }

class Worker : public ::testing::Test {
  protected:
    void SetUp() override {
        namespaces_.set_up();
        auto opened = net::Netlink::open();
        ASSERT_TRUE(opened);
        netlink_.emplace(std::move(opened).value());
        start();
    }
    void start(WorkerOptions options = {}) {
        worker_.reset();
        auto worker = AddressWorker::start(io_, std::move(options), [this](const KernelReport& report) {
            reports_.push_back(report);
            for (const auto& address : report.removed_by_others) removed_.push_back(address);
        });
        ASSERT_TRUE(worker) << worker.error().message;
        worker_ = std::move(worker).value();
    }
    AddressTarget target(std::vector<KernelAddress> addresses, bool wanted = true, seconds lease = 2s) {
        AddressTarget out;
        out.epoch = epoch_;
        out.wanted = wanted;
        out.addresses = std::move(addresses);
        out.lease = lease;
        out.permit_until = boottime_now() + 500ms;
        return out;
    }
    // Runs the daemon's side, and renews the permit as heartbeats would.
    bool run(const std::function<bool()>& condition, Duration within = 3s, bool permit = true) {
        const Instant end = boottime_now() + within;
        while (!condition()) {
            if (boottime_now() > end) return false;
            if (permit) worker_->permit(boottime_now() + 500ms);
            io_.restart();
            io_.run_for(std::chrono::milliseconds(1));
        }
        return true;
    }
    [[nodiscard]] bool complete() const {
        return !reports_.empty() && reports_.back().complete && reports_.back().epoch == epoch_;
    }
    [[nodiscard]] bool released() const { return complete() && !reports_.back().wanted; }
    bool in_kernel(const KernelAddress& address) {
        const auto found = scan_own_addresses(*netlink_, {address});
        return found.ok() && !found->empty();
    }
    std::size_t count(const std::vector<KernelAddress>& addresses) {
        return scan_own_addresses(*netlink_, addresses).value().size();
    }
    static std::vector<KernelAddress> many(int v4, int v6) {
        std::vector<KernelAddress> out;
        for (int i = 0; i < v4; ++i)
            out.push_back(here("10.0." + std::to_string(4 + i / 250) + "." + std::to_string(1 + i % 250) + "/16"));
        for (int i = 0; i < v6; ++i) out.push_back(here("fd00::1:" + std::to_string(i) + "/64"));
        return out;
    }

    test::Namespaces namespaces_;
    std::optional<net::Netlink> netlink_;
    boost::asio::io_context io_{1};
    boost::asio::executor_work_guard<boost::asio::io_context::executor_type> guard_{io_.get_executor()};
    std::vector<KernelReport> reports_;
    std::vector<KernelAddress> removed_;
    std::unique_ptr<AddressWorker> worker_;
    std::uint64_t epoch_ = 1;
};

TEST_F(Worker, AcquiresKeepsAndReleases) {
    const std::vector<KernelAddress> list{here("10.0.1.1/16"), here("fd00::100/64")};
    worker_->set_target(target(list));
    ASSERT_TRUE(run([&] { return complete(); }));
    EXPECT_EQ(reports_.back().held.size(), 2u);
    EXPECT_TRUE(reports_.back().missing.empty());
    EXPECT_EQ(count(list), 2u);
    // Longer than the lease.
    EXPECT_FALSE(run([&] { return count(list) != 2; }, 2600ms));
    worker_->set_target(target(list, false));
    ASSERT_TRUE(run([&] { return released(); }));
    EXPECT_TRUE(reports_.back().held.empty());
    EXPECT_EQ(count(list), 0u);
}

TEST_F(Worker, WithoutPermitsEverythingLapsesAndStaysAway) {
    const std::vector<KernelAddress> list{here("10.0.1.1/16"), here("fd00::100/64")};
    worker_->set_target(target(list, true, 1s));
    ASSERT_TRUE(run([&] { return complete(); }));
    ASSERT_TRUE(run([&] { return reports_.back().lapsed.size() == 2; }, 3s, false));
    ASSERT_TRUE(run([&] { return count(list) == 0; }, 3s, false));
    // Permits that come too late change nothing; a new epoch does.
    EXPECT_FALSE(run([&] { return count(list) != 0; }, 300ms));
    ++epoch_;
    worker_->set_target(target(list, true, 1s));
    EXPECT_TRUE(run([&] { return complete() && count(list) == 2; }));
}

TEST_F(Worker, RemovedByHandIsPutBackWithin100ms) {
    const KernelAddress one = here("10.0.1.1/16");
    worker_->set_target(target({one, here("fd00::100/64")}, true, 5s));
    ASSERT_TRUE(run([&] { return complete(); }));
    for (const char* command : {"ip addr del 10.0.1.1/16 dev here", "ip addr del fd00::100/64 dev here"}) {
        removed_.clear();
        sh(command);
        const Instant start = boottime_now();
        ASSERT_TRUE(run([&] { return !removed_.empty() && count({one, here("fd00::100/64")}) == 2; }));
        EXPECT_LT(boottime_now() - start, 100ms) << command;
        EXPECT_EQ(removed_.size(), 1u);
    }
}

TEST_F(Worker, HeldBackWhileTheDaemonIsLate) {
    const KernelAddress one = here("10.0.1.1/16");
    worker_->set_target(target({one}, true, 5s));
    ASSERT_TRUE(run([&] { return complete(); }));
    worker_->restrain({true, true});
    sh("ip addr del 10.0.1.1/16 dev here");
    EXPECT_FALSE(run([&] { return !removed_.empty() && in_kernel(one); }, 300ms));
    EXPECT_FALSE(removed_.empty());
    worker_->restrain({});
    EXPECT_TRUE(run([&] { return in_kernel(one); }));
}

TEST_F(Worker, InterfaceRemovedAndAddedAgain) {
    const KernelAddress one = here("10.0.1.1/16");
    worker_->set_target(target({one}));
    ASSERT_TRUE(run([&] { return complete(); }));
    sh("ip link del here");
    ASSERT_TRUE(run([&] { return reports_.back().missing.size() == 1; }));
    EXPECT_EQ(reports_.back().missing[0].reason, "no interface here");
    EXPECT_TRUE(removed_.empty());
    // Longer than the lease: the claim stays, as permits come.
    EXPECT_FALSE(run([&] { return !reports_.back().lapsed.empty(); }, 2500ms));
    namespaces_.plug();
    ASSERT_TRUE(run([&] { return complete() && in_kernel(one); }));
}

TEST_F(Worker, InterfaceRenamedAndBack) {
    const KernelAddress one = here("10.0.1.1/16");
    worker_->set_target(target({one}));
    ASSERT_TRUE(run([&] { return complete(); }));
    sh("ip link set here down; ip link set here name moved; ip link set moved up");
    ASSERT_TRUE(run([&] { return reports_.back().missing.size() == 1 && !in_kernel(on("moved", "10.0.1.1/16")); }));
    sh("ip link set moved down; ip link set moved name here; ip link set here up");
    EXPECT_TRUE(run([&] { return complete() && in_kernel(one); }));
}

TEST_F(Worker, TheInterfacesOwnAddressIsNeverTouched) {
    worker_->set_target(target({here("10.0.0.1/16"), here("10.0.1.1/16")}));
    ASSERT_TRUE(run([&] { return complete(); }));
    ASSERT_EQ(reports_.back().missing.size(), 1u);
    EXPECT_TRUE(reports_.back().missing[0].conflict);
    worker_->set_target(target({here("10.0.0.1/16"), here("10.0.1.1/16")}, false));
    ASSERT_TRUE(run([&] { return released(); }));
    sh("ip -4 addr show dev here | grep -q '10.0.0.1/16'");
}

TEST_F(Worker, CrashedWorkersAddressesAreFoundAndAdopted) {
    const std::vector<KernelAddress> list{here("10.0.1.1/16"), here("10.0.1.2/16"), here("fd00::100/64"),
                                          here("10.0.1.3/16")};
    worker_->set_target(target({list[0], list[1], list[2]}, true, 3s));
    ASSERT_TRUE(run([&] { return complete(); }));
    start();  // the old one ends without a release
    reports_.clear();
    auto adopt = target(list, true, 3s);  // the last one is new
    adopt.epoch = ++epoch_;
    adopt.adopted = scan_own_addresses(*netlink_, list).value();
    EXPECT_EQ(adopt.adopted.size(), 3u);
    sh("ip addr del 10.0.1.2/16 dev here");  // its lease ended before the adoption
    worker_->set_target(adopt);
    ASSERT_TRUE(run([&] { return complete(); }));
    EXPECT_EQ(reports_.back().held.size(), 3u);
    EXPECT_EQ(reports_.back().lapsed, std::vector{list[1]});
    EXPECT_FALSE(run([&] { return count(list) != 3; }, 3500ms));
}

TEST_F(Worker, LeftoversOfAnotherConfigurationAreRemoved) {
    worker_->set_target(target({here("10.0.1.1/16")}, true, 0s));
    ASSERT_TRUE(run([&] { return complete(); }));
    start();
    reports_.clear();
    worker_->set_target(target({here("10.0.1.2/16")}, false, 0s));
    ASSERT_TRUE(run([&] { return released(); }));
    EXPECT_FALSE(in_kernel(here("10.0.1.1/16")));
}

TEST_F(Worker, ThousandAndTwoHundred) {
    const auto list = many(1000, 200);
    worker_->set_target(target(list, true, 3s));
    ASSERT_TRUE(run([&] { return complete(); }, 10s));
    std::printf("acquire 1000 IPv4 + 200 IPv6: %ld ms\n", static_cast<long>(reports_.back().took / 1ms));
    EXPECT_EQ(count(list), 1200u);
    EXPECT_FALSE(run([&] { return count(list) != 1200; }, 3500ms));
    worker_->set_target(target(list, false, 3s));
    ASSERT_TRUE(run([&] { return released(); }, 10s));
    std::printf("release 1000 IPv4 + 200 IPv6: %ld ms\n", static_cast<long>(reports_.back().took / 1ms));
    EXPECT_EQ(count(list), 0u);
    EXPECT_TRUE(removed_.empty());
}

TEST_F(Worker, ReleaseOvertakesAcquisition) {
    const auto list = many(0, 1000);
    worker_->set_target(target(list));
    worker_->set_target(target({list[0]}, false));
    ASSERT_TRUE(run([&] { return released(); }, 10s));
    EXPECT_LT(reports_.back().took, 100ms);
    EXPECT_EQ(count(list), 0u);
    for (const auto& report : reports_) EXPECT_FALSE(report.wanted && report.complete);
}

TEST_F(Worker, AnnouncesOnAcquisitionAndTellsTheRouter) {
    std::optional<net::FrameSocket> peer;
    namespaces_.in_peer([&] {
        auto opened = net::FrameSocket::open(1);
        ASSERT_TRUE(opened);
        peer.emplace(std::move(opened).value());
    });
    WorkerOptions options;
    options.ping_nodes = {IpAddress::parse("10.0.0.2").value()};
    start(options);
    const auto list = many(100, 20);
    auto wanted = target(list);
    wanted.announce = true;
    worker_->set_target(wanted);
    std::map<IpAddress, int> requests;
    std::map<IpAddress, int> replies;
    std::map<IpAddress, int> advertisements;
    std::map<IpAddress, int> router;
    const auto drain = [&] {
        peer->drain(10000, [&](int, net::ByteView frame) {
            if (const auto arp = net::parse_arp(frame); arp && arp->sender != IpAddress::v4({10, 0, 0, 1})) {
                EXPECT_EQ(arp->sender_mac.to_string(), "02:00:00:00:00:01");
                if (arp->target == options.ping_nodes[0]) ++router[arp->sender];
                else ++(arp->form == net::ArpForm::request ? requests : replies)[arp->sender];
            }
            if (const auto na = net::parse_neighbor_advertisement(frame); na && na->override)
                ++advertisements[na->target];
        });
        return requests.size() == 100 && replies.size() == 100 && advertisements.size() >= 20 && router.size() == 100;
    };
    EXPECT_TRUE(run(drain)) << requests.size() << " " << replies.size() << " " << advertisements.size() << " "
                            << router.size();
    EXPECT_TRUE(run([&] { return drain() && replies.begin()->second >= 3; }, 5s)) << "no repeats";
}

TEST_F(Worker, AnnouncesNothingWhileTheDaemonIsLate) {
    std::optional<net::FrameSocket> peer;
    namespaces_.in_peer([&] { peer.emplace(net::FrameSocket::open(1).value()); });
    std::size_t seen = 0;
    const auto announced = [&] {
        peer->drain(1000, [&](int, net::ByteView frame) {
            const auto arp = net::parse_arp(frame);
            if (arp && arp->sender.to_string() == "10.0.1.1") ++seen;
        });
        return seen > 0;
    };
    auto wanted = target({here("10.0.1.1/16")});
    wanted.announce = true;
    worker_->set_target(wanted);
    ASSERT_TRUE(run([&] { return complete() && announced(); }));
    worker_->restrain({true, true});
    EXPECT_FALSE(run([&] { return false; }, 50ms));
    announced();
    seen = 0;
    worker_->announce();
    EXPECT_FALSE(run(announced, 800ms)) << "the repeats after 100 and 500 ms were due as well";
    worker_->restrain({});
    EXPECT_TRUE(run(announced));
}

TEST_F(Worker, AnotherMacIsAnnounced) {
    std::optional<net::FrameSocket> peer;
    namespaces_.in_peer([&] { peer.emplace(net::FrameSocket::open(1).value()); });
    worker_->set_target(target({here("10.0.1.1/16")}));
    ASSERT_TRUE(run([&] { return complete(); }));
    sh("ip link set here address 02:00:00:00:00:77");
    EXPECT_TRUE(run([&] {
        bool seen = false;
        peer->drain(1000, [&](int, net::ByteView frame) {
            const auto arp = net::parse_arp(frame);
            seen = seen || (arp && arp->sender.to_string() == "10.0.1.1" &&
                            arp->sender_mac.to_string() == "02:00:00:00:00:77" && arp->form == net::ArpForm::reply);
        });
        return seen;
    }));
}

}  // namespace
}  // namespace lbcluster::heartbeat
