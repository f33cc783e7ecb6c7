#include "lbcluster/config/next_words.hpp"

#include "lib/config/reflect.hpp"

namespace lbcluster::config {
namespace {

namespace pb = google::protobuf;

void add_values(const pb::FieldDescriptor& field, const std::string& front, std::vector<std::string>& out) {
    if (field.enum_type() != nullptr) {
        for (const pb::EnumValueDescriptor* value : enum_values(*field.enum_type())) {
            out.push_back(front + enum_text(*value));
        }
    } else if (field.cpp_type() == pb::FieldDescriptor::CPPTYPE_BOOL) {
        out.push_back(front + "true");
        out.push_back(front + "false");
    } else if (is_mapping(field)) {
        for (const pb::FieldDescriptor* word : words_of(*field.message_type())) out.push_back(front + word->name());
    }
}

}  // namespace

std::vector<std::string> next_words(const pb::Descriptor& type, std::string_view begun) {
    std::vector<std::string> out;
    const std::size_t sign = begun.find('=');
    const std::string_view path = begun.substr(0, sign);
    const pb::Descriptor* message = &type;
    std::size_t at = 0;
    for (std::size_t dot = path.find('.'); dot != std::string_view::npos; dot = path.find('.', at)) {
        const auto* field = message->FindFieldByName(std::string(path.substr(at, dot - at)));
        if (field == nullptr || !is_mapping(*field) || field->is_map() || field->is_repeated()) return out;
        message = field->message_type();
        at = dot + 1;
    }
    const std::string front(path.substr(0, at));
    if (sign != std::string_view::npos) {
        const auto* field = message->FindFieldByName(std::string(path.substr(at)));
        if (field != nullptr) add_values(*field, std::string(begun.substr(0, sign + 1)), out);
    } else {
        for (int i = 0; i < message->field_count(); ++i) {
            const pb::FieldDescriptor& field = *message->field(i);
            if (options_of(field).word()) continue;
            const bool further = is_mapping(field) && (field.is_map() || !field.is_repeated());
            if (further) out.push_back(front + field.name() + ".");
            if (!further || !words_of(*field.message_type()).empty()) out.push_back(front + field.name() + "=");
        }
    }
    std::erase_if(out, [&](const std::string& word) { return !word.starts_with(begun); });
    return out;
}

}  // namespace lbcluster::config
