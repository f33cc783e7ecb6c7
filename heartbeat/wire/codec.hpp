// Heartbeats as datagrams: envelope, authentication, nothing else. What a message means is the core's business
// (receiver, boot ids and sequence window are checked there).
//
// The layout is in envelope.hpp. The key id is the first bytes of SHA-256("lbcluster heartbeat key id v1", secret), the
// tag HMAC-SHA256 (RFC 2104) truncated to 128 bit, over every byte before. The MAC's key is HKDF-SHA256 (RFC 5869) of
// the secret with the cluster id as salt and "lbcluster heartbeat v1 from <sender>" as info: each direction has its
// own, so a reflected datagram shows as our own. Several secrets may be valid at once: the first one sends, any one
// receives.
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

#include "heartbeat/wire/envelope.hpp"
#include "lbcluster/base/result.hpp"
#include "lbcluster/keys/key_ring.hpp"

namespace lbcluster::heartbeat {

class Codec : private Authenticator {
  public:
    // `own_name` must be a valid node name.
    Codec(std::string own_name, KeyRing keys);
    Codec(Codec&&) noexcept;
    Codec& operator=(Codec&&) noexcept;
    ~Codec() override;

    // Takes effect with the next datagram.
    void set_keys(KeyRing keys);
    [[nodiscard]] const KeyRing& key_ring() const { return keys_; }

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

    [[nodiscard]] std::size_t keys() const override { return keys_.size(); }
    [[nodiscard]] Bytes key_id(std::size_t index) const override { return keys_.key_id(index); }
    [[nodiscard]] Bytes cluster_id() const override { return keys_.cluster_id(); }
    void sign(Bytes data, std::span<std::uint8_t, tag_bytes> tag) override;
    bool verify(std::string_view sender, std::size_t key_index, Bytes data, Bytes tag) override;

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
