#include "healthd/talk/parts.hpp"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

#include <array>

#include "lbcluster/base/assert.hpp"

namespace lbcluster::health {
namespace {

const unsigned char* octets(std::string_view bytes) { return reinterpret_cast<const unsigned char*>(bytes.data()); }

std::string digest(const EVP_MD* algorithm, std::string_view bytes) {
    std::array<unsigned char, EVP_MAX_MD_SIZE> out{};
    unsigned size = 0;
    LBC_ASSERT(EVP_Digest(bytes.data(), bytes.size(), out.data(), &size, algorithm, nullptr) == 1);
    return {reinterpret_cast<const char*>(out.data()), size};
}

std::string keyed_digest(const EVP_MD* algorithm, std::string_view key, std::string_view bytes) {
    std::array<unsigned char, EVP_MAX_MD_SIZE> out{};
    unsigned size = 0;
    LBC_ASSERT(HMAC(algorithm, key.data(), static_cast<int>(key.size()), octets(bytes), bytes.size(), out.data(),
                    &size) != nullptr);
    return {reinterpret_cast<const char*>(out.data()), size};
}

void mask(std::string& text, std::string_view secret) {
    if (secret.empty()) return;
    constexpr std::string_view stars = "***";
    for (auto at = text.find(secret); at != std::string::npos; at = text.find(secret, at + stars.size())) {
        text.replace(at, secret.size(), stars);
    }
}

}  // namespace

void system_random(std::span<std::uint8_t> bytes) {
    LBC_ASSERT(RAND_bytes(bytes.data(), static_cast<int>(bytes.size())) == 1);
}

std::string random_bytes(Random random, std::size_t count) {
    std::string out(count, '\0');
    random({reinterpret_cast<std::uint8_t*>(out.data()), out.size()});
    return out;
}

std::string random_hex(Random random, std::size_t digits) {
    std::string out = to_hex(random_bytes(random, (digits + 1) / 2));
    out.resize(digits);
    return out;
}

Talk::Step finish(Finding finding, std::string reason, std::string goodbye) {
    if (reason.size() > reason_bytes_max) {
        reason.resize(reason_bytes_max - 3);
        reason += "...";
    }
    return {.next = Talk::Next::done, .send = std::move(goodbye), .outcome = {finding, std::move(reason)}};
}

Talk::Step up(std::string reason, std::string goodbye) {
    return finish(Finding::up, std::move(reason), std::move(goodbye));
}
Talk::Step down(std::string reason) { return finish(Finding::down, std::move(reason)); }
Talk::Step unusable(std::string reason) { return finish(Finding::unusable, std::move(reason)); }
Talk::Step say(std::string bytes, bool secret) {
    return {.next = Talk::Next::read, .send = std::move(bytes), .secret = secret};
}

std::string shown(std::string_view bytes, const config::Check& check, std::size_t bytes_max) {
    // Enough for what is shown; a secret that begins in it is masked whole.
    constexpr std::size_t look_max = 4096;
    std::string text(bytes.substr(0, look_max));
    for (const std::string& secret : {check.password(), check.secret()}) {
        if (secret.empty()) continue;
        mask(text, to_base64(std::string(1, '\0') + check.user() + '\0' + secret));
        mask(text, to_base64(secret));
        mask(text, secret);
    }
    return printable(text, bytes_max);
}

bool has_line_break_or_nul(std::string_view value) {
    return value.find_first_of(std::string_view("\r\n\0", 3)) != std::string_view::npos;
}
bool has_nul(std::string_view value) { return value.find('\0') != std::string_view::npos; }

std::string to_base64(std::string_view bytes) {
    std::string out(4 * ((bytes.size() + 2) / 3) + 1, '\0');
    const int size =
        EVP_EncodeBlock(reinterpret_cast<unsigned char*>(out.data()), octets(bytes), static_cast<int>(bytes.size()));
    out.resize(static_cast<std::size_t>(size));
    return out;
}

std::string from_base64(std::string_view text, std::size_t bytes_max) {
    constexpr std::string_view alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    if (text.empty() || text.size() % 4 != 0 || text.size() / 4 * 3 > bytes_max + 2) return {};
    const auto padding = text.ends_with("==") ? 2U : text.ends_with('=') ? 1U : 0U;
    const std::string_view digits = text.substr(0, text.size() - padding);
    if (digits.find_first_not_of(alphabet) != std::string_view::npos) return {};
    std::string out(text.size() / 4 * 3, '\0');
    if (EVP_DecodeBlock(reinterpret_cast<unsigned char*>(out.data()), octets(text), static_cast<int>(text.size())) <
        0) {
        return {};
    }
    out.resize(out.size() - padding);
    return out.size() <= bytes_max ? out : std::string{};
}

std::string to_hex(std::string_view bytes) {
    constexpr std::string_view digits = "0123456789abcdef";
    std::string out;
    out.reserve(bytes.size() * 2);
    for (const char c : bytes) {
        const auto byte = static_cast<unsigned char>(c);
        out += digits[byte >> 4U];
        out += digits[byte & 0x0fU];
    }
    return out;
}

std::string md5(std::string_view bytes) { return digest(EVP_md5(), bytes); }
std::string sha1(std::string_view bytes) { return digest(EVP_sha1(), bytes); }
std::string sha256(std::string_view bytes) { return digest(EVP_sha256(), bytes); }
std::string hmac_md5(std::string_view key, std::string_view bytes) { return keyed_digest(EVP_md5(), key, bytes); }
std::string hmac_sha256(std::string_view key, std::string_view bytes) { return keyed_digest(EVP_sha256(), key, bytes); }

std::string xor_bytes(std::string a, std::string_view b) {
    LBC_ASSERT(a.size() == b.size());
    for (std::size_t i = 0; i < a.size(); ++i) a[i] = static_cast<char>(a[i] ^ b[i]);
    return a;
}

bool equal_secretly(std::string_view a, std::string_view b) {
    return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

void put_u16(std::string& out, std::uint16_t value) {
    out += static_cast<char>(value >> 8U);
    out += static_cast<char>(value & 0xffU);
}

void put_u32(std::string& out, std::uint32_t value) {
    put_u16(out, static_cast<std::uint16_t>(value >> 16U));
    put_u16(out, static_cast<std::uint16_t>(value & 0xffffU));
}

std::string_view ByteReader::bytes(std::size_t count) {
    if (count > rest_.size()) {
        ok_ = false;
        rest_ = {};
        return {};
    }
    const std::string_view out = rest_.substr(0, count);
    rest_.remove_prefix(count);
    return out;
}

std::string_view ByteReader::until_nul() {
    const auto end = rest_.find('\0');
    const std::string_view out = bytes(end == std::string_view::npos ? rest_.size() + 1 : end);
    bytes(1);
    return out;
}

std::uint32_t ByteReader::big_endian(std::size_t count) {
    std::uint32_t value = 0;
    for (const char c : bytes(count)) value = value << 8U | static_cast<unsigned char>(c);
    return value;
}

std::uint32_t ByteReader::little_endian(std::size_t count) {
    std::uint32_t value = 0;
    unsigned shift = 0;
    for (const char c : bytes(count)) {
        value |= static_cast<std::uint32_t>(static_cast<unsigned char>(c)) << shift;
        shift += 8;
    }
    return value;
}

}  // namespace lbcluster::health
