// Frame of the lab tests of a pair. After each test the daemons' logs are searched for what a supervisor would hide
// (sanitizer finds, failed assertions), and all that was said or stored for secrets; when a test failed, logs and
// events are shown.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <optional>
#include <sstream>
#include <string>

#include "tests/lab/observer.hpp"
#include "tests/lab/pair.hpp"
#include "tests/lab/relay.hpp"
#include "tests/lab/secrets.hpp"
#include "tests/lab/witness.hpp"

namespace lbcluster::lab {

class PairTest : public ::testing::Test {
  protected:
    static constexpr const char* vip = "10.77.0.200";
    static constexpr const char* vip_v6 = "fd77::200";
    static PairSpec both_families() {
        PairSpec spec;
        spec.floating_ips = {vip, vip_v6};
        return spec;
    }

    // Files, daemons, prober and observer; waits until lb1 serves.
    void begin(const PairSpec& spec) {
        make(spec);
        pair().start();
        ASSERT_TRUE(pair().wait_settled("lb1"));
        watch();
    }
    void make(const PairSpec& spec) {
        const std::string folder =
            std::string("/run/") + ::testing::UnitTest::GetInstance()->current_test_info()->name();
        pair_ = std::make_unique<Pair>(lab_, folder, spec);
        note_secrets();
        ASSERT_TRUE(secrets_.knows("heartbeat key"));
    }
    // The client asks; the observer listens.
    void watch() {
        prober_.emplace(lab_.host("client"), pair().service(), vip);
        undisturbed_.emplace(std::vector<const Namespace*>{&lab_.host("rs1")});
        control_.emplace(lab_.host("rs2"), *undisturbed_, "10.77.0.21");
        observer_.emplace(lab_.host("obs"), "eth0", vip);
        const auto& all = pair().spec().floating_ips;
        if (std::find(all.begin(), all.end(), vip_v6) != all.end())
            observer_v6_.emplace(lab_.host("obs"), "eth0", vip_v6);
        ASSERT_TRUE(prober_->wait_answers("", 5s));
        mark();
    }
    void mark() {
        witness_.mark();
        prober_->mark();
        control_->mark();
        observer_->mark();
        if (observer_v6_) observer_v6_->mark();
    }
    // Everybody on the LAN was told that the node has the observer's address.
    static bool announced_by(const std::string& node, const std::optional<AddressObserver>& observer) {
        const auto seen = observer->report(0ms).announcements;
        return std::any_of(seen.begin(), seen.end(),
                           [&](const auto& entry) { return entry.second == Lab::mac(node, "eth0"); });
    }

    void expect_nobody_noticed() const {
        const ProbeReport report = prober_->report();
        EXPECT_GT(report.sent, 0U);
        EXPECT_EQ(report.lost, 0U) << report.text();
    }
    // HA-2: no request was ever answered by two machines.
    void expect_never_two() const {
        for (const auto* observer : {&observer_, &observer_v6_}) {
            if (!*observer) continue;
            const ObserverReport seen = (*observer)->report();
            EXPECT_GT(seen.asked, 0U);
            EXPECT_EQ(seen.two_answered, 0U) << seen.text();
        }
    }
    // The machine's own noise is not the pair's: a second client asks a host that no fault touches meanwhile.
    void expect_gap_at_most(Nanoseconds limit) const {
        const ProbeReport report = prober_->report();
        const ProbeReport control = control_->report(0ms);
        const Nanoseconds noise =
            std::max({Nanoseconds(report.own_lateness + 1ms), control.longest_gap, witness_.latest()});
        // Programs that run several times slower, as with sanitizers: milliseconds are not their subject.
        const char* factor = std::getenv("LBCLUSTER_TIME_FACTOR");
        if (factor != nullptr) limit *= std::max(std::atoi(factor), 1);
        EXPECT_LE(report.longest_gap, limit + noise) << report.text() << "\n    control: " << control.text();
        std::printf("    client: %s\n", report.text().c_str());
    }

    // What is secret now. Once more before a key goes: it is one still at the end of the test.
    void note_secrets() {
        for (const char* node : {"lb1", "lb2"}) secrets_.add_node(pair(), node);
    }
    // Not in a log, an error, --json or the events; on the disk for those only who may.
    void expect_secrets_kept() {
        note_secrets();
        std::string all = said_ + pair().said();
        for (const char* node : {"lb1", "lb2"}) {
            all += pair().log(node);
            std::error_code none;
            for (const auto& file : std::filesystem::directory_iterator(pair().state_dir(node), none))
                if (file.path().extension() == ".jsonl") all += read_file(file.path());
            for (const std::string& folder :
                 {pair().state_dir(node), pair().state_dir(node) + "-peer", pair().run_dir(node)})
                EXPECT_EQ(secrets_.exposed_below(folder), std::set<std::string>{});
        }
        const auto found = secrets_.found_in(all);
        EXPECT_EQ(found, std::set<std::string>{});
        std::istringstream lines(all);
        for (std::string line; !found.empty() && std::getline(lines, line);)
            if (!secrets_.found_in(line).empty()) std::printf("---- told: %s\n", line.substr(0, 400).c_str());
    }

    void TearDown() override {
        if (!pair_) return;
        // Sanitizers tell at an orderly end.
        if (std::getenv("LBCLUSTER_BIN_DIR") != nullptr) {
            for (const char* node : {"lb1", "lb2"}) static_cast<void>(pair().daemon(node).stop());
        }
        expect_secrets_kept();
        for (const std::string node : {"lb1", "lb2"}) {
            const std::string log = pair().log(node);
            for (const char* word : {"Sanitizer", "runtime error:", "assertion failed"})
                EXPECT_EQ(log.find(word), std::string::npos) << node << ": " << log;
            if (!HasFailure()) continue;
            std::printf("---- log of %s (end)\n%s\n", node.c_str(),
                        log.substr(log.size() < 6000 ? 0 : log.size() - 6000).c_str());
            std::printf("---- status of %s\n%s\n", node.c_str(), pair().cli(node, {"status"}, 3s).out.c_str());
        }
        prober_.reset();
        control_.reset();
        undisturbed_.reset();
        observer_.reset();
        observer_v6_.reset();
        pair_.reset();
    }

    Pair& pair() { return *pair_; }

    Lab lab_;
    std::unique_ptr<Pair> pair_;
    Secrets secrets_;
    std::string said_;  // by others than Pair::cli()
    Witness witness_;
    std::optional<Prober> prober_;
    std::optional<EchoService> undisturbed_;
    std::optional<Prober> control_;
    std::optional<AddressObserver> observer_;
    std::optional<AddressObserver> observer_v6_;  // when there is an IPv6 floating IP
};

// Timers of the issue. No ping node: nothing but silence and the address probe decides.
inline const char* const lan_timers = "profile: lan";
inline const char* const timers_10_30 = "keepalive: 10ms\ndeadtime: 30ms";
inline const char* const timers_5_15 = "keepalive: 5ms\ndeadtime: 15ms";

}  // namespace lbcluster::lab
