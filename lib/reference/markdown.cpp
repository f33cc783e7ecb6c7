#include "lbcluster/reference/manual.hpp"

namespace lbcluster::reference {
namespace {

std::string name_of(const Argument& argument) {
    std::string out;
    for (const std::string& name : argument.names) out += (out.empty() ? "" : ", ") + name;
    if (!argument.value.empty()) out += (out.empty() ? "" : " ") + argument.value;
    return "`" + out + (argument.repeated ? "..." : "") + "`";
}

std::string table_of(const Command& command) {
    if (command.operands.empty() && command.options.empty()) return "";
    std::string out = "| | |\n|---|---|\n";
    for (const std::vector<Argument>* arguments : {&command.operands, &command.options}) {
        for (const Argument& argument : *arguments) {
            const std::string facts = facts_of(argument);
            out += "| " + name_of(argument) + " | " + cell_text(argument.about + (facts.empty() ? "" : ". " + facts)) +
                   " |\n";
        }
    }
    return out + "\n";
}

std::string markdown_verbatim(const std::string& text) { return "```\n" + text + "\n```\n\n"; }

void add_markdown_commands(const Command& parent, const std::string& path, std::string& out) {
    for (const Command& command : parent.commands) {
        const std::string name = path + " " + command.name;
        if (command.commands.empty()) {
            const std::string usage = usage_of(command);
            out += "### " + name + "\n\n" + command.about + ".\n\n";
            out += markdown_verbatim(name + (command.options.empty() ? "" : " [OPTION]...") +
                                     (usage.empty() ? "" : " " + usage));
            out += table_of(command);
            if (!command.footer.empty()) out += markdown_verbatim(command.footer);
        }
        add_markdown_commands(command, name, out);
    }
}

}  // namespace

std::string cell_text(const std::string& text) {
    std::string out;
    for (const char c : text) {
        if (c == '|' || c == '<' || c == '*') out += '\\';
        out += c == '\n' ? ' ' : c;
    }
    return out;
}

std::string markdown_chapter(const Command& program, const Manual& manual) {
    const std::string usage = usage_of(program);
    std::string out = "## " + program.name + "\n\n" + program.about + ".\n\n" +
                      markdown_verbatim(program.name + " [OPTION]..." + (usage.empty() ? "" : " " + usage));
    for (const std::string& paragraph : manual.description) out += paragraph + "\n\n";
    out += table_of(program);
    if (!program.footer.empty()) out += markdown_verbatim(program.footer);
    out += "| exit code | |\n|---|---|\n";
    for (const Exit& exit : manual.exits) {
        out += "| " + std::to_string(exit.code) + " | " + cell_text(exit.meaning) + " |\n";
    }
    out += "\n";
    add_markdown_commands(program, program.name, out);
    return out;
}

}  // namespace lbcluster::reference
