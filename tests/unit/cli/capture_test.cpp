// OP-4: nothing that is asked can hold the support bundle up, or fill it.
#include "cli/capture.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>

namespace lbcluster::cli {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;

TEST(Capture, BothOutputsWhateverTheExitCode) {
    EXPECT_EQ(*capture({"sh", "-c", "echo out; echo err >&2; exit 3"}, {}), "out\nerr\n");
    EXPECT_EQ(capture({"no-such-program-here"}, {}).error().code, ENOENT);
}

TEST(Capture, TimeAndSizeHaveAnEnd) {
    const auto begin = std::chrono::steady_clock::now();
    EXPECT_THAT(*capture({"sh", "-c", "echo first; sleep 600 & wait"}, {.time = 300ms}),
                HasSubstr("first\n\n(cut off"));
    EXPECT_LT(std::chrono::steady_clock::now() - begin, 60s);
    const auto much = *capture({"yes"}, {.bytes = 10000});
    EXPECT_THAT(much.substr(9990), HasSubstr("(cut off: there is more)"));
    EXPECT_LT(much.size(), 10100U);
}

TEST(Capture, FilesAndSockets) {
    EXPECT_THAT(*tail_of("/proc/self/status", 100'000), HasSubstr("VmRSS"));
    EXPECT_EQ(tail_of("/proc", 10).error().code, EINVAL);
    EXPECT_EQ(tail_of("/nowhere", 10).error().code, ENOENT);
    EXPECT_EQ(listener_of("/nowhere").error().code, ENOENT);
    EXPECT_EQ(ask_socket("/nowhere", "x", {}).error().code, ENOENT);
}

}  // namespace
}  // namespace lbcluster::cli
