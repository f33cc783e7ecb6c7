// Taking secrets out of texts that leave the machine: the support bundle. Two nets, as either has holes: what looks
// like a secret (names, PEM, HAProxy's words), and what is known to be one (values of the configurations and of the
// keys). Rather too much goes than too little. Pure.
#pragma once

#include <google/protobuf/message.h>

#include <set>
#include <string>
#include <string_view>

namespace lbcluster::cli {

class Redactor {
  public:
    static constexpr std::size_t value_bytes_min = 4;  // shorter ones are parts of other words
    static constexpr std::size_t token_bytes_min = 16;

    void add(const std::string& value);
    // Every word of a key file that is long enough to be one.
    void add_key_file(std::string_view text);
    // The values of a configuration that its schema calls secret, and secret parts of others.
    void add_configuration(const google::protobuf::Message& message);

    [[nodiscard]] std::string known(std::string_view text) const;  // of what is masked already: our own output
    [[nodiscard]] std::string text(std::string_view text) const;   // logs, HAProxy's configuration, other files
    [[nodiscard]] std::string yaml(std::string_view text) const;   // node.yaml, cluster.yaml, valid or not

  private:
    void add_parts(const std::string& name, const std::string& value);

    struct LongerFirst {  // what is a part of another one does not leave the rest of it
        bool operator()(const std::string& a, const std::string& b) const {
            return a.size() != b.size() ? a.size() > b.size() : a < b;
        }
    };
    std::set<std::string, LongerFirst> values_;
};

}  // namespace lbcluster::cli
