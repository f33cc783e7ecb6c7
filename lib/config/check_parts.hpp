// What the parts of check() share. Private to the configuration library.
#pragma once

#include <map>
#include <string>

#include "lbcluster/base/address.hpp"
#include "lbcluster/config/check.hpp"

namespace lbcluster::config {

class Reporter {
  public:
    Reporter(const std::string& file, const Positions& positions, Problems& problems)
        : file_(file), positions_(positions), problems_(problems) {}

    void error(const std::string& path, const std::string& message, const std::string& hint) const {
        add(path, message, hint, false);
    }
    void momentary_error(const std::string& path, const std::string& message, const std::string& hint) const {
        add(path, message, hint, false, true);
    }
    void warning(const std::string& path, const std::string& message, const std::string& hint) const {
        add(path, message, hint, true);
    }

  private:
    void add(const std::string& path, const std::string& message, const std::string& hint, bool warning,
             bool momentary = false) const {
        if (problems_.size() >= problems_max) return;
        const Position position = positions_.find(path);
        problems_.push_back({file_, position.line, position.column, path + ": " + message, hint, warning, momentary});
    }

    const std::string& file_;
    const Positions& positions_;
    Problems& problems_;
};

// Why no node can have this address for itself; nullptr: it can.
const char* unusable(const IpAddress& address);

inline std::string indexed(const char* list, int i) { return std::string(list) + "[" + std::to_string(i) + "]"; }

// Addresses that belong to one of the two nodes, and what they are there.
using OwnAddresses = std::map<IpAddress, std::string>;

void check_services(const NodeFile* node, const ClusterFile& cluster, const std::optional<Facts>& facts,
                    const OwnAddresses& own, const Reporter& report);

// What only layer 7 has: of one service, and of all of them together.
void check_proxy(const VirtualService& service, const std::string& path, const Reporter& report);
void check_proxies(const ClusterConfig& cluster, const Reporter& report);

void check_notifications(const ClusterConfig& cluster, const Reporter& report);

}  // namespace lbcluster::config
