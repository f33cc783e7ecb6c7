#include <algorithm>
#include <sstream>

#include "lbcluster/reference/manual.hpp"

namespace lbcluster::reference {
namespace {

// Each line of `text` on a line of its own, as it stands.
std::string man_verbatim(const std::string& text) {
    std::string out = ".PP\n.nf\n";
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) out += man_text(line) + "\n";
    return out + ".fi\n";
}

std::string bold(const std::string& text) { return "\\fB" + man_text(text) + "\\fR"; }
std::string italic(const std::string& text) { return "\\fI" + man_text(text) + "\\fR"; }

std::string term_of(const Argument& argument) {
    std::string out;
    for (const std::string& name : argument.names) out += (out.empty() ? "" : ", ") + bold(name);
    if (!argument.value.empty()) out += (out.empty() ? "" : " ") + italic(argument.value);
    return out + (argument.repeated ? " ..." : "");
}

std::string list_of(const std::vector<Argument>& arguments) {
    std::string out;
    for (const Argument& argument : arguments) {
        out += ".TP\n" + term_of(argument) + "\n";
        const std::string facts = facts_of(argument);
        const std::string stop = argument.about.empty() || argument.about.back() == '.' ? "" : ".";
        out += man_text(argument.about + stop + (facts.empty() ? "" : " " + facts)) + "\n";
    }
    return out;
}

void add_man_commands(const Command& parent, const std::string& path, std::string& out) {
    for (const Command& command : parent.commands) {
        const std::string name = path.empty() ? command.name : path + " " + command.name;
        if (command.commands.empty()) {
            const std::string usage = usage_of(command);
            out += ".SS " + man_text(name + (usage.empty() ? "" : " " + usage)) + "\n" + man_text(command.about) +
                   ".\n" + list_of(command.operands) + list_of(command.options);
            if (!command.footer.empty()) out += man_verbatim(command.footer);
        }
        add_man_commands(command, name, out);
    }
}

void add_environment(const Command& program, std::string& out) {
    std::string list;
    for (const Argument& option : program.options) {
        if (option.environment.empty()) continue;
        list += ".TP\n" + bold(option.environment) + "\nAs " + bold(option.names.back()) + ".\n";
    }
    if (!list.empty()) out += ".SH ENVIRONMENT\n" + list;
}

std::string upper(std::string text) {
    std::transform(text.begin(), text.end(), text.begin(),
                   [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
    return text;
}

}  // namespace

std::string man_text(const std::string& text) {
    std::string out;
    for (std::size_t i = 0; i < text.size(); ++i) {
        const char c = text[i];
        if ((c == '.' || c == '\'') && (i == 0 || text[i - 1] == '\n')) out += "\\&";
        if (c == '\\') out += "\\e";
        else if (c == '-') out += "\\-";
        else if (c == '\'') out += "\\(aq";
        else if (c == '"') out += "\\(dq";
        else if (c == '^') out += "\\(ha";
        else if (c == '~') out += "\\(ti";
        else if (c == '`') out += "\\(ga";
        else out += c;
    }
    return out;
}

std::string man_page(const Command& program, const Manual& manual, const std::string& date) {
    std::string out = ".TH " + upper(program.name) + " " + std::to_string(manual.section) + " \"" + date +
                      "\" \"lbcluster " LBCLUSTER_VERSION "\" \"lbcluster\"\n";
    out += ".SH NAME\n" + man_text(program.name) + " \\- " + man_text(program.about) + "\n";
    const std::string usage = usage_of(program);
    out += ".SH SYNOPSIS\n" + bold(program.name) + " [" + italic("OPTION") + "]... " + man_text(usage) + "\n";
    out += ".SH DESCRIPTION\n";
    for (std::size_t i = 0; i < manual.description.size(); ++i) {
        out += (i == 0 ? "" : ".PP\n") + man_text(manual.description[i]) + "\n";
    }
    if (!program.footer.empty()) out += man_verbatim(program.footer);
    out += ".SH OPTIONS\n" + list_of(program.operands) + list_of(program.options);
    if (!program.commands.empty()) {
        out += ".SH COMMANDS\n";
        add_man_commands(program, "", out);
    }
    out += ".SH EXIT STATUS\n";
    for (const Exit& exit : manual.exits) {
        out += ".TP\n" + bold(std::to_string(exit.code)) + "\n" + man_text(exit.meaning) + ".\n";
    }
    add_environment(program, out);
    if (!manual.files.empty()) out += ".SH FILES\n";
    for (const File& file : manual.files) out += ".TP\n" + italic(file.path) + "\n" + man_text(file.about) + ".\n";
    out += ".SH SEE ALSO\n";
    for (std::size_t i = 0; i < manual.see_also.size(); ++i) {
        const std::string& page = manual.see_also[i];
        const std::size_t open = page.find('(');
        out += ".BR " + man_text(page.substr(0, open)) + " " + page.substr(open) +
               (i + 1 < manual.see_also.size() ? " ,\n" : "\n");
    }
    return out;
}

}  // namespace lbcluster::reference
