// to_yaml() and to_json(): messages as text, by the same descriptors that the reader walks.
#include <algorithm>
#include <array>
#include <charconv>
#include <cstdio>

#include "lbcluster/base/utf8.hpp"
#include "lbcluster/config/schema.hpp"
#include "lib/config/mask.hpp"
#include "lib/config/reflect.hpp"

namespace lbcluster::config {
namespace {

namespace pb = google::protobuf;
using Field = pb::FieldDescriptor;

constexpr std::size_t flow_width_max = 110;

// A value as text, and whether it is text (to be quoted where needed) or a number or truth value.
struct Scalar {
    std::string text;
    bool is_string = false;
};

std::string number_text(double value) {
    std::array<char, 64> buffer{};
    const auto [end, error] = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value);
    return error == std::errc{} ? std::string(buffer.data(), end) : "0";
}

// The n-th value of a repeated field, or (n < 0) the value of a singular one.
Scalar plain_scalar(const pb::Message& message, const Field& field, int n) {
    const pb::Reflection& r = *message.GetReflection();
    const bool one = n < 0;
    switch (field.cpp_type()) {
        case Field::CPPTYPE_STRING:
            return {one ? r.GetString(message, &field) : r.GetRepeatedString(message, &field, n), true};
        case Field::CPPTYPE_BOOL:
            return {(one ? r.GetBool(message, &field) : r.GetRepeatedBool(message, &field, n)) ? "true" : "false"};
        case Field::CPPTYPE_ENUM:
            return {enum_text(*(one ? r.GetEnum(message, &field) : r.GetRepeatedEnum(message, &field, n))), true};
        case Field::CPPTYPE_UINT32:
            return {std::to_string(one ? r.GetUInt32(message, &field) : r.GetRepeatedUInt32(message, &field, n))};
        case Field::CPPTYPE_INT32:
            return {std::to_string(one ? r.GetInt32(message, &field) : r.GetRepeatedInt32(message, &field, n))};
        case Field::CPPTYPE_UINT64:
            return {std::to_string(one ? r.GetUInt64(message, &field) : r.GetRepeatedUInt64(message, &field, n))};
        case Field::CPPTYPE_INT64:
            return {std::to_string(one ? r.GetInt64(message, &field) : r.GetRepeatedInt64(message, &field, n))};
        case Field::CPPTYPE_DOUBLE:
            return {number_text(one ? r.GetDouble(message, &field) : r.GetRepeatedDouble(message, &field, n))};
        case Field::CPPTYPE_FLOAT:
            return {number_text(one ? r.GetFloat(message, &field) : r.GetRepeatedFloat(message, &field, n))};
        case Field::CPPTYPE_MESSAGE:
            return {format_duration(
                        duration_of(one ? r.GetMessage(message, &field) : r.GetRepeatedMessage(message, &field, n))),
                    true};
    }
    return {};
}

// The word that stands for the whole message; nullptr: none does.
const Field* word_of(const pb::Message& message) {
    for (const Field* word : words_of(*message.GetDescriptor())) {
        if (message.GetReflection()->GetBool(message, word)) return word;
    }
    return nullptr;
}

// `options`: the field's, or those of the map whose value it is; `name`: what it is called there.
Scalar scalar_of(const pb::Message& message, const Field& field, int n, Secrets secrets, const KeyOptions& options,
                 const std::string& name) {
    if (secrets == Secrets::plain) return plain_scalar(message, field, n);
    if (options.secret()) return {"***", true};
    Scalar value = plain_scalar(message, field, n);
    if (options.secret_parts()) {
        const Field* other = field.name() == "value" ? message.GetDescriptor()->FindFieldByName("name") : nullptr;
        value.text =
            mask_value(other != nullptr ? message.GetReflection()->GetString(message, other) : name, value.text, true);
    }
    return value;
}

bool is_present(const pb::Message& message, const Field& field) {
    return field.is_repeated() ? message.GetReflection()->FieldSize(message, &field) > 0
                               : message.GetReflection()->HasField(message, &field);
}

// The pairs of a map field, by key: protobuf keeps them in no order.
std::vector<const pb::Message*> sorted_pairs(const pb::Message& message, const Field& field) {
    std::vector<const pb::Message*> pairs;
    for (int n = 0; n < message.GetReflection()->FieldSize(message, &field); ++n) {
        pairs.push_back(&message.GetReflection()->GetRepeatedMessage(message, &field, n));
    }
    const Field& key_field = *field.message_type()->map_key();
    std::sort(pairs.begin(), pairs.end(), [&](const pb::Message* a, const pb::Message* b) {
        return a->GetReflection()->GetString(*a, &key_field) < b->GetReflection()->GetString(*b, &key_field);
    });
    return pairs;
}

// Control characters, the line breaks beyond ASCII (YAML 1.1, 5.4) and what is no character.
bool is_not_for_a_line(std::uint32_t c) {
    return c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0x2028 || c == 0x2029 || c == 0xfeff || c == 0xfffe ||
           c == 0xffff;
}

// Plain where every YAML reader takes it as the same text, else in double quotes.
std::string yaml_quote(const std::string& text) {
    static const std::array<const char*, 12> words{"null", "Null", "NULL", "true", "false", "yes",
                                                   "no",   "on",   "off",  "True", "False", "y"};
    const auto word = [](char c) {
        return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
    };
    const auto inner = [&](char c) { return word(c) || c == '.' || c == '-' || c == '+' || c == '/' || c == ':'; };
    const bool plain = !text.empty() && (word(text.front()) || text.front() == '/') && text.back() != ':' &&
                       std::all_of(text.begin(), text.end(), inner) &&
                       std::none_of(words.begin(), words.end(), [&](const char* w) { return text == w; });
    if (plain) return text;
    std::string out = "\"";
    for (std::size_t i = 0, size = 0; i < text.size(); i += size) {
        const CodePoint point = decode_utf8(std::string_view(text).substr(i));
        size = std::max<std::size_t>(point.size, 1);
        const char c = text[i];
        if (c == '"' || c == '\\') {
            out += '\\';
            out += c;
        } else if (c == '\n') {
            out += "\\n";
        } else if (c == '\t') {
            out += "\\t";
        } else if (point.size > 0 && is_not_for_a_line(point.value)) {
            std::array<char, 8> escape{};
            std::snprintf(escape.data(), escape.size(), "\\u%04x", static_cast<unsigned>(point.value));
            out += escape.data();
        } else {
            out.append(text, i, size);  // what is not UTF-8, too: who reads it again says so
        }
    }
    return out + "\"";
}

class YamlWriter {
  public:
    explicit YamlWriter(Secrets secrets) : secrets_(secrets) {}

    // Lines of `message`, each with `indent` in front.
    std::string mapping(const pb::Message& message, const std::string& indent) const {
        const pb::Descriptor& type = *message.GetDescriptor();
        std::string out;
        for (int i = 0; i < type.field_count(); ++i) {
            const Field& field = *type.field(i);
            if (!is_present(message, field)) continue;
            out += indent + field.name() + ":";
            if (field.is_map()) {
                out += "\n" + pairs(message, field, indent + "  ");
            } else if (field.is_repeated()) {
                out += sequence(message, field, indent + "  ");
            } else if (is_mapping(field)) {
                out += nested(message.GetReflection()->GetMessage(message, &field), indent + "  ");
            } else {
                out += " " + scalar(message, field, -1) + "\n";
            }
        }
        return out;
    }

  private:
    [[nodiscard]] std::string scalar(const pb::Message& message, const Field& field, int n) const {
        return quoted(scalar_of(message, field, n, secrets_, options_of(field), field.name()));
    }
    static std::string quoted(const Scalar& value) { return value.is_string ? yaml_quote(value.text) : value.text; }

    [[nodiscard]] std::string nested(const pb::Message& message, const std::string& indent) const {
        if (const Field* word = word_of(message)) return " " + word->name() + "\n";
        const std::string lines = mapping(message, indent);
        return lines.empty() ? " {}\n" : "\n" + lines;
    }

    [[nodiscard]] std::string pairs(const pb::Message& message, const Field& field, const std::string& indent) const {
        std::string out;
        const Field& key_field = *field.message_type()->map_key();
        const Field& value_field = *field.message_type()->map_value();
        for (const pb::Message* pair : sorted_pairs(message, field)) {
            out += indent + yaml_quote(pair->GetReflection()->GetString(*pair, &key_field)) + ":";
            if (is_mapping(value_field)) {
                out += nested(pair->GetReflection()->GetMessage(*pair, &value_field), indent + "  ");
            } else {
                const std::string name = pair->GetReflection()->GetString(*pair, &key_field);
                out += " " + quoted(scalar_of(*pair, value_field, -1, secrets_, options_of(field), name)) + "\n";
            }
        }
        return out;
    }

    // {a: b, c: d} if the message has only single values and fits on a line; else empty.
    [[nodiscard]] std::string flow(const pb::Message& message) const {
        std::string out;
        const pb::Descriptor& type = *message.GetDescriptor();
        for (int i = 0; i < type.field_count(); ++i) {
            const Field& field = *type.field(i);
            if (!is_present(message, field)) continue;
            if (field.is_repeated() || is_mapping(field)) return {};
            out += (out.empty() ? "{" : ", ") + field.name() + ": " + scalar(message, field, -1);
        }
        if (out.empty()) return "{}";
        return out.size() <= flow_width_max ? out + "}" : std::string();
    }

    [[nodiscard]] std::string sequence(const pb::Message& message, const Field& field,
                                       const std::string& indent) const {
        const int count = message.GetReflection()->FieldSize(message, &field);
        if (!is_mapping(field)) {
            std::string line = " [";
            for (int n = 0; n < count; ++n) line += (n > 0 ? ", " : "") + scalar(message, field, n);
            if (line.size() <= flow_width_max) return line + "]\n";
        }
        std::string out = "\n";
        for (int n = 0; n < count; ++n) {
            if (!is_mapping(field)) {
                out += indent + "- " + scalar(message, field, n) + "\n";
                continue;
            }
            const pb::Message& item = message.GetReflection()->GetRepeatedMessage(message, &field, n);
            const std::string line = flow(item);
            // Block style: the first key follows the dash, the others stand below it.
            std::string lines = line.empty() ? mapping(item, indent + "  ") : std::string();
            if (!lines.empty()) lines.replace(indent.size(), 2, "- ");
            out += line.empty() ? lines : indent + "- " + line + "\n";
        }
        return out;
    }

    Secrets secrets_;
};

class JsonWriter {
  public:
    explicit JsonWriter(Secrets secrets) : secrets_(secrets) {}

    [[nodiscard]] std::string mapping(const pb::Message& message) const {
        if (const Field* word = word_of(message)) return json_quote(word->name());
        const pb::Descriptor& type = *message.GetDescriptor();
        std::string out;
        for (int i = 0; i < type.field_count(); ++i) {
            const Field& field = *type.field(i);
            if (!field.is_repeated() && !is_present(message, field)) continue;
            out += (out.empty() ? "{" : ",") + json_quote(field.name()) + ":";
            if (field.is_map()) {
                out += pairs(message, field);
            } else if (field.is_repeated()) {
                out += "[";
                for (int n = 0; n < message.GetReflection()->FieldSize(message, &field); ++n) {
                    out += (n > 0 ? "," : "") + value(message, field, n);
                }
                out += "]";
            } else {
                out += value(message, field, -1);
            }
        }
        return out.empty() ? "{}" : out + "}";
    }

  private:
    [[nodiscard]] std::string value(const pb::Message& message, const Field& field, int n) const {
        return value(message, field, n, options_of(field), field.name());
    }
    [[nodiscard]] std::string value(const pb::Message& message, const Field& field, int n, const KeyOptions& options,
                                    const std::string& name) const {
        if (is_mapping(field)) {
            const pb::Reflection& r = *message.GetReflection();
            return mapping(n < 0 ? r.GetMessage(message, &field) : r.GetRepeatedMessage(message, &field, n));
        }
        const Scalar scalar = scalar_of(message, field, n, secrets_, options, name);
        return scalar.is_string ? json_quote(scalar.text) : scalar.text;
    }

    [[nodiscard]] std::string pairs(const pb::Message& message, const Field& field) const {
        std::string out;
        for (const pb::Message* pair : sorted_pairs(message, field)) {
            const std::string name = pair->GetReflection()->GetString(*pair, field.message_type()->map_key());
            out += (out.empty() ? "{" : ",") + json_quote(name) + ":" +
                   value(*pair, *field.message_type()->map_value(), -1, options_of(field), name);
        }
        return out.empty() ? "{}" : out + "}";
    }

    Secrets secrets_;
};

}  // namespace

std::string json_quote(std::string_view text) {
    std::string out = "\"";
    for (const char c : text) {
        switch (c) {
            case '"':
                out += "\\\"";
                break;
            case '\\':
                out += "\\\\";
                break;
            case '\n':
                out += "\\n";
                break;
            case '\t':
                out += "\\t";
                break;
            default:
                if (static_cast<unsigned char>(c) < 0x20) {
                    std::array<char, 8> escape{};
                    std::snprintf(escape.data(), escape.size(), "\\u%04x", static_cast<unsigned>(c));
                    out += escape.data();
                } else {
                    out += c;
                }
        }
    }
    return out + "\"";
}

std::string to_yaml(const pb::Message& message, Secrets secrets) {
    const std::string text = YamlWriter(secrets).mapping(message, "");
    return text.empty() ? "{}\n" : text;
}

std::string written_text(const pb::EnumDescriptor& type, int value) {
    const pb::EnumValueDescriptor* descriptor = type.FindValueByNumber(value);
    return descriptor == nullptr ? "" : enum_text(*descriptor);
}

std::string to_json(const pb::Message& message, Secrets secrets) { return JsonWriter(secrets).mapping(message); }

}  // namespace lbcluster::config
