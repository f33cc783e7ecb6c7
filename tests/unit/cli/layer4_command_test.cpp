// OP-1, L4-9, L4-10: `connections`, `diagnose` and `arp-fix` as programs: exit codes, and what scripts may read. No
// daemon runs here; what they say of a real IPVS is in tests/ipvs/diagnose_test.cpp.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/unit/cli/outcome.hpp"

namespace lbcluster::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;
using Json = nlohmann::json;

class Layer4Command : public ::testing::Test {
  protected:
    void SetUp() override {
        std::string name = "/tmp/lbcluster-layer4-XXXXXX";
        ASSERT_NE(::mkdtemp(name.data()), nullptr);
        folder_ = name;
        std::ofstream(folder_ + "/node.yaml") << "node: lb1\n";
        std::ofstream(folder_ + "/cluster.yaml")
            << "virtual_services:\n"
               "  - {label: web, address: 198.51.100.1, ports: [80], real_servers: [{label: s1, address: "
               "198.51.100.5}]}\n"
               "  - {label: seven, address: 198.51.100.2, ports: [80], method: proxy}\n"
               "  - {label: off, address: 198.51.100.3, ports: [80], enabled: false}\n";
    }
    void TearDown() override { std::filesystem::remove_all(folder_); }
    [[nodiscard]] Outcome lbcluster(const std::string& arguments) const {
        return outcome_of(command_in(folder_, arguments));
    }
    std::string folder_;
};

TEST_F(Layer4Command, UnknownServicesAndThoseOfLayer7AreToldApart) {
    for (const char* verb : {"connections", "diagnose", "arp-fix --os linux"}) {
        const Outcome unknown = lbcluster(std::string(verb) + " wbe");
        EXPECT_EQ(unknown.exit_code, 1) << verb;
        EXPECT_THAT(unknown.out, HasSubstr("did you mean 'web'?")) << verb;
    }
    for (const char* verb : {"connections", "diagnose"}) {
        EXPECT_EQ(lbcluster(std::string(verb) + " seven").exit_code, 1);
        EXPECT_THAT(lbcluster(std::string(verb) + " seven").out, HasSubstr("layer 7")) << verb;
        EXPECT_THAT(lbcluster(std::string(verb) + " off --json").json()["error"]["message"], HasSubstr("disabled"));
    }
    EXPECT_EQ(lbcluster("arp-fix seven --os windows").exit_code, 0);
    EXPECT_THAT(lbcluster("arp-fix seven --os windows").out, HasSubstr("Nothing needs to be done"));
}

TEST_F(Layer4Command, MistakesOfUsage) {
    for (const char* arguments : {"arp-fix web", "arp-fix --os linux", "arp-fix web --os beos", "connections web more",
                                  "arp-fix web --os linux --method netsh", "arp-fix web --os linux --method magic",
                                  "connections --limit many", "connections --limit -1", "diagnose web more"})
        EXPECT_EQ(lbcluster(arguments).exit_code, 2) << arguments;
}

TEST_F(Layer4Command, ABadConfigurationIsSaid) {
    std::ofstream(folder_ + "/cluster.yaml") << "virtual_services: [{label: web}]\n";
    for (const char* verb : {"connections", "diagnose", "diagnose web", "arp-fix web --os linux"})
        EXPECT_EQ(lbcluster(verb).exit_code, 3) << verb;
}

TEST_F(Layer4Command, DiagnoseGoesOnWithABadConfiguration) {
    std::filesystem::create_directory(folder_ + "/applied");
    for (const char* name : {"/node.yaml", "/cluster.yaml"})
        std::filesystem::copy(folder_ + name, folder_ + "/applied" + name);
    std::ofstream(folder_ + "/cluster.yaml") << "# new\nvirtual_services: [{label: web, adress: x}]\n";
    const auto found = [](const Json& result, const std::string& id) {
        std::string texts;
        for (const Json& one : result["findings"])
            if (one["id"] == id) texts += one["text"].get<std::string>() + " -> " + one["action"].get<std::string>();
        return texts;
    };
    for (const bool was_valid : {true, false}) {
        if (!was_valid) std::filesystem::remove_all(folder_ + "/applied");
        const Outcome outcome = lbcluster("diagnose --json");
        EXPECT_EQ(outcome.exit_code, 3);
        const Json result = outcome.json();
        EXPECT_THAT(found(result, "config-invalid"), HasSubstr("cluster.yaml:2:33: ")) << outcome.out;
        EXPECT_THAT(found(result, "config-invalid"), HasSubstr("did you mean 'address'?")) << "what to do";
        EXPECT_THAT(found(result, "daemon-down"), HasSubstr("heartbeatd does not run"));
        EXPECT_EQ(found(result, "daemon-down").find("forwarderd does not run") != std::string::npos, was_valid);
        EXPECT_EQ(result["error"]["code"], "invalid");
        EXPECT_EQ(result["problems"][0]["line"], 2);
        EXPECT_FALSE(result["not_examined"].empty());
        EXPECT_EQ(lbcluster("diagnose web").exit_code, 3);
    }
    EXPECT_THAT(lbcluster("diagnose").out, HasSubstr("[config-invalid]"));
}

TEST_F(Layer4Command, ArpFixForScripts) {
    const Json fix = lbcluster("arp-fix web --os linux --method nftables --undo --json").json();
    EXPECT_EQ(fix["service"], "web");
    EXPECT_EQ(fix["method"], "nftables");
    EXPECT_EQ(fix["undo"], true);
    EXPECT_EQ(fix["file"], "lbcluster-arp-fix-web-undo.sh");
    EXPECT_THAT(fix["script"].get<std::string>(), StartsWith("#!/bin/sh\n"));
    EXPECT_TRUE(fix["notes"].is_array());
}

TEST_F(Layer4Command, DiagnoseSaysThatNoDaemonRuns) {
    const Outcome outcome = lbcluster("diagnose --json");
    EXPECT_EQ(outcome.exit_code, 1);
    std::string down;
    const Json result = outcome.json();
    for (const Json& finding : result["findings"]) {
        for (const char* key : {"id", "severity", "service", "server", "text", "action"})
            EXPECT_TRUE(finding[key].is_string()) << key;
        if (finding["id"] == "daemon-down") down += finding["text"].get<std::string>() + "\n";
    }
    EXPECT_THAT(down, HasSubstr("heartbeatd does not run"));
    EXPECT_THAT(down, HasSubstr("healthd does not run"));
    EXPECT_THAT(down, HasSubstr("forwarderd does not run"));
}

TEST_F(Layer4Command, ConnectionsNeedAKernelWithIpvs) {
    const Outcome outcome = lbcluster("connections web --json");
    if (std::filesystem::exists("/proc/net/ip_vs_conn_sync")) {
        EXPECT_EQ(outcome.exit_code, 0);
        EXPECT_EQ(outcome.json()["services"][0]["label"], "web");
    } else {
        EXPECT_EQ(outcome.exit_code, 1);
        EXPECT_THAT(outcome.json()["error"]["message"], HasSubstr("no IPVS"));
    }
}

}  // namespace
}  // namespace lbcluster::cli
