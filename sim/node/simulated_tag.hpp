// What stands for HMAC-SHA256 in the simulator: a keyed 128-bit checksum of the same length over the same bytes, one
// key for each direction. It is NOT cryptography: nobody in a simulation breaks keys, but forged, flipped, reflected
// and misdirected datagrams are told from good ones exactly as on the wire. It exists because ns-3 is GPL-2, so that
// no OpenSSL may be in this program; everything else of a datagram is heartbeatd's own code (heartbeat/wire/envelope).
//
// Each step is a bijection of the state and of the word that goes in: two texts of one length that differ in a single
// word never have the same tag, so every single flipped bit is noticed for certain.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "heartbeat/wire/envelope.hpp"

namespace lbcluster::sim {

class SimulatedTag : public heartbeat::Authenticator {
  public:
    SimulatedTag(std::string own_name, std::string cluster_id, std::uint64_t secret);

    [[nodiscard]] std::size_t keys() const override { return 1; }
    [[nodiscard]] Bytes key_id(std::size_t index) const override;
    [[nodiscard]] Bytes cluster_id() const override;
    void sign(Bytes data, std::span<std::uint8_t, tag_bytes> tag) override;
    bool verify(std::string_view sender, std::size_t key_index, Bytes data, Bytes tag) override;

  private:
    [[nodiscard]] std::array<std::uint64_t, 2> compute(std::string_view sender, Bytes data) const;

    std::string own_name_;
    std::string cluster_id_;
    std::uint64_t secret_;
    std::array<std::uint8_t, 4> key_id_{};
};

}  // namespace lbcluster::sim
