// Small questions to the schema that reading, rendering and defaults share. Private to the configuration library.
#pragma once

#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>

#include <string>
#include <vector>

#include "lbcluster/base/time.hpp"
#include "lbcluster/config.pb.h"

namespace lbcluster::config {

inline const KeyOptions& options_of(const google::protobuf::FieldDescriptor& field) {
    return field.options().GetExtension(key);
}

// google.protobuf.Duration is a message to protobuf, but one value to us.
bool is_duration(const google::protobuf::FieldDescriptor& field);
// A field whose value is a mapping of its own.
bool is_mapping(const google::protobuf::FieldDescriptor& field);

// The fields whose name alone stands for a message of this type.
std::vector<const google::protobuf::FieldDescriptor*> words_of(const google::protobuf::Descriptor& type);

// Nanoseconds of a google.protobuf.Duration; saturates.
Duration duration_of(const google::protobuf::Message& message);
void set_duration(google::protobuf::Message& message, Duration duration);

// As written in YAML: LINK_KIND_UDP -> udp, or the option `written`.
std::string enum_text(const google::protobuf::EnumValueDescriptor& value);
// The values that may be written, without the UNSPECIFIED one (number 0), in the schema's order.
std::vector<const google::protobuf::EnumValueDescriptor*> enum_values(const google::protobuf::EnumDescriptor& type);

}  // namespace lbcluster::config
