#include "lbcluster/reference/command.hpp"

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>

namespace lbcluster::reference {
namespace {

// CLI11 tells of the type and of what is checked in one text: "INT:{a,b}", "UINT:INT in [1 - 65535]".
void take_type(const std::string& type, Argument& out) {
    if (const auto brace = type.find('{'); brace != std::string::npos) {
        const std::string list = type.substr(brace + 1, type.find('}', brace) - brace - 1);
        for (std::size_t at = 0; at <= list.size();) {
            const std::size_t end = std::min(list.find(',', at), list.size());
            out.choices.push_back(list.substr(at, end - at));
            at = end + 1;
        }
    }
    const auto open = type.find(" in [");
    const auto dash = type.find(" - ", open);
    if (open != std::string::npos && dash != std::string::npos) {
        const std::size_t begin = open + 5;
        out.range = type.substr(begin, dash - begin) + " to " + type.substr(dash + 3, type.find(']', dash) - dash - 3);
    }
}

Argument argument_of(const CLI::Option& option) {
    constexpr int many = 1000;
    Argument out;
    for (const std::string& name : option.get_snames()) out.names.push_back("-" + name);
    for (const std::string& name : option.get_lnames()) out.names.push_back("--" + name);
    out.about = option.get_description();
    out.required = option.get_required();
    out.repeated = option.get_items_expected_max() > many;
    if (option.get_items_expected_max() == 0) return out;
    const std::string type = option.get_type_name();
    take_type(type, out);
    out.value = out.names.empty() ? option.get_name(true) : type.substr(0, type.find(':'));
    out.default_text = option.get_default_str();
    out.environment = option.get_envname();
    return out;
}

bool is_program(const CLI::App& app) { return app.get_parent() == nullptr; }

}  // namespace

Command command_of(const CLI::App& app) {
    Command out;
    out.name = app.get_name();
    out.about = app.get_description();
    out.footer = app.get_footer();
    out.passes_on = app.get_prefix_command();
    while (!out.footer.empty() && out.footer.back() == '\n') out.footer.pop_back();
    for (const CLI::Option* option : app.get_options()) {
        const bool inherited = !is_program(app) && option == app.get_help_ptr();
        if (inherited || option->get_group().empty()) continue;
        (option->get_positional() ? out.operands : out.options).push_back(argument_of(*option));
    }
    for (const CLI::App* verb : app.get_subcommands([](const CLI::App*) { return true; })) {
        if (!verb->get_group().empty()) out.commands.push_back(command_of(*verb));
    }
    return out;
}

std::string usage_of(const Command& command) {
    std::string out;
    const auto add = [&](const std::string& words, bool required) {
        out += (out.empty() ? "" : " ") + (required ? words : "[" + words + "]");
    };
    for (const Argument& option : command.options) {
        if (option.required) add(option.names.back() + " " + option.value, true);
    }
    for (const Argument& operand : command.operands) {
        add(operand.value + (operand.repeated ? "..." : ""), operand.required);
    }
    if (!command.commands.empty()) add("COMMAND ...", true);
    if (command.passes_on) add("...", true);
    return out;
}

std::string facts_of(const Argument& argument) {
    std::string out;
    const auto add = [&](const std::string& sentence) { out += (out.empty() ? "" : " ") + sentence + "."; };
    if (!argument.choices.empty()) {
        std::string list;
        for (const std::string& choice : argument.choices) list += (list.empty() ? "" : ", ") + choice;
        add("One of: " + list);
    }
    if (!argument.range.empty()) add(argument.range);
    if (!argument.default_text.empty()) add("Default: " + argument.default_text);
    if (!argument.environment.empty()) add("In the environment: " + argument.environment);
    if (argument.required && !argument.names.empty()) add("Must be given");
    return out;
}

}  // namespace lbcluster::reference
