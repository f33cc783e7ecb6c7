#include "lib/config/yaml_tree.hpp"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/mark.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <exception>
#include <istream>
#include <optional>
#include <set>
#include <streambuf>

#include "lbcluster/base/utf8.hpp"

namespace lbcluster::config {
namespace {

Position position_of(const YAML::Mark& mark) { return {mark.line + 1, mark.column + 1}; }

// Ends the parsing from inside a callback; caught in parse_tree().
struct Refused : std::exception {
    Refused(const YAML::Mark& mark, std::string what, std::string how)
        : position(position_of(mark)), message(std::move(what)), hint(std::move(how)) {}
    Position position;
    std::string message;
    std::string hint;
};

class TreeBuilder : public YAML::EventHandler {
  public:
    TreeBuilder(const std::string& file, Problems& problems) : file_(file), problems_(problems) {}

    YamlNode root;

    void OnDocumentStart(const YAML::Mark& mark) override {
        if (++documents_ > 1) {
            throw Refused(mark, "a second YAML document starts here", "remove the line '---' and what follows it");
        }
    }
    void OnDocumentEnd() override {}
    void OnNull(const YAML::Mark& mark, YAML::anchor_t /*anchor*/) override {
        leaf(mark, YamlNode::Kind::null, {}, false);
    }
    void OnAlias(const YAML::Mark& mark, YAML::anchor_t /*anchor*/) override {
        throw Refused(mark, "aliases (*name) are not supported", "write the value out");
    }
    void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t /*anchor*/,
                  const std::string& value) override {
        check_tag(mark, tag);
        // yaml-cpp turns \_ and \N into single bytes.
        if (!is_utf8(value))
            throw Refused(mark, "an escape sequence that is not supported", "write the character itself");
        leaf(mark, YamlNode::Kind::scalar, value, tag == "!");
    }
    void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t /*anchor*/,
                         YAML::EmitterStyle::value /*style*/) override {
        check_tag(mark, tag);
        open(mark, YamlNode::Kind::sequence);
    }
    void OnSequenceEnd() override { close(); }
    void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t /*anchor*/,
                    YAML::EmitterStyle::value /*style*/) override {
        check_tag(mark, tag);
        open(mark, YamlNode::Kind::mapping);
    }
    void OnMapEnd() override { close(); }

  private:
    struct Level {
        YamlNode node;
        std::set<std::string> keys;
        bool key_pending = false;  // mapping: the key was read, its value comes next
        bool duplicate = false;    // that value is dropped
        YamlNode::Entry entry;
    };

    static void check_tag(const YAML::Mark& mark, const std::string& tag) {
        // "?" plain, "!" quoted, "" none: what stands there without a written tag.
        if (!tag.empty() && tag != "?" && tag != "!") {
            throw Refused(mark, "tags (" + printable(tag) + ") are not supported", "remove the tag");
        }
    }

    void open(const YAML::Mark& mark, YamlNode::Kind kind) {
        if (levels_.size() >= static_cast<std::size_t>(depth_max)) {
            throw Refused(mark, "nested deeper than " + std::to_string(depth_max) + " levels", "");
        }
        if (!levels_.empty() && levels_.back().node.kind == YamlNode::Kind::mapping && !levels_.back().key_pending) {
            throw Refused(mark, "a key must be a word, not a list or a mapping",
                          "is there a '{' or '[' where a value in quotes was meant?");
        }
        Level level;
        level.node.kind = kind;
        level.node.position = position_of(mark);
        levels_.push_back(std::move(level));
    }

    void close() {
        YamlNode node = std::move(levels_.back().node);
        levels_.pop_back();
        place(std::move(node));
    }

    void leaf(const YAML::Mark& mark, YamlNode::Kind kind, const std::string& text, bool quoted) {
        if (!levels_.empty() && levels_.back().node.kind == YamlNode::Kind::mapping && !levels_.back().key_pending) {
            key(mark, kind == YamlNode::Kind::null ? "null" : text);
            return;
        }
        YamlNode node;
        node.kind = kind;
        node.position = position_of(mark);
        node.text = text;
        node.quoted = quoted;
        place(std::move(node));
    }

    void key(const YAML::Mark& mark, const std::string& text) {
        Level& level = levels_.back();
        level.key_pending = true;
        level.duplicate = !level.keys.insert(text).second;
        level.entry.key = text;
        level.entry.position = position_of(mark);
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
        // An absent value carries the mark of something else in yaml-cpp; the key is what the reader looks for.
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

// yaml-cpp guesses encodings and takes odd bytes silently; we take UTF-8 text and nothing else.
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
        const std::size_t length = decode_utf8(text.substr(i)).size;
        if (length == 0) return refuse("not UTF-8 text", "save the file as UTF-8");
        i += length;
        if (c == '\n') {
            ++line;
            line_start = i;
        }
    }
    return true;
}

// What to do about a syntax error: yaml-cpp says what it missed, not what was written.
std::string syntax_hint(std::string_view text, const YAML::Mark& mark, const std::string& message) {
    if (mark.is_null() || mark.pos < 0 || static_cast<std::size_t>(mark.pos) > text.size()) return {};
    const std::size_t at = static_cast<std::size_t>(mark.pos);
    const std::size_t start = at == 0 ? 0 : text.rfind('\n', at - 1) + 1;  // npos + 1 is 0
    for (std::size_t i = start; i < text.size() && (text[i] == ' ' || text[i] == '\t'); ++i) {
        if (text[i] == '\t') return "indent with spaces, not with tabs";
    }
    if (message.find("end of map not found") != std::string::npos) return "is the indentation of this line right?";
    if (message.find("flow not found") != std::string::npos) return "is a closing ']' or '}' missing?";
    if (message.find("illegal map value") != std::string::npos) {
        return "put text with ': ' in it into quotes, and check the indentation";
    }
    return {};
}

bool same_values(const YamlNode& a, const YamlNode& b) {
    return a.kind == b.kind && a.quoted == b.quoted && a.text == b.text &&
           std::equal(a.items.begin(), a.items.end(), b.items.begin(), b.items.end(), same_values) &&
           std::equal(a.entries.begin(), a.entries.end(), b.entries.begin(), b.entries.end(),
                      [](const YamlNode::Entry& x, const YamlNode::Entry& y) {
                          return x.key == y.key && same_values(x.value, y.value);
                      });
}

// A read-only stream over memory that is not copied.
class ViewBuffer : public std::streambuf {
  public:
    explicit ViewBuffer(std::string_view text) {
        char* begin = const_cast<char*>(text.data());  // never written: no put area
        setg(begin, begin, begin + text.size());
    }
};

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
    bool whole = false;
    try {
        ViewBuffer buffer(text);
        std::istream stream(&buffer);
        YAML::Parser parser(stream);
        while (parser.HandleNextDocument(builder)) {
        }
        whole = true;
    } catch (const Refused& refused) {
        problems.push_back({file, refused.position.line, refused.position.column, refused.message, refused.hint});
    } catch (const YAML::Exception& error) {
        const Position position = error.mark.is_null() ? Position{} : position_of(error.mark);
        problems.push_back({file, position.line, position.column, "YAML syntax: " + printable(error.msg),
                            syntax_hint(text, error.mark, error.msg)});
    } catch (const std::exception& error) {
        problems.push_back({file, 0, 0, "YAML syntax: " + printable(error.what()), ""});
    }
    root = std::move(builder.root);
    return whole;
}

// A '#' begins a comment exactly if the document is the same without the rest of its line: so yaml-cpp decides, whose
// tokens nobody can ask for.
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
