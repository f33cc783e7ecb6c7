// Does another kernel answer for a floating IP? And does somebody use ours unasked?
//
// Asks by ARP probe (sender 0.0.0.0, RFC 5227) or by neighbour solicitation in the form of duplicate address detection
// (RFC 4862), which change nobody's cache, and on request by an echo as a raw frame to the MAC that answered
// last, as an echo through our own kernel to an address we hold never leaves the host. Frames of our own MACs are
// ignored. Never blocks; everything runs on the io_context's thread.
#pragma once

#include <array>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "lbcluster/base/address.hpp"
#include "lbcluster/base/result.hpp"
#include "lbcluster/base/time.hpp"
#include "lbcluster/net/frame_socket.hpp"
#include "lbcluster/net/netlink.hpp"

namespace lbcluster::heartbeat {

class AddressProber {
  public:
    enum class Kind { arp, echo };  // arp: or neighbour discovery
    struct Callbacks {
        std::function<void(const IpAddress&, const MacAddress&, Kind, int ifindex)> on_answer;
        // Announced or used by another MAC, not as an answer to us.
        std::function<void(const IpAddress&, const MacAddress&)> on_foreign;
    };
    struct Watched {
        IpAddress ip;
        std::string interface;
    };

    static Result<std::unique_ptr<AddressProber>> open(boost::asio::io_context& io, Callbacks callbacks);
    ~AddressProber();
    AddressProber(const AddressProber&) = delete;
    AddressProber& operator=(const AddressProber&) = delete;

    // All interfaces and addresses of this machine; after each change.
    void set_interfaces(const std::vector<net::Link>& links, const std::vector<net::Address>& addresses);
    // The floating IPs: all others are ignored.
    void set_addresses(const std::vector<Watched>& addresses);

    void probe(std::span<const IpAddress> addresses, bool echo);
    // Everything that waits in the socket now (bounded).
    void drain();
    [[nodiscard]] int fd() const { return socket_.fd(); }

  private:
    struct Target {
        std::string interface;
        Instant probed_at{};
        MacAddress last_mac;  // of the last answer; zero: none
        std::uint16_t echo_sequence = 0;
    };
    AddressProber(boost::asio::io_context& io, net::FrameSocket socket, Callbacks callbacks, std::uint16_t id);
    void wait();
    void on_frame(int ifindex, net::ByteView frame);
    void on_arp(int ifindex, const net::ArpPacket& arp);
    void on_advertisement(int ifindex, const net::NeighborAdvertisement& advertisement);
    void on_echo(int ifindex, const net::EchoReply& reply);
    [[nodiscard]] bool own(const MacAddress& mac) const { return own_macs_.contains(mac); }
    Target* find(const IpAddress& ip, int ifindex);
    void append_echo(const IpAddress& ip, Target& target, const net::Link& link, std::vector<net::OutgoingFrame>& out);

    net::FrameSocket socket_;
    boost::asio::posix::stream_descriptor readiness_;  // of socket_'s descriptor, which it does not own
    Callbacks callbacks_;
    std::uint16_t id_;
    std::array<std::uint8_t, 16> nonce_{};
    std::uint16_t sequence_ = 0;
    std::map<std::string, net::Link> links_;
    std::set<MacAddress> own_macs_;
    std::vector<net::Address> own_addresses_;
    std::map<IpAddress, Target> targets_;
};

}  // namespace lbcluster::heartbeat
