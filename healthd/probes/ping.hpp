// Probe `ping`: ICMP and ICMPv6 echo (RFC 792, RFC 4443).
//
// One socket per address family for all probes: a ping socket if net.ipv4.ping_group_range lets us (no privilege
// needed), else a raw one (CAP_NET_RAW). Each request carries 16 random bytes; only an answer from the server asked
// that brings them back counts. Sent again after one second and after two.
#pragma once

#include <array>
#include <cstdint>
#include <unordered_map>

#include "healthd/probes/base.hpp"

namespace lbcluster::health {

class PingProbe;

// The socket of one family, and who waits for which sequence number.
class PingSocket final : private Poller::Client {
  public:
    static constexpr std::size_t nonce_bytes = 16;

    PingSocket(Poller& poller, bool v6) : watch_(poller, *this), v6_(v6) {}

    // 0 or an errno. Opens the socket if it is not open yet.
    int open();
    // Sends one request; it is `sequence` from then on (0 at first: one is chosen). 0 or an errno.
    int ask(PingProbe& probe, const IpAddress& to, std::uint16_t& sequence);
    void forget(std::uint16_t sequence) { waiting_.erase(sequence); }

  private:
    struct Waiting {
        PingProbe* probe = nullptr;
        IpAddress from;
        std::array<std::uint8_t, nonce_bytes> nonce{};
    };
    void on_ready(std::uint32_t events) override;
    void on_message(const IpAddress& from, const std::uint8_t* message, std::size_t bytes);

    Watch watch_;
    bool v6_;
    bool raw_ = false;
    std::uint16_t id_ = 0;  // raw: ours; a ping socket's is the kernel's business
    std::uint16_t last_sequence_ = 0;
    std::unordered_map<std::uint16_t, Waiting> waiting_;
};

class PingProbe final : public PolledProbe {
  public:
    static constexpr int sends_max = 3;

    PingProbe(Poller& poller, PingSocket& socket, const IpAddress& address)
        : PolledProbe(poller), socket_(socket), address_(address) {}
    ~PingProbe() override { end(); }

    void on_answer();

  private:
    void begin() override;
    void go_on(std::uint32_t events) override;
    void end() override;
    std::string waiting_for() const override { return "echo reply"; }

    PingSocket& socket_;
    IpAddress address_;
    std::uint16_t sequence_ = 0;
    int sends_ = 0;
};

}  // namespace lbcluster::health
