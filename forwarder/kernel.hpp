// What forwarderd asks of the kernel: an interface, so that the reconciler can be shown to be right against a model of
// it. Calls block until the kernel has answered; one thread.
#pragma once

#include <set>
#include <span>
#include <string>
#include <vector>

#include "forwarder/core/diff.hpp"
#include "forwarder/core/types.hpp"
#include "forwarder/reading.hpp"
#include "lbcluster/base/result.hpp"

namespace lbcluster::forward {

class Kernel {
  public:
    Kernel() = default;
    Kernel(const Kernel&) = delete;
    Kernel& operator=(const Kernel&) = delete;
    virtual ~Kernel() = default;

    // The version of IPVS; an error says why this kernel has none.
    virtual Result<std::string> ipvs() = 0;
    // Every service, but destinations and counts only of those in `which`.
    virtual Result<Reading> read(const std::set<ServiceKey>& which) = 0;
    // In order, all of them whatever fails; one answer each. Removing what is not there, and adding what is there,
    // succeeds.
    virtual std::vector<Result<void>> carry_out(std::span<const Step> steps) = 0;
    // The sync daemons that run.
    virtual Result<std::vector<Sync>> syncs() = 0;
    virtual Result<void> start_sync(const Sync& sync) = 0;
    virtual Result<void> stop_sync(const Sync& sync) = 0;
    virtual Result<Timeouts> timeouts() = 0;
    virtual Result<void> set_timeouts(const Timeouts& timeouts) = 0;

    // Our nftables table as text; empty: there is none.
    virtual Result<std::string> rules() = 0;
    // Instead of it, all at once; empty: it goes.
    virtual Result<void> set_rules(const std::string& text) = 0;

    // Whether packets with transparent_mark are delivered here, whoever they are for.
    virtual Result<bool> delivers(bool v6) = 0;
    virtual Result<void> set_delivery(bool v6, bool wanted) = 0;

    // net.ipv4.vs.conntrack; without the newline.
    virtual Result<std::string> sysctl(const std::string& name) = 0;
    virtual Result<void> set_sysctl(const std::string& name, const std::string& value) = 0;
};

}  // namespace lbcluster::forward
