// How a KEY=VALUE word that is begun may go on: for the completion of the shells. Out of the schema; pure.
#pragma once

#include <google/protobuf/descriptor.h>

#include <string>
#include <string_view>
#include <vector>

namespace lbcluster::config {

// One step further: "check." "check.type=" "check.type=ping", as assign() takes them.
std::vector<std::string> next_words(const google::protobuf::Descriptor& type, std::string_view begun);

}  // namespace lbcluster::config
