#include "lib/config/yaml_tree.hpp"

#include <yaml.h>

#include <algorithm>
#include <array>
#include <optional>
#include <set>
#include <utility>

#include "lbcluster/base/utf8.hpp"

namespace lbcluster::config {
namespace {

Position position_of(const yaml_mark_t& mark) {
    return {static_cast<int>(mark.line) + 1, static_cast<int>(mark.column) + 1};
}

// One call of the library, freed whatever happens.
struct Event {
    Event() = default;
    Event(const Event&) = delete;
    Event& operator=(const Event&) = delete;
    ~Event() { yaml_event_delete(&raw); }
    yaml_event_t raw{};
};

class Parser {
  public:
    explicit Parser(std::string_view text) : made_(yaml_parser_initialize(&raw_) == 1) {
        if (!made_) return;
        yaml_parser_set_encoding(&raw_, YAML_UTF8_ENCODING);
        yaml_parser_set_input_string(&raw_, reinterpret_cast<const unsigned char*>(text.data()), text.size());
    }
    Parser(const Parser&) = delete;
    Parser& operator=(const Parser&) = delete;
    ~Parser() {
        if (made_) yaml_parser_delete(&raw_);
    }
    [[nodiscard]] bool next(Event& event) { return made_ && yaml_parser_parse(&raw_, &event.raw) == 1; }
    [[nodiscard]] const yaml_parser_t& raw() const { return raw_; }

  private:
    yaml_parser_t raw_{};
    bool made_;
};

std::string text_of(const yaml_char_t* text) { return text == nullptr ? "" : reinterpret_cast<const char*>(text); }

bool is_null(const std::string& text) {
    return text.empty() || text == "~" || text == "null" || text == "Null" || text == "NULL";
}

class TreeBuilder {
  public:
    TreeBuilder(const std::string& file, Problems& problems) : file_(file), problems_(problems) {}

    YamlNode root;

    // False: the event was refused, a problem says why, and there is no tree.
    bool take(const yaml_event_t& event) {
        switch (event.type) {
            case YAML_DOCUMENT_START_EVENT:
                return ++documents_ == 1 ||
                       refuse(event, "a second YAML document starts here", "remove the line '---' and what follows it");
            case YAML_ALIAS_EVENT:
                return refuse(event, "aliases (*name) are not supported", "write the value out");
            case YAML_SCALAR_EVENT:
                return has_no_tag(event, event.data.scalar.tag) && scalar(event);
            case YAML_SEQUENCE_START_EVENT:
                return has_no_tag(event, event.data.sequence_start.tag) && open(event, YamlNode::Kind::sequence);
            case YAML_MAPPING_START_EVENT:
                return has_no_tag(event, event.data.mapping_start.tag) && open(event, YamlNode::Kind::mapping);
            case YAML_SEQUENCE_END_EVENT:
            case YAML_MAPPING_END_EVENT:
                close();
                return true;
            default:
                return true;
        }
    }

  private:
    struct Level {
        YamlNode node;
        std::set<std::string> keys;
        bool key_pending = false;  // mapping: the key was read, its value comes next
        bool duplicate = false;    // that value is dropped
        YamlNode::Entry entry;
    };

    bool refuse(const yaml_event_t& event, std::string what, std::string how) {
        const Position position = position_of(event.start_mark);
        problems_.push_back({file_, position.line, position.column, std::move(what), std::move(how)});
        return false;
    }

    bool has_no_tag(const yaml_event_t& event, const yaml_char_t* tag) {
        if (tag == nullptr) return true;
        return refuse(event, "tags (" + printable(text_of(tag)) + ") are not supported", "remove the tag");
    }

    bool is_key() const {
        return !levels_.empty() && levels_.back().node.kind == YamlNode::Kind::mapping && !levels_.back().key_pending;
    }

    bool open(const yaml_event_t& event, YamlNode::Kind kind) {
        if (levels_.size() >= static_cast<std::size_t>(depth_max)) {
            return refuse(event, "nested deeper than " + std::to_string(depth_max) + " levels", "");
        }
        if (is_key()) {
            return refuse(event, "a key must be a word, not a list or a mapping",
                          "is there a '{' or '[' where a value in quotes was meant?");
        }
        Level level;
        level.node.kind = kind;
        level.node.position = position_of(event.start_mark);
        levels_.push_back(std::move(level));
        return true;
    }

    void close() {
        YamlNode node = std::move(levels_.back().node);
        levels_.pop_back();
        place(std::move(node));
    }

    bool scalar(const yaml_event_t& event) {
        const auto& read = event.data.scalar;
        std::string text(reinterpret_cast<const char*>(read.value), read.length);
        const bool quoted = read.style != YAML_PLAIN_SCALAR_STYLE;
        const Position position = position_of(event.start_mark);
        if (is_key()) {
            key(position, !quoted && is_null(text) ? "null" : text);
            return true;
        }
        YamlNode node;
        node.kind = !quoted && is_null(text) ? YamlNode::Kind::null : YamlNode::Kind::scalar;
        node.position = position;
        if (node.kind == YamlNode::Kind::scalar) node.text = std::move(text);
        node.quoted = quoted;
        place(std::move(node));
        return true;
    }

    void key(const Position& position, const std::string& text) {
        Level& level = levels_.back();
        level.key_pending = true;
        level.duplicate = !level.keys.insert(text).second;
        level.entry.key = text;
        level.entry.position = position;
        if (!level.duplicate || problems_.size() >= problems_max) return;
        int first_line = 0;
        for (const auto& entry : level.node.entries) {
            if (entry.key == text) first_line = entry.position.line;
        }
        problems_.push_back({file_, level.entry.position.line, level.entry.position.column,
                             "'" + printable(text) + "' is given twice, first in line " + std::to_string(first_line),
                             "keep one of them"});
    }

    void place(YamlNode node) {
        if (levels_.empty()) {
            root = std::move(node);
            return;
        }
        Level& level = levels_.back();
        if (level.node.kind == YamlNode::Kind::sequence) {
            level.node.items.push_back(std::move(node));
            return;
        }
        level.key_pending = false;
        if (level.duplicate) return;
        // An absent value stands nowhere; the key is what the reader looks for.
        if (node.kind == YamlNode::Kind::null) node.position = level.entry.position;
        level.entry.value = std::move(node);
        level.node.entries.push_back(std::move(level.entry));
        level.entry = {};
    }

    const std::string& file_;
    Problems& problems_;
    std::vector<Level> levels_;
    int documents_ = 0;
};

// We take UTF-8 text and nothing else, and say where something else stands.
bool check_bytes(std::string_view text, const std::string& file, Problems& problems) {
    int line = 1;
    std::size_t line_start = 0;
    for (std::size_t i = 0; i < text.size();) {
        const auto refuse = [&](const std::string& message, const std::string& hint) {
            problems.push_back({file, line, static_cast<int>(i - line_start) + 1, message, hint});
            return false;
        };
        const auto c = static_cast<unsigned char>(text[i]);
        if (c == 0) return refuse("a NUL byte", "the file is damaged or not a text file");
        if ((c < 0x20 && c != '\n' && c != '\r' && c != '\t') || c == 0x7f) {
            return refuse("a control character", "remove it");
        }
        const CodePoint point = decode_utf8(text.substr(i));
        if (point.size == 0) return refuse("not UTF-8 text", "save the file as UTF-8");
        // YAML 1.1, 5.1; of these only NEL is text.
        if ((point.value >= 0x80 && point.value < 0xa0 && point.value != 0x85) || point.value == 0xfffe ||
            point.value == 0xffff) {
            return refuse("a control character", "remove it");
        }
        i += point.size;
        if (c == '\n') {
            ++line;
            line_start = i;
        }
    }
    return true;
}

std::string_view line_of(std::string_view text, std::size_t number) {
    for (; number > 0; --number) {
        const std::size_t end = text.find('\n');
        if (end == std::string_view::npos) return {};
        text.remove_prefix(end + 1);
    }
    return text.substr(0, text.find('\n'));
}

// What to do about a syntax error: the library says what it missed, not what was written.
std::string syntax_hint(std::string_view line, const std::string& message) {
    const std::string_view indentation = line.substr(0, line.find_first_not_of(" \t"));
    if (indentation.find('\t') != std::string_view::npos) return "indent with spaces, not with tabs";
    struct Hint {
        std::string_view words;
        const char* hint;
    };
    static constexpr std::array hints{
        Hint{"expected ',' or", "is a closing ']' or '}' missing?"},
        Hint{"expected node content", "text that begins with ':' or ',' needs quotes between brackets"},
        Hint{"mapping values are not allowed",
             "put text with ': ' in it into quotes; look at the indentation, and for a ':' missing in the line above"},
        Hint{"expected key", "is the indentation of this line right?"},
        Hint{"block sequence entries", "is the indentation of this line right?"},
        Hint{"expected '-'", "is the indentation of this line right?"},
        Hint{"could not find expected ':'", "is a ':' missing after this key?"},
        Hint{"cannot start any token", "put text that begins with this character into quotes"},
        Hint{"unexpected end of stream", "is a closing quote missing?"},
        Hint{"escape character", "in double quotes a backslash is written \\\\; single quotes take it as it is"}};
    for (const Hint& one : hints) {
        if (message.find(one.words) != std::string::npos) return one.hint;
    }
    return {};
}

Problem syntax_problem(std::string_view text, const std::string& file, const yaml_parser_t& parser) {
    if (parser.error == YAML_MEMORY_ERROR) return {file, 0, 0, "not enough memory to read the file", ""};
    const std::string message = parser.problem == nullptr ? "cannot be read" : parser.problem;
    if (parser.error == YAML_READER_ERROR) return {file, 0, 0, "YAML syntax: " + message, ""};
    const Position position = position_of(parser.problem_mark);
    std::string since;
    if (parser.context != nullptr && parser.context_mark.line < parser.problem_mark.line) {
        since =
            std::string(", ") + parser.context + " that begins in line " + std::to_string(parser.context_mark.line + 1);
    }
    return {file, position.line, position.column, "YAML syntax: " + message + since,
            syntax_hint(line_of(text, parser.problem_mark.line), message)};
}

bool same_values(const YamlNode& a, const YamlNode& b) {
    return a.kind == b.kind && a.quoted == b.quoted && a.text == b.text &&
           std::equal(a.items.begin(), a.items.end(), b.items.begin(), b.items.end(), same_values) &&
           std::equal(a.entries.begin(), a.entries.end(), b.entries.begin(), b.entries.end(),
                      [](const YamlNode::Entry& x, const YamlNode::Entry& y) {
                          return x.key == y.key && same_values(x.value, y.value);
                      });
}

}  // namespace

std::string printable(std::string_view text) {
    constexpr std::size_t shown_max = 60;
    std::string out;
    for (const char c : text.substr(0, shown_max)) out += static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? '?' : c;
    if (text.size() > shown_max) {
        // Never cut inside a character: the text may end up in JSON.
        while (!out.empty() && (static_cast<unsigned char>(out.back()) & 0xc0U) == 0x80U) out.pop_back();
        if (!out.empty() && (static_cast<unsigned char>(out.back()) & 0x80U) != 0) out.pop_back();
        out += "...";
    }
    return out;
}

bool parse_tree(std::string_view text, const std::string& file, YamlNode& root, Problems& problems) {
    if (text.size() > text_bytes_max) {
        problems.push_back(
            {file, 0, 0,
             "the file has " + std::to_string(text.size()) + " bytes, more than " + std::to_string(text_bytes_max),
             "is it the right file?"});
        return false;
    }
    if (!check_bytes(text, file, problems)) return false;
    TreeBuilder builder(file, problems);
    Parser parser(text);
    bool whole = false;
    for (bool going = true; going && !whole;) {
        Event event;
        if (!parser.next(event)) {
            problems.push_back(syntax_problem(text, file, parser.raw()));
            going = false;
        } else {
            going = builder.take(event.raw);
            whole = going && event.raw.type == YAML_STREAM_END_EVENT;
        }
    }
    root = std::move(builder.root);
    return whole;
}

// A '#' begins a comment exactly if the document is the same without the rest of its line: so the parser decides, which
// tells nobody of comments.
bool has_comments(std::string_view text) {
    constexpr int tries_max = 100;  // '#' in values; beyond that, rather a warning too much
    const auto tree_of = [](std::string_view part) {
        Problems problems;
        YamlNode root;
        return parse_tree(part, "", root, problems) ? std::optional(std::move(root)) : std::nullopt;
    };
    const auto whole = tree_of(text);
    int tries = 0;
    for (std::size_t at = text.find('#'); at != std::string_view::npos; at = text.find('#', at + 1)) {
        if (at != 0 && std::string_view(" \t\r\n").find(text[at - 1]) == std::string_view::npos) continue;
        if (++tries > tries_max) return true;
        std::string cut(text.substr(0, at));
        cut += text.substr(std::min(text.find('\n', at), text.size()));
        const auto rest = tree_of(cut);
        if (whole && rest && same_values(*whole, *rest)) return true;
    }
    return false;
}

}  // namespace lbcluster::config
