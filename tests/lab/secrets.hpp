// What must stay secret, and where the lab looks for it: in output and logs, in files that others may read, in what
// every process shows to the machine's users. A secret is known by name; no finding repeats it.
#pragma once

#include <atomic>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "tests/lab/pair.hpp"

namespace lbcluster::lab {

class Secrets {
  public:
    // Shorter ones are words of other texts as well.
    static constexpr std::size_t bytes_min = 8;

    // Sought as it stands, in hex and in base64, wherever in a longer text it begins.
    void add(const std::string& name, const std::string& value);
    void add_hex(const std::string& name, const std::string& hex);  // the bytes that are meant
    // The lines between BEGIN and END of each private key in `text`.
    void add_private_keys(const std::string& name, const std::string& text);
    // Of a node as it is now: keys, private keys and passwords of every configuration that is kept.
    void add_node(const Pair& pair, const std::string& node);

    // What was found, "the account's password in base64".
    [[nodiscard]] std::set<std::string> found_in(std::string_view text) const;
    // Of the files below `folder`: those with a secret that are not 0600. 0640 will do for what stands in a
    // configuration: names that begin with "a configured" or "a certificate". Folders called `keys` must be 0700.
    [[nodiscard]] std::set<std::string> exposed_below(const std::string& folder) const;
    [[nodiscard]] bool knows(const std::string& name_part) const;

  private:
    void add_form(const std::string& name, const std::string& form);

    std::map<std::string, std::string> forms_;  // what is sought, and its name
};

// Looks at the command lines and environments of all processes of the lab, again and again until it ends.
class ProcessWatch {
  public:
    explicit ProcessWatch(const Secrets& secrets);
    ~ProcessWatch();
    ProcessWatch(const ProcessWatch&) = delete;
    ProcessWatch& operator=(const ProcessWatch&) = delete;

    // Ends it; what was found, with the process's name.
    std::set<std::string> end();
    [[nodiscard]] std::size_t rounds() const { return rounds_; }
    [[nodiscard]] std::set<std::string> programs() const { return programs_; }  // seen; after end()

  private:
    void look();

    const Secrets& secrets_;
    std::set<std::string> found_;
    std::set<std::string> programs_;
    std::atomic<std::size_t> rounds_{0};
    std::atomic<bool> ending_{false};
    std::thread thread_;
};

}  // namespace lbcluster::lab
