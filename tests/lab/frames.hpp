// Ethernet frames of address resolution, made and read by the lab itself, so that it judges by what is on the wire:
// ARP (RFC 826, announcements RFC 5227) and IPv6 neighbor discovery (RFC 4861).
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "tests/lab/process.hpp"

namespace lbcluster::lab {

using Frame = std::vector<std::uint8_t>;
using Mac = std::array<std::uint8_t, 6>;
using FrameBuffer = std::array<std::uint8_t, 2048>;

// Frames that an interface of `host` sends and receives; non-blocking. `mac`: receives the interface's own.
int open_tap(const Namespace& host, const std::string& interface, Mac* mac = nullptr);

struct Arrival {
    std::size_t bytes = 0;
    bool outgoing = false;
    std::int64_t time_ns = 0;  // the kernel's, CLOCK_REALTIME
};
// One frame that waits; false: none does.
bool read_frame(int fd, FrameBuffer& buffer, Arrival& arrival);

// "Who has `target`? Tell `own`": ARP request or neighbor solicitation, by the family of `target`.
Frame neighbor_question(const Mac& mac, const std::string& own, const std::string& target);

// An ARP packet or a neighbor advertisement: `address` is at `mac`.
struct NeighborMessage {
    std::string address;
    std::string mac;
    std::string to;             // who is told
    bool answer = false;        // to somebody who asked
    bool announcement = false;  // to everybody, and it replaces what they know (IPv6: the override flag)
};
std::optional<NeighborMessage> neighbor_message(const std::uint8_t* frame, std::size_t bytes);

std::int64_t realtime_ns();

}  // namespace lbcluster::lab
