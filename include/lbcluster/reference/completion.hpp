// What may stand next on a command line, from the tree that --help is made from. Pure: values that only the machine
// knows (labels, revisions) come from a source that the caller gives.
//
// The shells ask the program itself (lib/reference/completion.bash, completion.zsh):
//   PROGRAM complete -- WORD...       the words behind the program's name up to the cursor; the last one is begun
// and get one line with the kind, words | files | folders, then "WORD<TAB>what it is" lines.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "lbcluster/reference/command.hpp"

namespace lbcluster::reference {

struct Candidate {
    std::string word;  // one that ends in '=' goes on
    std::string about;
};

// A value that is asked for.
struct Wanted {
    std::vector<std::string> path;  // of verbs: {"server", "drain"}
    Argument argument;
    std::vector<std::string> operands;           // that stand in front
    std::map<std::string, std::string> options;  // that were given, by their last name: {"--config-dir", "/etc/x"}
    std::string begun;
};

struct Completion {
    enum class Kind { words, files, folders } kind = Kind::words;
    std::vector<Candidate> candidates;
    std::vector<std::string> passed_on;  // these words are another program's, which is to be asked
    bool passes_on = false;
};

using Source = std::function<std::vector<Candidate>(const Wanted&)>;

Completion complete(const Command& program, const std::vector<std::string>& words, const Source& source);

// As the shells read it.
std::string completion_text(const Completion& completion);

// The words of `PROGRAM complete -- WORD...`; false: it is another call.
bool asks_to_complete(int argc, char** argv, std::vector<std::string>& words);

}  // namespace lbcluster::reference
