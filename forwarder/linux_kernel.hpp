// The kernel of this machine: IPVS, nftables, routes and sysctls of the network namespace that this process is in.
#pragma once

#include <optional>

#include "forwarder/ipvs/socket.hpp"
#include "forwarder/kernel.hpp"
#include "forwarder/nft/table.hpp"
#include "forwarder/route/delivery.hpp"

namespace lbcluster::forward {

class LinuxKernel final : public Kernel {
  public:
    Result<std::string> ipvs() override;
    Result<Reading> read(const std::set<ServiceKey>& which) override;
    std::vector<Result<void>> carry_out(std::span<const Step> steps) override;
    Result<std::vector<Sync>> syncs() override;
    Result<void> start_sync(const Sync& sync) override;
    Result<void> stop_sync(const Sync& sync) override;
    Result<Timeouts> timeouts() override;
    Result<void> set_timeouts(const Timeouts& timeouts) override;
    Result<std::string> rules() override { return table_.read(); }
    Result<void> set_rules(const std::string& text) override { return table_.replace(text); }
    Result<bool> delivers(bool v6) override { return route::delivers(v6); }
    Result<void> set_delivery(bool v6, bool wanted) override { return route::set_delivery(v6, wanted); }
    Result<std::string> sysctl(const std::string& name) override;
    Result<void> set_sysctl(const std::string& name, const std::string& value) override;

  private:
    std::optional<ipvs::Socket> socket_;
    nft::Table table_;
};

}  // namespace lbcluster::forward
