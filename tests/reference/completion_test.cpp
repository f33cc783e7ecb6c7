// OP-1: what may stand next on a line.
#include "lbcluster/reference/completion.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace lbcluster::reference {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using Words = std::vector<std::string>;

Argument option(const std::string& name, const std::string& value, const Words& choices = {},
                const std::string& about = "") {
    Argument out;
    out.names = {name};
    out.value = value;
    out.choices = choices;
    out.about = about;
    return out;
}

Argument operand(const std::string& value, bool repeated = false) {
    Argument out;
    out.value = value;
    out.repeated = repeated;
    return out;
}

Command program() {
    Command set{"set", "Change one", "", {option("--wait", "TEXT")}, {operand("LABEL"), operand("KEY=VALUE", true)},
                {},    false};
    Command service{"service", "Services", "", {}, {}, {set}, false};
    Command fix{"arp-fix", "A script", "", {option("--os", "TEXT", {"linux", "bsd"})}, {operand("SERVICE")}, {}, false};
    Command check{"check", "Check", "", {}, {operand("FILE")}, {}, false};
    Command simulate{"simulate", "Simulate", "", {}, {}, {}, true};
    return {"lbcluster", "",
            "",          {option("--config-dir", "TEXT", {}, "Folder of files"), option("--json", "")},
            {},          {service, fix, check, simulate},
            false};
}

std::vector<Candidate> labels(const Wanted& wanted) {
    if (wanted.argument.value == "LABEL" || wanted.argument.value == "SERVICE")
        return {{"web", "10.0.0.1"}, {"wap", ""}};
    if (wanted.argument.value == "KEY=VALUE") return {{"of-" + wanted.operands.front() + "=", ""}};
    return {};
}

Words offered(const Words& words) {
    Words out;
    for (const Candidate& one : complete(program(), words, labels).candidates) out.push_back(one.word);
    return out;
}

TEST(Completion, OffersWhatMayStandNext) {
    EXPECT_THAT(offered({}), ElementsAre("service", "arp-fix", "check", "simulate"));
    EXPECT_THAT(offered({"s"}), ElementsAre("service", "simulate"));
    EXPECT_THAT(offered({"service", ""}), ElementsAre("set"));
    EXPECT_THAT(offered({"service", "set", "we"}), ElementsAre("web"));
    EXPECT_THAT(offered({"service", "set", "web", "of"}), ElementsAre("of-web="));
    EXPECT_THAT(offered({"service", "set", "web", "a=b", ""}), ElementsAre("of-web="));
    EXPECT_THAT(offered({"arp-fix", "web", ""}), IsEmpty());
}

TEST(Completion, OptionsMayStandAnywhere) {
    EXPECT_THAT(offered({"service", "set", "--"}), ElementsAre("--wait", "--config-dir", "--json"));
    EXPECT_THAT(offered({"--json", "service", "set", "web", "--"}), ElementsAre("--wait", "--config-dir"));
    EXPECT_THAT(offered({"--config-dir", "/x", "arp-fix", "--os", ""}), ElementsAre("linux", "bsd"));
    EXPECT_THAT(offered({"arp-fix", "--os=b"}), ElementsAre("--os=bsd"));
    EXPECT_THAT(offered({"arp-fix", "--", "--"}), IsEmpty());  // an operand now
    EXPECT_THAT(offered({"service", "set", "--wait", "arp"}), IsEmpty());
}

TEST(Completion, OptionsOnTheLineAreTold) {
    Wanted seen;
    complete(program(), {"--config-dir=/x", "service", "set", ""}, [&](const Wanted& wanted) {
        seen = wanted;
        return std::vector<Candidate>{};
    });
    EXPECT_EQ(seen.options["--config-dir"], "/x");
    EXPECT_THAT(seen.path, ElementsAre("service", "set"));
}

TEST(Completion, FilesAndFoldersAreTheShells) {
    EXPECT_EQ(complete(program(), {"check", ""}, labels).kind, Completion::Kind::files);
    EXPECT_EQ(complete(program(), {"--config-dir", ""}, labels).kind, Completion::Kind::folders);
    EXPECT_EQ(complete(program(), {"arp-fix", ""}, labels).kind, Completion::Kind::words);
    EXPECT_EQ(completion_text(complete(program(), {"arp-fix", ""}, labels)), "words\nweb\t10.0.0.1\nwap\t\n");
}

TEST(Completion, AnotherProgramsWordsAreHandedOn) {
    const auto handed = complete(program(), {"--json", "simulate", "run", "--ti"}, labels);
    EXPECT_TRUE(handed.passes_on);
    EXPECT_THAT(handed.passed_on, ElementsAre("run", "--ti"));
    EXPECT_THAT(complete(program(), {"simulate", ""}, labels).passed_on, ElementsAre(""));
}

}  // namespace
}  // namespace lbcluster::reference
