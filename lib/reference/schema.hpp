// The reference of the configuration's keys, out of the schema: descriptors, their options, and the comments of
// config.proto, which a descriptor set of protoc with --include_source_info has. Pure. Private to the tool
// lbcluster-schema-reference.
#pragma once

#include <google/protobuf/descriptor.h>
#include <google/protobuf/descriptor.pb.h>

#include <string>
#include <vector>

namespace lbcluster::reference {

struct Value {
    std::string word;
    std::string about;
};

struct Key {
    std::string name;
    std::string type;     // "number, 1 to 65535", "duration", "mapping"
    std::string section;  // title of the section that has the keys of this mapping; empty: it has none
    std::string default_text;
    std::string meaning;
    bool required = false;
    std::vector<Value> values;  // of a choice
};

// The keys of one kind of mapping.
struct Section {
    std::string title;  // where it is met first: "virtual_services[].check"; empty: the file itself
    std::string about;
    std::vector<Key> keys;
};

// By name, so that the descriptors of the program itself can be asked for.
class Comments {
  public:
    explicit Comments(const google::protobuf::FileDescriptorSet& set);
    [[nodiscard]] std::string of(const google::protobuf::Descriptor& type) const;
    [[nodiscard]] std::string of(const google::protobuf::FieldDescriptor& field) const;
    [[nodiscard]] std::string of(const google::protobuf::EnumDescriptor& type) const;
    [[nodiscard]] std::string of(const google::protobuf::EnumValueDescriptor& value) const;

  private:
    google::protobuf::DescriptorPool pool_;
};

// Of a file's root message, in the order of the schema.
std::vector<Section> sections_of(const google::protobuf::Descriptor& root, const Comments& comments);

std::string markdown_of(const std::vector<Section>& sections, const std::string& file);
std::string man_of(const std::vector<Section>& sections, const std::string& file, const std::string& about,
                   const std::string& date);

}  // namespace lbcluster::reference
