// main() of the lab tests: every test process has namespaces of its own.
//
// A test that failed while the machine kept a processor from everybody (its host was busy: the Witness) says nothing
// about us, and is done again. One that failed on a machine that ran has failed.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <string_view>

#include "tests/lab/process.hpp"
#include "tests/lab/witness.hpp"

namespace {

using lbcluster::lab::run_isolated;

// Where processors are away all the time (an emulated machine), once is all there is.
#ifdef LAB_TRIES
constexpr int tries_max = LAB_TRIES;
#else
constexpr int tries_max = 1;
#endif
// The shortest timers of the lab take a peer for dead after 15 ms.
constexpr lbcluster::lab::Nanoseconds away_max = std::chrono::milliseconds(10);

// `away`: the longest that a processor was away meanwhile.
int run_apart(lbcluster::lab::Nanoseconds& away) {
    std::fflush(nullptr);
    const pid_t child = ::fork();
    if (child == 0) ::_exit(run_isolated([] { return RUN_ALL_TESTS(); }));
    if (child < 0) return 1;
    const lbcluster::lab::Witness witness;
    int status = 0;
    while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    away = witness.latest();
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

}  // namespace

int main(int argc, char** argv) {
    bool list_only = false;
    for (int i = 1; i < argc; ++i) list_only = list_only || std::string_view(argv[i]) == "--gtest_list_tests";
    ::testing::InitGoogleTest(&argc, argv);
    if (list_only) return RUN_ALL_TESTS();
    for (int tries = 1;; ++tries) {
        lbcluster::lab::Nanoseconds away{};
        const int code = run_apart(away);
        if (code == 0 || tries == tries_max || away < away_max) return code;
        std::printf("==== failed while a processor of this machine stood still for %.1f ms: void, done again\n",
                    static_cast<double>(away.count()) / 1e6);
    }
}
