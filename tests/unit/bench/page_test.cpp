#include "bench/page.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace lbcluster::bench {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

Target target(const std::string& what, bool met) { return {what, "<= 1", met ? "1" : "2", "", met}; }

TEST(Page, IsMadeAndWrittenAgain) {
    const std::string one = with_section("", "## A", "## A\n\nfirst\n", "./a", {target("fast", true)});
    EXPECT_THAT(one, HasSubstr("# Measurements"));
    EXPECT_THAT(one, HasSubstr("| fast | <= 1 | 1 |  | met | `./a` |\n"));
    EXPECT_TRUE(one.ends_with("\n\n## A\n\nfirst\n")) << one;
    const std::string both = with_section(one, "## B", "## B\n\nother\n", "./b", {target("small", false)});
    EXPECT_THAT(both, HasSubstr("| small | <= 1 | 2 |  | **missed** | `./b` |\n"));
    EXPECT_TRUE(both.ends_with("## A\n\nfirst\n\n## B\n\nother\n")) << both;

    // What others wrote stays where it is; writing the same again changes nothing.
    const std::string next = with_section(both, "## A", "## A\n\nsecond\n", "./a", {target("faster", true)});
    EXPECT_THAT(next, Not(HasSubstr("first")));
    EXPECT_THAT(next, Not(HasSubstr("| fast |")));
    EXPECT_LT(next.find("| faster |"), next.find("| small |"));
    EXPECT_TRUE(next.ends_with("## A\n\nsecond\n\n## B\n\nother\n")) << next;
    EXPECT_EQ(with_section(next, "## A", "## A\n\nsecond\n", "./a", {target("faster", true)}), next);
    EXPECT_EQ(with_section(next, "## B", "## B\n\nother\n", "./b", {target("small", false)}), next);
}

TEST(Page, ATitleIsAWholeLine) {
    const std::string page = with_section("", "## Size", "## Size\n\nx\n", "./a", {});
    EXPECT_THAT(with_section(page, "## Size: more", "## Size: more\n\ny\n", "./b", {}),
                HasSubstr("## Size\n\nx\n\n## Size: more\n\ny\n"));
}

TEST(Table, AlignsWhatIsSeen) {
    Table table({"", "a"});
    table.add({"\u00e4\u00f6", "long"});
    table.add({"b"});
    EXPECT_EQ(table.text(), "|    | a    |\n|----|------|\n| \u00e4\u00f6 | long |\n| b  |      |\n");
}

}  // namespace
}  // namespace lbcluster::bench
