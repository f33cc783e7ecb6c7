#include "lbcluster/base/memory.hpp"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <memory>

namespace lbcluster {
namespace {

constexpr std::size_t page = 4096;
constexpr std::size_t pages = 2048;

// A private mapping of a file of that many pages, each full of 'x', and all of them in memory.
char* mapped_file() {
    std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::tmpfile(), std::fclose);
    const std::string content(page * pages, 'x');
    if (!file || std::fwrite(content.data(), 1, content.size(), file.get()) != content.size()) return nullptr;
    std::fflush(file.get());
    void* const at = ::mmap(nullptr, content.size(), PROT_READ | PROT_WRITE, MAP_PRIVATE, ::fileno(file.get()), 0);
    if (at == MAP_FAILED) return nullptr;
    char sum = 0;
    for (std::size_t i = 0; i < pages; ++i) sum = static_cast<char>(sum ^ static_cast<volatile char*>(at)[i * page]);
    return sum == 0 ? static_cast<char*>(at) : nullptr;
}

// Pages of files that are in memory: the third figure of proc_pid_statm(5).
long file_pages() {
    long all = 0;
    long resident = 0;
    long shared = 0;
    std::ifstream("/proc/self/statm") >> all >> resident >> shared;
    return shared;
}

TEST(TrimMemory, GivesBackPagesOfFilesThatComeAgain) {
    char* const at = mapped_file();
    ASSERT_NE(at, nullptr);
    ASSERT_EQ(::mprotect(at, page * pages, PROT_READ), 0);
    const long before = file_pages();
    trim_memory();
    EXPECT_LE(file_pages(), before - static_cast<long>(pages) * 3 / 4);
    for (std::size_t i = 0; i < pages; ++i) ASSERT_EQ(at[i * page], 'x');
    ::munmap(at, page * pages);
}

// As the loader does it: changed, and made read-only after that.
TEST(TrimMemory, KeepsWhatIsNotInTheFile) {
    char* const at = mapped_file();
    ASSERT_NE(at, nullptr);
    at[7 * page] = 'y';
    ASSERT_EQ(::mprotect(at, page * pages, PROT_READ), 0);
    trim_memory();
    EXPECT_EQ(at[7 * page], 'y');
    EXPECT_EQ(at[8 * page], 'x');
    ::munmap(at, page * pages);
}

}  // namespace
}  // namespace lbcluster
