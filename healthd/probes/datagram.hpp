// Probe over UDP: a connected socket and a Talk. A port that nobody listens on is known at once (ICMP port unreachable
// is "connection refused"). What was asked last is asked again after one second and after two, as datagrams get lost;
// silence is never an answer.
#pragma once

#include <functional>
#include <memory>

#include "healthd/probes/base.hpp"
#include "healthd/talk/talk.hpp"

namespace lbcluster::health {

class DatagramProbe final : public PolledProbe {
  public:
    static constexpr int sends_max = 3;

    DatagramProbe(Poller& poller, const IpAddress& address, std::uint16_t port,
                  std::function<std::unique_ptr<Talk>()> make_talk);

  private:
    void begin() override;
    void go_on(std::uint32_t events) override;
    void end() override;
    std::string waiting_for() const override { return talk_ != nullptr ? talk_->waiting_for() : "answer"; }

    // False: settled, and `this` may be gone.
    bool take(Talk::Step step);
    bool send();

    Poller& poller_;
    IpAddress address_;
    std::uint16_t port_;
    std::function<std::unique_ptr<Talk>()> make_talk_;
    std::unique_ptr<Talk> talk_;
    std::string question_;
    bool secret_ = false;
    int sends_ = 0;
    std::size_t received_bytes_ = 0;
};

}  // namespace lbcluster::health
