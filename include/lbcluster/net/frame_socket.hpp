// Whole Ethernet frames in and out (packet(7)).
//
// One socket for all interfaces; the interface is named per frame. A classic BPF filter in the kernel lets only ARP,
// ICMPv6 neighbour solicitations and advertisements, and echo replies with our identifier through, and only
// untagged frames from outside. Never blocks. Belongs to one thread.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "lbcluster/base/descriptor.hpp"
#include "lbcluster/base/result.hpp"
#include "lbcluster/net/packets.hpp"

namespace lbcluster::net {

struct OutgoingFrame {
    int ifindex = 0;
    Bytes bytes;
};

class FrameSocket {
  public:
    // `echo_id`: identifier of echo replies to receive. Send-only sockets receive nothing at all.
    static Result<FrameSocket> open(std::uint16_t echo_id);
    static Result<FrameSocket> open_send_only();

    struct Sent {
        std::size_t sent = 0;    // accepted by the kernel
        std::size_t failed = 0;  // refused: interface down or gone; the rest waits for room
        int last_errno = 0;
    };
    // In order. Stops when the socket is full (sent + failed < frames.size()); a refused frame is skipped.
    Sent send(std::span<const OutgoingFrame> frames);

    // At most `frames_max` frames that are there now. Returns how many. The view is valid in the handler only.
    std::size_t drain(std::size_t frames_max, const std::function<void(int ifindex, ByteView frame)>& handler);

    [[nodiscard]] int fd() const { return fd_.get(); }

  private:
    explicit FrameSocket(int fd) : fd_(fd) {}
    Descriptor fd_;
    std::vector<std::uint8_t> buffer_;
};

}  // namespace lbcluster::net
