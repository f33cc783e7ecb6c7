// OP-8: `lbcluster simulate` finds and runs the simulator, and says clearly when there is none.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

namespace lbcluster::cli {
namespace {

using ::testing::HasSubstr;

struct Outcome {
    int exit_code = -1;
    std::string out;  // stdout and stderr
};

class SimulateTest : public ::testing::Test {
  protected:
    void SetUp() override {
        std::string name = (std::filesystem::temp_directory_path() / "lbcluster-simulate-XXXXXX").string();
        ASSERT_NE(::mkdtemp(name.data()), nullptr);
        folder_ = name;
        // A copy, so that what lies beside the built program does not matter.
        std::filesystem::copy_file(LBCLUSTER_PROGRAM, folder_ + "/lbcluster");
    }
    void TearDown() override { std::filesystem::remove_all(folder_); }

    // A program that says who it is and what it was given, and ends with 3.
    static void write_simulator(const std::string& folder, const std::string& who) {
        const std::string path = folder + "/lbcluster-sim";
        std::ofstream(path) << "#!/bin/sh\necho " << who
                            << "\nfor a in \"$@\"; do echo \"<$a>\"; done\necho \"[$LBCLUSTER_CONFIG_DIR]\"\nexit 3\n";
        ASSERT_EQ(::chmod(path.c_str(), 0755), 0);
    }
    [[nodiscard]] Outcome lbcluster(const std::string& arguments, const std::string& path = "/nowhere") const {
        const std::string command = "PATH=" + path + " " + folder_ + "/lbcluster " + arguments + " 2>&1";
        Outcome outcome;
        FILE* pipe = ::popen(command.c_str(), "r");
        std::array<char, 4096> part;
        while (const std::size_t n = std::fread(part.data(), 1, part.size(), pipe)) outcome.out.append(part.data(), n);
        const int status = ::pclose(pipe);
        outcome.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
        return outcome;
    }
    std::string folder_;
};

TEST_F(SimulateTest, WithoutASimulatorSaysSoAndWhatToDo) {
    const Outcome outcome = lbcluster("simulate run a.yaml");
    EXPECT_EQ(outcome.exit_code, 1);
    EXPECT_THAT(outcome.out, HasSubstr("lbcluster-sim"));
    EXPECT_THAT(outcome.out, HasSubstr("install"));
    EXPECT_THAT(lbcluster("--json simulate run a.yaml").out, HasSubstr("\"hint\""));
}

TEST_F(SimulateTest, OneBesideTheProgramGetsEveryArgumentInOrder) {
    write_simulator(folder_, "beside");
    const Outcome outcome = lbcluster("simulate run 'a b.yaml' --seed 7 --json --help -- x");
    EXPECT_EQ(outcome.exit_code, 3) << "its exit code is ours";
    EXPECT_THAT(outcome.out, HasSubstr("beside\n<run>\n<a b.yaml>\n<--seed>\n<7>\n<--json>\n<--help>\n"));
}

TEST_F(SimulateTest, ItIsToldTheConfigurationFolder) {
    write_simulator(folder_, "beside");
    EXPECT_THAT(lbcluster("--config-dir /a/b simulate explore").out, HasSubstr("<explore>\n[/a/b]\n"));
    EXPECT_THAT(lbcluster("--json simulate bogus").out, HasSubstr("<bogus>\n<--json>\n"));
}

TEST_F(SimulateTest, OneInThePathIsFoundAfterThat) {
    const std::string other = folder_ + "/bin";
    std::filesystem::create_directory(other);
    write_simulator(other, "path");
    EXPECT_THAT(lbcluster("simulate swarm", other).out, HasSubstr("path\n<swarm>\n"));
    write_simulator(folder_, "beside");
    EXPECT_THAT(lbcluster("simulate swarm", other).out, HasSubstr("beside\n"));
}

}  // namespace
}  // namespace lbcluster::cli
