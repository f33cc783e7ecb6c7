#include "cli/core/connections.hpp"

#include <algorithm>
#include <charconv>
#include <utility>

namespace lbcluster::cli {
namespace {

constexpr std::array<std::string_view, connection_states> state_words{
    "SYN_RECV", "ESTABLISHED", "UDP",   "SYN_SENT", "SYNACK", "FIN_WAIT", "CLOSE_WAIT",
    "LAST_ACK", "TIME_WAIT",   "CLOSE", "LISTEN",   "NONE",   "OTHER",    "PERSISTENCE"};
constexpr std::size_t waiting_max = 8;
constexpr std::size_t line_bytes_max = 1024;  // the kernel's are 180 at most

std::string_view next_word(std::string_view& text) {
    const std::size_t from = std::min(text.find_first_not_of(' '), text.size());
    const std::size_t to = std::min(text.find(' ', from), text.size());
    const std::string_view word = text.substr(from, to - from);
    text.remove_prefix(to);
    return word;
}

template <class Number>
bool read_number(std::string_view text, Number& out, int base) {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out, base);
    return error == std::errc() && end == text.data() + text.size();
}

bool read_endpoint(std::string_view& text, Endpoint& out) {
    const std::string_view address = next_word(text);
    const std::string_view port = next_word(text);
    std::uint32_t v4 = 0;
    if (address.size() == 8 && read_number(address, v4, 16)) {
        out.address = IpAddress::v4({static_cast<std::uint8_t>(v4 >> 24U), static_cast<std::uint8_t>(v4 >> 16U),
                                     static_cast<std::uint8_t>(v4 >> 8U), static_cast<std::uint8_t>(v4)});
    } else {
        const auto v6 = IpAddress::parse(address);
        if (!v6 || v6->is_v4()) return false;
        out.address = *v6;
    }
    return port.size() == 4 && read_number(port, out.port, 16);
}

ConnectionState state_of(std::string_view word, const Connection& connection) {
    // The entry that remembers a client's server has no client port.
    if (word == "ASSURED" || (word == "NONE" && connection.client.port == 0)) return ConnectionState::persistence;
    const auto* const found = std::find(state_words.begin(), state_words.end(), word);
    return found == state_words.end() ? ConnectionState::other
                                      : static_cast<ConnectionState>(found - state_words.begin());
}

bool takes(const KnownService& service, const Connection& connection) {
    if (connection.protocol == protocol_tcp ? !service.tcp : connection.protocol != protocol_udp || !service.udp)
        return false;
    const std::uint16_t port = connection.virtual_end.port;
    // The persistence entry of a service by address may stand for any port.
    return (port == 0 && connection.state == ConnectionState::persistence) ||
           std::any_of(service.ports.begin(), service.ports.end(),
                       [port](const PortSpan& span) { return span.first <= port && port <= span.last; });
}

bool tells_more(const Listed& a, const Listed& b) {
    if (a.connection.state != b.connection.state) return a.connection.state < b.connection.state;
    return a.connection.expires_s > b.connection.expires_s;  // its last packet came later
}

}  // namespace

std::string_view word_of(ConnectionState state) { return state_words[static_cast<std::size_t>(state)]; }

std::string Endpoint::to_string() const {
    const std::string host = address.is_v6() ? "[" + address.to_string() + "]" : address.to_string();
    return host + ":" + std::to_string(port);
}

std::optional<Connection> parse_connection(std::string_view line) {
    Connection out;
    const std::string_view protocol = next_word(line);
    out.protocol = protocol == "TCP" ? protocol_tcp : protocol == "UDP" ? protocol_udp : 0;
    if (!read_endpoint(line, out.client) || !read_endpoint(line, out.virtual_end) || !read_endpoint(line, out.server))
        return std::nullopt;
    const std::string_view state = next_word(line);
    const std::string_view origin = next_word(line);
    if (origin != "LOCAL" && origin != "SYNC") return std::nullopt;
    out.from_peer = origin == "SYNC";
    out.state = state_of(state, out);
    if (!read_number(next_word(line), out.expires_s, 10)) return std::nullopt;
    return out;
}

std::uint64_t Counts::connections() const {
    std::uint64_t sum = 0;
    for (const std::uint64_t count : by_state) sum += count;
    return sum - of(ConnectionState::persistence);
}

std::uint64_t Counts::got_through() const {
    return of(ConnectionState::established) + of(ConnectionState::fin_wait) + of(ConnectionState::close_wait) +
           of(ConnectionState::last_ack) + of(ConnectionState::time_wait);
}

void Counts::add(const Connection& connection) {
    ++by_state[static_cast<std::size_t>(connection.state)];
    if (connection.from_peer) ++from_peer;
}

Counts& Counts::operator+=(const Counts& other) {
    for (std::size_t i = 0; i < connection_states; ++i) by_state[i] += other.by_state[i];
    from_peer += other.from_peer;
    return *this;
}

Counts ServiceCounts::all() const {
    Counts out = others;
    for (const ServerCounts& server : servers) out += server.counts;
    return out;
}

Tally::Tally(std::vector<KnownService> services, std::size_t listed_max, std::optional<std::size_t> only)
    : known_(std::move(services)), listed_max_(listed_max), only_(only), counts_(known_.size()) {
    for (std::size_t i = 0; i < known_.size(); ++i) {
        by_address_[known_[i].address].push_back(i);
        counts_[i].servers.resize(known_[i].servers.size());
    }
}

void Tally::add(std::string_view piece) {
    while (!piece.empty()) {
        const std::size_t end = piece.find('\n');
        if (end == std::string_view::npos || !rest_.empty()) {
            // What is too long is no line of the table, and is not kept either.
            if (rest_.size() < line_bytes_max) rest_ += piece.substr(0, std::min({end, piece.size(), line_bytes_max}));
            if (end == std::string_view::npos) return;
            add_line(rest_);
            rest_.clear();
        } else {
            add_line(piece.substr(0, end));
        }
        piece.remove_prefix(end + 1);
    }
}

void Tally::finish() {
    if (!rest_.empty()) add_line(std::exchange(rest_, {}));
    std::sort_heap(listed_.begin(), listed_.end(), tells_more);
}

void Tally::add_line(std::string_view line) {
    if (line.empty() || line.substr(0, 4) == "Pro ") return;
    const auto connection = parse_connection(line);
    if (!connection) {
        ++unreadable_;
        return;
    }
    Listed entry{*connection, find_service(*connection), -1};
    if (entry.service < 0) {
        unmatched_.add(*connection);
    } else {
        ServiceCounts& service = counts_[static_cast<std::size_t>(entry.service)];
        entry.server = find_server(static_cast<std::size_t>(entry.service), *connection);
        if (entry.server < 0) {
            service.others.add(*connection);
        } else {
            ServerCounts& server = service.servers[static_cast<std::size_t>(entry.server)];
            server.counts.add(*connection);
            auto& waiting = server.waiting;
            const IpAddress& client = connection->client.address;
            if (connection->state == ConnectionState::syn_recv && waiting.size() < waiting_max &&
                std::find(waiting.begin(), waiting.end(), client) == waiting.end())
                waiting.push_back(client);
        }
    }
    if (!only_ || entry.service == static_cast<int>(*only_)) list(entry);
}

int Tally::find_service(const Connection& connection) const {
    const IpAddress& address = connection.virtual_end.address;
    if (connection.protocol == 0 && connection.state == ConnectionState::persistence) {
        std::uint32_t mark = 0;
        for (std::size_t i = 0; i < 4; ++i) mark = mark << 8U | address.bytes()[i];
        const auto found = std::find_if(known_.begin(), known_.end(), [&](const KnownService& one) {
            return one.mark != 0 && one.mark == mark && one.address.is_v4() == address.is_v4();
        });
        return found == known_.end() ? -1 : static_cast<int>(found - known_.begin());
    }
    const auto candidates = by_address_.find(address);
    if (candidates == by_address_.end()) return -1;
    for (const std::size_t i : candidates->second) {
        if (takes(known_[i], connection)) return static_cast<int>(i);
    }
    return -1;
}

int Tally::find_server(std::size_t service, const Connection& connection) const {
    const auto& servers = known_[service].servers;
    const Endpoint& end = connection.server;
    const auto found = std::find_if(servers.begin(), servers.end(), [&](const KnownServer& one) {
        return one.address == end.address && (one.port == 0 || end.port == 0 || one.port == end.port);
    });
    return found == servers.end() ? -1 : static_cast<int>(found - servers.begin());
}

void Tally::list(const Listed& line) {
    if (listed_max_ == 0) return;
    if (listed_.size() == listed_max_) {
        if (!tells_more(line, listed_.front())) return;  // the front tells least
        std::pop_heap(listed_.begin(), listed_.end(), tells_more);
        listed_.pop_back();
    }
    listed_.push_back(line);
    std::push_heap(listed_.begin(), listed_.end(), tells_more);
}

}  // namespace lbcluster::cli
