// Taking secrets out of texts that are shown: the support bundle, `config diff`. Two nets, as either has holes: what
// looks like a secret (names, PEM, HAProxy's words), and what is known to be one (values of the configurations and of
// the keys). Rather too much goes than too little. Pure.
#pragma once

#include <google/protobuf/message.h>

#include <set>
#include <string>
#include <string_view>

namespace lbcluster::config {

class Redactor {
  public:
    static constexpr std::size_t value_bytes_min = 4;  // shorter ones are parts of other words
    static constexpr std::size_t token_bytes_min = 16;

    void add(const std::string& value);
    // Every word of a key file that is long enough to be one.
    void add_key_file(std::string_view text);
    // The values of a configuration that its schema calls secret, and secret parts of others.
    void add_configuration(const google::protobuf::Message& message);
    // Of a cluster.yaml: what is right in it will do.
    void add_cluster(std::string_view yaml);
    // HAProxy's lines by hand: passwords, and values of headers and variables whose names say that they are secret.
    void add_haproxy(std::string_view text);

    [[nodiscard]] std::string known(std::string_view text) const;  // of what is masked already: our own output
    [[nodiscard]] std::string text(std::string_view text) const;   // logs, HAProxy's configuration, other files
    [[nodiscard]] std::string yaml(std::string_view text) const;   // node.yaml, cluster.yaml, valid or not

  private:
    void add_long_words(std::string_view text, const char* between, std::size_t bytes_min);
    void add_parts(const std::string& name, const std::string& value);

    struct LongerFirst {  // what is a part of another one does not leave the rest of it
        bool operator()(const std::string& a, const std::string& b) const {
            return a.size() != b.size() ? a.size() > b.size() : a < b;
        }
    };
    std::set<std::string, LongerFirst> values_;
};

// What `show errors` of HAProxy says, without the requests and answers that it caught: their long lines are folded, and
// nothing tells what a header's name was.
std::string without_captured_bytes(std::string_view text);

}  // namespace lbcluster::config
