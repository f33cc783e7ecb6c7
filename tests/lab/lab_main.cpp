// main() of the lab tests: every test process has namespaces of its own.
#include <gtest/gtest.h>

#include <string_view>

#include "tests/lab/process.hpp"

int main(int argc, char** argv) {
    bool list_only = false;
    for (int i = 1; i < argc; ++i) list_only = list_only || std::string_view(argv[i]) == "--gtest_list_tests";
    ::testing::InitGoogleTest(&argc, argv);
    if (list_only) return RUN_ALL_TESTS();
    return lbcluster::lab::run_isolated([] { return RUN_ALL_TESTS(); });
}
