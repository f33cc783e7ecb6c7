// TCP segments made by hand, in Ethernet frames, for ask_segments(). Belongs to one thread; never blocks.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "diagnose_probes.hpp"
#include "lbcluster/base/descriptor.hpp"
#include "lbcluster/base/result.hpp"

namespace lbcluster::cli {

struct SegmentAnswer {
    MacAddress mac;  // of the frame's sender
    Endpoint from;
    std::uint16_t port = 0;  // ours
    bool accepted = false;   // SYN and ACK; else a reset
    std::uint32_t sequence = 0;
    std::uint32_t acknowledged = 0;
};

inline constexpr std::uint8_t segment_syn = 0x02;
inline constexpr std::uint8_t segment_rst = 0x04;
inline constexpr std::uint8_t segment_ack = 0x10;

// A whole frame without payload or options. Pure.
std::vector<std::uint8_t> make_segment(const SegmentQuestion& question, std::uint16_t port, std::uint8_t flags,
                                       std::uint32_t sequence, std::uint32_t acknowledged);
// Nothing: no answer to a segment. Pure.
std::optional<SegmentAnswer> parse_segment(std::span<const std::uint8_t> frame);

class SegmentSocket {
  public:
    // Receives TCP to `count` ports from `first_port` on, whoever sends it, on every interface.
    static Result<SegmentSocket> open(std::uint16_t first_port, std::uint16_t count);

    void ask(const SegmentQuestion& question, std::uint16_t port);
    void reset(const SegmentQuestion& question, const SegmentAnswer& answer);
    void drain(const std::function<void(const SegmentAnswer&)>& handler);
    [[nodiscard]] int fd() const { return fd_.get(); }

  private:
    explicit SegmentSocket(int fd) : fd_(fd) {}
    void send(int ifindex, std::span<const std::uint8_t> frame) const;

    Descriptor fd_;
};

}  // namespace lbcluster::cli
