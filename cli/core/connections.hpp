// The kernel's table of layer-4 connections, as text, counted by service and server. Pure: lines in, counts out.
//
// A line is one of /proc/net/ip_vs_conn_sync (net/netfilter/ipvs/ip_vs_conn.c of the Linux kernel): protocol, client,
// virtual and real address with ports, state, origin (LOCAL, or SYNC: told by the peer), seconds left. Addresses are
// hexadecimal (IPv4) or eight groups (IPv6).
//
// A connection shows the virtual address, never the firewall mark, so it is found by address, protocol and port; only a
// persistence entry of a service by mark shows the mark in place of the address. What fits no service is counted apart.
// Memory does not grow with the table: counts, a few clients of each server, and the `listed_max` most telling lines.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "lbcluster/base/address.hpp"

namespace lbcluster::cli {

// In the order in which they tell most: of two lines the one with the lower state is listed.
enum class ConnectionState : std::uint8_t {
    syn_recv,
    established,
    udp,
    syn_sent,
    synack,
    fin_wait,
    close_wait,
    last_ack,
    time_wait,
    close,
    listen,
    none,
    other,
    persistence,  // no connection: which server a client belongs to
};
inline constexpr std::size_t connection_states = 14;
std::string_view word_of(ConnectionState state);  // as the kernel writes it: SYN_RECV

inline constexpr std::uint8_t protocol_tcp = 6;
inline constexpr std::uint8_t protocol_udp = 17;

struct Endpoint {
    IpAddress address;
    std::uint16_t port = 0;
    auto operator<=>(const Endpoint&) const = default;
    [[nodiscard]] std::string to_string() const;  // 10.0.0.1:80, [fd00::1]:80
};

struct Connection {
    std::uint8_t protocol = 0;  // 0: a persistence entry by mark, or one we do not know
    ConnectionState state = ConnectionState::other;
    Endpoint client;
    Endpoint virtual_end;
    Endpoint server;
    bool from_peer = false;
    std::uint32_t expires_s = 0;
};

// Nothing: not a line of the table (its header is none either).
std::optional<Connection> parse_connection(std::string_view line);

struct PortSpan {
    std::uint16_t first = 0;
    std::uint16_t last = 0;
};

struct KnownServer {
    std::string label;
    IpAddress address;
    std::uint16_t port = 0;  // 0: any
};

struct KnownService {
    std::string label;
    IpAddress address;
    bool tcp = false;
    bool udp = false;
    std::vector<PortSpan> ports;
    std::uint32_t mark = 0;  // 0: none, or not known
    std::vector<KnownServer> servers;
};

struct Counts {
    std::array<std::uint64_t, connection_states> by_state{};
    std::uint64_t from_peer = 0;

    [[nodiscard]] std::uint64_t of(ConnectionState state) const { return by_state[static_cast<std::size_t>(state)]; }
    // Without persistence entries.
    [[nodiscard]] std::uint64_t connections() const;
    // TCP connections whose client's handshake ended, now or lately.
    [[nodiscard]] std::uint64_t got_through() const;
    void add(const Connection& connection);
    Counts& operator+=(const Counts& other);
};

struct ServerCounts {
    Counts counts;
    std::vector<IpAddress> waiting;  // some clients in SYN_RECV, each once
};

struct ServiceCounts {
    std::vector<ServerCounts> servers;  // as in KnownService
    Counts others;                      // the fallback, and servers that are not configured any more

    [[nodiscard]] Counts all() const;
};

struct Listed {
    Connection connection;
    int service = -1;  // -1: of none
    int server = -1;
};

class Tally {
  public:
    // `only`: lines of other services are not listed, but counted.
    Tally(std::vector<KnownService> services, std::size_t listed_max, std::optional<std::size_t> only = std::nullopt);

    // Text of the table in pieces of any size; a line may be cut anywhere.
    void add(std::string_view piece);
    // After the last piece.
    void finish();

    [[nodiscard]] const std::vector<KnownService>& known() const { return known_; }
    [[nodiscard]] const std::vector<ServiceCounts>& services() const { return counts_; }
    [[nodiscard]] const Counts& unmatched() const { return unmatched_; }
    [[nodiscard]] std::uint64_t unreadable() const { return unreadable_; }
    // The most telling first. After finish().
    [[nodiscard]] const std::vector<Listed>& listed() const { return listed_; }

  private:
    void add_line(std::string_view line);
    [[nodiscard]] int find_service(const Connection& connection) const;
    [[nodiscard]] int find_server(std::size_t service, const Connection& connection) const;
    void list(const Listed& line);

    std::vector<KnownService> known_;
    std::size_t listed_max_;
    std::optional<std::size_t> only_;
    std::unordered_map<IpAddress, std::vector<std::size_t>> by_address_;
    std::vector<ServiceCounts> counts_;
    Counts unmatched_;
    std::uint64_t unreadable_ = 0;
    std::vector<Listed> listed_;  // a heap until finish()
    std::string rest_;            // of a line that was cut
};

}  // namespace lbcluster::cli
