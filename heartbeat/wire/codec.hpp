// Heartbeats as datagrams: envelope, authentication, nothing else. What a message means is the core's business
// (receiver, boot ids and sequence window are checked there).
//
//   offset  bytes
//        0  3      'L' 'B' 'H'
//        3  1      format version (1)
//        4  4      key id: first bytes of SHA-256("lbcluster heartbeat key id v1", secret)
//        8  1      length n of the sender's name, 1..63
//        9  n      sender's name: letters, digits, '-', '_', '.'; begins with a letter or digit
//      9+n  m      lbcluster.heartbeat.Heartbeat (protobuf)
//    9+n+m  16     HMAC-SHA256 (RFC 2104) truncated to 128 bit, over every byte before
//
// The whole is at most 1200 bytes. The MAC's key is HKDF-SHA256 (RFC 5869) of the secret with the cluster id as salt
// and "lbcluster heartbeat v1 from <sender>" as info: each direction has its own, so a reflected datagram shows as
// our own. Nothing is parsed by protobuf before the MAC is verified. Several secrets may be valid at once: the first
// one sends, any one receives.
//
// A message whose min_version is above ours still proves that the peer lives: it is delivered, with `newer` set, and
// only fields 1 to 6 of it may be relied upon (these never change their meaning).
//
// One thread; no clock, no socket. No heap allocation per datagram of its own.
#pragma once

#include <openssl/types.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "heartbeat/core/types.hpp"
#include "lbcluster/base/result.hpp"
#include "lbcluster/heartbeat.pb.h"
#include "lbcluster/keys/key_ring.hpp"

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

class Codec {
  public:
    // `own_name` must be a valid node name.
    Codec(std::string own_name, KeyRing keys);
    Codec(Codec&&) noexcept;
    Codec& operator=(Codec&&) noexcept;
    ~Codec();

    // Takes effect with the next datagram.
    void set_keys(KeyRing keys);
    [[nodiscard]] const KeyRing& keys() const { return keys_; }

    // Fills in what belongs to the wire: version, min_version, cluster_id, sender.
    void stamp(Heartbeat& message) const;
    // The message must name us as sender and our cluster (stamp() does). Returns the datagram's length; an error if
    // it would be longer than 1200 bytes or than `out`.
    Result<std::size_t> encode(const Heartbeat& message, std::span<std::uint8_t> out);
    // Envelope and MAC around any bytes; encode() without the message. For tests.
    Result<std::size_t> seal(std::span<const std::uint8_t> payload, std::span<std::uint8_t> out);
    // `out` is valid only if the result is ok, or own_name. Reuse one message: that saves allocations.
    DecodeResult decode(std::span<const std::uint8_t> datagram, Heartbeat& out);

  private:
    struct MacFree {
        void operator()(EVP_MAC* mac) const;
        void operator()(EVP_MAC_CTX* context) const;
    };
    using MacContext = std::unique_ptr<EVP_MAC_CTX, MacFree>;
    struct Derived {
        std::string sender;
        std::size_t key_index = 0;
        MacContext context;
        std::uint64_t used = 0;
    };
    using Tag = std::array<std::uint8_t, 32>;

    void prepare();
    [[nodiscard]] MacContext keyed(std::span<const std::uint8_t> key) const;
    [[nodiscard]] MacContext derive(std::string_view sender, std::size_t key_index);
    static void compute(EVP_MAC_CTX* context, std::span<const std::uint8_t> data, Tag& tag);
    bool verify(std::string_view sender, std::size_t key_index, std::span<const std::uint8_t> data,
                std::span<const std::uint8_t> tag);
    Result<std::size_t> finish(std::size_t payload_bytes, std::span<std::uint8_t> out);

    std::string own_name_;
    KeyRing keys_;
    std::unique_ptr<EVP_MAC, MacFree> hmac_;
    // HKDF's first half for each secret, done ahead: a forged sender costs little.
    std::vector<MacContext> extracted_;
    MacContext sending_;
    // Only senders whose MAC was right once: forged names cannot push the peer out.
    std::vector<Derived> known_;
    std::uint64_t uses_ = 0;
};

}  // namespace lbcluster::heartbeat
