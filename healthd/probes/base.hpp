// What most probes share: a Watch, and the rules of Probe::start() and stop().
//
// A subclass begins in begin(), goes on in on_ready(), and ends with settle(), after which it must touch nothing of
// itself: `done` may have destroyed it.
#pragma once

#include <optional>
#include <string>

#include "healthd/probes/poller.hpp"
#include "healthd/probes/probe.hpp"

namespace lbcluster::health {

class PolledProbe : public Probe, protected Poller::Client {
  public:
    void start(Done done, Transcript* transcript) final;
    std::string stop() final;

  protected:
    explicit PolledProbe(Poller& poller) : watch_(poller, *this) {}

    virtual void begin() = 0;
    // EPOLL* bits, or 0 after Watch::wake().
    virtual void go_on(std::uint32_t events) = 0;
    // Everything but the socket is given back.
    virtual void end() {}
    virtual std::string waiting_for() const = 0;

    // The outcome. Inside begin() it is kept for the next turn of the loop.
    void settle(Outcome outcome);
    // Only what is up is surely not in need of an argument.
    void settle(Finding finding, std::string reason) { settle(Outcome{finding, std::move(reason)}); }
    [[nodiscard]] Transcript* transcript() const { return transcript_; }

    Watch watch_;

  private:
    void on_ready(std::uint32_t events) final;
    void finish(Outcome outcome);

    Done done_;
    Transcript* transcript_ = nullptr;
    std::optional<Outcome> kept_;
    bool beginning_ = false;
};

}  // namespace lbcluster::health
