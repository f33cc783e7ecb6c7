// OP-1: a CLI11 tree as pages.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>

#include "lbcluster/reference/manual.hpp"

namespace lbcluster::reference {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

class PagesTest : public ::testing::Test {
  protected:
    PagesTest() : app_("A program", "prog") {
        app_.add_option("--dir", dir_, "Where it is")->envname("PROG_DIR")->capture_default_str();
        auto* add = app_.add_subcommand("add", "Add one | or two");
        add->add_option("LABEL", label_, "Its label")->required();
        add->add_option("WORDS", words_, "More");
        add->add_option("--os", os_, "The system")->required()->check(CLI::IsMember({"linux", "bsd"}));
        add->add_option("--port,-p", port_, "The port")->check(CLI::Range(1, 65535))->capture_default_str();
        add->add_flag("--force", force_, "Anyway")->group("");  // hidden
        add->footer("  .as it\n'stands");
        app_.add_subcommand("secret", "Hidden")->group("");
    }
    CLI::App app_;
    std::string dir_ = "/x", label_, os_;
    std::vector<std::string> words_;
    int port_ = 22;
    bool force_ = false;
};

TEST_F(PagesTest, TheTreeIsTheProgram) {
    const Command program = command_of(app_);
    ASSERT_EQ(program.commands.size(), 1U);
    const Command& add = program.commands[0];
    EXPECT_EQ(usage_of(add), "--os TEXT LABEL [WORDS...]");
    ASSERT_EQ(add.options.size(), 2U);
    EXPECT_THAT(add.options[0].choices, ElementsAre("linux", "bsd"));
    EXPECT_EQ(facts_of(add.options[0]), "One of: linux, bsd. Must be given.");
    EXPECT_EQ(facts_of(add.options[1]), "1 to 65535. Default: 22.");
    EXPECT_EQ(facts_of(program.options[1]), "Default: /x. In the environment: PROG_DIR.");
}

TEST_F(PagesTest, NothingIsTakenForMarkup) {
    const std::string page =
        man_page(command_of(app_), {8, {"-x \\n"}, {{0, "Done"}}, {}, {"a(1)", "b(5)"}}, "2026-11-22");
    EXPECT_THAT(page, HasSubstr(".TH PROG 8 \"2026-11-22\""));
    EXPECT_THAT(page, HasSubstr("\\-x \\en\n"));
    EXPECT_THAT(page, HasSubstr("  .as it\n\\&\\(aqstands\n"));
    EXPECT_THAT(page, HasSubstr(".SS add \\-\\-os TEXT LABEL [WORDS...]\n"));
    EXPECT_THAT(page, HasSubstr(".BR a (1) ,\n.BR b (5)\n"));
    EXPECT_THAT(page, Not(HasSubstr("force")));
    EXPECT_EQ(man_text(".a\n.b"), "\\&.a\n\\&.b");
}

TEST_F(PagesTest, AChapterOfMarkdown) {
    const std::string chapter = markdown_chapter(command_of(app_), {1, {}, {{2, "Usage"}}, {}, {}});
    EXPECT_THAT(
        chapter,
        HasSubstr("### prog add\n\nAdd one | or two.\n\n```\nprog add [OPTION]... --os TEXT LABEL [WORDS...]\n"));
    EXPECT_THAT(chapter, HasSubstr("| `-p, --port INT` | The port. 1 to 65535. Default: 22. |\n"));
    EXPECT_EQ(cell_text("a|b\nc"), "a\\|b c");
}

}  // namespace
}  // namespace lbcluster::reference
