// parse_yaml() and with_defaults(): one walk over the descriptors, one function a kind of value.
#include <re2/re2.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>
#include <functional>
#include <memory>

#include "lbcluster/base/address.hpp"
#include "lbcluster/config/schema.hpp"
#include "lbcluster/config/services.hpp"
#include "lib/config/reflect.hpp"
#include "lib/config/yaml_tree.hpp"

namespace lbcluster::config {
namespace {

namespace pb = google::protobuf;
using Field = pb::FieldDescriptor;

constexpr std::size_t items_max_default = 10000;

bool is_name(std::string_view text) {
    const auto word = [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); };
    return !text.empty() && text.size() <= 63 && word(text.front()) &&
           std::all_of(text.begin(), text.end(), [&](char c) { return word(c) || c == '-' || c == '_' || c == '.'; });
}

// What the kernel takes (dev_valid_name), but up to the length of a name in node.yaml's `interfaces`.
bool is_interface(std::string_view text) {
    return !text.empty() && text.size() <= 63 && text != "." && text != ".." &&
           std::none_of(text.begin(), text.end(), [](char c) { return c == '/' || c == ':' || c <= ' ' || c > '~'; });
}

bool is_host(std::string_view text) {
    if (IpAddress::parse(text)) return true;
    const auto word = [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); };
    return !text.empty() && text.size() <= 253 && word(text.front()) && word(text.back()) &&
           text.find("..") == std::string_view::npos &&
           std::all_of(text.begin(), text.end(), [&](char c) { return word(c) || c == '-' || c == '.'; });
}

bool is_visible(std::string_view text, std::string_view forbidden) {
    return std::all_of(text.begin(), text.end(),
                       [&](char c) { return c > ' ' && c <= '~' && forbidden.find(c) == std::string_view::npos; });
}

// The useful part of RFC 5321's Mailbox: no quoted local part, no address literal.
bool is_mail(std::string_view text) {
    const std::size_t at = text.rfind('@');
    if (at == std::string_view::npos || at == 0 || at > 64) return false;
    const std::string_view domain = text.substr(at + 1);
    return is_visible(text.substr(0, at), "()<>[]:;@\\,\"") && is_host(domain) && !IpAddress::parse(domain);
}

bool is_url(std::string_view text) {
    constexpr std::size_t url_max = 2048;
    for (const std::string_view scheme : {"http://", "https://"}) {
        if (text.size() > url_max || text.substr(0, scheme.size()) != scheme) continue;
        const std::string_view rest = text.substr(scheme.size());
        return !rest.empty() && rest.front() != '/' && is_visible(rest, "\"<>\\^`{|}");
    }
    return false;
}

// The complaint about a string that does not look like its format says; empty message: it does.
Error check_format(Format format, const std::string& text) {
    const std::string quoted = "'" + printable(text) + "'";
    switch (format) {
        case FORMAT_NAME:
            if (is_name(text)) return {};
            return {quoted + " is not a name",
                    "use letters, digits, '-', '_' and '.', up to 63, a letter or digit first", 0};
        case FORMAT_INTERFACE:
            if (is_interface(text)) return {};
            return {quoted + " is not the name of an interface", "write it like eth0", 0};
        case FORMAT_IP:
            if (IpAddress::parse(text)) return {};
            return {quoted + " is not an IPv4 or IPv6 address", "write it like 192.168.1.10 or fd00::10", 0};
        case FORMAT_IP_PREFIX: {
            const auto prefix = IpPrefix::parse(text);
            if (prefix) return {};
            if (IpAddress::parse(text.substr(0, text.find('/')))) {
                return {quoted + " has a bad prefix length", prefix.error().hint, 0};
            }
            return {quoted + " is not an IPv4 or IPv6 address", "write it like 192.168.1.10 or fd00::10", 0};
        }
        case FORMAT_PATH:
            if (text.size() > 1 && text.size() < 4096 && text.front() == '/') return {};
            return {quoted + " is not an absolute path", "write it like /dev/ttyS0", 0};
        case FORMAT_PORTS:
            if (parse_port_range(text)) return {};
            return {quoted + " is not a port", "write 80, 8000-8010 or all; ports are 1 to 65535", 0};
        case FORMAT_REGEX: {
            constexpr std::size_t regex_max = 1024;
            if (text.size() > regex_max) return {"the expression is longer than 1024 characters", "", 0};
            const RE2 expression(text, RE2::Quiet);
            if (!expression.ok()) return {quoted + " is not a regular expression: " + expression.error(), "", 0};
            return {};
        }
        case FORMAT_TIME:
            if (parse_rfc3339(text)) return {};
            return {quoted + " is not a time", "write it in UTC like 2026-11-21T14:30:00Z", 0};
        case FORMAT_HOST:
            if (is_host(text)) return {};
            return {quoted + " is neither a host name nor an address", "write it like mail.example.org or 10.0.0.1", 0};
        case FORMAT_MAIL:
            if (is_mail(text)) return {};
            return {quoted + " is not a mail address", "write it like admin@example.org", 0};
        case FORMAT_URL:
            if (is_url(text)) return {};
            // Not quoted: what follows the host is often a secret.
            return {"is not a URL", "write it like https://chat.example.org/hooks/1", 0};
        default:
            return {};
    }
}

template <class T>
bool parse_number(std::string_view text, T& out) {
    const char* end = text.data() + text.size();
    const auto [stopped, error] = std::from_chars(text.data(), end, out);
    return error == std::errc{} && stopped == end;
}

class Reader {
  public:
    Reader(const std::string& file, Positions& positions, Problems& problems)
        : file_(file), positions_(positions), problems_(problems) {}

    void mapping(const YamlNode& node, const std::string& path, pb::Message& out) {
        const pb::Descriptor& type = *out.GetDescriptor();
        for (const auto& entry : node.entries) {
            const Field* field = type.FindFieldByName(entry.key);
            if (field == nullptr || options_of(*field).word()) {
                unknown_key(entry, path, type);
                continue;
            }
            const std::string field_path = path.empty() ? entry.key : path + "." + entry.key;
            positions_.add(field_path, entry.value.position);
            any(entry.value, field_path, *field, out);
        }
        for (int i = 0; i < type.field_count(); ++i) {
            const Field& field = *type.field(i);
            const bool given = std::any_of(node.entries.begin(), node.entries.end(),
                                           [&](const auto& entry) { return entry.key == field.name(); });
            if (!given && options_of(field).required()) {
                report(node.position, container(path) + " has no '" + field.name() + "'", "it must be given");
            }
        }
    }

  private:
    void report(Position position, const std::string& message, const std::string& hint) {
        if (problems_.size() >= problems_max) return;
        problems_.push_back({file_, position.line, position.column, message, hint});
    }

    [[nodiscard]] std::string container(const std::string& path) const {
        return path.empty() ? file_.substr(file_.rfind('/') + 1) : path;
    }

    void assign_whole(const std::string& value, const std::string& path, const Field& field, pb::Message& out) {
        out.GetReflection()->ClearField(&out, &field);
        if (value.empty()) return;
        YamlNode node;
        const bool one_word = is_mapping(field) && !field.is_repeated() && !words_of(*field.message_type()).empty() &&
                              value.front() != '{';
        const bool list = field.is_repeated() && !field.is_map() && !is_mapping(field) && value.front() != '[';
        if (list) {
            node.kind = YamlNode::Kind::sequence;
            for (std::size_t at = 0; at <= value.size();) {
                const std::size_t comma = std::min(value.find(',', at), value.size());
                YamlNode item;
                item.kind = YamlNode::Kind::scalar;
                item.text = value.substr(at, comma - at);
                node.items.push_back(std::move(item));
                at = comma + 1;
            }
        } else if (one_word || (!is_mapping(field) && !field.is_repeated())) {
            node.kind = YamlNode::Kind::scalar;
            node.text = value;
        } else if (!parse_tree(value, path, node, problems_)) {
            return;
        }
        any(node, path, field, out);
    }

    void assign_pair(const std::string& key, const std::string& value, const std::string& path, const Field& field,
                     pb::Message& out) {
        const pb::Reflection& r = *out.GetReflection();
        const Field& key_field = *field.message_type()->map_key();
        for (int n = r.FieldSize(out, &field) - 1; n >= 0; --n) {
            const pb::Message& pair = r.GetRepeatedMessage(out, &field, n);
            if (pair.GetReflection()->GetString(pair, &key_field) != key) continue;
            r.SwapElements(&out, &field, n, r.FieldSize(out, &field) - 1);
            r.RemoveLast(&out, &field);
        }
        if (value.empty()) return;
        YamlNode text;
        text.kind = YamlNode::Kind::scalar;
        text.text = value;
        YamlNode node;
        node.kind = YamlNode::Kind::mapping;
        node.entries.push_back({key, {}, std::move(text)});
        free_mapping(node, path, field, out);
    }

    void unknown_key(const YamlNode::Entry& entry, const std::string& path, const pb::Descriptor& type) {
        std::vector<std::string> keys;
        std::string list;
        for (int i = 0; i < type.field_count(); ++i) {
            if (options_of(*type.field(i)).word()) continue;
            keys.push_back(type.field(i)->name());
            list += (list.empty() ? "" : ", ") + keys.back();
        }
        const std::string near = nearest(entry.key, keys);
        report(entry.position, "'" + printable(entry.key) + "' is not a key of " + container(path),
               near.empty() ? "its keys are " + list : "did you mean '" + near + "'?");
    }

    static const char* name_of(YamlNode::Kind kind) {
        switch (kind) {
            case YamlNode::Kind::null:
                return "nothing";
            case YamlNode::Kind::scalar:
                return "a single value";
            case YamlNode::Kind::sequence:
                return "a list";
            case YamlNode::Kind::mapping:
                return "a mapping";
        }
        return "";
    }

    bool expect(const YamlNode& node, const std::string& path, YamlNode::Kind kind) {
        if (node.kind == kind) return true;
        if (node.kind == YamlNode::Kind::null) {
            report(node.position, path + " has no value", "give one or remove the line");
            return false;
        }
        const char* wanted = kind == YamlNode::Kind::mapping    ? "a mapping"
                             : kind == YamlNode::Kind::sequence ? "a list"
                                                                : "a single value";
        const char* how = kind == YamlNode::Kind::mapping    ? "write it as key: value"
                          : kind == YamlNode::Kind::sequence ? "write it as [a, b], or one '- a' a line"
                                                             : "";
        report(node.position, path + " must be " + wanted + ", not " + name_of(node.kind), how);
        return false;
    }

    bool check_count(const YamlNode& node, const std::string& path, const Field& field, std::size_t count) {
        const std::uint32_t given = options_of(field).max_items();
        const std::size_t most = given == 0 ? items_max_default : given;
        if (count <= most) return true;
        report(node.position, path + " has " + std::to_string(count) + " entries, more than " + std::to_string(most),
               "");
        return false;
    }

    void any(const YamlNode& node, const std::string& path, const Field& field, pb::Message& out) {
        // `floating_ips:` with every entry commented out is an empty list, not a mistake.
        const bool holds_others = field.is_repeated() || is_mapping(field);
        if (node.kind == YamlNode::Kind::null && holds_others) return;
        if (field.is_map()) {
            free_mapping(node, path, field, out);
        } else if (field.is_repeated()) {
            sequence(node, path, field, out);
        } else if (is_mapping(field)) {
            if (node.kind == YamlNode::Kind::scalar && !words_of(*field.message_type()).empty()) {
                return word(node, path, field, out);
            }
            if (!expect(node, path, YamlNode::Kind::mapping)) return;
            mapping(node, path, *out.GetReflection()->MutableMessage(&out, &field));
        } else {
            scalar(node, path, field, out);
        }
    }

    // A message written as one of its words.
    void word(const YamlNode& node, const std::string& path, const Field& field, pb::Message& out) {
        std::string list;
        std::vector<std::string> words;
        for (const Field* candidate : words_of(*field.message_type())) {
            if (candidate->name() == node.text) {
                pb::Message* target = out.GetReflection()->MutableMessage(&out, &field);
                target->GetReflection()->SetBool(target, candidate, true);
                return;
            }
            words.push_back(candidate->name());
            list += (list.empty() ? "'" : "', '") + words.back();
        }
        const std::string near = nearest(node.text, words);
        report(node.position, path + " is neither " + list + "' nor a mapping",
               near.empty() ? "" : "did you mean '" + near + "'?");
    }

    void sequence(const YamlNode& node, const std::string& path, const Field& field, pb::Message& out) {
        if (node.kind == YamlNode::Kind::scalar && !is_mapping(field)) {  // a list of one
            positions_.add(path + "[0]", node.position);
            scalar(node, path, field, out);
            return;
        }
        if (!expect(node, path, YamlNode::Kind::sequence)) return;
        if (!check_count(node, path, field, node.items.size())) return;
        for (std::size_t i = 0; i < node.items.size(); ++i) {
            const YamlNode& item = node.items[i];
            const std::string item_path = path + "[" + std::to_string(i) + "]";
            positions_.add(item_path, item.position);
            if (is_mapping(field)) {
                pb::Message* target = out.GetReflection()->AddMessage(&out, &field);
                if (expect(item, item_path, YamlNode::Kind::mapping)) mapping(item, item_path, *target);
            } else if (!scalar(item, item_path, field, out)) {
                add_placeholder(field, out);
            }
        }
    }

    // Keeps the numbering of what follows a bad entry, so that the checks name the right place.
    static void add_placeholder(const Field& field, pb::Message& out) {
        const pb::Reflection& r = *out.GetReflection();
        switch (field.cpp_type()) {
            case Field::CPPTYPE_STRING:
                r.AddString(&out, &field, "");
                break;
            case Field::CPPTYPE_BOOL:
                r.AddBool(&out, &field, false);
                break;
            case Field::CPPTYPE_ENUM:
                r.AddEnumValue(&out, &field, 0);
                break;
            case Field::CPPTYPE_MESSAGE:
                r.AddMessage(&out, &field);
                break;
            case Field::CPPTYPE_UINT32:
                r.AddUInt32(&out, &field, 0);
                break;
            case Field::CPPTYPE_INT32:
                r.AddInt32(&out, &field, 0);
                break;
            case Field::CPPTYPE_UINT64:
                r.AddUInt64(&out, &field, 0);
                break;
            case Field::CPPTYPE_INT64:
                r.AddInt64(&out, &field, 0);
                break;
            case Field::CPPTYPE_DOUBLE:
                r.AddDouble(&out, &field, 0);
                break;
            case Field::CPPTYPE_FLOAT:
                r.AddFloat(&out, &field, 0);
                break;
        }
    }

    void free_mapping(const YamlNode& node, const std::string& path, const Field& field, pb::Message& out) {
        if (!expect(node, path, YamlNode::Kind::mapping)) return;
        if (!check_count(node, path, field, node.entries.size())) return;
        const Field& value_field = *field.message_type()->map_value();
        for (const auto& entry : node.entries) {
            const Error bad_key = check_format(FORMAT_NAME, entry.key);
            if (!bad_key.message.empty()) {
                report(entry.position, path + ": " + bad_key.message, bad_key.hint);
                continue;
            }
            const std::string value_path = path + "." + entry.key;
            positions_.add(value_path, entry.value.position);
            pb::Message* pair = out.GetReflection()->AddMessage(&out, &field);
            pair->GetReflection()->SetString(pair, field.message_type()->map_key(), entry.key);
            if (is_mapping(value_field)) {
                if (!expect(entry.value, value_path, YamlNode::Kind::mapping)) continue;
                mapping(entry.value, value_path, *pair->GetReflection()->MutableMessage(pair, &value_field));
            } else {
                scalar(entry.value, value_path, value_field, *pair, options_of(field));
            }
        }
    }

    bool scalar(const YamlNode& node, const std::string& path, const Field& field, pb::Message& out) {
        return scalar(node, path, field, out, options_of(field));
    }
    bool scalar(const YamlNode& node, const std::string& path, const Field& field, pb::Message& out,
                const KeyOptions& options) {
        if (!expect(node, path, YamlNode::Kind::scalar)) return false;
        const Error error = set_scalar(node.text, field, out, options);
        if (!error.message.empty()) report(node.position, path + ": " + error.message, error.hint);
        return error.message.empty();
    }

  public:
    // One step of assign(): `rest` is what is left of the dotted path below `path`.
    void assign(std::string_view rest, const std::string& value, const std::string& path, pb::Message& out) {
        const std::size_t dot = rest.find('.');
        const std::string name(rest.substr(0, dot));
        const Field* field = out.GetDescriptor()->FindFieldByName(name);
        const std::string here = path.empty() ? name : path + "." + name;
        if (field == nullptr || options_of(*field).word()) {
            unknown_key({name, {}, {}}, path, *out.GetDescriptor());
            return;
        }
        if (dot == std::string_view::npos) return assign_whole(value, here, *field, out);
        const std::string_view below = rest.substr(dot + 1);
        if (field->is_map()) {
            assign_pair(std::string(below), value, here, *field, out);
        } else if (is_mapping(*field) && !field->is_repeated()) {
            pb::Message& target = *out.GetReflection()->MutableMessage(&out, field);
            // A word (`persistence: none`) gives way to what is said now.
            for (const Field* word : words_of(*field->message_type()))
                target.GetReflection()->ClearField(&target, word);
            assign(below, value, here, target);
        } else {
            report({}, here + " has no keys of its own", "write " + here + "=VALUE");
        }
    }

    // Sets or appends one value; an empty message says that it is right.
    static Error set_scalar(const std::string& text, const Field& field, pb::Message& out, const KeyOptions& options) {
        switch (field.cpp_type()) {
            case Field::CPPTYPE_STRING:
                return set_string(text, field, out, options);
            case Field::CPPTYPE_BOOL:
                return set_bool(text, field, out);
            case Field::CPPTYPE_ENUM:
                return set_enum(text, field, out);
            case Field::CPPTYPE_MESSAGE:
                return set_duration_field(text, field, out, options);
            case Field::CPPTYPE_UINT32:
                return set_number<std::uint32_t>(text, field, out, options, &pb::Reflection::SetUInt32,
                                                 &pb::Reflection::AddUInt32);
            case Field::CPPTYPE_INT32:
                return set_number<std::int32_t>(text, field, out, options, &pb::Reflection::SetInt32,
                                                &pb::Reflection::AddInt32);
            case Field::CPPTYPE_UINT64:
                return set_number<std::uint64_t>(text, field, out, options, &pb::Reflection::SetUInt64,
                                                 &pb::Reflection::AddUInt64);
            case Field::CPPTYPE_INT64:
                return set_number<std::int64_t>(text, field, out, options, &pb::Reflection::SetInt64,
                                                &pb::Reflection::AddInt64);
            case Field::CPPTYPE_DOUBLE:
                return set_number<double>(text, field, out, options, &pb::Reflection::SetDouble,
                                          &pb::Reflection::AddDouble);
            case Field::CPPTYPE_FLOAT:
                return set_number<float>(text, field, out, options, &pb::Reflection::SetFloat,
                                         &pb::Reflection::AddFloat);
        }
        return {};
    }

  private:
    static std::string shown(const std::string& text, const KeyOptions& options) {
        return options.secret() ? "the value" : "'" + printable(text) + "'";
    }

    static Error set_string(const std::string& text, const Field& field, pb::Message& out, const KeyOptions& options) {
        const auto control = [](char c) {
            const auto byte = static_cast<unsigned char>(c);
            return (byte < 0x20 && c != '\n' && c != '\t') || byte == 0x7f;
        };
        if (std::any_of(text.begin(), text.end(), control)) {
            return {shown(text, options) + " has a control character in it", "remove it", 0};
        }
        Error error = check_format(options.format(), text);
        if (!error.message.empty()) return error;
        if (field.is_repeated()) {
            out.GetReflection()->AddString(&out, &field, text);
        } else {
            out.GetReflection()->SetString(&out, &field, text);
        }
        return {};
    }

    static Error set_bool(const std::string& text, const Field& field, pb::Message& out) {
        if (text != "true" && text != "false") {
            return {"'" + printable(text) + "' is neither true nor false", "write true or false", 0};
        }
        if (field.is_repeated()) {
            out.GetReflection()->AddBool(&out, &field, text == "true");
        } else {
            out.GetReflection()->SetBool(&out, &field, text == "true");
        }
        return {};
    }

    static Error set_enum(const std::string& text, const Field& field, pb::Message& out) {
        std::vector<std::string> allowed;
        std::string list;
        for (const auto* value : enum_values(*field.enum_type())) {
            allowed.push_back(enum_text(*value));
            if (allowed.back() == text) {
                if (field.is_repeated()) {
                    out.GetReflection()->AddEnum(&out, &field, value);
                } else {
                    out.GetReflection()->SetEnum(&out, &field, value);
                }
                return {};
            }
            list += (list.empty() ? "" : ", ") + allowed.back();
        }
        const std::string near = nearest(text, allowed);
        return {"'" + printable(text) + "' is none of " + list, near.empty() ? "" : "did you mean '" + near + "'?", 0};
    }

    static Error set_duration_field(const std::string& text, const Field& field, pb::Message& out,
                                    const KeyOptions& options) {
        const auto duration = parse_duration(text);
        if (!duration) {
            return {"'" + printable(text) + "' is not a duration", "write a number and a unit: 500ms, 3s, 5m, 2h", 0};
        }
        const auto limit = [](const std::string& bound) { return parse_duration(bound); };
        if (!options.min().empty() && *duration < *limit(options.min())) {
            return {printable(text) + " is less than " + options.min(), "", 0};
        }
        if (!options.max().empty() && *duration > *limit(options.max())) {
            return {printable(text) + " is more than " + options.max(), "", 0};
        }
        pb::Message* target = field.is_repeated() ? out.GetReflection()->AddMessage(&out, &field)
                                                  : out.GetReflection()->MutableMessage(&out, &field);
        set_duration(*target, *duration);
        return {};
    }

    template <class T>
    static Error set_number(const std::string& text, const Field& field, pb::Message& out, const KeyOptions& options,
                            void (pb::Reflection::*set)(pb::Message*, const Field*, T) const,
                            void (pb::Reflection::*add)(pb::Message*, const Field*, T) const) {
        // Compared as the widest type first, so that -1 is "less than 1" and not "no number".
        double wide = 0;
        const char* kind = std::is_floating_point_v<T> ? "a number" : "a whole number";
        if (!parse_number(text, wide) || !std::isfinite(wide) ||
            (!std::is_floating_point_v<T> && std::trunc(wide) != wide)) {
            return {"'" + printable(text) + "' is not " + kind, "", 0};
        }
        double bound = 0;
        if (!options.min().empty() && parse_number(options.min(), bound) && wide < bound) {
            return {printable(text) + " is less than " + options.min(), "", 0};
        }
        if (!options.max().empty() && parse_number(options.max(), bound) && wide > bound) {
            return {printable(text) + " is more than " + options.max(), "", 0};
        }
        T value{};
        if (!parse_number(text, value)) return {"'" + printable(text) + "' is not " + kind + " in range", "", 0};
        (out.GetReflection()->*(field.is_repeated() ? add : set))(&out, &field, value);
        return {};
    }

    const std::string& file_;
    Positions& positions_;
    Problems& problems_;
};

}  // namespace

Position Positions::find(std::string path) const {
    for (;;) {
        const auto found = by_path_.find(path);
        if (found != by_path_.end()) return found->second;
        const std::size_t cut = path.find_last_of(".[");
        if (cut == std::string::npos) return {1, 1};
        path.resize(cut);
    }
}

std::string nearest(std::string_view word, const std::vector<std::string>& candidates) {
    constexpr std::size_t word_max = 64;
    if (word.size() > word_max) return {};
    const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; };
    std::string best;
    std::size_t best_distance = 0;
    for (const std::string& candidate : candidates) {
        // Optimal string alignment: two letters swapped are one mistake.
        std::vector<std::vector<std::size_t>> d(word.size() + 1, std::vector<std::size_t>(candidate.size() + 1));
        for (std::size_t i = 0; i <= word.size(); ++i) d[i][0] = i;
        for (std::size_t j = 0; j <= candidate.size(); ++j) d[0][j] = j;
        for (std::size_t i = 1; i <= word.size(); ++i) {
            for (std::size_t j = 1; j <= candidate.size(); ++j) {
                const char a = lower(word[i - 1]);
                const char b = lower(candidate[j - 1]);
                d[i][j] = std::min({d[i - 1][j] + 1, d[i][j - 1] + 1, d[i - 1][j - 1] + (a == b ? 0 : 1)});
                if (i > 1 && j > 1 && a == lower(candidate[j - 2]) && lower(word[i - 2]) == b) {
                    d[i][j] = std::min(d[i][j], d[i - 2][j - 2] + 1);
                }
            }
        }
        const std::size_t distance = d[word.size()][candidate.size()];
        const std::size_t allowed = std::max<std::size_t>(1, std::max(word.size(), candidate.size()) / 3);
        if (distance <= allowed && distance < candidate.size() && (best.empty() || distance < best_distance)) {
            best = candidate;
            best_distance = distance;
        }
    }
    return best;
}

bool parse_yaml(std::string_view text, const std::string& file, pb::Message& out, Positions& positions,
                Problems& problems) {
    out.Clear();
    const std::size_t before = problems.size();
    YamlNode root;
    if (!parse_tree(text, file, root, problems)) return false;
    if (root.kind == YamlNode::Kind::null) {
        problems.push_back({file, 1, 1, "the file is empty", "write {} if that is what you mean"});
    } else if (root.kind != YamlNode::Kind::mapping) {
        problems.push_back(
            {file, root.position.line, root.position.column, "the file must be a mapping", "write it as key: value"});
    } else {
        Reader(file, positions, problems).mapping(root, "", out);
    }
    std::stable_sort(
        problems.begin() + static_cast<std::ptrdiff_t>(before), problems.end(),
        [](const Problem& a, const Problem& b) { return a.line != b.line ? a.line < b.line : a.column < b.column; });
    return problems.size() == before;
}

Problems assign(pb::Message& message, std::string_view key, const std::string& value) {
    Problems problems;
    Positions positions;
    const std::unique_ptr<pb::Message> changed(message.New());
    changed->CopyFrom(message);
    std::string type = "a";  // VirtualService: a virtual service
    for (const char c : message.GetDescriptor()->name()) {
        if (std::isupper(static_cast<unsigned char>(c)) != 0) type += ' ';
        type += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    }
    Reader(type, positions, problems).assign(key, value, "", *changed);
    if (problems.empty()) message.CopyFrom(*changed);
    return problems;
}

void with_defaults(pb::Message& message) {
    const pb::Reflection& reflection = *message.GetReflection();
    const pb::Descriptor& type = *message.GetDescriptor();
    for (int i = 0; i < type.field_count(); ++i) {
        const Field& field = *type.field(i);
        if (field.is_map() && !is_mapping(*field.message_type()->map_value())) continue;
        if (field.is_repeated()) {
            if (!is_mapping(field)) continue;
            for (int n = 0; n < reflection.FieldSize(message, &field); ++n) {
                with_defaults(*reflection.MutableRepeatedMessage(&message, &field, n));
            }
        } else if (is_mapping(field)) {
            if (reflection.HasField(message, &field) || options_of(field).always()) {
                with_defaults(*reflection.MutableMessage(&message, &field));
            }
        } else if (!reflection.HasField(message, &field) && !options_of(field).default_text().empty()) {
            const Error error = Reader::set_scalar(options_of(field).default_text(), field, message, options_of(field));
            LBC_ASSERT(error.message.empty());  // the schema contradicts itself
        }
    }
}

}  // namespace lbcluster::config
