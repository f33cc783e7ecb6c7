#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <cstdio>
#include <string_view>

#include "lbcluster/reference/manual.hpp"

namespace lbcluster::reference {

bool print_reference(const CLI::App& app, const Manual& manual, int argc, char** argv) {
    if (argc < 3 || std::string_view(argv[1]) != "--print-reference") return false;
    const bool man = std::string_view(argv[2]) == "man";
    if (!man && std::string_view(argv[2]) != "markdown") return false;
    const Command program = command_of(app);
    const std::string text =
        man ? man_page(program, manual, argc > 3 ? argv[3] : "") : markdown_chapter(program, manual);
    std::fwrite(text.data(), 1, text.size(), stdout);
    return true;
}

}  // namespace lbcluster::reference
