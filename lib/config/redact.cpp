#include "lib/config/redact.hpp"

#include <algorithm>
#include <vector>

#include "lbcluster/config/schema.hpp"
#include "lib/config/mask.hpp"
#include "lib/config/reflect.hpp"

namespace lbcluster::config {
namespace {

namespace pb = google::protobuf;

std::vector<std::string> words_of(std::string_view text, const char* between) {
    std::vector<std::string> words;
    for (std::size_t at = text.find_first_not_of(between); at != std::string_view::npos;) {
        const std::size_t end = std::min(text.find_first_of(between, at), text.size());
        words.emplace_back(text.substr(at, end - at));
        at = text.find_first_not_of(between, end);
    }
    return words;
}

// Of a value that may hold plain words as well.
constexpr std::size_t word_bytes_min = 8;

}  // namespace

void Redactor::add(const std::string& value) {
    if (value.size() < value_bytes_min) return;
    values_.insert(value);
    const std::string quoted = json_quote(value);
    values_.insert(quoted.substr(1, quoted.size() - 2));  // as JSON and YAML may write it
}

void Redactor::add_long_words(std::string_view text, const char* between, std::size_t bytes_min) {
    for (const std::string& word : words_of(text, between)) {
        if (word.size() >= bytes_min) add(word);
    }
}

void Redactor::add_key_file(std::string_view text) { add_long_words(text, " \t\r\n\"'", token_bytes_min); }

void Redactor::add_cluster(std::string_view yaml) {
    ClusterConfig cluster;
    Positions positions;
    Problems problems;
    parse_yaml(yaml, "cluster.yaml", cluster, positions, problems);
    add_configuration(cluster);
}

void Redactor::add_haproxy(std::string_view text) {
    for (const std::string& line : words_of(text, "\r\n")) {
        const auto words = words_of(line, " \t\"'\\");
        for (std::size_t i = 0; i + 1 < words.size(); ++i) {
            if (words[i].ends_with("password")) add(words[i + 1]);
            if (words[i] == "auth") add(words[i + 1].substr(words[i + 1].find(':') + 1));
            const bool named = i > 0 && (is_header_word(words[i - 1]) || words[i - 1].ends_with("setenv"));
            if (!named || !is_secret_name(words[i])) continue;
            const auto condition = std::find_if(words.begin() + static_cast<std::ptrdiff_t>(i), words.end(),
                                                [](const std::string& w) { return w == "if" || w == "unless"; });
            const auto end = static_cast<std::size_t>(condition - words.begin());
            if (end == i + 2) add(words[i + 1]);
            for (std::size_t n = i + 1; n < end; ++n) add_long_words(words[n], ";", word_bytes_min);
        }
    }
}

void Redactor::add_parts(const std::string& name, const std::string& value) {
    if (is_secret_name(name)) {  // `Basic dXNlcg==`, `session=...; path=...`: not all of it is secret
        add(value);
        return add_long_words(value, "&?;, /=:@\r\n\t", word_bytes_min);
    }
    if (const std::size_t at = value.find("://"); name == "url" && at != std::string::npos) {
        const std::string rest = value.substr(std::min(value.find_first_of("/?#", at + 3), value.size()));
        add(rest);
        add_long_words(rest, "/?&=#", token_bytes_min);
    }
    const std::string shown = mask_value("", value, true);
    if (shown == value) return;
    std::string words = value;
    for (std::size_t at = words.find('\\'); at < words.size() - 1; at = words.find('\\', at + 1)) {
        if (std::string_view("rnt").find(words[at + 1]) < 3) words.replace(at, 2, "  ");
    }
    for (const std::string& word : words_of(words, "&?;, /=:@\r\n\t")) {
        if (shown.find(word) == std::string::npos) add(word);
    }
}

void Redactor::add_configuration(const pb::Message& message) {
    const pb::Reflection& reflection = *message.GetReflection();
    std::vector<const pb::FieldDescriptor*> fields;
    reflection.ListFields(message, &fields);
    const auto* name_field = message.GetDescriptor()->FindFieldByName("name");
    const auto* key_field = message.GetDescriptor()->FindFieldByName("key");  // of an entry of a mapping
    for (const pb::FieldDescriptor* field : fields) {
        const auto each = [&](const std::string& value) {
            if (options_of(*field).secret()) return add(value);
            const auto* other = message.GetDescriptor()->options().map_entry() ? key_field : name_field;
            const bool named = other != nullptr && other != field && field->name() == "value";
            add_parts(named ? reflection.GetString(message, other) : field->name() == "url" ? "url" : "", value);
        };
        const int count = field->is_repeated() ? reflection.FieldSize(message, field) : 1;
        for (int i = 0; i < count; ++i) {
            if (field->cpp_type() == pb::FieldDescriptor::CPPTYPE_MESSAGE) {
                add_configuration(field->is_repeated() ? reflection.GetRepeatedMessage(message, field, i)
                                                       : reflection.GetMessage(message, field));
            } else if (field->cpp_type() == pb::FieldDescriptor::CPPTYPE_STRING) {
                each(field->is_repeated() ? reflection.GetRepeatedString(message, field, i)
                                          : reflection.GetString(message, field));
            }
        }
    }
}

std::string Redactor::known(std::string_view text) const {
    std::string out(text);
    for (const std::string& value : values_) {
        for (std::size_t at = out.find(value); at != std::string::npos; at = out.find(value, at + 3)) {
            out.replace(at, value.size(), stars);
        }
    }
    return out;
}

std::string Redactor::text(std::string_view text) const { return known(mask_text(text)); }

std::string Redactor::yaml(std::string_view text) const { return known(mask_lines(text)); }

std::string without_captured_bytes(std::string_view text) {
    std::string out;
    for (std::size_t at = 0; at < text.size();) {
        const std::size_t end = std::min(text.find('\n', at), text.size() - 1) + 1;
        const std::string_view line = text.substr(at, end - at);
        // "  00000  GET / ..." and, folded, "  00070+ ...".
        const std::size_t digits = line.starts_with("  ") ? line.find_first_not_of("0123456789", 2) : 0;
        const bool captured =
            digits >= 2 + 5 && digits != std::string_view::npos && (line[digits] == ' ' || line[digits] == '+');
        if (!captured) out += line;
        at = end;
    }
    return out;
}

}  // namespace lbcluster::config
