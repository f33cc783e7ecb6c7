// One node or a pair, each with heartbeatd, healthd and forwarderd, in front of the farm: the whole product on a real
// IPVS. Configuration is cluster.yaml's text of `virtual_services`; the floating IPs come with the services.
#pragma once

#include <string>

#include "tests/ipvs/farm.hpp"
#include "tests/lab/pair.hpp"

namespace lbcluster::lab {

class Cluster {
  public:
    // Everything runs when the constructor returns, but for what it waits for. `spec.more` is replaced by `services`.
    Cluster(Lab& lab, const std::string& folder, const PairSpec& spec, const std::string& services);

    [[nodiscard]] Pair& pair() { return pair_; }
    // Both nodes' files; in force when what the caller waits for is there.
    void configure(const std::string& services);

    // As ipvsadm saves it, sorted: the same services and servers are the same text.
    [[nodiscard]] std::string ipvs(const std::string& node) const;
    [[nodiscard]] bool ipvs_becomes(const std::string& node, const std::string& part, Nanoseconds limit = 60s) const;
    [[nodiscard]] bool ipvs_loses(const std::string& node, const std::string& part, Nanoseconds limit = 60s) const;
    // Of a server, as `lbcluster status` shows it.
    [[nodiscard]] Json server(const std::string& node, const std::string& service, const std::string& label) const;

    // As Pair's, with the server network.
    void power_off(const std::string& node);
    void power_on(const std::string& node);

    // For tests that failed: logs, IPVS and rules.
    [[nodiscard]] std::string story(const std::string& node) const;

  private:
    Lab& lab_;
    PairSpec spec_;
    Pair pair_;
};

}  // namespace lbcluster::lab
