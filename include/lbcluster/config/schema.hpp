// YAML <-> protobuf by descriptor reflection. The schema is proto/lbcluster/config.proto and nothing else: a new
// message or field there needs no line here. All of it is pure; no file is touched.
//
// Reading is bounded (text_bytes_max, depth, problems, items) and reports every problem with its place. YAML 1.2
// as libyaml reads it, without aliases, tags and several documents in one file: a configuration has no use for
// them, and without aliases there are no alias bombs. Duplicate keys are refused.
#pragma once

#include <google/protobuf/generated_enum_reflection.h>
#include <google/protobuf/message.h>

#include <cstddef>
#include <map>
#include <string>
#include <string_view>

#include "lbcluster/config/problem.hpp"

namespace lbcluster::config {

inline constexpr std::size_t text_bytes_max = 1024 * 1024;
inline constexpr int depth_max = 32;
inline constexpr std::size_t problems_max = 100;

struct Position {
    int line = 0;
    int column = 0;
};

// Where the values of a file stand, by path: "heartbeat.keepalive", "floating_ips[0].address", "interfaces.lan".
// Read by the checks that come after parsing.
class Positions {
  public:
    void add(const std::string& path, Position position) { by_path_[path] = position; }
    // That of the nearest enclosing path that is known: a value that is missing is reported at its parent.
    [[nodiscard]] Position find(std::string path) const;
    [[nodiscard]] bool contains(const std::string& path) const { return by_path_.count(path) != 0; }

  private:
    std::map<std::string, Position> by_path_;
};

// Fills `out` (cleared first) with what is right in `text` and adds what is wrong to `problems`. True without errors.
// `file` is the name that problems carry.
bool parse_yaml(std::string_view text, const std::string& file, google::protobuf::Message& out, Positions& positions,
                Problems& problems);

// True if `text`, a file that can be parsed, has comments: rendering it anew would lose them.
bool has_comments(std::string_view text);

// Sets one value by its dotted path, as the CLI's KEY=VALUE does: `check.type`, `weight`, `check.headers.Host`. A list
// of single values is written a,b,c; a mapping or a list of mappings as in YAML, [{...}, {...}]. An empty value takes
// the key out of the message. Complaints carry no place; the message is unchanged if there are any.
Problems assign(google::protobuf::Message& message, std::string_view key, const std::string& value);

// Sets every unset field that has a default in the schema, in sub-messages too. An unset sub-message is made only
// where the schema says `always`.
void with_defaults(google::protobuf::Message& message);

// Masking of fields marked `secret`.
enum class Secrets { masked, plain };

// `Authorization=...`, `password: ...` and the like in what was sent or came back: their values are ***.
std::string mask_secrets(std::string_view text);

// As one would write it: block style, short mappings in a list as {a: b}. parse_yaml() of it gives the same message.
std::string to_yaml(const google::protobuf::Message& message, Secrets secrets = Secrets::plain);
// Compact JSON with the same spelling of values: durations as "100ms", enums in lower case. Unset fields are left out;
// empty lists and mappings stand as [] and {}.
std::string to_json(const google::protobuf::Message& message, Secrets secrets = Secrets::masked);

// A value of an enum as it is written: PROTOCOL_TCP_UDP -> tcp/udp. Empty: it has no such value.
std::string written_text(const google::protobuf::EnumDescriptor& type, int value);
template <class Enum>
std::string written_text(Enum value) {
    return written_text(*google::protobuf::GetEnumDescriptor<Enum>(), static_cast<int>(value));
}

// `text` as a JSON string, quotes included.
std::string json_quote(std::string_view text);

// The candidate nearest to `word` by edit distance, if it is near enough for "did you mean"; else empty.
std::string nearest(std::string_view word, const std::vector<std::string>& candidates);

}  // namespace lbcluster::config
