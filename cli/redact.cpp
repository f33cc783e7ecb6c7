#include "redact.hpp"

#include <algorithm>
#include <array>
#include <vector>

#include "lbcluster/config/schema.hpp"
#include "lib/config/mask.hpp"
#include "lib/config/reflect.hpp"

namespace lbcluster::cli {
namespace {

namespace pb = google::protobuf;

constexpr const char* stars = "***";
constexpr const char* blanks = " \t\r\n";

bool is_secret_name(const std::string& name) { return config::mask_value(name, "x", false) == stars; }

std::vector<std::string> words_of(std::string_view text, const char* between) {
    std::vector<std::string> words;
    for (std::size_t at = text.find_first_not_of(between); at != std::string_view::npos;) {
        const std::size_t end = std::min(text.find_first_of(between, at), text.size());
        words.emplace_back(text.substr(at, end - at));
        at = text.find_first_not_of(between, end);
    }
    return words;
}

// `stats auth USER:PASSWORD`, `user U password P`, `http-request set-header X-Api-Key ...`: the rest of the line.
std::string without_haproxy_secrets(const std::string& line) {
    for (std::size_t at = line.find_first_not_of(blanks); at != std::string::npos;) {
        const std::size_t end = std::min(line.find_first_of(blanks, at), line.size());
        const std::string word = line.substr(at, end - at);
        const bool secret = word == "auth" || is_secret_name(word);
        at = line.find_first_not_of(blanks, end);
        if (secret && at != std::string::npos) return line.substr(0, end) + " " + stars;
    }
    return line;
}

// The lines of private keys.
class Pem {
  public:
    bool hides(std::string_view line) {
        const bool marker = line.find("PRIVATE KEY-----") != std::string_view::npos;
        if (marker) inside_ = line.find("BEGIN") != std::string_view::npos;
        return inside_ || marker;
    }

  private:
    bool inside_ = false;
};

}  // namespace

void Redactor::add(const std::string& value) {
    if (value.size() < value_bytes_min) return;
    values_.insert(value);
    const std::string quoted = config::json_quote(value);
    values_.insert(quoted.substr(1, quoted.size() - 2));  // as JSON and YAML may write it
}

void Redactor::add_key_file(std::string_view text) {
    for (const std::string& word : words_of(text, " \t\r\n\"'")) {
        if (word.size() >= token_bytes_min) add(word);
    }
}

void Redactor::add_parts(const std::string& name, const std::string& value) {
    const std::string shown = config::mask_value(name, value, true);
    if (shown == value) return;
    for (const std::string& word : words_of(value, "&?;, /=:@\r\n\t")) {
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
            if (config::options_of(*field).secret()) return add(value);
            std::string name = field->name();
            const auto* other = message.GetDescriptor()->options().map_entry() ? key_field : name_field;
            const bool named = other != nullptr && other != field && field->name() == "value";
            if (named) name = reflection.GetString(message, other);
            if (named && is_secret_name(name)) add(value);
            add_parts(name, value);
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

std::string Redactor::text(std::string_view text) const {
    std::string out;
    Pem pem;
    for (std::size_t at = 0; at < text.size();) {
        const std::size_t end = std::min(text.find('\n', at), text.size());
        const std::string line(text.substr(at, end - at));
        out += pem.hides(line) ? stars : without_haproxy_secrets(config::mask_value("", line, true));
        if (end < text.size()) out += '\n';
        at = end + 1;
    }
    return known(out);
}

std::string Redactor::yaml(std::string_view text) const { return known(config::mask_lines(text)); }

}  // namespace lbcluster::cli
