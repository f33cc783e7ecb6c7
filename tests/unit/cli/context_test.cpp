// OP-1: what every command prints is harmless and parseable.
#include "cli/context.hpp"

#include <gtest/gtest.h>

namespace lbcluster::cli {
namespace {

TEST(Harmless, KeepsTextAndDisarmsTheRest) {
    const std::vector<std::pair<std::string, std::string>> cases{
        {"plain, with Umläute and 日本", "plain, with Umläute and 日本"},
        {"\x1b[2J\x07", "\\x1b[2J\\x07"},
        {"a\nb\tc\r", "a\\nb\\tc\\x0d"},
        {std::string("nul\0!", 5), "nul\\x00!"},
        {"\x7f", "\\x7f"},
        {"\xc2\x9b"
         "31m",
         "\\u{9b}31m"},  // CSI as one C1 character
        {"\xe2\x80\xae"
         "gnp.exe",
         "\\u{202e}gnp.exe"},                 // text direction
        {"\xff\xfe", "\\xff\\xfe"},           // not UTF-8
        {"\xc0\xaf", "\\xc0\\xaf"},           // overlong
        {"\xed\xa0\x80", "\\xed\\xa0\\x80"},  // surrogate
        {"cut \xe2\x82", "cut \\xe2\\x82"},
        {"", ""},
    };
    for (const auto& [in, out] : cases) {
        EXPECT_EQ(harmless(in), out);
    }
}

TEST(JsonText, EscapesWhatATerminalWouldObey) {
    EXPECT_EQ(json_text({{"a", "\x1b\x7f\xc2\x9b\xff\""}}, -1), R"({"a":"\u001b\u007f\u009b\ufffd\""})");
}

TEST(CodeWord, IsStable) {
    EXPECT_EQ(code_word(exit_failed), "failed");
    EXPECT_EQ(code_word(exit_usage), "usage");
    EXPECT_EQ(code_word(exit_invalid), "invalid");
    EXPECT_EQ(code_word(exit_unreachable), "unreachable");
    EXPECT_EQ(code_word(exit_refused), "refused");
    EXPECT_EQ(code_word(exit_timed_out), "timeout");
}

}  // namespace
}  // namespace lbcluster::cli
