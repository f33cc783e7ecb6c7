#include "heartbeat/wire/envelope.hpp"

#include <algorithm>
#include <cstring>

namespace lbcluster::heartbeat {

namespace {

constexpr std::array<std::uint8_t, 4> magic_and_format{'L', 'B', 'H', 1};
constexpr std::size_t key_id_at = 4;
constexpr std::size_t name_length_at = 8;
constexpr std::size_t name_at = 9;
constexpr std::size_t name_bytes_max = 63;
constexpr std::size_t tag_bytes = Authenticator::tag_bytes;
constexpr std::size_t key_id_bytes = 4;
constexpr std::size_t datagram_bytes_min = name_at + 1 + tag_bytes;

constexpr std::array<std::string_view, drop_count> drop_names{
    "none",    "too-short",    "too-long",        "bad-magic", "format-version", "unknown-key", "bad-name",
    "bad-mac", "bad-protobuf", "sender-mismatch", "own-name",  "version",        "cluster"};

bool is_alphanumeric(char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

std::size_t finish(std::size_t payload_bytes, std::string_view own_name, Authenticator& authenticator,
                   std::span<std::uint8_t> out) {
    std::copy(magic_and_format.begin(), magic_and_format.end(), out.begin());
    const auto key_id = authenticator.key_id(0);
    std::copy(key_id.begin(), key_id.end(), out.begin() + key_id_at);
    out[name_length_at] = static_cast<std::uint8_t>(own_name.size());
    std::copy(own_name.begin(), own_name.end(), out.begin() + name_at);
    const std::size_t signed_bytes = name_at + own_name.size() + payload_bytes;
    authenticator.sign(out.first(signed_bytes), out.subspan(signed_bytes).first<tag_bytes>());
    return signed_bytes + tag_bytes;
}

}  // namespace

std::string_view drop_name(Drop drop) { return drop_names.at(static_cast<std::size_t>(drop)); }

bool is_node_name(std::string_view name) {
    if (name.empty() || name.size() > name_bytes_max || !is_alphanumeric(name.front())) return false;
    return std::all_of(name.begin(), name.end(),
                       [](char c) { return is_alphanumeric(c) || c == '-' || c == '_' || c == '.'; });
}

void stamp(Heartbeat& message, std::string_view own_name, const Authenticator& authenticator) {
    const auto cluster = authenticator.cluster_id();
    message.set_version(protocol_version);
    message.set_min_version(protocol_version);
    message.set_cluster_id(cluster.data(), cluster.size());
    message.set_sender(own_name.data(), own_name.size());
}

Result<std::size_t> seal(std::span<const std::uint8_t> payload, std::string_view own_name, Authenticator& authenticator,
                         std::span<std::uint8_t> out) {
    const std::size_t overhead = name_at + own_name.size() + tag_bytes;
    const std::size_t room = std::min(out.size(), datagram_bytes_max);
    if (room < overhead || payload.size() > room - overhead) {
        return Error{"heartbeat of " + std::to_string(overhead + payload.size()) + " bytes is longer than " +
                         std::to_string(room),
                     "", 0};
    }
    if (!payload.empty()) std::memmove(out.data() + name_at + own_name.size(), payload.data(), payload.size());
    return finish(payload.size(), own_name, authenticator, out);
}

Result<std::size_t> encode(const Heartbeat& message, std::string_view own_name, Authenticator& authenticator,
                           std::span<std::uint8_t> out) {
    const auto cluster = authenticator.cluster_id();
    if (message.sender() != own_name || message.cluster_id().size() != cluster.size() ||
        !std::equal(cluster.begin(), cluster.end(),
                    reinterpret_cast<const std::uint8_t*>(message.cluster_id().data()))) {
        return Error{"heartbeat does not name this node and cluster", "", 0};
    }
    const std::size_t overhead = name_at + own_name.size() + tag_bytes;
    const std::size_t payload_bytes = message.ByteSizeLong();
    const std::size_t room = std::min(out.size(), datagram_bytes_max);
    if (room < overhead || payload_bytes > room - overhead) {
        return Error{"heartbeat of " + std::to_string(overhead + payload_bytes) + " bytes is longer than " +
                         std::to_string(room),
                     "", 0};
    }
    message.SerializeWithCachedSizesToArray(out.data() + name_at + own_name.size());
    return finish(payload_bytes, own_name, authenticator, out);
}

DecodeResult decode(std::span<const std::uint8_t> datagram, std::string_view own_name, Authenticator& authenticator,
                    Heartbeat& out) {
    if (datagram.size() < datagram_bytes_min) return {Drop::too_short};
    if (datagram.size() > datagram_bytes_max) return {Drop::too_long};
    if (!std::equal(magic_and_format.begin(), magic_and_format.end() - 1, datagram.begin())) return {Drop::bad_magic};
    if (datagram[3] != magic_and_format[3]) return {Drop::format_version};

    const auto key_id = datagram.subspan(key_id_at, key_id_bytes);
    const auto is_named = [&](std::size_t i) {
        return std::equal(key_id.begin(), key_id.end(), authenticator.key_id(i).begin());
    };
    std::size_t key_index = 0;
    while (key_index < authenticator.keys() && !is_named(key_index)) ++key_index;
    if (key_index == authenticator.keys()) return {Drop::unknown_key};

    const std::size_t name_bytes = datagram[name_length_at];
    if (name_bytes > name_bytes_max || name_at + name_bytes + tag_bytes > datagram.size()) return {Drop::bad_name};
    const std::string_view sender(reinterpret_cast<const char*>(datagram.data()) + name_at, name_bytes);
    if (!is_node_name(sender)) return {Drop::bad_name};

    const auto data = datagram.first(datagram.size() - tag_bytes);
    // Two secrets with one key id (1 in 2^32) are told apart by trying.
    while (key_index < authenticator.keys() &&
           (!is_named(key_index) || !authenticator.verify(sender, key_index, data, datagram.last(tag_bytes)))) {
        ++key_index;
    }
    if (key_index == authenticator.keys()) return {Drop::bad_mac};

    const auto payload = data.subspan(name_at + name_bytes);
    const auto refuse = [&out](Drop drop) {
        out.Clear();
        return DecodeResult{drop};
    };
    if (!out.ParseFromArray(payload.data(), static_cast<int>(payload.size()))) return refuse(Drop::bad_protobuf);
    if (out.sender() != sender) return refuse(Drop::sender_mismatch);
    if (sender == own_name) return {Drop::own_name};
    if (out.version() == 0 || out.min_version() > out.version()) return refuse(Drop::version);
    const auto cluster = authenticator.cluster_id();
    if (out.cluster_id().size() != cluster.size() ||
        std::memcmp(out.cluster_id().data(), cluster.data(), cluster.size()) != 0) {
        return refuse(Drop::cluster);
    }
    return {Drop::none, out.min_version() > protocol_version, static_cast<std::uint8_t>(key_index)};
}

}  // namespace lbcluster::heartbeat
