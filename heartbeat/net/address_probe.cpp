#include "heartbeat/net/address_probe.hpp"

#include <sys/random.h>

#include <algorithm>
#include <utility>

#include "lbcluster/base/clock.hpp"

namespace lbcluster::heartbeat {
namespace {

constexpr std::size_t frames_per_drain = 4096;
// An advertisement does not say whether it answers a solicitation from ::, so it counts as an answer this long.
constexpr Duration answer_within = 1s;
// In echoes sent since, to whomever.
constexpr std::uint16_t echo_age_max = 4096;

}  // namespace

Result<std::unique_ptr<AddressProber>> AddressProber::open(boost::asio::io_context& io, Callbacks callbacks) {
    std::uint16_t id = 0;
    (void)!::getrandom(&id, sizeof(id), GRND_NONBLOCK);
    auto socket = net::FrameSocket::open(id);
    if (!socket) return socket.error();
    std::unique_ptr<AddressProber> prober(new AddressProber(io, std::move(socket).value(), std::move(callbacks), id));
    prober->wait();
    return prober;
}

AddressProber::AddressProber(boost::asio::io_context& io, net::FrameSocket socket, Callbacks callbacks,
                             std::uint16_t id)
    : socket_(std::move(socket)), readiness_(io, socket_.fd()), callbacks_(std::move(callbacks)), id_(id) {
    (void)!::getrandom(nonce_.data(), nonce_.size(), GRND_NONBLOCK);
}

AddressProber::~AddressProber() { (void)readiness_.release(); }

void AddressProber::set_interfaces(const std::vector<net::Link>& links, const std::vector<net::Address>& addresses) {
    links_.clear();
    own_macs_.clear();
    for (const auto& link : links) {
        links_[link.name] = link;
        if (!link.mac.is_zero()) own_macs_.insert(link.mac);
    }
    own_addresses_ = addresses;
}

void AddressProber::set_addresses(const std::vector<Watched>& addresses) {
    std::map<IpAddress, Target> targets;
    for (const auto& watched : addresses) {
        const auto known = targets_.find(watched.ip);
        if (known != targets_.end() && known->second.interface == watched.interface) targets.insert(*known);
        else targets[watched.ip].interface = watched.interface;
    }
    targets_ = std::move(targets);
}

void AddressProber::probe(std::span<const IpAddress> addresses, bool echo) {
    const Instant now = boottime_now();
    std::vector<net::OutgoingFrame> frames;
    for (const auto& ip : addresses) {
        const auto it = targets_.find(ip);
        if (it == targets_.end()) continue;
        const auto link = links_.find(it->second.interface);
        if (link == links_.end() || !link->second.ethernet) continue;
        it->second.probed_at = now;
        const auto& mac = link->second.mac;
        frames.push_back({link->second.index, ip.is_v4() ? net::arp_request(mac, net::mac_broadcast, IpAddress{}, ip)
                                                         : net::neighbor_solicitation(mac, IpAddress::v6({}), ip)});
        if (echo) append_echo(ip, it->second, link->second, frames);
    }
    (void)socket_.send(frames);  // a request that does not leave is one without an answer
}

// The source is an address of the interface itself, so that the answer comes back to us.
void AddressProber::append_echo(const IpAddress& ip, Target& target, const net::Link& link,
                                std::vector<net::OutgoingFrame>& out) {
    if (target.last_mac.is_zero()) return;
    const net::Address* source = nullptr;
    for (const auto& address : own_addresses_) {
        if (address.ifindex != link.index || address.prefix.address.is_v4() != ip.is_v4() || address.ours()) continue;
        if (address.prefix.address == ip || targets_.contains(address.prefix.address)) continue;
        if (source == nullptr || (address.prefix.contains(ip) && !source->prefix.contains(ip))) source = &address;
    }
    if (source == nullptr) return;
    // First tell the answering kernel where the source is. While we hold the address, too, it could not find out by
    // itself: its question would carry our address as the sender, which our kernel refuses.
    const IpAddress& from = source->prefix.address;
    out.push_back({link.index, ip.is_v4() ? net::arp_request(link.mac, target.last_mac, from, ip)
                                          : net::neighbor_solicitation(link.mac, from, ip)});
    target.echo_sequence = ++sequence_;
    out.push_back({link.index, net::echo_request_frame(
                                   link.mac, target.last_mac,
                                   {from, ip, id_, target.echo_sequence, net::Bytes(nonce_.begin(), nonce_.end())})});
}

void AddressProber::wait() {
    readiness_.async_wait(boost::asio::posix::descriptor_base::wait_read,
                          [this](const boost::system::error_code& error) {
                              if (error) return;
                              drain();
                              wait();
                          });
}

void AddressProber::drain() {
    socket_.drain(frames_per_drain, [this](int ifindex, net::ByteView frame) { on_frame(ifindex, frame); });
}

void AddressProber::on_frame(int ifindex, net::ByteView frame) {
    if (const auto arp = net::parse_arp(frame)) return on_arp(ifindex, *arp);
    if (const auto advertisement = net::parse_neighbor_advertisement(frame))
        return on_advertisement(ifindex, *advertisement);
    if (const auto reply = net::parse_echo_reply(frame)) on_echo(ifindex, *reply);
}

AddressProber::Target* AddressProber::find(const IpAddress& ip, int ifindex) {
    const auto it = targets_.find(ip);
    if (it == targets_.end()) return nullptr;
    const auto link = links_.find(it->second.interface);
    return link != links_.end() && link->second.index == ifindex ? &it->second : nullptr;
}

void AddressProber::on_arp(int ifindex, const net::ArpPacket& arp) {
    if (own(arp.sender_mac) || own(arp.frame_source)) return;
    Target* target = find(arp.sender, ifindex);
    if (target == nullptr) return;
    const bool answer =
        arp.form == net::ArpForm::reply && own(arp.target_mac) && boottime_now() - target->probed_at <= answer_within;
    if (!answer) {
        if (callbacks_.on_foreign) callbacks_.on_foreign(arp.sender, arp.sender_mac);
        return;
    }
    target->last_mac = arp.sender_mac;
    if (callbacks_.on_answer) callbacks_.on_answer(arp.sender, arp.sender_mac, Kind::arp, ifindex);
}

void AddressProber::on_advertisement(int ifindex, const net::NeighborAdvertisement& advertisement) {
    if (own(advertisement.mac) || own(advertisement.frame_source)) return;
    Target* target = find(advertisement.target, ifindex);
    if (target == nullptr) return;
    if (boottime_now() - target->probed_at > answer_within) {
        if (callbacks_.on_foreign) callbacks_.on_foreign(advertisement.target, advertisement.mac);
        return;
    }
    target->last_mac = advertisement.mac;
    if (callbacks_.on_answer) callbacks_.on_answer(advertisement.target, advertisement.mac, Kind::arp, ifindex);
}

void AddressProber::on_echo(int ifindex, const net::EchoReply& reply) {
    const net::Echo& echo = reply.echo;
    if (own(reply.frame_source) || echo.id != id_) return;
    Target* target = find(echo.source, ifindex);
    if (target == nullptr ||
        // An answer may be slower than the pace of the requests.
        static_cast<std::uint16_t>(target->echo_sequence - echo.sequence) > echo_age_max ||
        !std::equal(nonce_.begin(), nonce_.end(), echo.payload.begin(), echo.payload.end()))
        return;
    if (callbacks_.on_answer) callbacks_.on_answer(echo.source, reply.frame_source, Kind::echo, ifindex);
}

}  // namespace lbcluster::heartbeat
