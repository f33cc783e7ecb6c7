// The envelope of a heartbeat datagram: its layout and the order in which a receiver checks it. How a datagram is
// authenticated is left to an Authenticator: heartbeatd's is HMAC-SHA256 (codec.hpp), the simulator has its own.
//
//   offset  bytes
//        0  3      'L' 'B' 'H'
//        3  1      format version (1)
//        4  4      key id
//        8  1      length n of the sender's name, 1..63
//        9  n      sender's name: letters, digits, '-', '_', '.'; begins with a letter or digit
//      9+n  m      lbcluster.heartbeat.Heartbeat (protobuf)
//    9+n+m  16     authentication tag over every byte before
//
// The whole is at most 1200 bytes. Nothing is parsed by protobuf before the tag is verified.
//
// A message whose min_version is above ours still proves that the peer lives: it is delivered, with `newer` set, and
// only fields 1 to 6 of it may be relied upon (these never change their meaning).
//
// Pure: no clock, no socket, no cryptography. No heap allocation per datagram.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "heartbeat/core/types.hpp"
#include "lbcluster/base/result.hpp"
#include "lbcluster/heartbeat.pb.h"

namespace lbcluster::heartbeat {

constexpr std::size_t datagram_bytes_max = 1200;

// Why a datagram was dropped, in the order of the checks.
enum class Drop : std::uint8_t {
    none,
    too_short,
    too_long,
    bad_magic,
    format_version,
    unknown_key,
    bad_name,
    bad_mac,
    bad_protobuf,
    sender_mismatch,  // the message names another sender than the envelope
    own_name,         // our own datagram came back, or the peer has our name
    version,          // says no protocol version at all, or contradicts itself
    cluster,          // another cluster's message
};
constexpr std::size_t drop_count = static_cast<std::size_t>(Drop::cluster) + 1;

// For counters and logs: "bad-mac".
std::string_view drop_name(Drop drop);

struct DecodeResult {
    Drop drop = Drop::none;
    bool newer = false;          // min_version above ours: alive, but not to be understood
    std::uint8_t key_index = 0;  // which of our secrets it was made with
    [[nodiscard]] bool ok() const { return drop == Drop::none; }
};

bool is_node_name(std::string_view name);

// Makes and verifies the tag. Several keys may be valid at once: number 0 sends, any one receives.
class Authenticator {
  public:
    static constexpr std::size_t tag_bytes = 16;
    using Bytes = std::span<const std::uint8_t>;

    virtual ~Authenticator() = default;
    [[nodiscard]] virtual std::size_t keys() const = 0;
    [[nodiscard]] virtual Bytes key_id(std::size_t index) const = 0;  // 4 bytes
    [[nodiscard]] virtual Bytes cluster_id() const = 0;               // 16 bytes
    // With key 0, as the node itself.
    virtual void sign(Bytes data, std::span<std::uint8_t, tag_bytes> tag) = 0;
    virtual bool verify(std::string_view sender, std::size_t key_index, Bytes data, Bytes tag) = 0;
};

// Fills in what belongs to the wire: version, min_version, cluster_id, sender.
void stamp(Heartbeat& message, std::string_view own_name, const Authenticator& authenticator);
// The message must name `own_name` as sender and our cluster. Returns the datagram's length; an error if it would be
// longer than 1200 bytes or than `out`.
Result<std::size_t> encode(const Heartbeat& message, std::string_view own_name, Authenticator& authenticator,
                           std::span<std::uint8_t> out);
// Envelope and tag around any bytes.
Result<std::size_t> seal(std::span<const std::uint8_t> payload, std::string_view own_name, Authenticator& authenticator,
                         std::span<std::uint8_t> out);
// `out` is valid only if the result is ok, or own_name. Reuse one message: that saves allocations.
DecodeResult decode(std::span<const std::uint8_t> datagram, std::string_view own_name, Authenticator& authenticator,
                    Heartbeat& out);

}  // namespace lbcluster::heartbeat
