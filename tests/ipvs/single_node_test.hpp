// Frame of the tests of one node, lb1, with heartbeatd, healthd and forwarderd in front of the farm. One farm and one
// node for all suites of a binary; each test takes virtual addresses of its own. When a test failed, logs, IPVS and
// rules are shown; afterwards no service is left.
#pragma once

#include <gtest/gtest.h>

#include <cstdio>
#include <memory>
#include <string>

#include "tests/ipvs/cluster.hpp"
#include "tests/ipvs/name_service.hpp"

namespace lbcluster::lab {

class SingleNodeTest : public ::testing::Test {
  protected:
    static void SetUpTestSuite() {  // of each suite
        if (lab_) return;
        lab_ = std::make_unique<Lab>();
        farm_ = std::make_unique<Farm>(*lab_);
        // The network of the PaperCut guide.
        lab_->ip("lb1", "addr add 172.24.11.11/24 dev eth0\n");
        lab_->ip("client", "addr add 172.24.11.100/24 dev eth0\n");
        lab_->ip("rs1", "addr add 172.24.11.36/24 dev eth0\naddr add 172.24.11.39/24 dev eth0\n");
        lab_->ip("rs2", "addr add 172.24.11.37/24 dev eth0\naddr add 172.24.11.40/24 dev eth0\n");
        PairSpec spec;
        spec.single = true;
        cluster_ = std::make_unique<Cluster>(*lab_, "/run/node", spec, "  []\n");
    }
    void TearDown() override {
        if (HasFailure()) std::printf("%s\n", cluster_->story("lb1").c_str());
        std::fflush(stdout);
        for (const char* server : {"rs1", "rs2"}) lab_->cable(server, "eth0", true);
        put("virtual_services: []\n");
        EXPECT_TRUE(cluster_->ipvs_loses("lb1", "-A"));
    }

    static const Namespace& host(const std::string& name) { return lab_->host(name); }
    // The whole of cluster.yaml.
    static void put(const std::string& cluster) {
        write_file(cluster_->pair().config_dir("lb1") + "/cluster.yaml", cluster);
    }
    // A service with rs1 and rs2 by DR; `more` is what else it has, `more1` and `more2` what they have.
    static std::string by_dr(const std::string& address, const std::string& more, const std::string& more1 = "",
                             const std::string& more2 = "") {
        const Family family = family_of(address);
        std::string servers;
        for (const char* server : {"rs1", "rs2"}) {
            const std::string& own = server == std::string("rs1") ? more1 : more2;
            servers += std::string(servers.empty() ? "" : ", ") + "{label: " + server + ", address: \"" +
                       farm_->prepare(server, Method::dr, address) + "\"" + (own.empty() ? "" : ", " + own) + "}";
        }
        return std::string("  - {label: ") + (family == Family::v4 ? "web" : "web6") + ", address: \"" + address +
               "\", " + more + ", real_servers: [" + servers + "]}\n";
    }
    static bool ipvs_becomes(const std::string& part) { return cluster_->ipvs_becomes("lb1", part); }
    static bool ipvs_loses(const std::string& part) { return cluster_->ipvs_loses("lb1", part); }
    static bool holds(const std::string& address) {
        return wait_until([&] { return lab_->holds("lb1", address); }, 60s, 20ms);
    }
    static Outcome cli(const std::vector<std::string>& words) { return cluster_->pair().cli("lb1", words, 120s); }
    static ::testing::AssertionResult answers(const Namespace& client, const Question& question, const Answer& wanted,
                                              Nanoseconds limit = 60s) {
        Answer last;
        const auto right = [&] {
            last = ask(client, question);
            return last == wanted;
        };
        if (wait_until(right, limit, 100ms)) return ::testing::AssertionSuccess();
        return ::testing::AssertionFailure() << "port " << question.port << ": " << last << ", not " << wanted;
    }

    static inline std::unique_ptr<Lab> lab_;
    static inline std::unique_ptr<Farm> farm_;
    static inline std::unique_ptr<Cluster> cluster_;
};

}  // namespace lbcluster::lab
