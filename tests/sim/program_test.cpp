// OP-8: the program as scripts see it: exit codes, places of mistakes, files it writes, the same bytes twice.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>

namespace lbcluster::sim {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using Json = nlohmann::json;

struct Outcome {
    int exit_code = -1;
    std::string out;
    std::string err;
};

std::string read(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    std::ostringstream text;
    text << file.rdbuf();
    return text.str();
}

class ProgramTest : public ::testing::Test {
  protected:
    void SetUp() override {
        std::string name = (std::filesystem::temp_directory_path() / "lbcluster-sim-XXXXXX").string();
        ASSERT_NE(::mkdtemp(name.data()), nullptr);
        folder_ = name;
    }
    void TearDown() override { std::filesystem::remove_all(folder_); }

    [[nodiscard]] std::string write(const std::string& name, const std::string& text) const {
        std::ofstream(folder_ + "/" + name) << text;
        return folder_ + "/" + name;
    }
    [[nodiscard]] Outcome sim(const std::string& arguments) const {
        const std::string command = std::string(LBCLUSTER_SIM) + " " + arguments + " 2>" + folder_ + "/err";
        Outcome outcome;
        FILE* pipe = ::popen(command.c_str(), "r");
        std::array<char, 4096> part;
        while (const std::size_t n = std::fread(part.data(), 1, part.size(), pipe)) outcome.out.append(part.data(), n);
        const int status = ::pclose(pipe);
        outcome.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
        outcome.err = read(folder_ + "/err");
        return outcome;
    }
    static std::string scenario(const std::string& name) {
        return std::string(LBCLUSTER_SCENARIOS) + "/" + name + ".yaml";
    }
    std::string folder_;
};

// What makes a find repeatable: every random number comes from the seed.
TEST_F(ProgramTest, SameSeedGivesTheSameBytesInTwoProcesses) {
    const std::string noisy = write("noisy.yaml", R"(title: Noise
duration: 20s
faults:
  - {at: 2s, fault: loss, percent: 20}
  - {at: 2s, fault: jitter, delay: 3ms}
  - {at: 3s, fault: corrupt, percent: 5}
  - {at: 6s, fault: crash, node: lb1, for: 3s}
)");
    const Outcome first = sim("run " + noisy + " --json --seed 42");
    const Outcome second = sim("run " + noisy + " --json --seed 42");
    const Outcome other = sim("run " + noisy + " --json --seed 43");
    ASSERT_EQ(first.exit_code, second.exit_code);
    EXPECT_EQ(first.out, second.out);
    EXPECT_NE(first.out, other.out);
    EXPECT_EQ(Json::parse(first.out)["seed"], 42);
}

TEST_F(ProgramTest, ExitCodesSayWhatWasWrong) {
    EXPECT_EQ(sim("run " + scenario("crash")).exit_code, 0);
    const std::string wrong = write("wrong.yaml", "title: t\nduration: 5s\nexpect: [{at: 4s, active: lb2}]\n");
    const Outcome failed = sim("run " + wrong);
    EXPECT_EQ(failed.exit_code, 1);
    EXPECT_THAT(failed.out, HasSubstr("expected that lb2 answers, but lb1 does"));
    EXPECT_EQ(sim("run").exit_code, 2);
    EXPECT_EQ(sim("fly").exit_code, 2);
    const Outcome told = sim("fly --json");
    EXPECT_EQ(told.exit_code, 2);
    EXPECT_EQ(Json::parse(told.out, nullptr, false)["error"]["code"], "usage") << told.out;
    EXPECT_EQ(told.err, "");
    EXPECT_EQ(sim("run " + scenario("crash") + " --timeline picture.txt").exit_code, 2);
    EXPECT_EQ(sim("run " + folder_ + "/missing.yaml").exit_code, 3);
    EXPECT_EQ(sim("--version").exit_code, 0);
}

TEST_F(ProgramTest, SeveralScenariosGiveTheWorstExitCode) {
    const std::string wrong = write("wrong.yaml", "title: t\nduration: 5s\nexpect: [{at: 4s, active: lb2}]\n");
    const Outcome both = sim("run --quiet " + scenario("crash") + " " + wrong);
    EXPECT_EQ(both.exit_code, 1);
    EXPECT_THAT(both.out, HasSubstr("ok     " + scenario("crash")));
    EXPECT_THAT(both.out, HasSubstr("FAILED " + wrong));
}

TEST_F(ProgramTest, EveryMistakeIsReportedWithItsPlace) {
    const std::string bad = write("bad.yaml", R"(title: Mistakes
duration: 10s
faults:
  - {at: 1s, fault: crush, node: lb1}
  - {at: 2s, falt: crash, node: lb1}
)");
    const Outcome schema = sim("run " + bad);
    EXPECT_EQ(schema.exit_code, 3);
    EXPECT_THAT(schema.err, HasSubstr("bad.yaml:4:21: faults[0].fault: 'crush' is none of"));
    EXPECT_THAT(schema.err, HasSubstr("did you mean 'crash'?"));
    EXPECT_THAT(schema.err, HasSubstr("bad.yaml:5:14: 'falt' is not a key of faults[1]; did you mean 'fault'?"));

    const std::string rules = write("rules.yaml", R"(title: Rules
duration: 10s
faults:
  - {at: 1s, fault: crash, node: lb3}
  - {at: 20s, fault: loss, percent: 10}
  - {at: 2s, fault: loss}
  - {at: 2s, fault: crash, node: lb1, percent: 3}
expect:
  - {active: lb1}
)");
    const Outcome checked = sim("run " + rules);
    EXPECT_EQ(checked.exit_code, 3);
    EXPECT_THAT(checked.err, HasSubstr("rules.yaml:4:34: there is no node 'lb3'; did you mean 'lb1'?"));
    EXPECT_THAT(checked.err, HasSubstr("rules.yaml:5:10: 20s is after the end (10s)"));
    EXPECT_THAT(checked.err, HasSubstr("rules.yaml:6:5: loss needs 'percent'"));
    EXPECT_THAT(checked.err, HasSubstr("crash takes no 'percent'"));
    EXPECT_THAT(checked.err, HasSubstr("rules.yaml:9:5: it needs 'at'"));
}

// A user's own files, as they are: their mistakes are reported in their own places.
TEST_F(ProgramTest, TheUsersOwnFilesAreTakenAndChecked) {
    (void)write("a.yaml",
                "node: alpha\nrole: primary\ninterfaces: {lan: ens3}\nlinks:\n"
                "  - {interface: ens3, local: 192.168.110.40, peer: 192.168.110.41}\n"
                "  - {serial: /dev/ttyS0, baud: 115200}\n");
    (void)write("b.yaml",
                "node: beta\nrole: secondary\ninterfaces: {lan: ens3}\nlinks:\n"
                "  - {interface: ens3, local: 192.168.110.41, peer: 192.168.110.40}\n"
                "  - {serial: /dev/ttyS0, baud: 115200}\n");
    (void)write(
        "cluster.yaml",
        "heartbeat: {ping_nodes: [192.168.110.1]}\nfloating_ips: [{address: 192.168.110.150, interface: lan}]\n");
    const std::string head =
        "title: Mine\nduration: 15s\ncluster_file: cluster.yaml\n"
        "nodes: [{node_file: a.yaml}, {node_file: b.yaml}]\n";
    const std::string mine =
        write("mine.yaml", head +
                               "faults: [{at: 5s, fault: cut, network: lan, from: alpha, to: beta, for: 5s},"
                               " {at: 11s, fault: crash, node: alpha}]\n"
                               "expect: [{at: 4s, active: alpha}, {at: 14s, active: beta}, {moves: 1}]\n");
    const Outcome good = sim("run " + mine);
    EXPECT_EQ(good.exit_code, 0) << good.out << good.err;

    (void)write("cluster.yaml", "heartbeat: {deadtime: 10ms}\n");
    const Outcome bad = sim("run " + mine);
    EXPECT_EQ(bad.exit_code, 3);
    EXPECT_THAT(bad.err, HasSubstr(folder_ + "/cluster.yaml:1:"));
}

TEST_F(ProgramTest, PcapFilesAreWhatWiresharkOpens) {
    ASSERT_EQ(sim("run " + scenario("crash") + " --quiet --pcap " + folder_ + "/traces").exit_code, 0);
    for (const char* name : {"lb1-eth0", "lb2-eth1", "client-eth0", "gw-eth0"}) {
        const std::string bytes = read(folder_ + "/traces/" + name + ".pcap");
        ASSERT_GT(bytes.size(), 1000U) << name;
        const auto magic = static_cast<unsigned char>(bytes[0]) | static_cast<unsigned char>(bytes[1]) << 8 |
                           static_cast<unsigned char>(bytes[2]) << 16 |
                           static_cast<unsigned>(static_cast<unsigned char>(bytes[3])) << 24;
        EXPECT_TRUE(magic == 0xa1b2c3d4U || magic == 0xa1b23c4dU) << name;
        EXPECT_EQ(bytes[20], 1) << name << ": Ethernet";
    }
    // A heartbeat as it is on the wire: UDP 6694, the envelope of heartbeat/wire.
    const std::string port{"\x1a\x26\x1a\x26", 4};
    const std::string trace = read(folder_ + "/traces/lb1-eth1.pcap");
    EXPECT_THAT(trace, HasSubstr(port));
    EXPECT_THAT(trace, HasSubstr("LBH\x01"));
}

TEST_F(ProgramTest, PicturesAreWritten) {
    ASSERT_EQ(sim("run " + scenario("crash") + " --quiet --timeline " + folder_ + "/a.svg").exit_code, 0);
    const std::string svg = read(folder_ + "/a.svg");
    EXPECT_THAT(svg, HasSubstr("<svg xmlns="));
    EXPECT_THAT(svg, HasSubstr("lb2 active"));
    EXPECT_THAT(svg, HasSubstr("crash lb1"));
    ASSERT_EQ(sim("run " + scenario("crash") + " --quiet --timeline " + folder_ + "/a.html").exit_code, 0);
    EXPECT_THAT(read(folder_ + "/a.html"), HasSubstr("nothing heard of lb1"));
}

TEST_F(ProgramTest, TheTimelineSaysWhoWhatAndWhy) {
    const Outcome text = sim("run " + scenario("crash") + " --why");
    EXPECT_THAT(text.out, HasSubstr("became-active"));
    EXPECT_THAT(text.out, HasSubstr("nobody answers for the floating IPs and a ping node answers"));
    EXPECT_THAT(text.out, HasSubstr("peer_silence="));
    const Json json = Json::parse(sim("run " + scenario("crash") + " --json").out);
    EXPECT_TRUE(json["good"].get<bool>());
    EXPECT_EQ(json["moves"].size(), 1U);
    EXPECT_EQ(json["moves"][0]["to"], "lb2");
}

// ns-3 is GPL-2: what links it must not link OpenSSL.
TEST_F(ProgramTest, NoCryptographyIsLinked) {
    FILE* pipe = ::popen((std::string("ldd ") + LBCLUSTER_SIM).c_str(), "r");
    std::string libraries;
    std::array<char, 4096> part;
    while (const std::size_t n = std::fread(part.data(), 1, part.size(), pipe)) libraries.append(part.data(), n);
    ::pclose(pipe);
    EXPECT_THAT(libraries, HasSubstr("libns3-core"));
    EXPECT_THAT(libraries, Not(HasSubstr("libssl")));
    EXPECT_THAT(libraries, Not(HasSubstr("libcrypto")));
}

}  // namespace
}  // namespace lbcluster::sim
