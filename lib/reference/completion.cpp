#include "lbcluster/reference/completion.hpp"

#include <algorithm>
#include <cctype>
#include <string_view>

namespace lbcluster::reference {
namespace {

// Walks the line as the parser will.
struct Line {
    std::vector<const Command*> chain;  // the program, its verb, the verb's verb
    const Argument* pending = nullptr;  // an option whose value comes next
    bool options_ended = false;
    Wanted seen;

    [[nodiscard]] const Command& last() const { return *chain.back(); }

    // Options of the program and of the verbs in front may stand behind a verb, too.
    [[nodiscard]] const Argument* option(const std::string& name) const {
        for (auto command = chain.rbegin(); command != chain.rend(); ++command) {
            for (const Argument& one : (*command)->options) {
                if (std::find(one.names.begin(), one.names.end(), name) != one.names.end()) return &one;
            }
        }
        return nullptr;
    }

    void take(const std::string& word) {
        if (pending != nullptr) {
            seen.options[pending->names.back()] = word;
            pending = nullptr;
        } else if (!options_ended && word == "--") {
            options_ended = true;
        } else if (!options_ended && word.size() > 1 && word[0] == '-') {
            const std::size_t sign = word.find('=');
            const Argument* known = option(word.substr(0, sign));
            if (known == nullptr) return;
            if (sign != std::string::npos || known->is_flag()) {
                seen.options[known->names.back()] = sign == std::string::npos ? "" : word.substr(sign + 1);
            } else {
                pending = known;
            }
        } else if (const Command* verb = verb_of(word)) {
            chain.push_back(verb);
            seen.path.push_back(word);
        } else {
            seen.operands.push_back(word);
        }
    }

    [[nodiscard]] const Command* verb_of(const std::string& word) const {
        if (!seen.operands.empty()) return nullptr;
        for (const Command& verb : last().commands) {
            if (verb.name == word) return &verb;
        }
        return nullptr;
    }
};

bool has_word(const std::string& text, std::string_view word) {
    std::string lower = text;
    std::transform(lower.begin(), lower.end(), lower.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    const auto is_letter = [&](std::size_t at) {
        return at < lower.size() && std::isalpha(static_cast<unsigned char>(lower[at])) != 0;
    };
    for (std::size_t at = lower.find(word); at != std::string::npos; at = lower.find(word, at + 1)) {
        std::size_t end = at + word.size();
        if (end < lower.size() && lower[end] == 's') ++end;
        if ((at == 0 || !is_letter(at - 1)) && !is_letter(end)) return true;
    }
    return false;
}

Completion value_of(Line& line, const Argument& argument, const std::string& begun, const Source& source) {
    Completion out;
    for (const std::string& choice : argument.choices) out.candidates.push_back({choice, ""});
    if (!out.candidates.empty()) return out;
    line.seen.argument = argument;
    line.seen.begun = begun;
    out.candidates = source(line.seen);
    if (!out.candidates.empty()) return out;
    const std::string text = argument.value + " " + argument.about;
    if (has_word(text, "folder")) out.kind = Completion::Kind::folders;
    else if (has_word(text, "file")) out.kind = Completion::Kind::files;
    return out;
}

void add_options(const Line& line, Completion& out) {
    for (auto command = line.chain.rbegin(); command != line.chain.rend(); ++command) {
        for (const Argument& option : (*command)->options) {
            const bool given = line.seen.options.contains(option.names.back());
            if (!given || option.repeated) out.candidates.push_back({option.names.back(), option.about});
        }
    }
}

void keep_begun(const std::string& begun, Completion& out) {
    std::erase_if(out.candidates, [&](const Candidate& one) { return !one.word.starts_with(begun); });
}

}  // namespace

Completion complete(const Command& program, const std::vector<std::string>& words, const Source& source) {
    Line line;
    line.chain.push_back(&program);
    const std::string begun = words.empty() ? "" : words.back();
    for (std::size_t i = 0; i + 1 < words.size(); ++i) {
        if (line.last().passes_on) {
            return {.passed_on = {words.begin() + static_cast<std::ptrdiff_t>(i), words.end()}, .passes_on = true};
        }
        line.take(words[i]);
    }
    if (line.last().passes_on) return {.passed_on = {begun}, .passes_on = true};
    Completion out;
    const std::size_t sign = begun.find('=');
    if (line.pending != nullptr) {
        out = value_of(line, *line.pending, begun, source);
    } else if (!line.options_ended && begun.starts_with("--") && sign != std::string::npos) {
        const Argument* option = line.option(begun.substr(0, sign));
        if (option == nullptr || option->is_flag()) return {};
        out = value_of(line, *option, begun.substr(sign + 1), source);
        for (Candidate& one : out.candidates) one.word = begun.substr(0, sign + 1) + one.word;
    } else if (!line.options_ended && begun.starts_with('-')) {
        add_options(line, out);
    } else {
        const auto& operands = line.last().operands;
        const std::size_t at = line.seen.operands.size();
        if (line.seen.operands.empty()) {
            for (const Command& verb : line.last().commands) out.candidates.push_back({verb.name, verb.about});
        }
        if (at < operands.size()) out = value_of(line, operands[at], begun, source);
        else if (!operands.empty() && operands.back().repeated) out = value_of(line, operands.back(), begun, source);
    }
    keep_begun(begun, out);
    return out;
}

std::string completion_text(const Completion& completion) {
    std::string out = completion.kind == Completion::Kind::words   ? "words\n"
                      : completion.kind == Completion::Kind::files ? "files\n"
                                                                   : "folders\n";
    for (const Candidate& one : completion.candidates) out += one.word + "\t" + one.about + "\n";
    return out;
}

bool asks_to_complete(int argc, char** argv, std::vector<std::string>& words) {
    if (argc < 3 || std::string_view(argv[1]) != "complete" || std::string_view(argv[2]) != "--") return false;
    words.assign(argv + 3, argv + argc);
    return true;
}

}  // namespace lbcluster::reference
