// A program's pages: its manual page (man(7)) and its chapter of docs/reference/commands.md. Pure but for
// print_reference(), which a main() calls before it parses:
//
//   PROGRAM --print-reference man [DATE] | markdown
//
// The build calls it (target docs_generated); it is in no --help, as it is for nobody else.
#pragma once

#include <string>
#include <vector>

#include "lbcluster/reference/command.hpp"

namespace lbcluster::reference {

struct Exit {
    int code;
    std::string meaning;
};

struct File {
    std::string path;
    std::string about;
};

// What --help does not say.
struct Manual {
    int section = 1;
    std::vector<std::string> description;  // paragraphs
    std::vector<Exit> exits;
    std::vector<File> files;
    std::vector<std::string> see_also;  // "lbcluster(1)"
};

std::string man_page(const Command& program, const Manual& manual, const std::string& date);
std::string markdown_chapter(const Command& program, const Manual& manual);

// Text for man(7) and for a table cell of Markdown: nothing in it is taken for markup.
std::string man_text(const std::string& text);
std::string cell_text(const std::string& text);

// True if it was asked for, and printed.
bool print_reference(const CLI::App& app, const Manual& manual, int argc, char** argv);

}  // namespace lbcluster::reference
