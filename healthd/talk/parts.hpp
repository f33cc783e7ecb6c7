// What the conversations share: outcomes in words, the bytes of a peer without our secrets, random numbers, digests and
// a bounded reader of binary fields. Pure but for system_random (OpenSSL's generator, which a test replaces).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "healthd/talk/talk.hpp"

namespace lbcluster::health {

// Fills all of it. A plain function, so that a test can give known bytes.
using Random = void (*)(std::span<std::uint8_t>);
void system_random(std::span<std::uint8_t> bytes);
std::string random_bytes(Random random, std::size_t count);
std::string random_hex(Random random, std::size_t digits);

// The end of a conversation; the reason is cut to reason_bytes_max. `goodbye` is sent before the connection is closed.
Talk::Step finish(Finding finding, std::string reason, std::string goodbye = {});
Talk::Step up(std::string reason, std::string goodbye = {});
Talk::Step down(std::string reason);
Talk::Step unusable(std::string reason);
Talk::Step say(std::string bytes, bool secret = false);

// Peer's bytes for a reason: printable, and where a server repeats our password or secret there is "***" instead.
std::string shown(std::string_view bytes, const config::Check& check, std::size_t bytes_max = 120);

// Whether a text value can stand in a line of a text protocol, or between NULs of a binary one, without ending it.
bool has_line_break_or_nul(std::string_view value);
bool has_nul(std::string_view value);

std::string to_base64(std::string_view bytes);
// Empty if it is not base64 (strict, with padding) or longer than `bytes_max`.
std::string from_base64(std::string_view text, std::size_t bytes_max);
std::string to_hex(std::string_view bytes);

std::string md5(std::string_view bytes);
std::string sha1(std::string_view bytes);
std::string sha256(std::string_view bytes);
std::string hmac_md5(std::string_view key, std::string_view bytes);
std::string hmac_sha256(std::string_view key, std::string_view bytes);
std::string xor_bytes(std::string a, std::string_view b);     // of the same length
bool equal_secretly(std::string_view a, std::string_view b);  // in constant time

void put_u16(std::string& out, std::uint16_t value);  // network order
void put_u32(std::string& out, std::uint32_t value);

// Fields one after another. A read beyond the end gives zeros and empty strings, and ok() is false from then on.
class ByteReader {
  public:
    explicit ByteReader(std::string_view bytes) : rest_(bytes) {}

    [[nodiscard]] bool ok() const { return ok_; }
    [[nodiscard]] std::string_view rest() const { return rest_; }
    std::string_view bytes(std::size_t count);
    std::string_view until_nul();  // without the NUL
    std::uint8_t u8() { return static_cast<std::uint8_t>(big_endian(1)); }
    std::uint16_t u16() { return static_cast<std::uint16_t>(big_endian(2)); }
    std::uint32_t u32() { return big_endian(4); }
    std::uint16_t u16_le() { return static_cast<std::uint16_t>(little_endian(2)); }
    std::uint32_t u24_le() { return little_endian(3); }

  private:
    std::uint32_t big_endian(std::size_t count);
    std::uint32_t little_endian(std::size_t count);
    std::string_view rest_;
    bool ok_ = true;
};

}  // namespace lbcluster::health
