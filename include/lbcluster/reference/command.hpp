// A program's commands and options as data, out of the CLI11 tree that parses them: what manual pages, completion and
// docs/reference/ are made from, so that none of them says anything else than --help. Values; pure.
#pragma once

#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace lbcluster::reference {

// An option, or an operand (what stands in its place on the line).
struct Argument {
    std::vector<std::string> names;  // of an option: "-h", "--help"; of an operand none
    std::string value;               // SERVICE; of an option what stands behind it, TEXT; empty: a flag
    std::vector<std::string> choices;
    std::string range;  // "1 to 65535"
    std::string default_text;
    std::string environment;
    std::string about;
    bool required = false;
    bool repeated = false;

    [[nodiscard]] bool is_flag() const { return value.empty(); }
};

struct Command {
    std::string name;
    std::string about;
    std::string footer;  // lines, to be kept as they are
    std::vector<Argument> options;
    std::vector<Argument> operands;
    std::vector<Command> commands;
    bool passes_on = false;  // what follows is another program's
};

// The whole tree. Of the options of a verb those of the program are left out (they may stand anywhere), and --help.
Command command_of(const CLI::App& app);

// "SERVICE [SERVER]", "--os TEXT"
std::string usage_of(const Command& command);
// "Default: 10s. One of: mine, peer." Empty: there is nothing of that.
std::string facts_of(const Argument& argument);

}  // namespace lbcluster::reference
