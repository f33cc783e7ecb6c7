#include "lib/reference/schema.hpp"

#include <algorithm>
#include <deque>
#include <map>

#include "lib/config/reflect.hpp"

namespace lbcluster::reference {
namespace {

namespace pb = google::protobuf;

// A comment's lines as one; what is set apart by more blanks stays apart.
std::string one_line(const std::string& comment) {
    std::string out;
    for (const char c : comment) {
        const bool blank = c == ' ' || c == '\n';
        if (blank && (out.empty() || out.back() == ' ')) continue;
        out += blank ? ' ' : c;
    }
    while (!out.empty() && out.back() == ' ') out.pop_back();
    return out;
}

std::string form_of(config::Format format) {
    switch (format) {
        case config::FORMAT_NAME:
            return "name";
        case config::FORMAT_INTERFACE:
            return "interface";
        case config::FORMAT_IP:
            return "address";
        case config::FORMAT_IP_PREFIX:
            return "address, with or without a prefix length";
        case config::FORMAT_PATH:
            return "absolute path";
        case config::FORMAT_PORTS:
            return "port, range as 8000-8010, or all";
        case config::FORMAT_REGEX:
            return "regular expression (RE2)";
        case config::FORMAT_TIME:
            return "time, RFC 3339 in UTC";
        case config::FORMAT_HOST:
            return "host name or address";
        case config::FORMAT_MAIL:
            return "mail address";
        case config::FORMAT_URL:
            return "URL";
        default:
            return "text";
    }
}

std::string single_type(const pb::FieldDescriptor& field) {
    if (config::is_duration(field)) return "duration";
    switch (field.cpp_type()) {
        case pb::FieldDescriptor::CPPTYPE_MESSAGE:
            return "mapping";
        case pb::FieldDescriptor::CPPTYPE_BOOL:
            return "true or false";
        case pb::FieldDescriptor::CPPTYPE_ENUM:
            return "one of these";
        case pb::FieldDescriptor::CPPTYPE_STRING:
            return form_of(config::options_of(field).format());
        default:
            return "number";
    }
}

std::string words_text(const pb::FieldDescriptor& field) {
    std::string out;
    if (!config::is_mapping(field)) return out;
    for (const pb::FieldDescriptor* word : config::words_of(*field.message_type())) out += word->name() + ", or ";
    return out;
}

std::string type_of(const pb::FieldDescriptor& field) {
    const config::KeyOptions& options = config::options_of(field);
    if (field.is_map()) {
        return "mapping of names to " + form_of(options.format()) + ", at most " + std::to_string(options.max_items());
    }
    std::string out = words_text(field) + single_type(field);
    if (!options.min().empty() && !options.max().empty()) out += ", " + options.min() + " to " + options.max();
    if (!field.is_repeated()) return out;
    return "list (" + out + "), at most " + std::to_string(options.max_items() == 0 ? 10000 : options.max_items());
}

// A default that stands in the comment is no part of the meaning.
void take_default(Key& key) {
    static const std::string word = "Default: ";
    const std::size_t at = key.meaning.find(word);
    if (at == std::string::npos || !key.default_text.empty()) return;
    const std::size_t stop = std::min(key.meaning.find(". ", at), key.meaning.size());
    key.default_text = key.meaning.substr(at + word.size(), stop - at - word.size());
    if (!key.default_text.empty() && key.default_text.back() == '.') key.default_text.pop_back();
    const std::string rest = stop < key.meaning.size() ? key.meaning.substr(stop + 2) : "";
    key.meaning = one_line(key.meaning.substr(0, at) + rest);
}

// In front of it, else behind it.
template <class Descriptor>
std::string comment_of(const Descriptor* descriptor) {
    pb::SourceLocation place;
    if (descriptor == nullptr || !descriptor->GetSourceLocation(&place)) return "";
    return one_line(place.leading_comments.empty() ? place.trailing_comments : place.leading_comments);
}

class Walk {
  public:
    explicit Walk(const Comments& comments) : comments_(comments) {}

    std::vector<Section> run(const pb::Descriptor& root) {
        enter(root, "");
        std::vector<Section> out;
        while (!ahead_.empty()) {
            const pb::Descriptor* type = ahead_.front();
            ahead_.pop_front();
            Section section{titles_[type], comments_.of(*type), {}};
            for (int i = 0; i < type->field_count(); ++i) {
                if (!config::options_of(*type->field(i)).word()) {
                    section.keys.push_back(key_of(*type->field(i), section.title));
                }
            }
            out.push_back(std::move(section));
        }
        return out;
    }

  private:
    void enter(const pb::Descriptor& type, const std::string& title) {
        if (titles_.emplace(&type, title).second) ahead_.push_back(&type);
    }

    Key key_of(const pb::FieldDescriptor& field, const std::string& above) {
        const config::KeyOptions& options = config::options_of(field);
        Key key;
        key.name = field.name();
        key.type = type_of(field);
        key.default_text = options.default_text();
        key.required = options.required();
        key.meaning = comments_.of(field);
        if (config::is_mapping(field) && !field.is_map()) {
            enter(*field.message_type(),
                  (above.empty() ? "" : above + ".") + field.name() + (field.is_repeated() ? "[]" : ""));
            key.section = titles_[field.message_type()];
            if (key.meaning.empty()) key.meaning = comments_.of(*field.message_type());
        }
        if (field.enum_type() != nullptr) {
            for (const pb::EnumValueDescriptor* value : config::enum_values(*field.enum_type())) {
                key.values.push_back({config::enum_text(*value), comments_.of(*value)});
            }
            if (key.meaning.empty()) key.meaning = comments_.of(*field.enum_type());
        }
        take_default(key);
        return key;
    }

    const Comments& comments_;
    std::map<const pb::Descriptor*, std::string> titles_;
    std::deque<const pb::Descriptor*> ahead_;
};

}  // namespace

Comments::Comments(const pb::FileDescriptorSet& set) {
    for (const pb::FileDescriptorProto& file : set.file()) pool_.BuildFile(file);
}

std::string Comments::of(const pb::Descriptor& type) const {
    return comment_of(pool_.FindMessageTypeByName(type.full_name()));
}

std::string Comments::of(const pb::FieldDescriptor& field) const {
    return comment_of(pool_.FindFieldByName(field.full_name()));
}

std::string Comments::of(const pb::EnumDescriptor& type) const {
    return comment_of(pool_.FindEnumTypeByName(type.full_name()));
}

std::string Comments::of(const pb::EnumValueDescriptor& value) const {
    return comment_of(pool_.FindEnumValueByName(value.full_name()));
}

std::vector<Section> sections_of(const pb::Descriptor& root, const Comments& comments) {
    return Walk(comments).run(root);
}

}  // namespace lbcluster::reference
