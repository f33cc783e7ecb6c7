// Two judgements on each real server, this node's and the peer's, and where they have differed for long: then one of
// the nodes does not reach the server, or a server answers only some. Pure; the time is passed in.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "lbcluster/base/time.hpp"

namespace lbcluster::replicator {

struct Difference {
    std::string server;  // service/server
    std::string own;
    std::string peer;
};

class Views {
  public:
    // `health` as on the bus; empty: there is no such server. Only up, down and standby can differ.
    void set_own(Instant now, const std::string& server, const std::string& health);
    void set_peer(Instant now, const std::string& server, const std::string& health);
    void forget_peer();

    // For at least `patience`, by name.
    [[nodiscard]] std::vector<Difference> differing(Instant now, Duration patience) const;

  private:
    struct View {
        std::string own;
        std::string peer;
        std::optional<Instant> since;  // that they differ
    };
    void judge(Instant now, const std::string& server);

    std::map<std::string, View> views_;
};

}  // namespace lbcluster::replicator
