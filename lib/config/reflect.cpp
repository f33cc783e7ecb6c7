#include "lib/config/reflect.hpp"

#include <google/protobuf/duration.pb.h>

#include <algorithm>
#include <cctype>

namespace lbcluster::config {

namespace pb = google::protobuf;

bool is_duration(const pb::FieldDescriptor& field) {
    return field.cpp_type() == pb::FieldDescriptor::CPPTYPE_MESSAGE &&
           field.message_type() == pb::Duration::descriptor();
}

bool is_mapping(const pb::FieldDescriptor& field) {
    return field.cpp_type() == pb::FieldDescriptor::CPPTYPE_MESSAGE && !is_duration(field);
}

std::vector<const pb::FieldDescriptor*> words_of(const pb::Descriptor& type) {
    std::vector<const pb::FieldDescriptor*> words;
    for (int i = 0; i < type.field_count(); ++i) {
        if (options_of(*type.field(i)).word()) words.push_back(type.field(i));
    }
    return words;
}

Duration duration_of(const pb::Message& message) {
    const auto& duration = dynamic_cast<const pb::Duration&>(message);
    constexpr std::int64_t seconds_max = 9'000'000'000;
    const std::int64_t whole = std::clamp(duration.seconds(), -seconds_max, seconds_max);
    return seconds(whole) + nanoseconds(duration.nanos());
}

void set_duration(pb::Message& message, Duration duration) {
    auto& target = dynamic_cast<pb::Duration&>(message);
    target.set_seconds(duration.count() / 1'000'000'000);
    target.set_nanos(static_cast<std::int32_t>(duration.count() % 1'000'000'000));
}

std::string enum_text(const pb::EnumValueDescriptor& value) {
    if (value.options().HasExtension(written)) return value.options().GetExtension(written);
    // The prefix of the values is the type's name in capitals: LogLevel -> LOG_LEVEL_.
    std::string prefix;
    for (const char c : value.type()->name()) {
        if (std::isupper(static_cast<unsigned char>(c)) != 0 && !prefix.empty()) prefix += '_';
        prefix += static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
    }
    prefix += '_';
    std::string text = value.name();
    if (text.rfind(prefix, 0) == 0) text.erase(0, prefix.size());
    std::transform(text.begin(), text.end(), text.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    return text;
}

std::vector<const pb::EnumValueDescriptor*> enum_values(const pb::EnumDescriptor& type) {
    std::vector<const pb::EnumValueDescriptor*> values;
    for (int i = 0; i < type.value_count(); ++i) {
        if (type.value(i)->number() != 0) values.push_back(type.value(i));
    }
    return values;
}

}  // namespace lbcluster::config
