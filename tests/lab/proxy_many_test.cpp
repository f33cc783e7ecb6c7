// Five hundred services of layer 7 with ten servers each come by one `config apply` (L7-1, L7-7): how long it takes
// until the last one serves, and the memory of those who serve them. Limits are generous, numbers are printed.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "tests/lab/backend.hpp"
#include "tests/lab/pair_test.hpp"
#include "tests/lab/requests.hpp"

namespace lbcluster::lab {
namespace {

constexpr unsigned addresses = 5;
constexpr unsigned services_each = 100;
constexpr unsigned first_port = 10000;
constexpr unsigned server_port = 20000;

std::string address_of(unsigned i) { return "10.77.0." + std::to_string(201 + i); }

// `count`: on each address.
std::string many(unsigned count, const std::string& more = "") {
    std::string out = "virtual_services:\n";
    for (unsigned a = 0; a < addresses; ++a) {
        for (unsigned s = 0; s < count; ++s) {
            out += "  - label: s" + std::to_string(a * services_each + s) + "\n    address: " + address_of(a) +
                   "\n    ports: [" + std::to_string(first_port + s) +
                   "]\n    method: proxy\n    mode: http\n    check: {interval: 5s, timeout: 2s}\n" + more +
                   "    real_servers:\n";
            for (unsigned r = 0; r < 10; ++r) {
                out += "      - {label: r" + std::to_string(r) + ", address: 10.77.0." + (r < 5 ? "21" : "22") +
                       ", port: " + std::to_string(server_port + r) + "}\n";
            }
        }
    }
    return out;
}

double seconds_of(Nanoseconds time) { return static_cast<double>(time.count()) / 1e9; }

class ProxyMany : public PairTest {
  protected:
    void SetUp() override {
        for (const char* host : {"rs1", "rs2"}) Backend::redirect(lab_.host(host), server_port, server_port + 9, 80);
        rs1_.answer(200, "OK");
        rs2_.answer(200, "OK");
        PairSpec spec;
        spec.single = true;
        spec.more = many(1);
        make(spec);
        pair().start("lb1");
        pair().healthd("lb1").start();
        pair().forwarderd("lb1").start();
        ASSERT_TRUE(pair().wait_settled("lb1"));
        ASSERT_TRUE(wait_until([&] { return serves(addresses - 1, 0); }, 20s, 20ms)) << pair().log("lb1");
    }
    void TearDown() override {
        if (pair_) static_cast<void>(pair().forwarderd("lb1").stop());
        PairTest::TearDown();
    }
    bool serves(unsigned address, unsigned service) {
        return ask_http(lab_.host("client"), address_of(address), static_cast<std::uint16_t>(first_port + service), "",
                        500ms)
                   .status == 200;
    }
    // `cluster.yaml` with these services instead, as the lab's has the rest.
    void apply(const std::string& services) {
        const std::string file = pair().run_dir("lb1") + "/new.yaml";
        PairSpec spec = pair().spec();
        spec.more = services;
        write_file(file, cluster_yaml(spec));
        const Outcome done = pair().cli("lb1", {"config", "apply", file}, 60s);
        ASSERT_EQ(done.exit_code, 0) << done.out << done.err;
    }
    // Resident memory of all processes of this name, MB.
    static double memory(const std::string& program) {
        double all = 0;
        for (const pid_t pid : processes_named(program)) all += std::atof(process_status(pid, "VmRSS").c_str());
        return all / 1024;
    }
    double counter(const std::string& name) { return pair().status("lb1")["forwarding"]["counters"][name].number(); }
    void tell(const char* what, TimePoint began, TimePoint applied) {
        std::printf(
            "    %s: applied after %.1f s, live after %.1f s; HAProxy %.0f MB, forwarderd %.0f MB; "
            "%.0f reloads, %.0f changes of health\n",
            what, seconds_of(applied - began), seconds_of(Clock::now() - began), memory("haproxy"),
            memory("forwarderd"), counter("proxy_reloads"), counter("changes_of_health"));
    }

    Backend rs1_{lab_.host("rs1"), 80};
    Backend rs2_{lab_.host("rs2"), 80};
};

TEST_F(ProxyMany, FiveHundredServicesAreLiveSoon) {
    TimePoint began = Clock::now();
    apply(many(services_each));
    TimePoint applied = Clock::now();
    // The last one first: that is the time. Then all of them.
    ASSERT_TRUE(wait_until([&] { return serves(addresses - 1, services_each - 1); }, 60s, 5ms)) << pair().log("lb1");
    tell("500 services with 10 servers", began, applied);
    for (unsigned a = 0; a < addresses; ++a) {
        for (unsigned s = 0; s < services_each; ++s) {
            ASSERT_TRUE(wait_until([&] { return serves(a, s); }, 60s - (Clock::now() - began), 5ms))
                << address_of(a) << " " << s << "\n"
                << pair().log("lb1");
        }
    }
    EXPECT_GT(memory("forwarderd"), 1);
    EXPECT_LT(memory("forwarderd"), 300);
    EXPECT_GT(memory("haproxy"), 1);
    EXPECT_LT(memory("haproxy"), 1000);
    // One more change of all of them.
    began = Clock::now();
    const double reloads = counter("proxy_reloads");
    apply(many(services_each, "    timeouts: {client: 77s}\n"));
    applied = Clock::now();
    ASSERT_TRUE(wait_until([&] { return counter("proxy_reloads") > reloads; }, 30s, 50ms));
    EXPECT_TRUE(serves(addresses - 1, services_each - 1));
    tell("a change of all of them", began, applied);
    // Health of all of them: half of the servers go.
    began = Clock::now();
    rs2_.behave(Conduct::refuse);
    const auto gone = [&] {
        const Json servers = pair().status("lb1")["services"][addresses * services_each - 1]["servers"];
        return servers[9]["forwarding"]["state"].text() == "gone";
    };
    ASSERT_TRUE(wait_until(gone, 60s, 100ms));
    tell("half of the servers gone", began, began);
    EXPECT_TRUE(serves(0, 0));
}

}  // namespace
}  // namespace lbcluster::lab
